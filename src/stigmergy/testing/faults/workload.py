"""What the processes on a tested board do: posters post, agents work, and both write it down.

Each is the function of one process, which may be killed at any moment. Work is idempotent by
`task_id:fence`; every second thing that an agent can do to a task is done now and then.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from stigmergy.board import Backoff, Task, TaskBoard, open_store
from stigmergy.board.store import Clock
from stigmergy.errors import LostLeaseError, TransientError, UsageError
from stigmergy.testing.faults.ledger import Ledger, read_ledger

__all__ = ["MANY_ATTEMPTS", "agent", "open_board", "poster"]

_T = TypeVar("_T")

MANY_ATTEMPTS: Final = 10**6
"""Killed agents cost attempts; no task may fail for that."""
_BATCH: Final = 4
_AHEAD: Final = 24
"""So many tasks wait at most before posters wait too: a board's age is bounded by its agents."""


def open_board(url: str, *, lease_s: float = 300.0, clock: Clock | None = None) -> TaskBoard:
    """A board whose failed attempts come back at once."""
    store = open_store(url, clock=clock)
    return TaskBoard(store=store, lease_s=lease_s, backoff=Backoff(first_s=0.01, most_s=0.02))


def agent(
    *, url: str, name: str, ledger: str, seed: str, lease_s: float, work_s: float, clock: str = ""
) -> int:
    """Claim and work until SIGTERM; how many completions were accepted.

    `clock` names a file that says by how many seconds the agent's clock is wrong.
    """
    stop = _stop_on_sigterm()
    read = _wrong_clock(Path(clock)) if clock else None
    with Ledger(ledger, agent_id=name) as book:
        board = _patiently(book, stop, lambda: open_board(url, lease_s=lease_s, clock=read))
        if board is None:
            return 0
        with board:
            worker = _Worker(
                board=board, book=book, name=name, rng=random.Random(seed), stop=stop, work_s=work_s
            )
            return worker.run()


def poster(*, url: str, name: str, ledger: str, seed: str, batches: int) -> int:
    """Post so many batches, or as many as it can until SIGTERM; how many were acknowledged.

    One that takes the place of a killed one goes on where the ledger ends, so it may post again
    what was posted and not acknowledged.
    """
    stop = _stop_on_sigterm()
    known = [entry.task_id for entry in read_ledger(Path(ledger)) if entry.agent_id == name]
    first = len(known) // _BATCH
    with Ledger(ledger, agent_id=name) as book:
        board = _patiently(book, stop, lambda: open_board(url))
        if board is None:
            return 0
        with board:
            for number in range(first, batches):
                if stop.is_set():
                    break
                _post(board, book, stop, name=name, number=number, seed=seed)
                _steer(board, book, stop, name=name, number=number, seed=seed)
                _wait_for_demand(board, book, stop)
    return batches


def _post(
    board: TaskBoard, book: Ledger, stop: threading.Event, *, name: str, number: int, seed: str
) -> None:
    rng = random.Random(f"{seed} {name} {number}")  # the same again after a kill
    batch: list[Task] = []
    for place in range(number * _BATCH, (number + 1) * _BATCH):
        needed = f"{name}-{rng.randrange(place)}" if place and rng.random() < 0.2 else None
        task = Task(
            task_type=rng.choice(["code", "fix"]),
            task_id=f"{name}-{place}",
            description="x" * rng.randrange(200),
            payload={"n": place},
            requires=rng.choice([(), (), ("gpu",)]),
            priority=rng.randint(1, 10),
            max_attempts=MANY_ATTEMPTS,
            depends_on=() if needed is None else (needed,),
        )
        batch.append(task)
    if _patiently(book, stop, lambda: board.post_many(batch)) is not None:
        for task in batch:
            book.write("posted", task.task_id)


