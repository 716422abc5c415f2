"""webb's dashboards: Grafana's JSON made of the short files in charts/webb/dashboards, and their queries checked.

A short file has a title, variables (name, and the family whose label it lists) and panels in reading order, each with the
width that it takes of 24."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

import yaml

from render import CHART, ROOT, find, objects, render, values

SHORT = CHART / "dashboards"
MADE = CHART / "files/dashboards"
SOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
HEIGHT = {"stat": 4, "timeseries": 8, "table": 9}
# Labels that a scrape adds, that contexts add, and that queries make.
COMMON = {"instance", "job", "node", "pod", "source", "destination", "from", "to", "le",
          "source_namespace", "source_workload", "destination_namespace", "destination_workload"}


def variable(name, family):
    query = f"label_values({family}, {name})"
    return {"name": name, "type": "query", "datasource": SOURCE, "query": {"query": query, "refId": name},
            "definition": query, "multi": True, "includeAll": True, "allValue": ".*", "refresh": 2, "sort": 1,
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}


def panel(number, short, x, y):
    defaults = {"unit": short["unit"], "decimals": short.get("decimals"), "min": 0 if short["type"] != "table" else None}
    steps = [{"color": "green", "value": None}]
    if "above" in short:
        # Grafana's steps begin at their value, so the next number above.
        steps.append({"color": "red", "value": short["above"] + 1e-9})
    defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    if short["type"] == "timeseries":
        defaults["custom"] = {"drawStyle": "line", "fillOpacity": 20 if short.get("stack") else 5, "showPoints": "never",
                              "stacking": {"mode": "normal" if short.get("stack") else "none", "group": "A"}}
    table = short["type"] == "table"
    target = {"refId": "A", "datasource": SOURCE, "expr": short["query"].strip(), "legendFormat": short.get("legend", "__auto"),
              "instant": short["type"] != "timeseries", "range": short["type"] == "timeseries"}
    if table:
        target["format"] = "table"
    made = {"id": number, "title": short["title"], "type": short["type"], "datasource": SOURCE,
            "description": short.get("description", ""),
            "gridPos": {"x": x, "y": y, "w": short["width"], "h": HEIGHT[short["type"]]},
            "fieldConfig": {"defaults": {key: value for key, value in defaults.items() if value is not None}, "overrides": []},
            "targets": [target], "options": {}}
    if short["type"] == "stat":
        made["options"] = {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}}
    if short["type"] == "timeseries":
        made["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    if table:
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": {"Time": True}}}]
    return made


def board(short):
    panels, x, y, row = [], 0, 0, 0
    for number, one in enumerate(short["panels"], 1):
        if x + one["width"] > 24:
            x, y, row = 0, y + row, 0
        panels.append(panel(number, one, x, y))
        x, row = x + one["width"], max(row, HEIGHT[one["type"]])
    source = {"name": "DS_PROMETHEUS", "label": "Data source", "type": "datasource", "query": "prometheus"}
    return {"uid": short["uid"], "title": short["title"], "description": short["description"], "tags": ["webb"],
            "schemaVersion": 39, "version": 1, "editable": True, "graphTooltip": 1, "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"}, "timezone": "",
            "links": [{"type": "dashboards", "tags": ["webb"], "title": "webb", "asDropdown": True, "keepTime": True,
                       "includeVars": False, "targetBlank": False, "icon": "external link", "url": ""}],
            "templating": {"list": [source, *(variable(*pair) for pair in short["variables"].items())]},
            "annotations": {"list": []}, "panels": panels}


def shorts():
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted(SHORT.glob("*.yaml"))}


def text(short):
    return json.dumps(board(short), indent=1, ensure_ascii=False) + "\n"


def write():
    MADE.mkdir(exist_ok=True)
    for path in MADE.iterdir():
        path.unlink()
    for name, short in shorts().items():
        (MADE / f"{name}.json").write_text(text(short))


def families():
    """Every family of the pages in docs with its own labels."""
    found = {}
    # The column of the labels in each.
    for page, column in ("metrics.md", 4), ("agent-metrics.md", 3), ("operator-metrics.md", 3):
        for line in (ROOT / "docs" / page).read_text().splitlines():
            cells = [cell.strip() for cell in line.split("|")]
            if len(cells) > 5 and cells[1].startswith("`"):
                found.setdefault(cells[1].strip("`"), set()).update(re.findall(r"`([^`]+)`", cells[column]))
    return found


def family(name, known):
    """The family of a series, which has a name of its own in a histogram."""
    bare = re.sub(r"_(?:bucket|sum|count)$", "", name)
    return bare if name not in known and bare in known else name


def unknown(query, known):
    """Families and labels of a query that webb does not have."""
    bare = re.sub(r'"[^"]*"', '""', query)
    used = [family(name, known) for name in re.findall(r"\b(?:webb|hubble|process|cilium)_[a-z0-9_]+\b", bare)]
    yield from (f"there is no {name}" for name in used if name not in known)
    labels = set(COMMON).union(*(known.get(name, set()) for name in used))
    asked = re.findall(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*""', bare)
    for group in re.findall(r"\b(?:by|on|without|ignoring) \(([^)]*)\)", bare):
        asked += [label.strip() for label in group.split(",") if label.strip()]
    yield from (f"no family here has the label {label}" for label in asked if label not in labels)
    for name, matchers in re.findall(r"\b((?:webb|hubble|cilium)_[a-z0-9_]+)\{([^}]*)\}", bare):
        for label in re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", matchers):
            if label not in known.get(family(name, known), set()) | COMMON:
                yield f"{name} has no label {label}"


def parsed(queries):
    """promtool's word on the queries, as rules, with Grafana's variables filled in."""
    with tempfile.TemporaryDirectory() as folder:
        rules = [{"record": f"query:{number}", "expr": re.sub(r"\$[a-z]+", ".*", query.replace("$__rate_interval", "5m"))}
                 for number, query in enumerate(queries)]
        path = Path(folder) / "queries.yaml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
        done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False)
        return [] if done.returncode == 0 else (done.stdout + done.stderr).splitlines()


def check(report):
    known = families()
    there = {path.stem: path.read_text() for path in MADE.glob("*.json")}
    report("the dashboards are those of the short files",
           [] if there == {name: text(short) for name, short in shorts().items()} else ["run scripts/chart golden"])
    for name, short in shorts().items():
        queries = [one["query"] for one in short["panels"]]
        report(f"{name}: families and labels", [problem for query in queries for problem in unknown(query, known)])
        report(f"{name}: variables", [family for family in short["variables"].values() if family not in known])
        report(f"{name}: queries", parsed(queries))
        titles = [one["title"] for one in short["panels"]]
        report(f"{name}: titles", [title for title in titles if titles.count(title) > 1])
    installed = {key: data for one in find(objects(render(values("hubble.metrics.dashboards.enabled=true"))), "ConfigMap")
                 if "grafana_dashboard" in one["metadata"]["labels"] for key, data in one["data"].items()}
    report("each dashboard is installed", [f"{name} is not, or differs" for name, content in there.items()
                                           if installed.get(f"webb-{name}.json", "").strip() != content.strip()])
    for wrong in ('sum(hubble_drop_total{why="x"})', 'sum(webb_l7_open{why="x"})', "sum(webb_l7_closed)", "sum(cilium_unreachable_node)",
                  'sum(webb_dns_response_seconds_bucket{why="x"})', "sum(webb_dns_seconds_bucket)"):
        report(f"what is not there is found: {wrong}", [] if list(unknown(wrong, known)) else [f"{wrong} passed"])
    report("a query that is wrong is found", [] if parsed(["sum(rate(a)"]) else ["sum(rate(a) passed"])
    rules = yaml.safe_load((CHART / "files/alerts.yaml").read_text())
    report("alerts: families and labels", [problem for group in rules["groups"] for rule in group["rules"]
                                          for problem in unknown(rule["expr"], known)])
