"""Our own stores: how long a claim takes as boards grow, and how much several processes do.

Each claim is compared with a naive scan of a folder (read every task file, take the first pending
one) over as many tasks, and with one synced append, which no durable claim can beat.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from board.bench import Bench
from board.crew import percentile, run_crew
from board.peers import load, open_ours
from board.peers.ours import tasks
from board.peers.peer import RESULT
from board.report import Report
from stigmergy.board import TaskBoard

__all__ = ["run"]

_SIZES = {"stigmergy": (100, 1_000, 10_000, 100_000), "stigmergy files": (1_000, 10_000)}
_LARGEST_SCAN = 10_000
_CROWD_TASKS = 2_000


def run(report: Report, bench: Bench) -> None:
    section = "Our stores by size: claims against a synced append and a naive scan"
    largest = max(bench.scale.sizes)
    scans = {size: _scan_ms(bench, size) for size in (100, 1_000, 10_000) if size <= largest}
    for ours, sizes in _SIZES.items():
        for size in sizes:
            if size <= largest:
                _report_size(report, bench, section, ours, size, scans.get(size))
    report.show(section)
    _report_crowds(report, bench)


def _report_size(
    report: Report, bench: Bench, section: str, ours: str, size: int, scan_ms: float | None
) -> None:
    system = f"{ours}, {size:,} tasks"
    with bench.place("folder") as place, open_ours(ours, place) as board:
        post_s = _timed_s(lambda: board.post_many(tasks(size)))
        with open_ours(ours, place) as other:  # in a cache of its own, as another process has it
            other.claim("warm")
        claims, completions = _claims_ms(board, bench.scale.claims)
        append = bench.synced_append_ms()
    p50 = percentile(claims, 0.5)
    assert p50 is not None
    report.add(section, system, "post_many", [1000 * post_s], "ms")
    report.add(section, system, "claim p50", [p50], "ms")
    report.add(section, system, "p99", [percentile(claims, 0.99)], "ms")
    report.add(section, system, "complete p50", [percentile(completions, 0.5)], "ms")
    report.add(section, system, "claim/synced append", [p50 / append], "x")
    scanned = scan_ms / p50 if scan_ms else None
    report.add(section, system, "naive scan/claim", [scanned], "x")


def _claims_ms(board: TaskBoard, number: int) -> tuple[list[float], list[float]]:
    claims: list[float] = []
    completions: list[float] = []
    for _ in range(number):
        began = time.perf_counter()
        held = board.claim("ann")
        if held is None:
            break
        claims.append(1000 * (time.perf_counter() - began))
        completions.append(1000 * _timed_s(lambda held=held: board.complete(held, RESULT)))
    return claims, completions


def _scan_ms(bench: Bench, size: int) -> float:
    with bench.place("folder") as place:
        for n in range(size):
            body = {"task_id": f"t{n}", "status": "pending", "payload": {"text": "x" * 100}}
            Path(place, f"t{n}.json").write_text(json.dumps(body))
        taken = [_timed_s(lambda: _naive_scan(Path(place))) for _ in range(bench.scale.scans)]
    return 1000 * statistics.median(taken)


def _naive_scan(folder: Path) -> object:
    """What a board without an index does to find a task."""
    found = None
    for path in sorted(folder.glob("*.json")):
        task = json.loads(path.read_text())
        if found is None and task["status"] == "pending":
            found = task
    return found


def _report_crowds(report: Report, bench: Bench) -> None:
    section = "The files store with several processes"
    for processes in bench.scale.processes:
        with bench.place("folder") as place:
            system = load("stigmergy files")(place)
            system.setup()
            number = system.fill(_CROWD_TASKS, time.monotonic() + bench.scale.fill_cap_s)
            crew = run_crew(
                "stigmergy files",
                place,
                number=number,
                processes=processes,
                cap_s=bench.scale.cap_s,
            )
        row = f"{processes} processes"
        report.add(section, row, "claim and complete", [crew.rate], "/s")
        report.add(section, row, "worst claim", [max(crew.claims_ms, default=None)], "ms")
        report.add(section, row, "slowest/fastest worker", [crew.fairness], "x")
    report.show(section)


def _timed_s(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
