"""How long a claim takes on boards of very different sizes."""

from __future__ import annotations

import time

from board.bench import Bench, Kind
from board.crew import percentile, run_crew
from board.peers import load, why_not
from board.report import Report

__all__ = ["run"]

PEERS: dict[Kind, tuple[str, ...]] = {
    "folder": ("stigmergy", "huey", "litequeue, NORMAL", "persist-queue"),
    "database": ("stigmergy pg", "pgmq", "procrastinate", "pgqueuer, one by one"),
}


def run(report: Report, bench: Bench, name: str, kind: Kind) -> None:
    section = f"{name}: claim p50 by tasks on the board"
    for peer in PEERS[kind]:
        fill_s = 0.0  # of one task, as the last size had it
        for size in bench.scale.sizes:
            claims: list[float] = []
            note = ""
            if why_not(peer) is None:
                if fill_s * size < bench.scale.fill_cap_s:
                    claims, fill_s = _measure(bench, kind, peer, size)
                if not claims:
                    note = f"filling it takes more than {bench.scale.fill_cap_s:g} s"
            report.add(section, peer, f"{size:,}", [percentile(claims, 0.5)], "ms", note=note)
    report.show(section)


def _measure(bench: Bench, kind: Kind, peer: str, size: int) -> tuple[list[float], float]:
    """How long claims took in ms, none if it took too long to fill; and seconds to post a task."""
    with bench.place(kind) as place:
        system = load(peer)(place)
        system.setup()
        began = time.monotonic()
        filled = system.fill(size, began + bench.scale.fill_cap_s)
        fill_s = (time.monotonic() - began) / max(1, filled)
        if filled < size:
            return [], fill_s
        bench.settle(kind, place)
        crew = run_crew(peer, place, number=size, cap_s=60.0, limit=bench.scale.claims)
        return crew.claims_ms, fill_s
