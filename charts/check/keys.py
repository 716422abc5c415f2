"""values.yaml and what is derived from it: the defaults' copy, the schema, the README's table, comments for each key."""

import json
import re

import yaml

from render import CHART

FREE = ("nodeSelector", "tolerations", "hubble.metrics.serviceMonitor.relabelings", "operator.nodeSelector", "webb.updateStrategy",
        "webb.seccompProfile", "webb.seLinuxOptions", "webb.metrics", "webb.capabilities", "webb.namesRelay.nodeSelector")


def documented():
    """Each key of values.yaml with its default and the comment before it."""
    found, path, comment = [], [], []
    for line in (CHART / "values.yaml").read_text().splitlines():
        if line.strip().startswith("#"):
            comment.append(line.strip("# "))
            continue
        if match := re.match(r"( *)([A-Za-z0-9]+):(?: (.*))?$", line):
            depth = len(match[1]) // 2
            path[depth:] = [match[2]]
            found.append((".".join(path), match[3], " ".join(comment)))
        comment = []
    return found


def leaves(block, path=""):
    for key, value in block.items():
        here = f"{path}{key}"
        if isinstance(value, dict) and value and here not in FREE:
            yield from leaves(value, f"{here}.")
        else:
            yield here, value


def table():
    """The README's table."""
    comments = {path: comment for path, _, comment in documented()}
    rows = ["| value | default | what it is |", "|---|---|---|"]
    for path, default in leaves(yaml.safe_load((CHART / "values.yaml").read_text())):
        shown = json.dumps(default)
        if len(shown) > 60:
            shown = "see values.yaml"
        rows.append(f"| `{path}` | `{shown.replace('|', chr(92) + '|')}` | {comments[path].replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


MARKS = "<!-- values: written by `scripts/chart golden` -->\n\n", "\n<!-- end of values -->"


def readme():
    """The README with its table as it should be."""
    text = (CHART / "README.md").read_text()
    before, _, rest = text.partition(MARKS[0])
    return before + MARKS[0] + table() + MARKS[1] + rest.partition(MARKS[1])[2]


def bare():
    """values.yaml without its comments, for the templates, which cannot read values.yaml itself."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    return "# A copy of values.yaml, for templates: scripts/chart golden writes it.\n" + yaml.safe_dump(defaults, sort_keys=False)


def in_schema(schema, path):
    for part in path.split("."):
        if schema.get("$ref") == "#/$defs/map":
            return True
        schema = schema.get("properties", {}).get(part)
        if schema is None:
            return False
    return True


def check(report):
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    comments = {path: comment for path, _, comment in documented()}
    paths = [path for path, _ in leaves(defaults)]
    report("every value has a comment", [path for path in paths if not comments.get(path)])
    schema = json.loads((CHART / "values.schema.json").read_text())
    report("every value is in the schema", [path for path in paths if not in_schema(schema, path)])
    report("every key of the schema is a value", [path for path in schema_paths(schema) if not any(
        known == path or known.startswith(f"{path}.") or path.startswith(f"{known}.") for known in paths)])
    copy = (CHART / "files/defaults.yaml").read_text() == bare()
    report("files/defaults.yaml is values.yaml", [] if copy else ["run scripts/chart golden"])
    report("README's table", [] if readme() == (CHART / "README.md").read_text() else ["run scripts/chart golden"])
    passed = [line for line in (CHART / "files/cilium-passed.txt").read_text().splitlines() if line[:1] != "#"]
    report("what is passed over is not read", [path for path in passed if path in paths])


def schema_paths(schema, path=""):
    for key, below in schema.get("properties", {}).items():
        yield f"{path}{key}"
        yield from schema_paths(below, f"{path}{key}.")


def write():
    (CHART / "files/defaults.yaml").write_text(bare())
    (CHART / "README.md").write_text(readme())
