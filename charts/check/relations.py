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
    every = [*pod["containers"], *(pod.get("initContainers") or [])]
    mounts = {mount["name"] for container in every for mount in container.get("volumeMounts") or []}
    names = {volume["name"] for volume in pod.get("volumes") or []}
    yield from (f"mount {name} has no volume" for name in mounts - names)
    yield from (f"volume {name} is not mounted" for name in names - mounts)


def needed(pod):
    for volume in pod.get("volumes") or []:
        for source in [volume, *(volume.get("projected") or {}).get("sources", [])]:
            if (used := source.get("configMap")) and not used.get("optional"):
                yield "ConfigMap", used["name"]


def workloads(made):
    """The agents, and the operator if there is one."""
    return [*find(made, "DaemonSet"), *find(made, "Deployment")]


def template(owner):
    return owner["spec"]["template"]


def ports(owner):
    return [port for container in template(owner)["spec"]["containers"] for port in container.get("ports") or []]


def chosen(made, selector):
    """Workloads whose pods a selector selects."""
    return [owner for owner in workloads(made) if selects(selector, labels(template(owner)))]


def of_workload(made, owner, outside):
    pod = template(owner)["spec"]
    if chosen(made, owner["spec"]["selector"]["matchLabels"]) != [owner]:
        yield f"{called(owner)} does not select its own pods, and no others"
    # Without a user, that of the image counts.
    if pod["securityContext"]["runAsNonRoot"] == (pod["securityContext"].get("runAsUser") == 0):
        yield f"{called(owner)}: runAsNonRoot contradicts runAsUser"
    for container in pod["containers"]:
        names = [port["name"] for port in container.get("ports") or []]
        probes = ((container[name].get("httpGet") or container[name]["grpc"])["port"] for name in container if name.endswith("Probe"))
        yield from (f"{called(owner)}: the probe's port {port} is none" for port in probes if isinstance(port, str) and port not in names)
    yield from (f"{called(owner)}: {problem}" for problem in volumes(made, pod))
    for kind, name in needed(pod):
        if not find(made, kind, name) and (kind, name) not in outside:
            yield f"{kind} {name} is mounted and not made"


def of_services(made):
    for service in find(made, "Service"):
        pods = chosen(made, service["spec"]["selector"])
        if len(pods) != 1:
            yield f"{called(service)} selects the pods of {len(pods)} workloads"
            continue
        for port in service["spec"]["ports"]:
            target = port["targetPort"]
            if isinstance(target, str) and target not in [port["name"] for port in ports(pods[0])]:
                yield f"{called(service)}: the pods have no port {target}"
            note = (service["metadata"].get("annotations") or {}).get("prometheus.io/port")
            if note and int(note) not in [port["port"], *(port["containerPort"] for port in ports(pods[0]))]:
                yield f"{called(service)}: it has no port {note}, as annotated"


def of_monitors(made):
    for monitor in find(made, "ServiceMonitor"):
        services = [s for s in find(made, "Service") if selects(monitor["spec"]["selector"]["matchLabels"], labels(s))]
        if len(services) != 1:
            yield f"{called(monitor)} selects {len(services)} Services"
        elif monitor["spec"]["endpoints"][0]["port"] not in [port["name"] for port in services[0]["spec"]["ports"]]:
            yield f"{called(monitor)}: the Service has no such port"
    for monitor in find(made, "PodMonitor"):
        pods = chosen(made, monitor["spec"]["selector"]["matchLabels"])
        if len(pods) != 1 or not ports(pods[0]):
            yield f"{called(monitor)} selects no pod with a port"
    for budget in find(made, "PodDisruptionBudget"):
        if chosen(made, budget["spec"]["selector"]["matchLabels"]) != find(made, "Deployment", budget["metadata"]["name"]):
            yield f"{called(budget)} is not of the Deployment's pods"


def of_bindings(made):
    """Each role that is bound is there, and bound to the account of the workload that has its name."""
    for binding in [*find(made, "ClusterRoleBinding"), *find(made, "RoleBinding")]:
        name = binding["roleRef"]["name"]
        if not find(made, binding["roleRef"]["kind"], name):
            yield f"{called(binding)} names a role that is not made"
        accounts = [template(owner)["spec"]["serviceAccountName"] for owner in workloads(made) if owner["metadata"]["name"] == name]
        if [subject["name"] for subject in binding["subjects"]] != accounts:
            yield f"{called(binding)} binds another account"


def of_lease(made):
    """The Lease that the operator asks for is the one that its role is of."""
    for owner in find(made, "Deployment"):
        name = owner["metadata"]["name"]
        if not name.endswith("-operator"):
            continue
        config = yaml.safe_load(find(made, "ConfigMap", name)[0]["data"]["operator.yaml"])["operator"]
        agents = dict(label.split("=") for label in config["agent_labels"])
        if chosen(made, agents) != find(made, "DaemonSet"):
            yield f"{called(owner)}: {agents} are not the labels of the agents"
        for role in find(made, "Role", name):
            bound = role["metadata"]["namespace"], role["rules"][1]["resourceNames"]
            if bound != (config["lease_namespace"], [config["lease_name"]]):
                yield f"{called(role)} is of {bound}, and the Lease is {config['lease_namespace']}/{config['lease_name']}"


