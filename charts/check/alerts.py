"""The alerts, by promtool: the rules' syntax, and that each fires when it should and only then."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

from render import CHART, ROOT, case, find, objects

RULES = CHART / "files/alerts.yaml"
TESTS = Path(__file__).parent / "alerts.test.yaml"
BUDGETS = CHART / "files/budgets.yaml"
BUDGET_TESTS = Path(__file__).parent / "budgets.test.yaml"


def promtool(*arguments, folder):
    done = subprocess.run(["promtool", *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else (done.stdout + done.stderr).splitlines()


def names(groups):
    return [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]


def check(report):
    alerts = names(yaml.safe_load(RULES.read_text())["groups"]) + names(yaml.safe_load(BUDGETS.read_text())["groups"])
    runbooks = (ROOT / "docs/runbooks.md").read_text()
    report("each alert has a runbook", [name for name in alerts if f"\n## {name}\n" not in runbooks])
    tested = TESTS.read_text() + BUDGET_TESTS.read_text()
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
        budgets(report, Path(folder))
        made = objects(case("operator"))
        groups = find(made, "PrometheusRule")[0]["spec"]["groups"]
        (Path(folder) / "rendered.yaml").write_text(yaml.safe_dump({"groups": groups}))
        report("rules as rendered", promtool("check", "rules", "rendered.yaml", folder=folder))
        for part, with_them in ("agent", "agent-metrics"), ("operator", "operator-two"):
            served = names(group for group in yaml.safe_load(RULES.read_text())["groups"] if group["name"] == part)
            there = names(find(objects(case(with_them)), "PrometheusRule")[0]["spec"]["groups"])
            report(f"alerts of the group {part} are there in {with_them}", [name for name in served if name not in there] if served else ["none"])
            report(f"alerts of the group {part} are not there in operator", [name for name in served if name in names(groups)])
        report("an alert that is disabled is not there", [name for name in names(groups) if name == "NetworkPolicyDenials"])


def budgets(report, folder):
    """The budgets: that the slowed pair alone spends its own, and which rules the chart makes for each."""
    shutil.copy(BUDGET_TESTS, folder / "budgets.tests.yaml")
    for number, (threshold, other) in enumerate([("", ""), *BUDGET_CHANGES]):
        text = BUDGETS.read_text()
        (folder / "budgets.yaml").write_text(text.replace(threshold, other))
        failed = promtool("test", "rules", "budgets.tests.yaml", folder=folder)
        if not number:
            report("budgets are spent by the pairs that spend them", failed)
        else:
            missed = [f"{threshold} became {other}, and nothing failed"]
            report(f"the tests notice change {number} of the budgets", [] if threshold in text and failed else missed)
    groups = {group["name"]: group["rules"] for group in find(objects(case("operator")), "PrometheusRule")[0]["spec"]["groups"]}
    def written(name):
        return "\n".join(f"{rule['expr']} {rule['labels']}" for rule in groups.get(name, []))

    boss, loose = written("budget-boss"), written("budget-all")
    wanted = ['reporter="client",le="0.025"', 'seconds_bucket{le="0.05"', 'source=~"empire/boss",destination=~"empire/deathstar"',
              "14.4 * 0.0001", 'budget="boss"', "'budget': 'boss'"]
    left = [text for text in ('le="0.1"', "* 0.001", '"all"', '".*"', "'all'") if text in boss]
    report("a budget has its own bounds and pair", [text for text in wanted if text not in boss] + left)
    report("another has its own", [text for text in ('reporter="client",le="0.25"', "14.4 * 0.001", 'source=~".*"') if text not in loose])


# Slips in the budgets that the tests must notice.
BUDGET_CHANGES = [
    ('reporter="client"', 'reporter="server"'),
    (',outcome!="denied"', ""),
    ("or 0 * sum", "and 0 * sum"),
    (">= 20", ">= 1"),
    ("14.4 * 0.001", "14.4 * 0.01"),
    ("6 * 0.001", "6 * 0.1"),
    ('status=~"5.."', 'status=~"4.."'),
    ("            and pair:webb_tcp_connections_bad:ratio_rate5m", "            and pair:webb_tcp_connections_bad:ratio_rate6h"),
    ("(source, destination) (rate(webb_tcp_handshake", "(destination) (rate(webb_tcp_handshake"),
]

# Slips in the rules that the tests must notice.
CHANGES = [
    ("absent(webb_build_info)", "absent(webb_build)"),
    ("== 0\n        for: 10m", "== 1\n        for: 10m"),
    ("> 0.001", "> 0.1"),
    ("|suppressed", ""),
    ("lost|unread", "unread"),
    ('webb_l7_segments_total{outcome=~"lost|unread"}', "webb_l7_segments_total"),
    ("table_size > 0.9", "table_size > 0.99"),
    ("[15m]) > 2", "[15m]) > 200"),
    ("> 300", "> 3000"),
    ("webb_series_folded_total[15m])) > 0", "webb_series_folded_total[15m])) > 10"),
    ("webb_config_last_reload_successful == 0", "webb_config_last_reload_successful == 2"),
    ("< 7 * 86400", "< 70 * 86400"),
    ("expiry_timestamp_seconds - time()", "expiry_timestamp_seconds + time()"),
    ("offset 15m", "offset 1s"),
    ("* 60 > 1", "* 60 > 100"),
    ("> 0.05", "> 0.5"),
    ("> 0.25", "> 0.75"),
    ("or 0 * sum", "and 0 * sum"),
    ("(cilium_unreachable_nodes) > 0", "(cilium_unreachable_nodes) > 10"),
    ("max without (instance, node, pod)", "max without (pod)"),
    ("(?i)error", "error"),
    ("map_pressure > 0.9", "map_pressure > 0.99"),
    ("min without (instance, node, pod)", "max without (instance, node, pod)"),
    ("[15m])) > 5", "[15m])) > 500"),
    ("sum(webb_operator_leader) == 0", "sum(webb_operator_leader) == 1"),
    ("== 0 or absent(webb_operator_leader)", "== 0"),
    ("sum(webb_operator_leader) > 1", "max(webb_operator_leader) > 1"),
    ("sum(webb_operator_leader) > 1\n        for: 5m", "sum(webb_operator_leader) > 1\n        for: 1m"),
    ("(webb_output_waiting_records) > 0", "(webb_output_waiting_records) > 10"),
    ("timestamp_seconds > 900", "timestamp_seconds > 9000"),
    ("timestamp_seconds > 900", "timestamp_seconds > 9"),
    ("refused|too_large|queue_full", "delivered|too_large|queue_full"),
    ("webb_agent_metrics_panics_total[15m]) > 0", "webb_agent_metrics_panics_total[15m]) > 10"),
]
