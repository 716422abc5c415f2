"""The alerts, by promtool: the rules' syntax, and that each fires when it should and only then."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

from render import CHART, ROOT, case, find, objects

RULES = CHART / "files/alerts.yaml"
TESTS = Path(__file__).parent / "alerts.test.yaml"


def promtool(*arguments, folder):
    done = subprocess.run(["promtool", *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else (done.stdout + done.stderr).splitlines()


def names(groups):
    return [rule["alert"] for group in groups for rule in group["rules"]]


def check(report):
    alerts = names(yaml.safe_load(RULES.read_text())["groups"])
    runbooks = (ROOT / "docs/runbooks.md").read_text()
    report("each alert has a runbook", [name for name in alerts if f"\n## {name}\n" not in runbooks])
    tested = TESTS.read_text()
    report("each alert has a test", [name for name in alerts if name not in tested])
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(RULES, Path(folder) / "alerts.yaml")
        shutil.copy(TESTS, Path(folder) / "tests.yaml")
        report("rules", promtool("check", "rules", "alerts.yaml", folder=folder))
        report("rules fire when they should", promtool("test", "rules", "tests.yaml", folder=folder))
        for number, (threshold, other) in enumerate(CHANGES):
            text = RULES.read_text()
            (Path(folder) / "alerts.yaml").write_text(text.replace(threshold, other))
            caught = threshold in text and promtool("test", "rules", "tests.yaml", folder=folder)
            report(f"the tests notice change {number}", [] if caught else [f"{threshold} became {other}, and nothing failed"])
        made = objects(case("operator"))
        groups = find(made, "PrometheusRule")[0]["spec"]["groups"]
        (Path(folder) / "rendered.yaml").write_text(yaml.safe_dump({"groups": groups}))
        report("rules as rendered", promtool("check", "rules", "rendered.yaml", folder=folder))
        report("an alert that is disabled is not there", [name for name in names(groups) if name == "NetworkPolicyDenials"])


# Slips in the rules that the tests must notice.
CHANGES = [
    ("absent(webb_build_info)", "absent(webb_build)"),
    ("== 0\n        for: 10m", "== 1\n        for: 10m"),
    ("> 0.001", "> 0.1"),
    ("|suppressed", ""),
    ("> 0.9", "> 0.99"),
    ("[15m]) > 2", "[15m]) > 200"),
    ("> 300", "> 3000"),
    ("webb_series_folded_total[15m])) > 0", "webb_series_folded_total[15m])) > 10"),
    ('webb_config_reloads_total{outcome="rejected"}', 'webb_config_reloads_total{outcome="refused"}'),
    ("offset 15m", "offset 1s"),
    ("* 60 > 1", "* 60 > 100"),
    ("> 0.05", "> 0.5"),
    ("> 0.25", "> 0.75"),
]
