"""Writes an OCI bundle of the agent's container, as a kubelet's runtime makes it of the chart's
DaemonSet, so that runc can run it as a pod; or of the operator's, which is a Deployment.

    bundle.py FOLDER --rootfs FOLDER [--of Deployment] [VALUES.yaml|KEY=VALUE...] [-- ARGUMENT...]

Capabilities, user, new privileges, read-only root, seccomp and the memory limit are those of the
rendered pod. With arguments, these are run and not what the pod says.
"""

import argparse
import json
import platform
import re
import sys
from pathlib import Path

from mount import mount
from render import Refused, find, objects, render, values

ARCHITECTURES = {"x86_64": ("amd64", "SCMP_ARCH_X86_64"), "aarch64": ("arm64", "SCMP_ARCH_AARCH64")}

# What containerd and Docker grant with a capability since 2022. Profiles of before grant both with
# CAP_SYS_ADMIN only.
GRANTED = {"bpf": "CAP_BPF", "perf_event_open": "CAP_PERFMON"}

# As containerd mounts them. The whole of /sys is the node's and read-only, as under hostNetwork.
MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]},
]
MASKED = ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
          "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def quantity(text):
    """Bytes of a quantity of Kubernetes."""
    number, unit = re.fullmatch(r"(\d+)(|Ki|Mi|Gi)", text).groups()
    return int(number) << {"": 0, "Ki": 10, "Mi": 20, "Gi": 30}[unit]


def seccomp(profile, capabilities, old):
    """The profile as a runtime hands it to the kernel: rules that these capabilities include."""
    architecture, name = ARCHITECTURES[platform.machine()]
    calls = []
    rules = profile["syscalls"]
    if not old:
        rules = [rule | {"names": [name for name in rule["names"] if name not in GRANTED]} for rule in rules]
        for call, needed in GRANTED.items():
            rules.append({"names": [call], "action": "SCMP_ACT_ALLOW", "includes": {"caps": [needed]}})
            rules.append({"names": [call], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": [needed]}, "errnoRet": 1})
    for rule in rules:
        include, exclude = rule.get("includes") or {}, rule.get("excludes") or {}
        if include.get("caps") and not capabilities & set(include["caps"]):
            continue
        if exclude.get("caps") and capabilities & set(exclude["caps"]):
            continue
        if architecture not in include.get("arches", [architecture]) or architecture in exclude.get("arches", []):
            continue
        call = {key: rule[key] for key in ("names", "action", "args") if rule.get(key)}
        if rule["action"] == "SCMP_ACT_ERRNO" and "errnoRet" in rule:
            call["errnoRet"] = rule["errnoRet"]
        if call["names"]:
            calls.append(call)
    made = {"defaultAction": profile["defaultAction"], "architectures": [name], "syscalls": calls}
    if "defaultErrnoRet" in profile:
        made["defaultErrnoRet"] = profile["defaultErrnoRet"]
    return made


def bundle(pod, arguments, given):
    """The bundle's config.json."""
    container = pod["containers"][0]
    context, of_pod = container["securityContext"], pod["securityContext"]
    capabilities = ["CAP_" + name for name in context["capabilities"].get("add", [])]
    inherited = capabilities if given.ambient else []
    assert context["capabilities"]["drop"] == ["ALL"] and pod.get("hostNetwork", False) == (given.of == "DaemonSet")
    mounts = [{"destination": mounted["mountPath"], "type": "bind", "source": str(given.folder / mounted["name"]),
               "options": ["rbind", "ro"]} for mounted in container["volumeMounts"]]
    for place in given.mount:
        source, destination = place.split(":")
        mounts.append({"destination": destination, "type": "bind", "source": source, "options": ["rbind", "ro"]})
    spaces = [{"type": kind} for kind in ("mount", "ipc", "uts", "pid")]
    spaces.append({"type": "network", **({"path": given.network} if given.network else {})})
    made = {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": of_pod["runAsUser"], "gid": of_pod["runAsGroup"]},
            "args": ["/webb", *arguments],
            "env": ["PATH=/usr/bin:/bin"] + (["NODE_NAME=webb-node-1"] if container.get("env") else []),
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                             "inheritable": inherited, "ambient": inherited},
            "noNewPrivileges": not context["allowPrivilegeEscalation"] and not given.new_privileges,
        },
        "root": {"path": str(given.rootfs), "readonly": context["readOnlyRootFilesystem"]},
        "hostname": "webb",
        "mounts": MOUNTS + mounts,
        "linux": {
            "namespaces": spaces,
            "resources": {"devices": [{"allow": False, "access": "rwm"}],
                          "memory": {"limit": quantity(container["resources"]["limits"]["memory"])}},
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    }
    if of_pod["seccompProfile"]["type"] == "RuntimeDefault":
        profile = json.loads(given.seccomp.read_text())
        made["linux"]["seccomp"] = seccomp(profile, set(capabilities), given.old_seccomp)
    return made


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("folder", type=lambda text: Path(text).resolve())
    parser.add_argument("sources", nargs="*")
    parser.add_argument("--of", choices=["DaemonSet", "Deployment"], default="DaemonSet", help="the pod's owner")
    parser.add_argument("--rootfs", required=True, type=lambda text: Path(text).resolve(), help="what the image holds")
    parser.add_argument("--network", help="path of the network namespace; else a new one")
    parser.add_argument("--mount", action="append", default=[], help="FROM:TO, more than the pod has")
    parser.add_argument("--seccomp", type=Path, default=Path("/usr/share/containers/seccomp.json"), help="the runtime's profile")
    parser.add_argument("--old-seccomp", action="store_true", help="`bpf` with CAP_SYS_ADMIN only, as before 2022")
    parser.add_argument("--new-privileges", action="store_true", help="no_new_privs is not set")
    parser.add_argument("--ambient", action="store_true", help="capabilities are ambient, which Kubernetes cannot do")
    parser.add_argument("--also", action="append", default=[], help="an argument beside those of the pod")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    given = parser.parse_intermixed_args(words[:cut])
    try:
        made = objects(render(values(*(Path(text) if text.endswith(".yaml") else text for text in given.sources))))
    except Refused as refusal:
        sys.exit(str(refusal))
    pod = find(made, given.of)[0]["spec"]["template"]["spec"]
    given.folder.mkdir(parents=True, exist_ok=True)
    for volume in pod["volumes"]:
        mount(given.folder / volume["name"], find(made, "ConfigMap", volume["configMap"]["name"])[0]["data"])
    arguments = words[cut + 1:] or pod["containers"][0]["args"] + given.also
    (given.folder / "config.json").write_text(json.dumps(bundle(pod, arguments, given), indent=1))


if __name__ == "__main__":
    main()
