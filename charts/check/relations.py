"""Objects of one case against each other: who selects, mounts and binds what."""

import yaml

from render import ROOT, case, cases, find, objects, render, values
from schemas import called


def selects(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def labels(o):
    return o["metadata"].get("labels") or {}


def workload(made):
    return find(made, "DaemonSet")[0]


def volumes(made, pod):
    """Volumes without a mount, mounts without a volume, and objects that a volume needs and the case does not make."""
    mounts = {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts") or []}
    names = {volume["name"] for volume in pod.get("volumes") or []}
    yield from (f"mount {name} has no volume" for name in mounts - names)
    yield from (f"volume {name} is not mounted" for name in names - mounts)


def needed(pod):
    for volume in pod.get("volumes") or []:
        for source in [volume, *(volume.get("projected") or {}).get("sources", [])]:
            if (used := source.get("configMap")) and not used.get("optional"):
                yield "ConfigMap", used["name"]


def problems(made, outside=()):
    daemon = workload(made)
    template, pod = daemon["spec"]["template"], daemon["spec"]["template"]["spec"]
    ports = [port for container in pod["containers"] for port in container.get("ports") or []]
    if not selects(daemon["spec"]["selector"]["matchLabels"], labels(template)):
        yield "the DaemonSet does not select its own pods"
    if pod["securityContext"]["runAsNonRoot"] == (pod["securityContext"]["runAsUser"] == 0):
        yield "runAsNonRoot contradicts runAsUser"
    yield from volumes(made, pod)
    for hook in find(made, "Pod"):
        yield from volumes(made, hook["spec"])
    for kind, name in needed(pod):
        if not find(made, kind, name) and (kind, name) not in outside:
            yield f"{kind} {name} is mounted and not made"
    for service in find(made, "Service"):
        if not selects(service["spec"]["selector"], labels(template)):
            yield f"{called(service)} selects no pod"
        for port in service["spec"]["ports"]:
            target = port["targetPort"]
            if isinstance(target, str) and target not in [port["name"] for port in ports]:
                yield f"{called(service)}: the pods have no port {target}"
            note = (service["metadata"].get("annotations") or {}).get("prometheus.io/port")
            if note and int(note) != port["port"]:
                yield f"{called(service)}: it has no port {note}, as annotated"
    for monitor in find(made, "ServiceMonitor"):
        chosen = [s for s in find(made, "Service") if selects(monitor["spec"]["selector"]["matchLabels"], labels(s))]
        if len(chosen) != 1:
            yield f"{called(monitor)} selects {len(chosen)} Services"
        elif monitor["spec"]["endpoints"][0]["port"] not in [port["name"] for port in chosen[0]["spec"]["ports"]]:
            yield f"{called(monitor)}: the Service has no such port"
    for monitor in find(made, "PodMonitor"):
        if not selects(monitor["spec"]["selector"]["matchLabels"], labels(template)) or not ports:
            yield f"{called(monitor)} selects no pod with a port"
    for binding in find(made, "ClusterRoleBinding"):
        if not find(made, binding["roleRef"]["kind"], binding["roleRef"]["name"]):
            yield f"{called(binding)} names a role that is not made"
        if binding["subjects"][0]["name"] != pod["serviceAccountName"]:
            yield f"{called(binding)} binds another account"
    names = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in made]
    yield from (f"{name} is there twice" for name in names if names.count(name) > 1)


def check(report):
    for name in cases():
        made = objects(case(name))
        report(f"relations of {name}", list(problems(made, [("ConfigMap", "mine")])))
    made = objects(render({}))
    role = next(o for o in yaml.safe_load_all((ROOT / "config/rbac.yaml").read_text()) if o["kind"] == "ClusterRole")
    same = find(made, "ClusterRole")[0]["rules"] == role["rules"]
    report("the role is that of config/rbac.yaml", [] if same else ["run scripts/chart golden"])
    checksum(report)
    made[0] = {**made[0], "metadata": {**made[0]["metadata"], "name": "other"}}
    report("a missing ConfigMap is found", [] if list(problems(made)) else ["a renamed ConfigMap passed"])


def checksum(report):
    """A change of metrics leaves the pods alone; one of what is read at the start replaces them."""
    def sum_of(*given):
        daemon = workload(objects(render(values(*given))))
        return daemon["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
    plain = sum_of()
    report("other metrics need no new pods", [] if sum_of("hubble.metrics.enabled={dns}") == plain else ["they do"])
    report("another configuration does", [] if sum_of("webb.config.aggregation=none") != plain else ["it does not"])
