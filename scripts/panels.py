#!/usr/bin/env python3
"""Evaluates the panels of Grafana dashboards against a Prometheus, without Grafana: its variables are filled in as Grafana
does at first sight, and each query is asked over the last minute.

    panels.py URL [--quiet FILE] [--wait SECONDS] [--var NAME=VALUE] [--verbose] DASHBOARD.json...

A panel has `data`, or only `zeros`, or is `empty`, with the first family that has no series; `refused` is a query that
Prometheus cannot read. FILE names panels that may be empty, one a line: `dashboard / panel: reason`. With --wait the
panels are asked until none is empty that may not be. Exit code 1 if one still is, or a query is refused."""

import argparse
import json
import math
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path

WINDOW, STEP, RATE = 60, 5, "15s"
# Names before a bracket, a brace or an operator that belong to the language.
FUNCTION = re.compile(r"(?<![\w.])([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\(?)")
LANGUAGE = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool", "offset", "inf", "nan"}


class Refused(Exception):
    """Prometheus cannot read a query; the text says why."""


def ask(url, path, **parameters):
    """The `data` of an answer of Prometheus' HTTP API."""
    try:
        with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=30) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise Refused(json.load(error).get("error", str(error))) from None


def fill(text, values):
    """The text with `$name`, `${name}` and `${name:format}` replaced; unknown names stay."""
    def value(match):
        return values.get(match[1] or match[2], match[0])
    return re.sub(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))", value, text)


def escaped(value):
    """A value as part of a regular expression in a text of PromQL."""
    return re.sub(r"([\\^$.|?*+()\[\]{}])", r"\\\\\1", value)


def variables(url, board, chosen):
    """Values of the dashboard's variables: what was chosen, or all where that can be, else the first."""
    values = {"__rate_interval": RATE, "__interval": f"{STEP}s", "__range": f"{WINDOW}s"}
    for one in (board.get("templating") or {}).get("list", []):
        if one.get("type") != "query":
            continue
        query = one["query"]["query"] if isinstance(one.get("query"), dict) else one.get("query") or ""
        match = re.fullmatch(r"label_values\((?:(.*),)?\s*(\w+)\s*\)", query.strip(), re.DOTALL)
        selector = fill(match[1].strip(), values) if match and match[1] else None
        found = ask(url, f"label/{match[2]}/values", **({"match[]": selector} if selector else {})) if match else []
        if one["name"] in chosen:
            values[one["name"]] = chosen[one["name"]]
        elif one.get("includeAll"):
            values[one["name"]] = one.get("allValue") or "(" + "|".join(map(escaped, found)) + ")"
        else:
            values[one["name"]] = found[0] if found else ""
    return values


def panels(board):
    """Panels in reading order, those of rows too."""
    for panel in board.get("panels") or []:
        yield panel
        yield from panels(panel)


def numbers(url, query):
    """All numbers of a query over the window; NaN is none."""
    now = time.time()
    data = ask(url, "query_range", query=query, start=now - WINDOW, end=now, step=STEP)
    return [value for series in data["result"] for _, text in series["values"] if not math.isnan(value := float(text))]


def missing(url, query):
    """The first family of an empty query that has no series at all."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"|\{[^}]*\}|\[[^]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)', " ", query)
    for name, call in FUNCTION.findall(bare):
        if not call and name not in LANGUAGE and not ask(url, "series", **{"match[]": name, "start": time.time() - WINDOW}):
            return f"no series of {name}"
    return "no such labels, or nothing above its threshold"


def look(url, panel, values):
    """State of a panel, and the reason where it is not `data`; none without a query."""
    queries = [fill(one["expr"], values) for one in panel.get("targets") or [] if one.get("expr")]
    if not queries:
        return None
    try:
        found = [numbers(url, query) for query in queries]
        if any(any(one) for one in found):
            return "data", ""
        if any(found):
            return "zeros", ""
        return "empty", missing(url, next(query for query, one in zip(queries, found) if not one))
    except Refused as refused:
        return "refused", str(refused)


def survey(url, files, chosen):
    """(dashboard, panel, state, reason) of each panel with a query."""
    for file in files:
        board = json.loads(Path(file).read_text())
        values = variables(url, board, chosen)
        for panel in panels(board):
            state = look(url, panel, values)
            if state:
                yield board["title"], panel.get("title") or "(no title)", *state


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("boards", nargs="+")
    parser.add_argument("--quiet")
    parser.add_argument("--wait", type=float, default=0)
    parser.add_argument("--var", action="append", default=[], type=lambda text: text.split("=", 1))
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    lines = Path(arguments.quiet).read_text().splitlines() if arguments.quiet else []
    quiet = dict(line.rsplit(": ", 1) for line in lines if line and not line.startswith("#"))
    end = time.monotonic() + arguments.wait
    while True:
        seen = list(survey(arguments.url, arguments.boards, dict(arguments.var)))
        wrong = [one for one in seen if one[2] == "refused" or one[2] == "empty" and f"{one[0]} / {one[1]}" not in quiet]
        if not wrong or time.monotonic() > end:
            break
        time.sleep(2)
    for title in dict.fromkeys(one[0] for one in seen):
        states = Counter(one[2] for one in seen if one[0] == title)
        print(f"{title}: {states['data']} of {states.total()} panels have data, {states['zeros']} only zeros, {states['empty']} are empty")
        for _, panel, state, reason in (one for one in seen if one[0] == title and (arguments.verbose or one[2] not in ("data", "zeros"))):
            print(f"    {state:8}{panel}" + (f": {quiet.get(f'{title} / {panel}', reason)}" if reason else ""))
    unknown = sorted(set(quiet) - {f"{one[0]} / {one[1]}" for one in seen})
    for name in unknown:
        print(f"no such panel: {name}")
    return 1 if wrong or unknown else 0


if __name__ == "__main__":
    sys.exit(main())
