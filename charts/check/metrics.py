"""The rendered configuration as the agent itself reads it."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from render import ROOT, case, cases, find, objects, render

WEBB = os.environ.get("WEBB", str(ROOT / "target/debug/webb"))

# One flow of each kind that a metric of the lists counts.
FLOWS = [
    {"time": "2026-01-01T00:00:00Z", "verdict": verdict, "drop_reason_desc": "POLICY_DENIED" if verdict == "DROPPED" else None,
     "IP": {"source": "10.0.0.1", "destination": "10.0.0.2", "ipVersion": "IPv4"}, "l4": l4, "Type": "L3_L4",
     "event_type": {"type": 1 if verdict == "DROPPED" else 4}, "traffic_direction": "EGRESS", "is_reply": False,
     "source": {"namespace": "a", "pod_name": "x", "labels": ["k8s:app=x"], "workloads": [{"name": "x", "kind": "Deployment"}]},
     "destination": {"namespace": "b", "pod_name": "y", "labels": ["k8s:app=y"], "workloads": [{"name": "y", "kind": "Deployment"}]}}
    for verdict in ("FORWARDED", "DROPPED")
    for l4 in ({"TCP": {"source_port": 1, "destination_port": 80, "flags": {"SYN": True}}}, {"ICMPv4": {"type": 8}})
]

# Lists that use each form of an option.
LISTS = ["flow", "drop:sourceContext=pod|reserved-identity;destinationContext=pod", "flow:labelsContext=source_pod,destination_workload",
         "dns:query;ignoreAAAA tcp", "flows-to-world:any-drop;port;syn-only", "port-distribution icmp httpV2:exemplars=true"]


# Places of the files of metrics and of flow logs in the pod.
MOUNTED = "/etc/webb/metrics/dynamic-metrics.yaml"
MOUNTED_LOGS = "/etc/webb/flowlogs/flowlogs.yaml"
MOUNTED_OUTPUTS = "/etc/webb/outputs-config/outputs.yaml"

# Cases of which the agent warns, and the words.
WARNED = {"flows-plain": "has no TLS, so that all who reach it can read the flows"}


def run(*arguments, text=""):
    done = subprocess.run([WEBB, *map(str, arguments)], input=text, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def counted(*arguments):
    """What replay of the flows prints, or how it failed."""
    text = "".join(json.dumps({key: value for key, value in flow.items() if value is not None}) + "\n" for flow in FLOWS)
    code, out, said = run("replay", *arguments, "-", text=text)
    return out if code == 0 and "hubble_lost_events_total" in out else f"exit {code}: {said}"


def tried(arguments):
    """The test's command, with an address where nothing answers: that is found, or else the certificate missing."""
    scheme = arguments[1].partition(":")[0]
    given = [f"{scheme}://127.0.0.1:1/metrics" if "://" in one else "--wait=0s" if "--wait" in one else one for one in arguments]
    code, out, said = run(*given)
    expected = (66, "127.0.0.1:1") if scheme == "http" else (64, "cannot read /etc/webb/tls/ca.crt")
    return [] if code == expected[0] and expected[1] in out + said else [f"exit {code}: {out}{said}"]


def check(report):
    with tempfile.TemporaryDirectory() as folder:
        for name in cases():
            made = objects(case(name))
            files = {key: content for config in find(made, "ConfigMap") for key, content in (config.get("data") or {}).items()}
            # Another ConfigMap than the chart's may have it.
            listed = Path(folder) / "dynamic-metrics.yaml"
            listed.write_text(files.get(listed.name, "metrics: []"))
            if listed.name in files:
                code, out, said = run("replay", "--strict", "--metrics-config", listed, "-")
                report(f"{name}: {listed.name}", [] if code == 0 else [said])
            logs = Path(folder) / "flowlogs.yaml"
            logs.write_text(files.get(logs.name, "flowLogs: []"))
            outputs = Path(folder) / "outputs.yaml"
            outputs.write_text(files.get(outputs.name, "otlp: []"))
            for config in "webb.yaml", "operator.yaml":
                if config in files:
                    file = Path(folder) / config
                    text = files[config].replace(MOUNTED, str(listed)).replace(MOUNTED_LOGS, str(logs))
                    file.write_text(text.replace(MOUNTED_OUTPUTS, str(outputs)))
                    code, out, said = run("check-config", file)
                    warnings = [line for line in (out + said).splitlines() if "warning: " in line]
                    as_wanted = len(warnings) == (name in WARNED) and WARNED.get(name, "") in "".join(warnings)
                    report(f"{name}: {config}", [] if code == 0 and as_wanted else [out + said])
            for pod in find(made, "Pod"):
                report(f"{name}: helm test", [said for one in pod["spec"]["containers"] for said in tried(one["args"])])
        for text in LISTS:
            file = Path(folder) / "list.yaml"
            made = objects(render({"hubble": {"metrics": {"enabled": text.split()}}}))
            file.write_text(find(made, "ConfigMap", "webb-metrics-config")[0]["data"]["dynamic-metrics.yaml"])
            listed, written = counted("--metrics", text), counted("--metrics-config", file)
            report(f"as a list and as a file: {text}", [] if listed == written and "exit" not in listed else [listed, written])
    plain, other = counted("--metrics", "flow"), counted("--metrics", "flow:sourceContext=pod")
    report("the flows tell options apart", [] if plain != other and "hubble_flows" in plain else [plain, other])
