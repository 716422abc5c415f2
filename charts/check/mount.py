"""Writes the ConfigMaps of a release as the kubelet mounts them, for the lab's walk.

    mount.py FOLDER VALUES.yaml|KEY=VALUE...

FOLDER/agent and FOLDER/metrics are what the pod has under /etc/webb. A second call replaces their
content at once, by a symbolic link, as the kubelet does. Printed are the annotations of the Service
and the checksum that decides whether pods are replaced.
"""

import sys
import tempfile
from pathlib import Path

from render import Refused, find, objects, render, values


def mount(folder, data):
    """Replaces a mount's content in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    version = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    version.chmod(0o755)
    for name, content in data.items():
        (version / name).write_text(content)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    following = folder / "..data_tmp"
    following.symlink_to(version.name)
    following.rename(folder / "..data")


def main():
    folder, *sources = sys.argv[1:]
    given = values(*(Path(source) if source.endswith(".yaml") else source for source in sources))
    try:
        made = objects(render(given))
    except Refused as refusal:
        sys.exit(str(refusal))
    daemon = find(made, "DaemonSet")[0]["spec"]["template"]
    # What is no ConfigMap is empty at first, or a Secret that the lab has none of.
    for volume in (volume for volume in daemon["spec"]["volumes"] if "configMap" in volume):
        name = {"config": "agent", "metrics-config": "metrics"}[volume["name"]]
        mount(Path(folder) / name, find(made, "ConfigMap", volume["configMap"]["name"])[0]["data"])
    service = find(made, "Service", "hubble-metrics")[0]
    for key, value in sorted(service["metadata"]["annotations"].items()):
        print(f"{key}: {value}")
    print("checksum:", daemon["metadata"]["annotations"]["checksum/config"][:12])


if __name__ == "__main__":
    main()
