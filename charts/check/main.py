"""Checks the chart without a cluster; `scripts/chart` calls it.

    main.py           every check; the last line counts them
    main.py golden    writes the golden files, the README's table, docs/install.md's steps and the dashboards anew
"""

import sys
import time

import alerts
import boards
import cilium
import golden
import helm3
import keys
import messages
import metrics
import nulls
import relations
import schemas
import walk

CHECKS = keys, golden, schemas, relations, cilium, messages, nulls, metrics, alerts, boards, helm3, walk


def main():
    if sys.argv[1:] == ["golden"]:
        for part in (boards, keys, golden, walk):
            part.write()
        return 0
    counts = {"passed": 0, "failed": 0}

    def report(name, problems):
        counts["failed" if problems else "passed"] += 1
        if problems:
            print(f"FAILED: {name}")
            for problem in problems[:40]:
                print(f"    {problem}")

    for part in CHECKS:
        started, before = time.monotonic(), sum(counts.values())
        part.check(report)
        made = sum(counts.values()) - before
        # A part that looks at nothing must not pass.
        report(f"{part.__name__} checks something", [] if made else ["it made no check"])
        print(f"{part.__name__}: {made} checks, {time.monotonic() - started:.1f} s", flush=True)
    print(f"{counts['passed']} passed, {counts['failed']} failed, 0 skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
