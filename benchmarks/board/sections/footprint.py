"""What the bare board costs a process: memory, and time to import."""

from __future__ import annotations

import subprocess
import sys
import time

from board.bench import Bench, Kind
from board.peers import open_ours, why_not
from board.report import Report

__all__ = ["run"]

_IMPORTS = 15
_AGENT = """
import sys
from stigmergy.board import Task, TaskBoard
with TaskBoard(sys.argv[1]) as board:
    board.post_many(Task(task_type="work") for _ in range(100))
    while (held := board.claim("ann")) is not None:
        board.complete(held, {"done": True})
    print(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1])
"""
_PLACES: dict[str, Kind] = {
    "stigmergy": "folder",
    "stigmergy files": "folder",
    "stigmergy pg": "database",
}


def run(report: Report, bench: Bench) -> None:
    memory = "An agent process of the bare board"
    empty = subprocess.run(
        [sys.executable, "-c", _AGENT.splitlines()[-1].replace("    ", "", 1)],
        capture_output=True,
        text=True,
        check=True,
    )
    report.add(memory, "Python alone", "RSS", [int(empty.stdout) / 1024], "MB")
    for ours, kind in _PLACES.items():
        rss = None if why_not(ours) else _rss_mb(bench, kind, ours)
        report.add(memory, ours, "RSS", [rss], "MB")
    report.show(memory)
    times = "Import, beyond Python's own start"
    for module in ("stigmergy", "stigmergy.board"):
        report.add(times, f"import {module}", "median", _imports_ms(module), "ms")
    report.show(times)


def _rss_mb(bench: Bench, kind: Kind, ours: str) -> float:
    with bench.place(kind) as place:
        with open_ours(ours, place) as board:
            url = board.url
        done = subprocess.run(
            [sys.executable, "-c", _AGENT, url], capture_output=True, text=True, check=True
        )
    return int(done.stdout) / 1024


def _imports_ms(module: str) -> list[float]:
    """Each the difference to a start without the import, measured right beside it."""
    return [1000 * (_start_s(f"import {module}") - _start_s("pass")) for _ in range(_IMPORTS)]


def _start_s(code: str) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.monotonic() - began
