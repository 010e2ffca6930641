"""Workers: processes that start together on one queue, and what came of it."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import psutil

from board.peers import load
from board.peers.peer import Shift, Work

__all__ = ["Outcome", "percentile", "run_crew"]

_GATHER_S = 120.0
"""How long workers may take to start, and to stop once their time is up."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a crew did with a queue of `number` tasks."""

    number: int
    works: tuple[Work, ...]
    capped: bool
    """Stopped by the clock, not by an empty queue."""

    @property
    def done(self) -> int:
        return sum(work.done for work in self.works)

    @property
    def rate(self) -> float:
        """Tasks a second, from the first worker's begin to the last one's end."""
        active = [work for work in self.works if work.done]
        if not active:
            return 0.0
        return self.done / (max(w.ended for w in active) - min(w.began for w in active))

    @property
    def claims_ms(self) -> list[float]:
        return [1000 * claim for work in self.works for claim in work.claims_s]

    @property
    def fairness(self) -> float:
        """What the slowest worker did, as a share of the quickest one's."""
        return min(w.done for w in self.works) / max(1, *(w.done for w in self.works))

    @property
    def busy(self) -> int:
        return sum(work.busy for work in self.works)

    @property
    def twice(self) -> int:
        """Tasks that were finished more than once."""
        return max(0, self.done - self.number)

    @property
    def rss_mb(self) -> float:
        return max(work.rss_mb for work in self.works)


def run_crew(
    peer: str,
    place: str,
    *,
    number: int,
    processes: int = 1,
    cap_s: float,
    limit: int = 10**9,
    batch: int = 1,
) -> Outcome:
    """Let `processes` workers empty the queue at `place`; `limit` is each worker's own.

    Raises:
        RuntimeError: a worker failed; the message has its traceback.
    """
    context = multiprocessing.get_context("spawn")
    barrier, tally = context.Barrier(processes), context.Value("q", 0)
    crew: list[tuple[Any, Connection]] = []
    for index in range(processes):
        ours, theirs = context.Pipe(duplex=False)
        orders = (peer, place, f"w{index}", number, limit, batch, cap_s)
        process = context.Process(target=_worker, args=(orders, barrier, tally, theirs))
        process.start()
        theirs.close()
        crew.append((process, ours))
    try:
        works = tuple(_answer(peer, answer, cap_s) for _, answer in crew)
    finally:
        for process, _ in crew:
            process.kill()  # it has answered, or never will
            process.join()
    capped = sum(work.done for work in works) < min(number, limit * processes)
    return Outcome(number=number, works=works, capped=capped)


def percentile(values: list[float], share: float) -> float | None:
    """The value below which `share` of them lie; None of nothing."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else None


def _answer(peer: str, answer: Connection, cap_s: float) -> Work:
    if not answer.poll(2 * _GATHER_S + cap_s):
        raise RuntimeError(f"{peer}: a worker did not come back")
    try:
        found = answer.recv()
    except EOFError:
        raise RuntimeError(f"{peer}: a worker died") from None
    if isinstance(found, Work):
        return found
    raise RuntimeError(f"{peer}: a worker failed\n{found}")


class _Tally:
    def __init__(self, value: Any) -> None:
        self._value = value

    @property
    def count(self) -> int:
        return self._value.value

    def add(self) -> None:
        with self._value.get_lock():
            self._value.value += 1


def _worker(orders: tuple[Any, ...], barrier: Any, value: Any, answer: Connection) -> None:
    peer, place, name, number, limit, batch, cap_s = orders

    def begin() -> float:
        barrier.wait(_GATHER_S)
        return time.monotonic() + cap_s

    shift = Shift(
        name=name, number=number, begin=begin, tally=_Tally(value), limit=limit, batch=batch
    )
    try:
        work = load(peer)(place).work(shift)
        work.rss_mb = psutil.Process().memory_info().rss / 1024**2
        answer.send(work)
    except Exception:  # noqa: BLE001 - it is told to the process that waits
        answer.send(traceback.format_exc())
    answer.close()
    os._exit(0)  # some systems keep threads that outlive the work
