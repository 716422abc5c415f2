"""Asks ClickHouse's engine the questions of docs/rollups.md about rows that webb sent in the lab.

The first argument is a directory with what tests/live/rollups.rs left: rows as the collector's exporter for ClickHouse
writes them, and the lab's books. The SQL is that of the page, word for word; only the names of the workload are the
lab's. Fails at the first answer that differs from the books.
"""

import json
import random
import re
import sys
import tempfile
from pathlib import Path

from chdb.session import Session

PAGE = Path(__file__).resolve().parent.parent / "docs" / "rollups.md"

# Bytes of a row in the page's table at most.
MAX_ROW = 10

# The collector's own table has more columns; these are the ones that the page reads.
OTEL_LOGS = """
CREATE TABLE otel_logs (Timestamp DateTime64(9), EventName String,
  ResourceAttributes Map(LowCardinality(String), String), LogAttributes Map(LowCardinality(String), String))
ENGINE = MergeTree ORDER BY Timestamp
"""


def statements():
    """The SQL of the page, in its order."""
    section = PAGE.read_text().split("\n## ClickHouse\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sql\n(.*?)```", section, re.S)
    found = [statement.strip() for block in blocks for statement in block.split(";") if statement.strip()]
    named = {"'data'": "'default'", "'db'": "'deathstar'"}
    for example, of_lab in named.items():
        assert any(example in statement for statement in found), f"the page does not ask for {example} any more"
        found = [statement.replace(example, of_lab) for statement in found]
    return found


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"clickhouse: {what}: {found}, but the lab's books have {wanted}")
    print(f"clickhouse: {what}: {found}")


def windows_of(rows):
    """Windows and missing packets of each node."""
    return {row[0]: (int(row[1]), int(row[4])) for row in rows}


class Engine:
    """An engine with the tables of the page."""

    def __init__(self, directory):
        self.session = Session(directory)
        self.session.query("CREATE DATABASE lab ENGINE = Atomic")
        self.session.query("USE lab")
        table, view, *self.questions = statements()
        for statement in (OTEL_LOGS, table, view):
            self.session.query(statement)

    def add(self, lines, file):
        """Inserts rows in one part."""
        file.write_text("".join(lines))
        self.session.query(f"INSERT INTO otel_logs SELECT * FROM file('{file}', JSONEachRow)")

    def different(self):
        """Number of different rows that were sent."""
        uid = "uniqExact(LogAttributes['log.record.uid'])"
        [[uids]] = self.ask(f"SELECT {uid} FROM otel_logs WHERE EventName = 'webb.rollup'")
        return int(uids)

    def ask(self, sql):
        """The rows of an answer."""
        answer = str(self.session.query(sql, "JSONCompactEachRow"))
        return [json.loads(line) for line in answer.splitlines() if line]


def sizes(rows):
    """Bytes of a row in the table of the page, of many rows that webb wrote."""
    with tempfile.TemporaryDirectory() as scratch:
        engine = Engine(scratch)
        # As parts of millions of rows are: a file for each column.
        engine.session.query("ALTER TABLE webb_rollups MODIFY SETTING min_bytes_for_wide_part = 0")
        engine.session.query(f"INSERT INTO otel_logs SELECT * FROM file('{rows}', JSONEachRow)")
        engine.session.query("OPTIMIZE TABLE webb_rollups FINAL")
        parts = "WHERE active AND database = 'lab' AND table = 'webb_rollups'"
        [[count, stored, plain]] = engine.ask(
            f"SELECT sum(rows), sum(data_compressed_bytes), sum(data_uncompressed_bytes) FROM system.parts {parts}")
        count, stored, plain = int(count), int(stored), int(plain)
        expect("rows, after merges", count, engine.different())
        columns = engine.ask(
            "SELECT column, sum(column_data_compressed_bytes) AS bytes FROM system.parts_columns "
            f"{parts} GROUP BY column ORDER BY bytes DESC LIMIT 8")
        print(f"clickhouse: {count} rows, {stored / count:.1f} bytes a row of {plain / count:.0f}: "
              + ", ".join(f"{column} {int(size) / count:.1f}" for column, size in columns))
        if count < 90_000 or stored / count > MAX_ROW:
            sys.exit(f"clickhouse: expected some 100,000 rows of at most {MAX_ROW} bytes")


# The parts of a row's key, by the attribute that has them; docs/rollups.md has what they are.
OF_END = ["{}.k8s.namespace.name", "{}.k8s.owner.name", "{}.k8s.owner.type", "{}.k8s.pod.name", "{}.k8s.service.name",
          "{}.cidr", "{}.cloud.availability_zone", "{}.cloud.region", "webb.{}.identity", "webb.{}.names"]
OF_ROW = ["destination.port", "network.transport", "webb.verdict", "webb.drop.reason", "webb.policy.name",
          "webb.policy.kind", "webb.reporter", "webb.primary", "webb.opener_known", "webb.window.seconds"]
OF_AGENT = ["k8s.cluster.name", "k8s.node.name", "service.instance.id"]

# Attributes that are no parts of it.
SUMS = re.compile(r"webb\.(bytes|packets|connections|requests?|dns|handshake|retransmits|policy\.unenforced)\b.*")
DERIVED = {"log.record.uid", "network.flow.inter_zone"}