def of_clusters(made):
    """Each other cluster's kubeconfig is a file of the pod's mount, of a Secret that the pod does not wait for."""
    for owner in find(made, "DaemonSet"):
        pod = template(owner)["spec"]
        config = {}
        for made_one in find(made, "ConfigMap", owner["metadata"]["name"]):
            config = yaml.safe_load(made_one["data"]["webb.yaml"])
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        secrets = [(mounts[volume["name"]], source["secret"]) for volume in pod["volumes"]
                   for source in (volume.get("projected") or {}).get("sources", []) if "secret" in source]
        there = {f"{place}/{item['path']}": secret for place, secret in secrets for item in secret["items"]}
        for cluster in config.get("clusters") or []:
            if not there.get(cluster["kubeconfig"], {}).get("optional"):
                yield f"{called(owner)}: {cluster['kubeconfig']} is in no Secret that may be missing"


def of_flows(made):
    """What the agents' configuration says of flows is mounted, and Relay and the UI find what they ask."""
    for owner in find(made, "DaemonSet"):
        config = {}
        for made_one in find(made, "ConfigMap", owner["metadata"]["name"]):
            config = yaml.safe_load(made_one["data"]["webb.yaml"])
        mounts = {mount["mountPath"]: mount for mount in template(owner)["spec"]["containers"][0]["volumeMounts"]}
        export, source = config.get("export") or {}, str(config.get("flow_source"))
        written = [path.removeprefix("unix://").rpartition("/")[0] for path in (config.get("observer") or {}).get("listen", []) if "unix" in path]
        written += [export["directory"]] if "directory" in export else []
        read = [path.rpartition("/")[0] for path in [*(config.get("observer_tls") or {}).values(), export.get("config")] if path]
        read += [source.removeprefix("hubble:unix://").rpartition("/")[0]] if "unix:" in source else []
        for path, is_read in [*((path, False) for path in written), *((path, True) for path in read)]:
            if bool(mounts.get(path, {"readOnly": not is_read}).get("readOnly")) != is_read:
                yield f"{called(owner)}: {path} is not mounted as the configuration needs it"
    for owner in find(made, "Deployment"):
        name, pod = owner["metadata"]["name"], template(owner)["spec"]
        asked = [value["value"] for container in pod["containers"] for value in container.get("env") or [] if value["name"] == "FLOWS_API_ADDR"]
        for config in find(made, "ConfigMap", f"{name}-config"):
            relay = yaml.safe_load(config["data"]["config.yaml"])
            host, _, port = relay["peer-service"].rpartition(":")
            asked.append(f"{host.partition('.')[0]}:{port}")
            files = [value for key, value in relay.items() if key.endswith(("-file", "-files"))]
            there = [f"/var/lib/hubble-relay/tls/{item['path']}" for volume in pod["volumes"] if "projected" in volume
                     for source in volume["projected"]["sources"] for item in source["secret"]["items"]]
            if sorted(files) != sorted(there):
                yield f"{called(owner)}: its configuration has the files {files}, and {there} are mounted"
        for address in asked:
            host, _, port = address.partition(":")
            if [found["spec"]["ports"][0]["port"] for found in find(made, "Service", host)] != [int(port)]:
                yield f"{called(owner)} asks {address}, and there is no such Service"


def problems(made, outside=()):
    for owner in workloads(made):
        yield from of_workload(made, owner, outside)
    for hook in find(made, "Pod"):
        yield from volumes(made, hook["spec"])
    for part in of_services, of_monitors, of_bindings, of_lease, of_clusters, of_flows:
        yield from part(made)
    names = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in made]
    yield from (f"{name} is there twice" for name in names if names.count(name) > 1)


def rules(path, kind):
    return next(o["rules"] for o in yaml.safe_load_all((ROOT / path).read_text()) if o["kind"] == kind)


ROLES = [("webb", "ClusterRole", "config/rbac.yaml"), ("webb-operator", "ClusterRole", "config/rbac-operator.yaml"),
         ("webb", "Role", "config/rbac.yaml"), ("webb-operator", "Role", "config/rbac-operator.yaml")]


def check(report):
    for name in cases():
        made = objects(case(name))
        report(f"relations of {name}", list(problems(made, [("ConfigMap", "mine")])))
    operator = objects(case("operator-default"))
    for name, kind, path in ROLES:
        same = find(operator, kind, name)[0]["rules"] == rules(path, kind)
        report(f"the {kind} {name} is that of {path}", [] if same else ["they differ"])
    checksum(report)
    slips(report, operator)
    made = objects(render({}))
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


def slips(report, made):
    """What would have the operator and the agents mistaken for each other is found."""
    def changed(kind, change):
        copy = yaml.safe_load(yaml.safe_dump(made))
        change(find(copy, kind, "webb-operator")[0])
        return [] if list(problems(copy)) else ["it passed"]
    report("an operator with the agents' labels is found",
           changed("Deployment", lambda o: labels(template(o)).update({"app.kubernetes.io/name": "webb"})))
    report("another Lease is found", changed("Role", lambda o: o["rules"][1].update(resourceNames=["other"])))
    mesh = yaml.safe_load(yaml.safe_dump(objects(case("clusters"))))
    next(v for v in template(workload(mesh))["spec"]["volumes"] if v["name"] == "clusters")["projected"]["sources"].pop()
    report("a kubeconfig without a Secret is found", [] if list(problems(mesh)) else ["it passed"])
    flows = yaml.safe_load(yaml.safe_dump(objects(case("flows"))))
    find(flows, "Service", "hubble-peer")[0]["spec"]["ports"][0]["port"] = 80
    report("another port of the peer service is found", [] if list(problems(flows)) else ["it passed"])
    report("another account is found", changed("RoleBinding", lambda o: o["subjects"][0].update(name="webb")))
