//! The help of `webb names`.

pub(super) const HELP: &str = "\
It watches the pods of the cluster, and tells each agent of the addresses that the agent asks for,
for clusters in which each agent cannot watch all pods: docs/relay.md. Replicas know nothing of each
other. Neither eBPF nor a capability is needed.

Of the configuration count the keys names, names_tls, cluster_name, kubeconfig, metrics_listen,
admin_listen, admin, privileges, shutdown, supervision and log.

Examples:
  webb names --config /etc/webb/webb.yaml
  webb names --kubeconfig ~/.kube/config --log debug        for agents of this machine

Signals:
  SIGTERM, SIGINT  stop; a second one stops at once

Endpoints (metrics_listen and --admin-listen; agents connect to names.listen):
  :9965/{metrics,healthz,readyz}
  localhost:9966/{healthz,readyz,version,actors,faults,config}

Exit codes:
  0   asked to stop
  64  the command line or the configuration is wrong
  70  a component failed too often";