def never_one(lines):
    """Rows that differ in one part of their key, whichever, stay different rows."""
    row = next(record for record in map(json.loads, lines) if record["EventName"] == "webb.rollup")
    ends = [name.format(end) for end in ("source", "destination") for name in OF_END]
    known = {name for line in lines for name in json.loads(line)["LogAttributes"] if '"webb.rollup"' in line}
    left_out = {name for name in known if not SUMS.fullmatch(name)} - DERIVED - {*ends, *OF_ROW}
    expect("attributes that may be parts of a key", left_out, set())
    others = [row]
    parts = [("LogAttributes", name) for name in ends + OF_ROW] + [("ResourceAttributes", name) for name in OF_AGENT]
    for of, name in parts:
        before = row[of].get(name, "")
        changed = {"true": "false", "false": "true"}.get(before, f"{before}7")
        other = {**row, of: {**row[of], name: changed}}
        other["LogAttributes"] = {**other["LogAttributes"], "log.record.uid": f"{len(others):032x}"}
        others.append(other)
    with tempfile.TemporaryDirectory() as scratch:
        engine = Engine(f"{scratch}/engine")
        for _ in range(2):
            engine.add([json.dumps(other) + "\n" for other in others], Path(scratch) / "rows.jsonl")
        [[count]] = engine.ask("SELECT count() FROM webb_rollups FINAL")
        expect("rows with another part each, sent twice", int(count), len(others))


def main():
    directory = Path(sys.argv[1])
    sizes(directory / "sizes.rows")
    lines = {path.stem: path.read_text().splitlines(keepends=True) for path in sorted(directory.glob("*.jsonl"))}
    one, two = (json.loads((directory / f"{name}.books.json").read_text()) for name in ("one_agent", "two_agents"))
    everything = [line for of_test in lines.values() for line in of_test]
    never_one(everything)
    with tempfile.TemporaryDirectory() as scratch:
        engine = Engine(f"{scratch}/engine")
        engine.add(everything, Path(scratch) / "rows.jsonl")
        who, denied, between, nodes, hourly, fill = engine.questions

        callers = {tuple(row[:3]): (int(row[3]), int(row[4])) for row in engine.ask(who)}
        both = (one["connections"] + two["connections"], one["bytes"] + two["bytes"])
        expect("connections and bytes of tiefighter to deathstar", callers[("default", "tiefighter", 80)], both)

        by_policy = {}
        for _, policy, packets, sources in engine.ask(denied):
            known = by_policy.get(policy, (0, 0))
            by_policy[policy] = (known[0] + int(packets), max(known[1], int(sources)))
        expect("denied packets, and who was", by_policy["default/empire-only"], (one["denied_packets"], 1))

        gigabytes = {tuple(row[:2]): row[2] for row in engine.ask(between)}
        expect("bytes of tiefighter between zones", round(gigabytes[("default", "tiefighter")] * 1e9), two["between_zones"])

        # Of the hour that is not over, too: the lab's rows are minutes old.
        engine.session.query(hourly)
        fill = fill.replace("now()", "(now() + INTERVAL 1 HOUR)")
        hours = between.replace("webb_rollups", "webb_rollups_hourly FINAL").replace("`primary` AND", "")
        for repeated in ("", ", filled again"):
            engine.session.query(fill)
            gigabytes = {tuple(row[:2]): row[2] for row in engine.ask(hours)}
            found = round(gigabytes[("default", "tiefighter")] * 1e9)
            expect(f"the same by hours{repeated}", found, two["between_zones"])

        windows = windows_of(engine.ask(nodes))
        records = [json.loads(line) for line in everything]
        heard = {}
        for record in records:
            if record["EventName"] == "webb.heartbeat":
                seconds, nanoseconds = map(int, record["Timestamp"].split("."))
                # A window that a stop cut short has the number that it would have had at its end.
                length = int(record["LogAttributes"]["webb.window.seconds"])
                number = (seconds * 10**9 + nanoseconds - 1) // (length * 10**9)
                heard.setdefault(record["ResourceAttributes"]["k8s.node.name"], set()).add(number)
        expect("windows of each node, nothing missing", windows, {node: (len(at), 0) for node, at in heard.items()})

        # Requests arrive again, whole and in part, in any order.
        sums = "SELECT count(), sum(bytes_sent + bytes_received), sum(packets_sent + packets_received), sum(connections)"
        once = engine.ask(f"{sums} FROM webb_rollups")
        chance = random.Random(7)
        for part in (everything, [line for line in everything if chance.random() < 0.5]):
            again = list(part)
            chance.shuffle(again)
            engine.add(again, Path(scratch) / "again.jsonl")
        plain = engine.ask(f"{sums} FROM webb_rollups")
        if plain == once:
            sys.exit("clickhouse: repeated rows were merged before the query, so FINAL was not tested")
        expect("rows and sums of what was sent two and a half times, FINAL", engine.ask(f"{sums} FROM webb_rollups FINAL"), once)
        expect("windows of each node, as before", windows_of(engine.ask(nodes)), windows)
        expect("rows of different uids", engine.different(), int(once[0][0]))


main()
