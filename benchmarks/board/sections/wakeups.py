"""How soon a waiting process is awake after another one posted a task."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import Any

from board.bench import Bench, Kind
from board.crew import percentile
from board.peers import open_ours, why_not
from board.peers.ours import tasks
from board.report import Report

__all__ = ["run"]

_PAUSE_S = 0.005
"""Between two posts: the other process has to be asleep again."""


def run(report: Report, bench: Bench, name: str, kind: Kind, ours: str) -> None:
    section = f"{name}: from the call of post to another process awake"
    waking, posting = ([], []) if why_not(ours) else _measure(bench, kind, ours)
    _add(report, section, ours, waking, posting)
    if kind == "database":
        waking, posting = _bare_notify(bench)
        _add(report, section, "INSERT, NOTIFY and LISTEN alone", waking, posting)
    report.show(section)


def _add(
    report: Report, section: str, system: str, waking: list[float], posting: list[float]
) -> None:
    report.add(section, system, "awake p50", [percentile(waking, 0.5)], "ms")
    report.add(section, system, "awake p99", [percentile(waking, 0.99)], "ms")
    report.add(section, system, "the post alone, p50", [percentile(posting, 0.5)], "ms")


def _measure(bench: Bench, kind: Kind, ours: str) -> tuple[list[float], list[float]]:
    """Milliseconds until the other was awake, and until the post returned."""
    number = bench.scale.wakes
    with bench.place(kind) as place, open_ours(ours, place) as board:
        board.progress()

        def post() -> None:
            board.post(tasks(1)[0])

        return _paced(_wait_for_events, (ours, place, number), post, number)


def _bare_notify(bench: Bench) -> tuple[list[float], list[float]]:
    import psycopg

    number = bench.scale.wakes
    with bench.place("database") as place, psycopg.connect(place, autocommit=True) as connection:
        connection.execute("CREATE TABLE post (n int)")

        def post() -> None:
            with connection.transaction():
                connection.execute("INSERT INTO post VALUES (1)")
                connection.execute("NOTIFY posted")

        return _paced(_wait_for_notes, (place, number), post, number)


def _paced(
    wait: Any, arguments: tuple[Any, ...], post: Any, number: int
) -> tuple[list[float], list[float]]:
    """Post `number` times, and ask the process that runs `wait` when it woke up each time."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=wait, args=(*arguments, theirs))
    process.start()
    ours.recv()  # it waits
    called: list[float] = []
    returned: list[float] = []
    for _ in range(number):
        time.sleep(_PAUSE_S)
        called.append(time.monotonic())
        post()
        returned.append(time.monotonic())
    awake: list[float] = ours.recv()
    process.join()
    return (
        [1000 * (woke - call) for woke, call in zip(awake, called, strict=True)],
        [1000 * (end - call) for end, call in zip(returned, called, strict=True)],
    )


def _wait_for_events(ours: str, place: str, number: int, answer: Connection) -> None:
    woke: list[float] = []
    after = 0
    with open_ours(ours, place) as board:
        answer.send("ready")
        while len(woke) < number:
            if not board.wait(after=after, timeout_s=10):
                raise TimeoutError(f"woken up {len(woke)} of {number} times")
            now = time.monotonic()
            events = board.events(after=after)
            after = events[-1].seq
            woke += [now] * len(events)
    answer.send(woke)


def _wait_for_notes(place: str, number: int, answer: Connection) -> None:
    import psycopg

    woke: list[float] = []
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute("LISTEN posted")
        answer.send("ready")
        for _ in connection.notifies():
            woke.append(time.monotonic())
            if len(woke) == number:
                break
    answer.send(woke)
