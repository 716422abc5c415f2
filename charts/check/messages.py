"""What a wrong value is answered with."""

from render import CI, Refused, find, objects, render, values

ARTICLE = CI / "cilium/seed-corrected.yaml"

MAIN = "webb.outputs.otlp[0].name=main,webb.outputs.otlp[0].endpoint=https://collector:4317"


def receivers(kind, count, rest):
    """The expression of so many receivers."""
    places = [f"webb.outputs.{kind}[{at}]" for at in range(count)]
    return ",".join(f"{place}.name={kind}-{at},{place}.{rest}" for at, place in enumerate(places))


# Expressions of --set, and what the message must have: all of it, in one.
WRONG = [
    (["hubble.metrics.enabledOpenMetrics=true"], ["enabledOpenMetrics is not known; did you mean hubble.metrics.enableOpenMetrics?"]),
    (["hubble.metrics.enalbed={dns,tcp}"], ["hubble.metrics.enalbed is not known; did you mean hubble.metrics.enabled?"]),
    (["prometheus.enable=true"], ["did you mean prometheus.enabled?"]),
    (["prometheus.enabled =true"], ["did you mean prometheus.enabled?"]),
    (["hubbel.enabled=true"], ["hubbel is not known; did you mean hubble?"]),
    (["hubble.enableOpenMetrics=true"], ["did you mean hubble.metrics.enableOpenMetrics?"]),
    (["hubble.metrics.prot=1"], ["did you mean hubble.metrics.port?"]),
    (["webb.resorces.limits.memory=1Gi"], ["did you mean webb.resources?"]),
    (["webb.tolerations=none"], ["did you mean tolerations?"]),
    (["hubble.metrics.enalbed={dns}", "prometheus.enable=true", "webb.admin.port=9965"],
     ["hubble.metrics.enabled?", "prometheus.enabled?", "hubble.metrics.port and webb.admin.port are both 9965"]),
    (["prometheus.enabled=true", "webb.besideCilium=true"], ["Cilium's agent serves them", "set prometheus.enabled to false"]),
    (["prometheus.enabled=true", "webb.agentMetrics.allMaps=true"], ["webb.agentMetrics.allMaps needs webb.runAsUser 0"]),
    (["prometheus.enabled=true", "prometheus.serviceMonitor.enabled=true"], ["prometheus.serviceMonitor.enabled needs the kinds"]),
    (["prometheus.enabled=true", "prometheus.serviceMonitor.enabled=true", "webb.podMonitor.enabled=true"],
     ["prometheus.serviceMonitor.enabled and webb.podMonitor.enabled would scrape each agent twice"]),
    (["prometheus.enabled=true", "webb.config.agent_metrics.compat=1.20"],
     ["webb.config.agent_metrics is decided by other values: see prometheus and webb.agentMetrics"]),
    (["healthChecking=true", "webb.config.health.listen=a"], ["webb.config.health.listen is decided by other values: see healthPort"]),
    (["healthChecking=true", "healthPort=9967"], ["webb.admin.port and healthPort are both 9967"]),
    (["healthCheking=true"], ["healthCheking is not known; did you mean healthChecking?"]),
    (["webb.agentMetrics.compat=1.17"], ["/webb/agentMetrics/compat", "1.16"]),
    (["prometheus.enabled=true", "prometheus.port=9967"], ["webb.admin.port and prometheus.port are both 9967"]),
    (["operator.enable=true"], ["did you mean operator.enabled?"]),
    (["operator.replicas=0"], ["/operator/replicas", "1"]),
    (["operator.podDisruptionBudget.maxUnavailable=some"], ["/operator/podDisruptionBudget/maxUnavailable"]),
    (["operator.enabled=true", "operator.podDisruptionBudget.minAvailable=2"], ["is 2 of 2 replicas, so no node with one could be drained"]),
    (["operator.enabled=true", "operator.prometheus.port=9967"], ["operator.prometheus.port and webb.admin.port are both 9967"]),
    (["operator.enabled=true", "operator.prometheus.serviceMonitor.enabled=true"],
     ["operator.prometheus.serviceMonitor.enabled needs the kinds of prometheus-operator"]),
    (["operator.enabled=true", "webb.config.operator.lease_name=a", "webb.config.operator.election=true"],
     ["webb.config.operator.lease_name is decided by other values", "makes replicas of the agents"]),
    (["hubble.metrics.enabled={drop:labelsContext=source_pod,destination_pod}"], ["the entry destination_pod", "written \\,"]),
    (["webb.clusters[0].name=east"], ["/webb/clusters/0", "secret"]),
    (["webb.clusters[0].name=East,webb.clusters[0].secret=a"], ["/webb/clusters/0/name"]),
    (["webb.clusters[0].name=east,webb.clusters[0].secret=a,webb.clusters[1].name=east,webb.clusters[1].secret=b", "cluster.name=east"],
     ["webb.clusters has the name east twice", "webb.clusters has east, which is cluster.name"]),
    (["webb.clusters[0].name=east,webb.clusters[0].secret=a", "webb.config.clusters={east=/e}"],
     ["webb.config.clusters is decided by other values: see webb.clusters"]),
    # Outputs and zones: what agents would refuse one by one.
    ([f"{MAIN},webb.outputs.otlp[0].endpont=a"], ["/webb/outputs/otlp/0", "endpont"]),
    ([f"{MAIN},webb.outputs.otlp[0].spool.dir=a"], ["/webb/outputs/otlp/0/spool", "dir"]),
    ([f"{MAIN},webb.outputs.otlp[0].batch.max_bytes=3"], ["/webb/outputs/otlp/0/batch/max_bytes"]),
    ([f"{MAIN},webb.outputs.rollups.window=300"], ["/webb/outputs/rollups/window"]),
    ([f"{MAIN},webb.outputs.rollups.windows=5m"], ["/webb/outputs/rollups", "windows"]),
    ([MAIN, "webb.outputs.secrets={Bad_Name}"], ["/webb/outputs/secrets/0"]),
    ([MAIN, "webb.outputs.secrets={spool}"], ["/webb/outputs/secrets/0"]),
    ([receivers("otlp", 9, "endpoint=https://a")], ["/webb/outputs/otlp", "8"]),
    ([receivers("otlp", 5, "endpoint=https://a"), receivers("kafka", 4, "brokers={a:1}")], ["have 9 receivers"]),
    (["webb.outputs.otlp[0].name=main,webb.outputs.otlp[0].endpoint=http://collector:4317"],
     ["webb.outputs.otlp has main, whose endpoint is http://collector:4317, which is not encrypted"]),
    ([f"{MAIN},webb.outputs.otlp[0].headers_directory=/etc/webb/outputs/otlp-headers,webb.outputs.otlp[0].tls.ca_file=/etc/webb/outputs/otlp-ca/ca.crt",
      "webb.outputs.secrets={otlp-ca}"],
     ["webb.outputs.otlp has main, whose headers_directory is /etc/webb/outputs/otlp-headers; webb.outputs.secrets lacks otlp-headers"]),
    ([f"{MAIN},webb.outputs.otlp[0].tls.ca_file=/etc/webb/outputs/otlp-ca/ca.crt"], ["whose tls.ca_file is", "webb.outputs.secrets lacks otlp-ca"]),
    (["webb.zones.cidrs[0].cidr=10.0.0.0/99,webb.zones.cidrs[0].name=a"], ["/webb/zones/cidrs/0/cidr"]),
    (["webb.zones.cidrs[0].cidr=10.0.0.0,webb.zones.cidrs[0].name=a"], ["/webb/zones/cidrs/0/cidr"]),
    (["webb.zones.cidrs[0].cidr=fd00::/129,webb.zones.cidrs[0].name=a"], ["/webb/zones/cidrs/0/cidr"]),
    (["webb.zones.cidrs[0].cidr=fd00::/8,webb.zones.cidrs[0].zon=a"], ["/webb/zones/cidrs/0", "zon"]),
    (["hubble.ui.enabled=true"], ["hubble.ui.enabled needs hubble.relay.enabled"]),
    (["hubble.enabled=false", "hubble.relay.enabled=true"], ["hubble.relay.enabled needs hubble.enabled"]),
    (["hubble.relay.enabled=true", "webb.besideCilium=true"], ["another port than 4244"]),
    (["hubble.relay.enabled=true", "hubble.peerService.targetPort=4245"], ["targetPort is 4245, and the agents listen at 4244"]),
    (["hubble.relay.enabled=true", "webb.observer.enabled=false"], ["webb.observer.enabled is false, and hubble.relay.enabled needs it"]),
    (["hubble.listenAddress=:9965"], ["hubble.metrics.port and hubble.listenAddress are both 9965"]),
    (["hubble.listenAddress=4244"], ["/hubble/listenAddress"]),
    (["hubble.relay.sortBufferLenmax=10"], ["did you mean hubble.relay.sortBufferLenMax?"]),
    (["hubble.tls.server.cert=YQ==", "hubble.listenAddress=:4244"], ["hubble.tls.server has only one of cert and key"]),
    (["hubble.tls.server.cert=YQ==,hubble.tls.server.key=YQ==", "hubble.listenAddress=:4244"], ["hubble.tls.server.cert needs tls.ca.cert"]),
    (["hubble.relay.enabled=true", "hubble.tls.auto.method=certmanager"], ["certManagerIssuerRef.name says no issuer"]),
    (["webb.config.observer.listen=a", "webb.config.export.directory=/a", "webb.config.observer_tls=a"],
     ["webb.config.observer.listen is decided by other values: see webb.observer, hubble.listenAddress",
      "webb.config.export.directory is decided by other values", "webb.config.observer_tls is decided by other values: see hubble.tls"]),
    (["hubble.export.static.enabled=true", "hubble.export.static.filePath=/tmp/a.log"],
     ["hubble.export.static.filePath is /tmp/a.log, which is not below webb.export.directory, /var/run/cilium/hubble"]),
    (["hubble.export.dynamic.enabled=true", "webb.export.directory=/var/log/webb"], ["has all, whose filePath is /var/run/cilium/hubble/events.log"]),
    (["hubble.export.static.enabled=true", "webb.besideCilium=true"], ["where Cilium's agent writes"]),
    (["hubble.export.static.enabled=true,hubble.export.static.filePath=/var/run/cilium/a", "webb.observer.enabled=true", "webb.export.directory=/var/run/cilium"],
     ["webb.export.directory is the one of hubble.socketPath"]),
    (["webb.config.metrics_listen=a"], ["webb.config.metrics_listen is decided by other values: see hubble.metrics.port"]),
    (["webb.config.metrics=a"], ["see hubble.metrics.enabled"]),
    (["hubble.metrics.serviceMonitor.enabled=true"], ["monitoring.coreos.com/v1", "trustCRDsExist"]),
    (["webb.prometheusRule.enabled=true"], ["webb.prometheusRule.enabled needs the kinds of prometheus-operator"]),
    (["hubble.metrics.serviceMonitor.enabled=true", "webb.podMonitor.enabled=true", "prometheus.serviceMonitor.trustCRDsExist=true"],
     ["would scrape each agent twice"]),
    (["webb.podMonitor.enabled=true", "webb.hostPorts=false", "prometheus.serviceMonitor.trustCRDsExist=true"], ["needs a named port"]),
    (["hubble.metrics.tls.enabled=true", "hubble.tls.auto.method=certmanager"], ["certManagerIssuerRef.name says no issuer"]),
    (["hubble.metrics.tls.enabled=true", "hubble.metrics.tls.server.cert=YQ=="], ["only one of cert and key"]),
    (["hubble.metrics.tls.server.mtls.enabled=true"], ["has no effect while hubble.metrics.tls.enabled is false"]),
    (["proxy.prometheus.enabled=true"], ["proxy.prometheus was removed from Cilium"]),
    # Types are for the schema.
    (["hubble.metrics.port=many"], ["/hubble/metrics/port", "integer"]),
    (["hubble.metrics.port=0"], ["/hubble/metrics/port", "1"]),
    (["hubble.metrics.enabled=flow"], ["/hubble/metrics/enabled", "array"]),
    (["hubble=true"], ["/hubble", "object"]),
    (["webb.updateStrategy.type=Recreate"], ["RollingUpdate", "OnDelete"]),
    (["webb.image.digest=latest"], ["/webb/image/digest"]),
    (["cluster.name=Big_One"], ["/cluster/name"]),
    (["webb.valuesCheck=loose"], ["strict", "warn"]),
]

