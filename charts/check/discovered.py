"""Targets with the labels that Prometheus' discovery in Kubernetes gives them, as a file of targets: for a Prometheus that
is built without it, as Debian's 2.42 is.
"""

from scrape_config import sanitized


def named(kind, metadata):
    """Labels and annotations of an object."""
    found = {}
    for block in ["labels", "annotations"]:
        for name, value in (metadata.get(block) or {}).items():
            name = sanitized(name)
            found[f"{kind}_{block[:-1]}_{name}"] = value
            found[f"{kind}_{block[:-1]}present_{name}"] = "true"
    return found


def of_pod(pod):
    status = pod["status"]
    return {"pod_name": pod["metadata"]["name"], "pod_uid": pod["metadata"]["uid"], "pod_ip": status["podIP"],
            "pod_host_ip": status["hostIP"], "pod_node_name": pod["spec"]["nodeName"], "pod_phase": status["phase"],
            "pod_ready": "true", **named("pod", pod["metadata"])}


def of_container(container, port):
    return {"pod_container_name": container["name"], "pod_container_image": container.get("image", ""),
            "pod_container_port_name": port["name"], "pod_container_port_number": str(port["containerPort"]),
            "pod_container_port_protocol": port["protocol"], "pod_container_init": "false"}


def target(address, namespace, labels):
    """One target of a file."""
    return {"targets": [address], "labels": {f"__meta_kubernetes_{name}": value for name, value in
                                             {"namespace": namespace, **labels}.items()}}


def ports(pod):
    return [(container, port) for container in pod["spec"]["containers"] for port in container.get("ports") or []]


def by_pod(_services, _endpoints, pods):
    """Targets of the role `pod`: each declared port."""
    return [target(f"{pod['status']['podIP']}:{port['containerPort']}", pod["metadata"]["namespace"],
                   of_pod(pod) | of_container(container, port)) for pod in pods for container, port in ports(pod)]


def by_endpoints(services, endpoints, pods):
    """Targets of the role `endpoints`: each address with each port, and the other declared ports of the same pods."""
    by_name = {pod["metadata"]["name"]: pod for pod in pods}
    found = []
    for service, one in zip(services, endpoints, strict=True):
        namespace = service["metadata"]["namespace"]
        group = {"endpoints_name": one["metadata"]["name"], "service_name": service["metadata"]["name"],
                 **named("endpoints", one["metadata"]), **named("service", service["metadata"])}
        for subset in one["subsets"]:
            address, covered = subset["addresses"][0], set()
            pod = by_name[address["targetRef"]["name"]]
            for port in subset["ports"]:
                covered.add(port["port"])
                more = {}
                for container, own in ports(pod):
                    if own["containerPort"] == port["port"]:
                        more = of_container(container, own)
                found.append(target(f"{address['ip']}:{port['port']}", namespace, {
                    **group, "endpoint_port_name": port["name"], "endpoint_port_protocol": port["protocol"],
                    "endpoint_ready": "true", "endpoint_node_name": address["nodeName"],
                    "endpoint_address_target_kind": "Pod", "endpoint_address_target_name": pod["metadata"]["name"],
                    **of_pod(pod), **more}))
            found += [target(f"{address['ip']}:{port['containerPort']}", namespace,
                             {**group, **of_pod(pod), **of_container(container, port)})
                      for container, port in ports(pod) if port["containerPort"] not in covered]
    return found


ROLES = {"pod": by_pod, "endpoints": by_endpoints}