def _steer(
    board: TaskBoard, book: Ledger, stop: threading.Event, *, name: str, number: int, seed: str
) -> None:
    """Now and then change one's mind about a task, and then again."""
    rng = random.Random(f"{seed} {name} {number} steer")
    if rng.random() < 0.2:
        victim = f"{name}-{rng.randrange((number + 1) * _BATCH)}"
        with suppress(UsageError):  # it is finished
            _patiently(book, stop, lambda: board.cancel(victim, reason="a whim"))
        with suppress(UsageError):  # it never was cancelled, or what it needs was
            _patiently(book, stop, lambda: board.retry(victim))


def _wait_for_demand(board: TaskBoard, book: Ledger, stop: threading.Event) -> None:
    seen = 0
    while not stop.is_set():
        progress = _patiently(book, stop, board.progress)
        if progress is None or progress.pending < _AHEAD:
            return
        seen = _wait(board, book, stop, seen=seen, timeout_s=0.1)


def _wait(
    board: TaskBoard, book: Ledger, stop: threading.Event, *, seen: int, timeout_s: float
) -> int:
    """Until the journal grows, or so long; the last number seen."""

    def look() -> int:
        if seen:
            board.wait(after=seen, timeout_s=timeout_s)
        events = board.events(after=seen, limit=10_000)
        return events[-1].seq if events else seen

    return _patiently(book, stop, look) or seen


@dataclass(slots=True, kw_only=True)
class _Worker:
    board: TaskBoard
    book: Ledger
    name: str
    rng: random.Random
    stop: threading.Event
    work_s: float
    accepted: int = 0

    def run(self) -> int:
        """Work until told to stop."""
        seen = 0
        while not self.stop.is_set():
            claimed = _patiently(
                self.book, self.stop, lambda: self.board.claim(self.name, capabilities=["gpu"])
            )
            if claimed is None:
                seen = _wait(self.board, self.book, self.stop, seen=seen, timeout_s=0.05)
                continue
            self.book.write("claimed", claimed.task_id, claimed.fence)
            try:
                self._work(claimed)
            except LostLeaseError:
                self.book.write("refused", claimed.task_id, claimed.fence)
        return self.accepted

    def _work(self, held: Task) -> None:
        chance = self.rng.random()
        if chance < 0.5:
            _patiently(self.book, self.stop, lambda: self.board.start(held))
        self.stop.wait(self.rng.uniform(0.0, 2 * self.work_s))
        if chance < 0.2 and _patiently(self.book, self.stop, lambda: self.board.renew(held)):
            self.book.write("renewed", held.task_id, held.fence)
        self.book.write("effect", held.task_id, held.fence)
        self._report(held, self.rng.random())

    def _report(self, held: Task, chance: float) -> None:
        if chance < 0.05:
            _patiently(self.book, self.stop, lambda: self.board.fail(held, "a bad day"))
        elif chance < 0.10:
            _patiently(self.book, self.stop, lambda: self.board.release(held, reason="lunch"))
        elif chance < 0.12:
            return  # says nothing: its lease has to run out
        else:
            result = {"by": self.name, "fence": held.fence}
            if _patiently(self.book, self.stop, lambda: self.board.complete(held, result)):
                self.book.write("completed", held.task_id, held.fence, result=result)
                self.accepted += 1
                if chance > 0.95:  # the answer was lost on the way, so it says it again
                    _patiently(self.book, self.stop, lambda: self.board.complete(held, result))


def _patiently(book: Ledger, stop: threading.Event, act: Callable[[], _T]) -> _T | None:
    """What the board answers, asked again while it says that it cannot now; None after SIGTERM."""
    while True:
        try:
            return act()
        except TransientError as error:
            book.write("trouble", error=str(error))
            if stop.wait(0.02):
                return None


def _wrong_clock(path: Path) -> Clock:
    return lambda: time.time() + float(path.read_text() or 0.0)


def _stop_on_sigterm() -> threading.Event:
    stop = threading.Event()

    def stop_it(_number: int, _frame: object) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, stop_it)
    return stop