# Values that are accepted, and what the notes say of them.
NOTED = [
    (["enableIpv4Masquerade=true"], ["is it enableIPv4Masquerade?"]),
    (["kubeProxyReplacement=true", "ipam.mode=kubernetes"], ["Passed over, for Cilium: ipam, kubeProxyReplacement"]),
    (["webb.valuesCheck=warn", "hubble.metrics.enalbed={dns}"], ["hubble.metrics.enalbed is not known"]),
    (["hubble.relay.enabled=true", "hubble.ui.enabled=true"],
     ["Hubble's API at port 4244 of each node, by TLS, to clients with a certificate", "service/hubble-relay 4245:80", "service/hubble-ui 12000:80"]),
    (["hubble.listenAddress=:4244", "hubble.tls.enabled=false"], ["without TLS: whoever reaches the port reads them"]),
    (["hubble.relay.enabled=true", "hubble.tls.auto.method=cronJob"],
     ["does not make: hubble-server-certs, hubble-relay-client-certs. Until these Secrets are there, connections are refused."]),
    (["hubble.export.static.enabled=true"], ["Flow log files: below /var/run/cilium/hubble of each node."]),
    # Outputs that need no `insecure` in the chart, and a directory that is mounted by other values.
    ([receivers("otlp", 1, "endpoint=http://127.0.0.1:4317")], ["rollout status daemonset/webb"]),
    ([receivers("otlp", 1, "endpoint=http://a:4317"), "webb.extraEnv[0].name=OTEL_EXPORTER_OTLP_INSECURE,webb.extraEnv[0].value=true"],
     ["rollout status daemonset/webb"]),
    ([receivers("otlp", 1, "tls.ca_file=/etc/webb/outputs/own/ca.crt"),
      "webb.extraVolumeMounts[0].name=own,webb.extraVolumeMounts[0].mountPath=/etc/webb/outputs/own"], ["rollout status daemonset/webb"]),
    # Cilium's own of Relay and the UI: accepted.
    (["hubble.relay.pprof.enabled=true", "hubble.ui.ingress.enabled=true", "hubble.relay.rollOutPods=true"], ["rollout status daemonset/webb"]),
    (["operator.prometheus.metricsService=true"], ["Accepted, and without effect in this version:\n  operator (without operator.enabled)"]),
    (["operator.enabled=true", "operator.prometheus.enabled=false"], ["operator.enabled (without operator.prometheus.enabled"]),
    (["operator.enabled=true"], ["Operator metrics, from 2 replicas of which one leads: http://POD:9963/metrics, found by the pods' annotations.",
                                 "rollout status deployment/webb-operator"]),
    (["operator.enabled=true", "operator.prometheus.metricsService=true"], ["9963/metrics, found by the Service cilium-operator, found by the pods'"]),
    (["operator.enabled=true", "webb.besideCilium=true"], ["tell them apart by the job"]),
    (["operator.enabled=true", "operator.prometheus.serviceMonitor.enabled=true", "prometheus.serviceMonitor.trustCRDsExist=true"],
     ["operator.prometheus.serviceMonitor.labels"]),
    # Cilium's own: accepted.
    (["operator.unmanagedPodWatcher.restart=false", "operator.image.tag=v1"], ["operator (without operator.enabled)"]),
    (["prometheus.enabled=true"], ["Agent metrics, with names and labels of Cilium 1.19: http://NODE:9962/metrics, found by the pods' annotations",
                                   "webb.fullnameOverride\nto cilium-webb"]),
    (["prometheus.enabled=true", "prometheus.metricsService=true", "prometheus.metrics={cilium_forward_total,+,-cilium_version}"],
     ["found by the Service cilium-agent, found by the pods' annotations", "with + or - before it: cilium_forward_total, +\n"]),
    (["prometheus.enabled=true"], ["TCP port 4240 must be open between them"]),
    (["healthChecking=true", "webb.besideCilium=true"], ["healthChecking (beside Cilium, which does it)"]),
    (["prometheus.serviceMonitor.enabled=true"], ["prometheus.serviceMonitor.enabled (without prometheus.enabled)"]),
    (["prometheus.controllerGroupMetrics={all}"], ["prometheus.controllerGroupMetrics (all components are counted)"]),
    (["prometheus.enabled=true", "webb.agentMetrics.allMaps=true", "webb.runAsUser=0"],
     ["as root, with the capabilities BPF, PERFMON, NET_ADMIN, SYS_ADMIN only"]),
    (["webb.clusters[0].name=east,webb.clusters[0].secret=webb-east"],
     ["This cluster is default (cluster.name).\n  east: the key kubeconfig of the Secret webb-east"]),
    (["hubble.metrics.tls.enabled=true"], ["the Secret hubble-metrics-server-certs", "until it is there, connections are refused"]),
    (["hubble.metrics.serviceMonitor.enabled=true", "prometheus.serviceMonitor.trustCRDsExist=true"], ["often `release`"]),
    (["hubble.metrics.enabled={flow}", "hubble.metrics.dynamic.enabled=true"], ["hubble.metrics.enabled is not used beside it"]),
    (["hubble.metrics.enabled={dns, drop:sourceContext=pod, tcp}"], ["They are: dns drop:sourceContext=pod tcp."]),
    (["global.anything.at=all"], ["helm -n kube-system test webb"]),
    ([], ["rollout status daemonset/webb\n  helm -n kube-system test webb"]),
]


