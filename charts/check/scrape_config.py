"""Scrape configurations for Prometheus, as two ways of installing it for Cilium have them: Cilium's example, which goes by
annotations, and prometheus-operator's, which goes by ServiceMonitors.
"""


def rule(sources, target=None, **more):
    """A relabeling; what is left out has Prometheus' default."""
    made = {"source_labels": [f"__meta_kubernetes_{source}" if source[0] != "_" else source for source in sources]}
    return {**made, **({"target_label": target} if target else {}), **more}


def by_annotations(server):
    """The jobs of Cilium's example (examples/kubernetes/addons/prometheus) that look for pods and Services."""
    def found_by(role):
        return [
            rule([f"{role}_annotation_prometheus_io_scrape"], action="keep", regex="true"),
            rule([f"{role}_annotation_prometheus_io_path"], "__metrics_path__", regex="(.+)"),
            rule(["__address__", f"{role}_annotation_prometheus_io_port"], "__address__",
                 regex=r"(.+):(?:\d+);(\d+)", replacement="${1}:${2}"),
            {"action": "labelmap", "regex": f"__meta_kubernetes_{role}_label_(.+)"},
            rule(["namespace"], "namespace"),
        ]

    return [
        {"job_name": "kubernetes-endpoints", "kubernetes_sd_configs": [{"role": "endpoints", "api_server": server}],
         "relabel_configs": [rule(["pod_label_k8s_app"], action="keep", regex="cilium"), *found_by("service"),
                             rule(["service_name"], "service")]},
        {"job_name": "kubernetes-pods", "kubernetes_sd_configs": [{"role": "pod", "api_server": server}],
         "relabel_configs": [*found_by("pod"), rule(["pod_name"], "pod"),
                             rule(["pod_container_port_number"], action="keep", regex=r"\d+")]},
    ]


def sanitized(name):
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def by_monitor(monitor, server):
    """The jobs that prometheus-operator writes for a ServiceMonitor."""
    return [job_of(monitor, number, endpoint, server) for number, endpoint in enumerate(monitor["spec"]["endpoints"])]


def job_of(monitor, number, endpoint, server):
    spec, name, namespace = monitor["spec"], monitor["metadata"]["name"], monitor["metadata"]["namespace"]
    rules = [rule(["job"], "__tmp_prometheus_job_name") | {"source_labels": ["job"]}]
    for label, value in spec["selector"]["matchLabels"].items():
        label = sanitized(label)
        rules.append(rule([f"service_label_{label}", f"service_labelpresent_{label}"], action="keep", regex=f"({value});true"))
    rules.append(rule(["endpoint_port_name"], action="keep", regex=endpoint["port"]))
    for kind, target in [("Node", "node"), ("Pod", "pod")]:
        rules.append(rule(["endpoint_address_target_kind", "endpoint_address_target_name"], target,
                          regex=f"{kind};(.*)", replacement="${1}"))
    rules += [rule([source], target) for source, target in
              [("namespace", "namespace"), ("service_name", "service"), ("pod_name", "pod"), ("pod_container_name", "container")]]
    rules.append(rule(["pod_phase"], action="drop", regex="(Failed|Succeeded)"))
    for kind, labels in [("service", spec.get("targetLabels", [])), ("pod", spec.get("podTargetLabels", []))]:
        rules += [rule([f"{kind}_label_{sanitized(label)}"], sanitized(label), regex="(.+)", replacement="${1}") for label in labels]
    rules.append(rule(["service_name"], "job", replacement="${1}"))
    if label := spec.get("jobLabel"):
        rules.append(rule([f"service_label_{sanitized(label)}"], "job", regex="(.+)", replacement="${1}"))
    rules.append({"target_label": "endpoint", "replacement": endpoint["port"]})
    own = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    rules += [{own.get(key, key): value for key, value in one.items()} for one in endpoint.get("relabelings", [])]
    return {
        "job_name": f"serviceMonitor/{namespace}/{name}/{number}",
        "honor_labels": str(endpoint.get("honorLabels", False)).lower() == "true",
        "metrics_path": endpoint.get("path", "/metrics"),
        "scheme": endpoint.get("scheme", "http"),
        "scrape_interval": endpoint.get("interval", "30s"),
        "kubernetes_sd_configs": [{"role": "endpoints", "api_server": server,
                                   "namespaces": {"names": spec["namespaceSelector"]["matchNames"]}}],
        "relabel_configs": rules,
    }
