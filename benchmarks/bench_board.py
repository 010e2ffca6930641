"""How long a claim takes as boards grow, and how much a board does with several processes.

    python benchmarks/bench_board.py [--quick]

Each claim is compared with a naive folder scan (read every task file, take the first pending one)
over as many tasks in the same run, and with one synced append, which no durable claim can beat.
Times are wall clock, durability as shipped: every commit is synced.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stigmergy.board import Task, TaskBoard

CLAIMS = 300
SCANS = 5


def tasks(number: int) -> list[Task]:
    return [
        Task(task_type="work", task_id=f"t{n}", payload={"n": n, "text": "x" * 100})
        for n in range(number)
    ]


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def naive_scan(folder: Path) -> object:
    """What a board without an index does to find a task."""
    found = None
    for path in sorted(folder.glob("*.json")):
        task = json.loads(path.read_text())
        if found is None and task["status"] == "pending":
            found = task
    return found


def scan_s(number: int, home: Path) -> float:
    folder = home / f"naive{number}"
    folder.mkdir()
    for n in range(number):
        body = {"task_id": f"t{n}", "status": "pending", "payload": {"text": "x" * 100}}
        (folder / f"t{n}.json").write_text(json.dumps(body))
    return statistics.median(timed(lambda: naive_scan(folder)) for _ in range(SCANS))


def synced_append_ms(home: Path) -> float:
    """The least that a durable change takes on this disk."""
    fd = os.open(home / "append", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append() -> None:
        os.write(fd, b"x" * 500)
        os.fdatasync(fd)

    taken = [timed(append) for _ in range(CLAIMS)]
    os.close(fd)
    return ms(taken, 0.5)


def latencies(board: TaskBoard) -> tuple[list[float], list[float]]:
    claims: list[float] = []
    completions: list[float] = []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        held = board.claim("ann")
        claims.append(time.perf_counter() - began)
        if held is None:
            break
        completions.append(timed(lambda held=held: board.complete(held, {"done": True})))
    return claims, completions


def ms(values: list[float], share: float) -> float:
    return 1000 * sorted(values)[min(len(values) - 1, int(len(values) * share))]


def report_latency(kind: str, number: int, home: Path, scan: float | None) -> None:
    with TaskBoard(home / f"{kind}{number}{'.db' if kind == 'sqlite' else ''}") as board:
        post = timed(lambda: board.post_many(tasks(number)))
        with TaskBoard(board.url) as other:  # in its own cache, as another process has it
            other.claim("warm")
        claims, completions = latencies(board)
    p50 = ms(claims, 0.5)
    scanned = "not measured" if scan is None else f"{1000 * scan / p50:.1f}x"
    print(
        f"{kind:7} {number:>7,} tasks   post_many {post:7.3f} s   "
        f"claim p50 {p50:6.3f}  p99 {ms(claims, 0.99):7.3f} ms   "
        f"complete p50 {ms(completions, 0.5):6.3f} ms   "
        f"claim / synced append {p50 / synced_append_ms(home):5.1f}x   naive scan / claim {scanned}"
    )


def work(url: str, name: str, barrier: object, done: object) -> None:
    with TaskBoard(url) as board:
        board.get("t0")
        barrier.wait()  # type: ignore[attr-defined] - multiprocessing's are not typed
        count = 0
        while (held := board.claim(name)) is not None:
            board.complete(held, {"done": True})
            count += 1
        done.put(count)  # type: ignore[attr-defined] - multiprocessing's are not typed


def report_throughput(kind: str, processes: int, number: int, home: Path, alone: float) -> float:
    url = str(home / f"{kind}-with-{processes}{'.db' if kind == 'sqlite' else ''}")
    with TaskBoard(url) as board:
        board.post_many(tasks(number))
    context = multiprocessing.get_context("spawn")
    barrier, done = context.Barrier(processes + 1), context.Queue()
    crew = [
        context.Process(target=work, args=(url, f"w{n}", barrier, done)) for n in range(processes)
    ]
    for process in crew:
        process.start()
    barrier.wait()
    began = time.perf_counter()
    shares = [done.get() for _ in crew]
    rate = number / (time.perf_counter() - began)
    for process in crew:
        process.join()
    assert sum(shares) == number, shares
    fair = min(shares) / max(shares)
    print(
        f"{kind:7} {processes} processes   claim+complete {rate:7.0f}/s   "
        f"{rate / (alone or rate):5.2f}x of one   slowest/fastest worker {fair:.2f}"
    )
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the largest boards")
    quick = parser.parse_args().quick
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="bench-board-") as name:
        home = Path(name)
        sizes = [100, 1_000] if quick else [100, 1_000, 10_000, 100_000]
        scans = {number: scan_s(number, home) for number in sizes if number <= 10_000}
        for number in sizes:
            report_latency("sqlite", number, home, scans.get(number))
        for number in sizes[1:3]:
            report_latency("files", number, home, scans[number])
        for kind in ("sqlite", "files"):
            alone = 0.0
            for processes in (1, 2) if quick else (1, 2, 4, 8):
                rate = report_throughput(kind, processes, 500 if quick else 2_000, home, alone)
                alone = alone or rate


if __name__ == "__main__":
    main()
