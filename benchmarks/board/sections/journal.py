"""Readers of the journal: do they see every event, and how late, while others write?"""

from __future__ import annotations

import multiprocessing
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from board.bench import Bench, Kind
from board.crew import percentile
from board.peers import open_ours, why_not
from board.peers.ours import tasks
from board.report import Report

__all__ = ["run_cursor", "run_watchers"]

_WRITERS = 8
_CURSOR_BATCH = 10
_TICK_S = 0.01
_EVENTS_A_SECOND = 1_000
_THREADS = 5
"""Watchers in one process, as in a server with several browsers."""
_PATIENCE_S = 20.0
"""How long readers may lag behind the writers' end."""


def run_cursor(report: Report, bench: Bench, name: str, kind: Kind, ours: str) -> None:
    """Writers whose transactions overlap, and one reader with a cursor."""
    section = f"{name}: a cursor on the journal under {_WRITERS} writers"
    if why_not(ours):
        report.add(section, ours, "events", [], "")
    else:
        each = bench.scale.cursor_events // _WRITERS // _CURSOR_BATCH
        wanted = each * _WRITERS * _CURSOR_BATCH
        with bench.place(kind) as place:
            seconds, seen = _write_and_read(ours, place, each, wanted)
        report.add(section, ours, "events", [wanted], "")
        report.add(section, ours, "missed", [wanted - len(set(seen))], "")
        report.add(section, ours, "seen twice", [len(seen) - len(set(seen))], "")
        report.add(section, ours, "written", [wanted / seconds], "/s")
    report.show(section)


def _write_and_read(ours: str, place: str, each: int, wanted: int) -> tuple[float, list[int]]:
    """How long the writing took, and the `seq` of every event that the reader saw."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(_WRITERS + 1)
    with open_ours(ours, place) as board:
        board.progress()
        writers = [
            context.Process(target=_post_batches, args=(ours, place, each, barrier))
            for _ in range(_WRITERS)
        ]
        for writer in writers:
            writer.start()
        barrier.wait(60)
        began = time.monotonic()
        seen: list[int] = []
        seconds = 0.0
        last_news = began
        while len(seen) < wanted and time.monotonic() - last_news < _PATIENCE_S:
            events = board.events(after=seen[-1] if seen else 0)
            seen += [event.seq for event in events]
            if events:
                last_news = time.monotonic()
            if not seconds and not any(writer.is_alive() for writer in writers):
                seconds = time.monotonic() - began
            if not events:
                board.wait(after=seen[-1] if seen else 0, timeout_s=0.1)
        for writer in writers:
            writer.join()
    return seconds or time.monotonic() - began, seen


def _post_batches(ours: str, place: str, number: int, barrier: Any) -> None:
    with open_ours(ours, place) as board:
        board.get("none")
        barrier.wait(60)
        for _ in range(number):
            board.post_many(tasks(_CURSOR_BATCH))


def run_watchers(report: Report, bench: Bench, name: str, kind: Kind, ours: str) -> None:
    """One writer at a steady pace, and many watchers."""
    scale = bench.scale
    section = f"{name}: {scale.watchers} watchers of {_EVENTS_A_SECOND:,} events a second"
    if why_not(ours):
        report.add(section, ours, "written", [], "/s")
        report.show(section)
        return
    with bench.place(kind) as place:
        written, seconds, counts, lags_s = _watched(bench, ours, place)
    report.add(section, ours, "written", [written / seconds], "/s")
    report.add(section, ours, "events", [written], "")
    report.add(section, ours, "missed, all watchers", [sum(written - n for n in counts)], "")
    lags_ms = [1000 * lag for lag in lags_s]
    report.add(section, ours, "seen after, p50", [percentile(lags_ms, 0.5)], "ms")
    report.add(section, ours, "p99", [percentile(lags_ms, 0.99)], "ms")
    report.show(section)


def _watched(bench: Bench, ours: str, place: str) -> tuple[int, float, list[int], list[float]]:
    scale = bench.scale
    ticks = round(scale.watch_s / _TICK_S)
    per_tick = round(_EVENTS_A_SECOND * _TICK_S)
    written = ticks * per_tick
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(scale.watchers // _THREADS + 1)
    answers: list[Connection] = []
    with open_ours(ours, place) as board:
        board.progress()
        for _ in range(scale.watchers // _THREADS):
            mine, theirs = context.Pipe(duplex=False)
            arguments = (ours, place, written, barrier, theirs)
            context.Process(target=_watch_in_threads, args=arguments).start()
            answers.append(mine)
        barrier.wait(60)
        began = time.monotonic()
        for tick in range(ticks):
            time.sleep(max(0.0, began + tick * _TICK_S - time.monotonic()))
            board.post_many(tasks(per_tick))
        seconds = time.monotonic() - began
        found: list[tuple[int, list[float]]] = [one for mine in answers for one in mine.recv()]
    lags_s = [lag for _, some in found for lag in some]
    return written, seconds, [count for count, _ in found], lags_s


def _watch_in_threads(ours: str, place: str, wanted: int, barrier: Any, answer: Connection) -> None:
    found: list[tuple[int, list[float]]] = []
    stop = threading.Event()
    with open_ours(ours, place) as board:

        def watch() -> None:
            lags: list[float] = []
            count = 0
            for event in board.watch(stop=stop):
                count += 1
                if count % 10 == 0:  # enough for percentiles
                    lags.append(time.time() - event.at)
                if count == wanted:
                    break
            found.append((count, lags))

        threads = [threading.Thread(target=watch) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        barrier.wait(60)
        give_up = time.monotonic() + wanted / _EVENTS_A_SECOND * 3 + _PATIENCE_S
        for thread in threads:
            thread.join(max(0.0, give_up - time.monotonic()))
        stop.set()
        for thread in threads:
            thread.join()
    answer.send(found)
