"""A release that lacks values, as after `--reuse-values` with those of an older chart: each default is set to null, and each
block to null and {}, and the chart must render as before."""

import copy
import shutil
import tempfile
from pathlib import Path

import helm_python as helm
import yaml

from render import CHART, Refused, render

# Blocks that count as a whole, where null takes a key out.
TAKEN_OUT = "nodeSelector", "operator.nodeSelector", "operator.resources", "webb.resources", "webb.updateStrategy", "webb.seccompProfile", "webb.seLinuxOptions", "webb.namesRelay.nodeSelector"


def blocks(block, path=()):
    """Every block below one, with its path."""
    for key, value in block.items():
        if isinstance(value, dict):
            yield (*path, key), value
            yield from blocks(value, (*path, key))


def with_value(path, value):
    made = {}
    inner = made
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    return made


def check(report):
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    plain = render({})
    # The keys of a block at once: what one of them changes is seen all the same.
    for path, block in [((), defaults), *blocks(defaults)]:
        name = ".".join(path) or "the top"
        single = {key: None for key, value in block.items() if not isinstance(value, dict)}
        tried = [("null", with_value(path, None)), ("{}", with_value(path, {}))] if path else []
        for what, given in tried + [("nulls", with_value(path, single) if path else single)]:
            try:
                same = render(given) == plain
                problems = [] if same or name.startswith(TAKEN_OUT) else ["it changes what is rendered"]
            except Refused as refusal:
                problems = [str(refusal)]
            report(f"{name}: {what}", problems)
    # Helm keeps what the chart's values.yaml has, so a key that a release never had is one that the file lacks.
    for block in defaults:
        less = copy.deepcopy(defaults)
        del less[block]
        report(f"a release without {block}", without(less, plain))
    report("a release without any value", without({}, plain))


def without(held, plain):
    with tempfile.TemporaryDirectory() as folder:
        older = Path(folder) / "webb"
        shutil.copytree(CHART, older)
        (older / "values.yaml").write_text(yaml.safe_dump(held))
        with helm.Chart.load(str(older)) as chart:
            try:
                files = chart.render({}, name="webb", namespace="kube-system", is_install=True)
            except helm.HelmError as error:
                return [str(error)]
        made = {path.split("/", 1)[1]: text for path, text in sorted(files.items()) if text.strip()}
        return [] if made == plain else ["it changes what is rendered"]
