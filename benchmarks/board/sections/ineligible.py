"""A claim by an agent that lacks a capability, behind many tasks that require it.

The other systems have no capabilities: there one makes a queue for each kind of worker.
"""

from __future__ import annotations

import time

from board.bench import Bench, Kind
from board.crew import percentile
from board.peers import open_ours, why_not
from board.report import Report
from stigmergy.board import Task, TaskBoard

__all__ = ["run"]

_BATCH = 1_000
_NEEDED = "gpu"


def run(report: Report, bench: Bench, name: str, kind: Kind, ours: str) -> None:
    scale = bench.scale
    section = f"{name}: claim p50 behind tasks for other agents"
    if why_not(ours):
        report.add(section, ours, "not measured", [], "ms")
        return
    alone = percentile(_claims_ms(bench, kind, ours, ahead=0), 0.5)
    behind = percentile(_claims_ms(bench, kind, ours, ahead=scale.ineligible), 0.5)
    report.add(section, ours, "0 ahead", [alone], "ms")
    report.add(section, ours, f"{scale.ineligible:,} ahead", [behind], "ms")
    report.add(section, ours, "ratio", [behind / alone if alone and behind else None], "x")
    report.show(section)


def _claims_ms(bench: Bench, kind: Kind, ours: str, *, ahead: int) -> list[float]:
    claims = bench.scale.claims
    with bench.place(kind) as place, open_ours(ours, place) as board:
        for count in range(0, ahead, _BATCH):
            size = min(_BATCH, ahead - count)
            board.post_many(
                Task(task_type="work", requires=(_NEEDED,), priority=1) for _ in range(size)
            )
        board.post_many(Task(task_type="work", priority=5) for _ in range(claims))
        bench.settle(kind, place)
        return [_claim_ms(board) for _ in range(claims)]


def _claim_ms(board: TaskBoard) -> float:
    began = time.perf_counter()
    held = board.claim("ann")
    taken = time.perf_counter() - began
    assert held is not None
    board.complete(held)
    return 1000 * taken
