"""The task board beside its peers: one run, interleaved rounds, medians, ratios.

    make bench-board ARGS='--quick --only sqlite'

Whoever is not installed is shown as not measured. Absolute figures say little about another
machine; the ratios within one run are what to read.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from board.bench import FULL, QUICK, Bench
from board.peers import OURS_POSTGRES, OURS_SQLITE, POSTGRES, SQLITE
from board.plots import draw
from board.report import Report
from board.sections import (
    crowd,
    footprint,
    ineligible,
    journal,
    latency,
    sizes,
    throughput,
    wakeups,
)
from board.sections.throughput import Contest

_SQLITE = Contest("SQLite", "folder", SQLITE, OURS_SQLITE)
_POSTGRES = Contest("PostgreSQL", "database", POSTGRES, OURS_POSTGRES)


def sqlite_section(report: Report, bench: Bench) -> None:
    throughput.run(report, bench, _SQLITE)
    crowd.run(report, bench, "SQLite", "folder", ("stigmergy", "huey"))


def sqlite_sizes_section(report: Report, bench: Bench) -> None:
    sizes.run(report, bench, "SQLite", "folder")
    ineligible.run(report, bench, "SQLite", "folder", "stigmergy")


def postgres_section(report: Report, bench: Bench) -> None:
    if (reason := bench.why_no_database()) is not None:
        report.say(f"\n== PostgreSQL: not measured, {reason}")
        return
    throughput.run(report, bench, _POSTGRES)
    crowd.run(report, bench, "PostgreSQL", "database", ("stigmergy pg",))
    wakeups.run(report, bench, "PostgreSQL", "database", "stigmergy pg")
    journal.run_cursor(report, bench, "PostgreSQL", "database", "stigmergy pg")


def postgres_sizes_section(report: Report, bench: Bench) -> None:
    if bench.why_no_database() is None:
        sizes.run(report, bench, "PostgreSQL", "database")
        ineligible.run(report, bench, "PostgreSQL", "database", "stigmergy pg")


def events_section(report: Report, bench: Bench) -> None:
    wakeups.run(report, bench, "SQLite", "folder", "stigmergy")
    journal.run_watchers(report, bench, "SQLite", "folder", "stigmergy")


SECTIONS: dict[str, Callable[[Report, Bench], None]] = {
    "sqlite": sqlite_section,
    "sqlite-sizes": sqlite_sizes_section,
    "postgres": postgres_section,
    "postgres-sizes": postgres_sizes_section,
    "files": latency.run,
    "events": events_section,
    "memory": footprint.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="board", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: about two minutes")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw pictures there (SVG)")
    options = parser.parse_args()
    wanted = options.only.split(",")
    if unknown := set(wanted) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}")
    report = Report()
    _introduce(report)
    began = time.monotonic()
    with Bench(QUICK if options.quick else FULL) as bench:
        for name in wanted:
            SECTIONS[name](report, bench)
    report.say(f"\n{time.monotonic() - began:.0f} s, load at the end {os.getloadavg()[0]:.1f}")
    if options.json:
        report.write(options.json)
    if options.plots:
        for path in draw(report, options.plots):
            report.say(f"drawn: {path}")


def _introduce(report: Report) -> None:
    report.facts |= {
        "cores": str(os.cpu_count()),
        "load at the begin": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    report.say(", ".join(f"{name} {value}" for name, value in report.facts.items()))


if __name__ == "__main__":
    main()