def missing(expressions, words, answer):
    return [f"{expressions}: the answer lacks {word!r}: {answer}" for word in words if word not in answer]


# DaemonSets that a cluster has (namespace, name, labels of the pods), values, and what the chart says of them. The
# engine has no cluster to look into, so the list is given to the template that judges it.
NEIGHBOURS = [
    (("kube-system", "cilium", {"k8s-app": "cilium"}), [], "kube-system/cilium is Cilium's"),
    (("kube-system", "cilium", {"k8s-app": "cilium"}), ["webb.besideCilium=true"], None),
    (("other", "webb", {"app.kubernetes.io/name": "webb", "k8s-app": "cilium"}), [], "other/webb is a webb already"),
    (("other", "webb", {"app.kubernetes.io/name": "webb"}), ["webb.besideCilium=true"], "other/webb is a webb already"),
    # The release itself, at an upgrade.
    (("kube-system", "webb", {"app.kubernetes.io/name": "webb", "k8s-app": "cilium"}), [], None),
    (("kube-system", "kindnet", {"k8s-app": "kindnet"}), [], None),
]


def neighbours(there, expressions):
    namespace, name, labels = there
    daemon_set = {"metadata": {"namespace": namespace, "name": name}, "spec": {"template": {"metadata": {"labels": labels}}}}
    question = "include \"webb.neighbours\" (dict \"root\" $ \"daemonSets\" (list ($.Values.global.there))) | quote"
    given = values(*expressions) | {"global": {"there": daemon_set}}
    given.setdefault("webb", {})["extraObjects"] = ["kind: Answer\nmetadata: {name: answer}\ntext: {{ " + question + " }}"]
    return find(objects(render(given)), "Answer")[0]["text"]


