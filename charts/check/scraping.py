"""Compares the targets that a real Prometheus finds by the chart's objects with those by Cilium's. It discovers them as in a
cluster, from an API server that is discovery.py, or from files where it is built without that; agents answer in the lab.
`scripts/scraping` and `scripts/dashboards` call it.

    scraping.py compare PROMETHEUS...    the targets' labels, by annotations and by a ServiceMonitor; the last line counts
    scraping.py write FOLDER WAY         only writes FOLDER/prometheus.yml, which finds the lab's agents from files; WAY is
                                         `annotations` or `monitor`
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

import cilium
import discovered
import discovery
import scrape_config
from render import CI, find, objects, render, values

# The lab's nodes that have an agent.
NODES = {"webb-node-1": "172.18.0.2", "webb-node-2": "172.18.0.3"}
# The values files of charts/webb/ci/cilium: one without ServiceMonitors, one with.
WAYS = {"annotations": "dynamic", "monitor": "servicemonitors-dashboards"}
# The Services, and the ports of the lab's agents that they lead to.
SERVICES = {"hubble-metrics": 9965, "cilium-agent": 9962}
# Labels that name the pod itself, so they are another's.
OWN = {"pod", "container"}
# Labels of the pods, which annotated pods' targets have: each says whose pod it is.
OWN_OF_PODS = {"app_kubernetes_io_name", "app_kubernetes_io_instance", "app_kubernetes_io_part_of"}
# The name by which Cilium's dashboard of the agent finds webb's pods.
NAMED = "webb.fullnameOverride=cilium-webb"
TARGETS = len(NODES) * len(SERVICES)
# For a start of Prometheus and a first scrape, on a slow machine.
PATIENCE_S = 120
CILIUM = {
    "metadata": {"name": "cilium", "namespace": "kube-system"},
    "spec": {"template": {
        "metadata": {"labels": {"k8s-app": "cilium", "app.kubernetes.io/name": "cilium-agent", "app.kubernetes.io/part-of": "cilium"}},
        "spec": {"hostNetwork": True, "containers": [{"name": "cilium-agent", "ports": [
            {"name": name, "containerPort": port, "hostPort": port, "protocol": "TCP"} for name, port in
            [("health", 9879), ("peer-service", 4244), ("prometheus", 9962), ("hubble-metrics", 9965)]]}]},
    }},
}


def of_webb(name, *more):
    """The Services, the ServiceMonitors and the DaemonSet that webb's chart makes of a case's values."""
    made = objects(render(values(CI / f"cilium/{name}.yaml", *more)))
    return find(made, "Service"), find(made, "ServiceMonitor"), find(made, "DaemonSet")[0]


def of_cilium(name):
    """The same of Cilium's chart, from the facts that cilium-objects.tsv has."""
    found = {f"{kind} {called}": {} for kind, called in
             [("Service", "hubble-metrics"), ("Service", "cilium-agent"), ("ServiceMonitor", "hubble"), ("ServiceMonitor", "cilium-agent")]}
    for row, o, field, value in cilium.table("cilium-objects.tsv"):
        if row != name or field == "exists" or o not in found:
            continue
        at, steps = found[o], field.split("/")
        for depth, step in enumerate(steps[:-1], 1):
            at = at.setdefault(step, {})
            # A name in a block of labels or annotations may have a slash itself.
            if step in ("labels", "annotations", "matchLabels"):
                at["/".join(steps[depth:])] = value
                break
        else:
            at[steps[-1]] = value
    made = {"Service": [], "ServiceMonitor": []}
    for o, facts in found.items():
        kind, called = o.split()
        if facts:
            made[kind].append(lists(facts))
            made[kind][-1]["metadata"] |= {"name": called, "namespace": "kube-system"}
    for service in made["Service"]:
        service["spec"]["selector"] = {"k8s-app": "cilium"}
        service["spec"]["ports"] = [{**port, "port": int(port["port"])} for port in service["spec"]["ports"]]
    daemon = json.loads(json.dumps(CILIUM))
    daemon["spec"]["template"]["metadata"]["annotations"] = {
        field.removeprefix("annotation "): value for row, o, field, value in cilium.table("cilium-objects.tsv")
        if row == name and o == "agent" and field.startswith("annotation ")}
    return made["Service"], made["ServiceMonitor"], daemon


def lists(value):
    """The value with blocks whose keys are numbers as lists."""
    if not isinstance(value, dict):
        return value
    if value and all(key.isdigit() for key in value):
        return [lists(value[key]) for key in sorted(value, key=int)]
    return {key: lists(below) for key, below in value.items()}


class NoDiscovery(Exception):
    """The program is built without discovery in Kubernetes."""


