"""Hubble's objects as Cilium's chart makes them, but for the differences that are listed with a reason."""

import fnmatch

import yaml

from render import CI, case, find, objects
from schemas import called


def table(name):
    lines = (CI / name).read_text().splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def flat(value, path=""):
    if isinstance(value, dict):
        for key, below in value.items():
            yield from flat(below, f"{path}/{key}" if path else str(key))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from flat(below, f"{path}/{number}")
    elif value is not None:
        yield path, str(value)


# Keys of flow log files that have another name in Cilium's ConfigMap.
EXPORT = {"allow_list": "allowlist", "deny_list": "denylist", "field_mask": "fieldmask", "field_aggregate": "fieldaggregate"}


def agent(made):
    """What Cilium's own ConfigMap and pods say of the metrics, in webb's terms."""
    daemon = find(made, "DaemonSet")[0]["spec"]["template"]
    config = yaml.safe_load(find(made, "ConfigMap", "webb")[0]["data"]["webb.yaml"])
    yield "enable-hubble-open-metrics", str(config["open_metrics"]).lower()
    yield "hubble-metrics-server", config["metrics_listen"].replace("[::]", "")
    if served := config.get("agent_metrics"):
        yield "prometheus-serve-addr", served["listen"].replace("[::]", "")
    if observer := config.get("observer"):
        socket, *addresses = observer["listen"]
        yield "hubble-socket-path", socket.removeprefix("unix://")
        yield from (("hubble-listen-address", address) for address in addresses)
        yield "hubble-disable-tls", str("observer_tls" not in config).lower()
    for key, value in (config.get("export") or {}).items():
        shown = " ".join(value) if isinstance(value, list) else str(value)
        yield f"hubble-export-{EXPORT.get(key, key.replace('_', '-'))}", str(value).lower() if isinstance(value, bool) else shown
    for port in daemon["spec"]["containers"][0].get("ports") or []:
        yield f"port {port['name']}", f"{port['containerPort']}, {port['hostPort']} on the node"
    for volume in daemon["spec"]["volumes"]:
        if volume["name"] == "metrics-config":
            yield "dynamic metrics from", volume["configMap"]["name"]
            for source in find(made, "ConfigMap", volume["configMap"]["name"]):
                first = source["data"]["dynamic-metrics.yaml"].splitlines()[0]
                yield "hubble-metrics", first.removeprefix("# hubble.metrics.enabled: ")
    for key, value in (daemon["metadata"].get("annotations") or {}).items():
        yield f"annotation {key}", value


def facts(made):
    """Everything that could be compared: (object, field) and its value."""
    found = {("agent", field): value for field, value in agent(made)}
    for o in made:
        name = called(o).replace("/", " ")
        found[name, "exists"] = "true"
        data = o
        if o["kind"] == "ConfigMap" and "dynamic-metrics.yaml" in (o.get("data") or {}):
            data = yaml.safe_load(o["data"]["dynamic-metrics.yaml"])
        if o["kind"] == "ConfigMap" and "config.yaml" in (o.get("data") or {}):
            data = yaml.safe_load(o["data"]["config.yaml"])
        found |= {(name, field): value for field, value in flat(data)}
    return found


def check(report):
    expected, differences = table("cilium-objects.tsv"), table("cilium-differences.tsv")
    used = set()
    for name in sorted({row[0] for row in expected}):
        have = facts(objects(case(f"cilium/{name}")))
        problems = []
        for _, o, field, value in (row for row in expected if row[0] == name):
            listed = [number for number, row in enumerate(differences)
                      if all(map(fnmatch.fnmatchcase, (name, o, field), row[:3]))]
            if have.get((o, field)) == value:
                continue
            used.update(listed)
            if not listed:
                problems.append(f"{o}: {field} is {have.get((o, field))}, and Cilium has {value}")
        report(f"as Cilium: {name}", problems)
    report("each listed difference is one", ["\t".join(row) for number, row in enumerate(differences) if number not in used])