def as_written():
    """The article's values with its misspelt keys."""
    article = values(ARTICLE)
    article["hubble"]["metrics"]["enabledOpenMetrics"] = article["hubble"]["metrics"].pop("enableOpenMetrics")
    return article | {"enableIpv4Masquerade": True, "enableIpv6Masquerade": False, "enableNetworkPolicy": True}


def check(report):
    for there, expressions, said in NEIGHBOURS:
        answer = neighbours(there, expressions)
        fits = said in answer if said else not answer
        report(f"beside {there[0]}/{there[1]} {expressions}", [] if fits else [f"{said!r} expected, and it said {answer!r}"])
    for expressions, words in WRONG:
        try:
            render(values(*expressions))
            problems = [f"{expressions} was accepted"]
        except Refused as refusal:
            problems = missing(expressions, words, str(refusal))
        report(f"refused: {' '.join(expressions)}", problems)
    for expressions, words in NOTED:
        report(f"noted: {' '.join(expressions)}", missing(expressions, words, render(values(*expressions))["templates/NOTES.txt"]))
    # Of the article's file as it was written, one key is refused; the others are Cilium's, or nobody's.
    try:
        render(as_written())
        refused = ""
    except Refused as refusal:
        refused = str(refusal)
    report("the article's file: one line", [] if refused.count(" is not known") == 1 else [refused or "accepted"])