def write(folder, way, made, nodes, from_files):
    """Writes a configuration that scrapes each second. Returns the server that it asks for targets."""
    services, monitors, daemon = made
    services = [discovery.installed(service) for service in services]
    pods = discovery.pods(daemon, nodes)
    server = discovery.Server(services, pods)
    jobs = scrape_config.by_annotations(server.url) if way == "annotations" else \
        [job for monitor in monitors for job in scrape_config.by_monitor(monitor, server.url)]
    for job in jobs:
        job["scrape_interval"] = job["scrape_timeout"] = "1s"
        if not from_files:
            continue
        for one in job.pop("kubernetes_sd_configs"):
            found = discovered.ROLES[one["role"]](services, [discovery.endpoints(service, pods) for service in services], pods)
            Path(folder, f"{one['role']}.json").write_text(json.dumps(found))
            job.setdefault("file_sd_configs", []).append({"files": [f"{folder}/{one['role']}.json"]})
    Path(folder, "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": jobs}))
    return server


def ask(url, path, **parameters):
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
        return json.load(answer)["data"]


def targets_of(program, way, made, from_files, port):
    """Prometheus' targets on the agents' ports, once each was scraped: labels and URL; labels that were renamed since
    series have them too; and URLs of other targets."""
    with tempfile.TemporaryDirectory() as work, open(f"{work}/log", "w+") as log:
        server = write(work, way, made, NODES, from_files)
        child = subprocess.Popen(
            [program, f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/data", "--log.level=warn",
             f"--web.listen-address=127.0.0.1:{port}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            return once_scraped(child, log, f"http://127.0.0.1:{port}")
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait()
            server.close()


def once_scraped(child, log, url):
    end, found = time.monotonic() + PATIENCE_S, []
    while time.monotonic() < end and child.poll() is None:
        try:
            every = ask(url, "targets", state="active")["activeTargets"]
            found = [one for one in every if any(f":{port}/" in one["scrapeUrl"] for port in SERVICES.values())]
            if len(found) >= TARGETS and all(one["health"] != "unknown" for one in found):
                break
        except OSError:
            pass
        time.sleep(0.2)
    else:
        log.seek(0)
        said = log.read()
        if "kubernetes_sd_configs not found" in said:
            raise NoDiscovery
        raise SystemExit(f"Prometheus has not scraped {TARGETS} targets, but {found}: {said[-2000:]}")
    others = [one["scrapeUrl"] for one in every if one not in found]
    renamed = [label for label in ask(url, "labels") if label.startswith("exported_")]
    return [{"url": one["scrapeUrl"], "health": one["health"], **one["labels"]} for one in found], renamed, others


def compare(have, wanted, renamed, others):
    """Differences from Cilium's targets, and what is wrong by itself."""
    problems = [f"{one['url']}: {one['health']}" for one in have if one["health"] != "up"]
    problems += [f"{url} is a target, and no agent listens there" for url in others]
    problems += [f"series have the target's label {label}" for label in renamed]
    def key(one):
        return one["job"], one["url"]
    if len(have) != TARGETS:
        problems.append(f"{len(have)} targets for {len(NODES)} agents of {len(SERVICES)} ports each")
    for mine, other in zip(sorted(have, key=key), sorted(wanted, key=key), strict=False):
        of_pods = mine["job"] == "kubernetes-pods"
        for name in sorted(mine.keys() | other.keys()):
            if of_pods and name in OWN_OF_PODS:
                continue
            same = name in mine and name in other if name in OWN else mine.get(name) == other.get(name)
            if not same:
                problems.append(f"{mine['url']}: {name} is {mine.get(name)}, and with Cilium {other.get(name)}")
    return problems


def checks(program):
    """Each way that the program can find targets in: what it is, problems, and the targets."""
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.split()[2]
    for from_files in False, True:
        with ThreadPoolExecutor() as pool:
            # It takes five seconds before its first scrape, so all at once.
            started = [pool.submit(targets_of, program, way, made(case_of), from_files, 9090 + number) for number, (way, case_of, made)
                       in enumerate((way, case_of, made) for way, case_of in WAYS.items() for made in (of_webb, of_cilium))]
        try:
            found = [one.result() for one in started]
        except NoDiscovery:
            print(f"Prometheus {version} is built without discovery in Kubernetes")
            continue
        for number, way in enumerate(WAYS):
            (have, renamed, others), (wanted, *_) = found[2 * number:2 * number + 2]
            what = f"Prometheus {version}, {way}, targets from {'files' if from_files else 'an API server'}"
            yield what, compare(have, wanted, renamed, others), have


def main():
    if sys.argv[1:2] == ["write"]:
        folder, way = sys.argv[2:]
        write(folder, way, of_webb(WAYS[way], NAMED), NODES, True)
        return 0
    counts = {"passed": 0, "failed": 0}
    for program in sys.argv[2:]:
        for what, problems, have in checks(program):
            counts["failed" if problems else "passed"] += 1
            print(f"{what}: {len(have)} targets", flush=True)
            for one in sorted(have, key=lambda one: one["url"])[:len(SERVICES)]:
                print("    " + ", ".join(f"{name}={value}" for name, value in sorted(one.items()) if name not in ("url", "health")))
            for problem in problems:
                print(f"    FAILED: {problem}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, 0 skipped")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
