"""Many more workers than cores, on one board: does each get its share, and is nobody refused?"""

from __future__ import annotations

import time
from collections.abc import Sequence

from board.bench import Bench, Kind
from board.crew import percentile, run_crew
from board.peers import load, why_not
from board.report import Report

__all__ = ["run"]


def run(report: Report, bench: Bench, name: str, kind: Kind, peers: Sequence[str]) -> None:
    scale = bench.scale
    section = f"{name}: {scale.crowd} processes, {scale.crowd_tasks:,} tasks"
    for peer in peers:
        if why_not(peer):
            report.add(section, peer, "take and finish", [], "/s")
            continue
        with bench.place(kind) as place:
            system = load(peer)(place)
            system.setup()
            number = system.fill(scale.crowd_tasks, time.monotonic() + scale.fill_cap_s)
            bench.settle(kind, place)
            crew = run_crew(peer, place, number=number, processes=scale.crowd, cap_s=60.0)
        claims = crew.claims_ms
        report.add(section, peer, "take and finish", [crew.rate], "/s")
        report.add(section, peer, "claim p50", [percentile(claims, 0.5)], "ms")
        report.add(section, peer, "p99", [percentile(claims, 0.99)], "ms")
        report.add(section, peer, "worst", [max(claims, default=None)], "ms")
        report.add(section, peer, "slowest/fastest worker", [crew.fairness], "x")
        report.add(section, peer, "lock errors", [crew.busy], "")
        report.add(section, peer, "left over", [max(0, number - crew.done)], "")
        report.add(section, peer, "finished twice", [crew.twice], "")
    report.show(section)
