"""Renders the chart by Helm's own engine, as `helm install` would."""

import functools
import re
from pathlib import Path

import helm_python as helm
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/webb"
CI = CHART / "ci"
GOLDEN = CHART / "golden"


class Refused(Exception):
    """The chart or its schema refuses the values; the text is what Helm would print."""


def overlay(base, over):
    """Helm's way to put one values file over another: blocks are merged, all else is replaced."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            overlay(base[key], value)
        else:
            base[key] = value
    return base


def values(*sources):
    """Values of files (paths) and of `--set` expressions (texts), one over the other."""
    merged = {}
    for source in sources:
        over = helm.parse_set_string(source) if isinstance(source, str) else yaml.safe_load(source.read_text())
        overlay(merged, over or {})
    return merged


@functools.cache
def chart(folder=CHART):
    return helm.Chart.load(str(folder))


def render(given, folder=CHART, namespace="kube-system"):
    """The files that the chart makes of values: path below the chart, and text."""
    try:
        chart(folder).validate_schema(given)
        files = chart(folder).render(given, name="webb", namespace=namespace, is_install=True)
    except helm.HelmError as error:
        raise Refused(str(error)) from None
    return {path.split("/", 1)[1]: text for path, text in sorted(files.items()) if text.strip()}


def objects(files):
    """All objects in rendered files."""
    found = []
    for path, text in files.items():
        if path.endswith(".yaml"):
            found += [document for document in yaml.load_all(text, Strict) if document]
    return found


class Strict(yaml.CSafeLoader):
    """YAML in which a key that is there twice is an error, as for the API server."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def cases():
    """The values files of `ci`, by name; None for the defaults."""
    return {"defaults": None} | {str(path.relative_to(CI).with_suffix("")): path for path in sorted(CI.rglob("*.yaml"))}


def without_certificates(text):
    """The text with `...` for each certificate and key that Helm generates, which are others each time."""
    return re.sub(r"((?:ca|tls)\.(?:crt|key)\"?: \"?)[A-Za-z0-9+/=]{200,}", r"\1...", text)


@functools.cache
def case(name):
    """The files that the chart makes of a case's values."""
    path = cases()[name]
    return render(values(path) if path else {})


def find(all_objects, kind, name=None):
    """Objects of a kind, and of a name if one is given."""
    return [o for o in all_objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
