"""Golden renders: that of the defaults in full, each other case as its difference to them."""

import difflib
import re

from render import GOLDEN, case, cases, without_certificates


def text(files):
    made = "".join(f"# {path}\n{without_dashboards(path, content.strip())}\n" for path, content in files.items())
    return without_certificates(made)


def without_dashboards(path, content):
    """The content with `...` for each dashboard: that is a file of its own, which boards.py compares."""
    if path != "templates/dashboards.yaml":
        return content
    return re.sub(r"(\.json: \|\n)(?: {4}.*\n?)+", r"\1    ...\n", content)


def wanted():
    """What the golden files should hold, by name."""
    plain = text(case("defaults"))
    made = {"defaults.yaml": plain}
    for name in cases():
        if name == "defaults":
            continue
        rendered = text(case(name))
        lines = difflib.unified_diff(plain.splitlines(), rendered.splitlines(), "defaults", name, lineterm="", n=1)
        # The positions would change with every line that the defaults gain.
        kept = ["@@" if line.startswith("@@") else shortened(line) for line in lines]
        made[name.replace("/", "-") + ".diff"] = "".join(line + "\n" for line in kept)
    return made


def shortened(line):
    """A dashboard is a long text with a golden file of its own."""
    return line if len(line) < 300 else line[:120] + " ..."


def check(report):
    made = wanted()
    for name, content in made.items():
        path = GOLDEN / name
        there = path.read_text() if path.exists() else ""
        difference = difflib.unified_diff(there.splitlines(), content.splitlines(), "golden", "rendered", lineterm="")
        report(f"golden {name}", list(difference))
    stale = {path.name for path in GOLDEN.iterdir()} - set(made)
    report("golden files without a case", sorted(stale))


def write():
    GOLDEN.mkdir(exist_ok=True)
    for path in GOLDEN.iterdir():
        path.unlink()
    for name, content in wanted().items():
        (GOLDEN / name).write_text(content)
