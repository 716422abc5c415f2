"""docs/install.md's step by step: what Helm prints of the packaged chart and the article's values, in a directory with
nothing else. It is written by `scripts/chart golden`, and compared, so it is what a user sees.
"""

import json
import tempfile
from collections import Counter
from pathlib import Path

import yaml

import helm3
import messages
from discovery import installed
from render import ROOT, Refused, Strict, find, render, values

PAGE = ROOT / "docs/install.md"
MARKS = "<!-- steps: written by `scripts/chart golden` -->\n\n", "\n<!-- end of steps -->"


def steps(helm, folder):
    """Commands and what they print."""
    package = helm.package(folder)
    article, mended = folder / "article.yaml", folder / "values.yaml"
    article.write_text(yaml.safe_dump(messages.as_written()))
    mended.write_text(messages.ARTICLE.read_text())
    yield "ls", "\n".join(sorted(path.name for path in folder.iterdir()))
    yield f"helm show chart {package.name}", helm.run("show_chart", chart=str(package))
    install = f"helm install webb {package.name} -n kube-system -f"
    try:
        helm.template(package, article)
    except Refused as refusal:
        yield f"{install} {article.name}", "Error: INSTALLATION FAILED: " + str(refusal).partition("failed: ")[2]
    files = render(values(mended), package)
    yield f"{install} {mended.name}", "...\nNOTES:\n" + files["templates/NOTES.txt"]
    text = helm.template(package, mended)
    kinds = Counter(line for line in text.splitlines() if line.startswith("kind:"))
    yield "helm -n kube-system get manifest webb | grep ^kind: | sort | uniq -c", \
        "\n".join(f"{count:7} {kind}" for kind, count in sorted(kinds.items()))
    made = [installed(o) for o in yaml.load_all(text, Strict) if o and o["metadata"].get("namespace")]
    service = find(made, "Service", "hubble-metrics")[0]
    yield "kubectl -n kube-system get service hubble-metrics -o jsonpath='{.metadata.annotations}'", \
        json.dumps(service["metadata"]["annotations"], sort_keys=True, separators=(",", ":"))
    daemon = find(made, "DaemonSet")[0]["spec"]["template"]["spec"]
    volume = next(volume for volume in daemon["volumes"] if volume["name"] == "metrics-config")
    name = volume["configMap"]["name"]
    yield f"kubectl -n kube-system get configmap {name} -o jsonpath='{{.data.dynamic-metrics\\.yaml}}'", \
        find(made, "ConfigMap", name)[0]["data"]["dynamic-metrics.yaml"]


def page():
    """The page with its steps as they should be."""
    helm = helm3.Helm3()
    try:
        with tempfile.TemporaryDirectory() as folder:
            shown = "".join(f"$ {command}\n{said.strip(chr(10))}\n" for command, said in steps(helm, Path(folder)))
    finally:
        helm.close()
    text = PAGE.read_text()
    shown = "".join(line.rstrip() + "\n" for line in shown.splitlines())
    before, _, rest = text.partition(MARKS[0])
    return before + MARKS[0] + f"```console\n{shown}```\n" + MARKS[1] + rest.partition(MARKS[1])[2]


def check(report):
    report("docs/install.md, step by step", [] if page() == PAGE.read_text() else ["run scripts/chart golden"])


def write():
    PAGE.write_text(page())
