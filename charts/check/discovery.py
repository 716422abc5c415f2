"""A stand-in for an API server, as much of one as Prometheus' discovery of targets asks: lists and watches of Services,
Endpoints and Pods. The pods are those that a DaemonSet makes, and the Endpoints those that Kubernetes makes of Services.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def installed(o, release="webb"):
    """An object as Helm creates it: what it adds to each becomes labels of targets, too."""
    o = json.loads(json.dumps(o))
    metadata = o["metadata"]
    metadata["labels"] = {**(metadata.get("labels") or {}), "app.kubernetes.io/managed-by": "Helm"}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), "meta.helm.sh/release-name": release,
                               "meta.helm.sh/release-namespace": metadata["namespace"]}
    return o


def pods(daemon, nodes):
    """The pods of a DaemonSet, one a node, in the node's network. `nodes` are addresses by name."""
    template, found = daemon["spec"]["template"], []
    for number, (node, address) in enumerate(nodes.items()):
        name = f"{daemon['metadata']['name']}-{'abcdefgh'[number] * 5}"
        found.append({
            "metadata": {**template["metadata"], "name": name, "namespace": daemon["metadata"]["namespace"],
                         "uid": f"{name}-uid"},
            "spec": {**template["spec"], "nodeName": node},
            "status": {"phase": "Running", "hostIP": address, "podIP": address, "podIPs": [{"ip": address}],
                       "conditions": [{"type": "Ready", "status": "True"}]},
        })
    return found


def number_of(port, pod):
    """The number of a Service's port on a pod: `targetPort` is a number or the name of a container's port."""
    wanted = port.get("targetPort", port["port"])
    for container in pod["spec"]["containers"]:
        for one in container.get("ports") or []:
            if one["name"] == wanted:
                return one["containerPort"]
    return int(wanted)


def endpoints(service, all_pods):
    """The Endpoints of a Service."""
    wanted = service["spec"]["selector"].items()
    subsets = []
    for pod in all_pods:
        if not wanted <= pod["metadata"]["labels"].items():
            continue
        reference = {"kind": "Pod", "name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]}
        subsets.append({
            "addresses": [{"ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"], "targetRef": reference}],
            "ports": [{"name": port["name"], "port": number_of(port, pod), "protocol": "TCP"}
                      for port in service["spec"]["ports"]],
        })
    return {"metadata": {**service["metadata"], "annotations": {}}, "subsets": subsets}


class Server(ThreadingHTTPServer):
    """Serves the objects on a port of the loopback, until `close`."""

    daemon_threads = True

    def __init__(self, services, all_pods):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ended = threading.Event()
        self.kinds = {"services": ("Service", services), "pods": ("Pod", all_pods),
                      "endpoints": ("Endpoints", [endpoints(service, all_pods) for service in services])}
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.ended.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        asked = urlsplit(self.path)
        kind, objects = self.server.kinds.get(asked.path.rsplit("/", 1)[-1], (None, None))
        steps = asked.path.split("/")
        if "namespaces" in steps and objects:
            objects = [o for o in objects if o["metadata"]["namespace"] == steps[steps.index("namespaces") + 1]]
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        if kind is None:
            return
        query = parse_qs(asked.query)
        if "watch" not in query:
            self.send({"apiVersion": "v1", "kind": f"{kind}List", "metadata": {"resourceVersion": "1"}, "items": objects})
            return
        # Newer clients do not list: the watch begins with what there is, and a bookmark ends that.
        if query.get("sendInitialEvents") == ["true"]:
            for o in objects:
                self.send({"type": "ADDED", "object": {"apiVersion": "v1", "kind": kind, **o}})
            end = {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}
            self.send({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": kind, "metadata": end}})
        # Nothing changes: it stays open and silent.
        self.server.ended.wait()

    def send(self, answer):
        self.wfile.write(json.dumps(answer).encode() + b"\n")
        self.wfile.flush()
