"""What every compared system does: hold tasks, hand them out, note that they are done."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeVar

__all__ = ["PAYLOAD", "RESULT", "Peer", "Shift", "Tally", "Work", "drain", "drain_async"]

PAYLOAD = {"text": "x" * 100}
RESULT = {"done": True}

T = TypeVar("T")


@dataclass(slots=True)
class Work:
    """What one worker did."""

    done: int = 0
    claims_s: list[float] = field(default_factory=list)
    """How long it took to get each task, or each batch."""
    began: float = 0.0
    ended: float = 0.0
    """Both of `time.monotonic()`, which all processes share."""
    busy: int = 0
    """How often the system said that it was locked."""
    rss_mb: float = 0.0


class Tally(Protocol):
    """A number that all workers share."""

    @property
    def count(self) -> int: ...

    def add(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Shift:
    """What one worker is told."""

    name: str
    number: int
    """Tasks that wait, for all workers together."""
    begin: Callable[[], float]
    """Waits for the other workers; returns when to stop at the latest, of `time.monotonic()`."""
    tally: Tally
    """Where systems that hand tasks to a function count them, to know when none is left."""
    limit: int = 10**9
    """Tasks after which this worker stops."""
    batch: int = 1
    """How many to take at once."""


class Peer(Protocol):
    """A system on one place: a folder, or the URL of a database. Made in each process anew."""

    durability: ClassVar[str]
    """Which setting decides what a power cut may lose."""
    remark: ClassVar[str]
    """What else to know when comparing."""
    posts_many: ClassVar[bool]
    """It can post many tasks at once."""
    takes_many: ClassVar[bool]
    """It can take and finish many tasks at once."""

    def __init__(self, place: str) -> None: ...

    @classmethod
    def why_not(cls) -> str | None:
        """Why it cannot be measured here; None when it can."""
        ...

    def setup(self) -> None:
        """Make an empty queue."""
        ...

    def post(self, number: int, until: float) -> int:
        """Put tasks one by one, each safe before the next; how many were put before `until`."""
        ...

    def fill(self, number: int, until: float) -> int:
        """Put tasks in the quickest way there is; how many were put before `until`."""
        ...

    def work(self, shift: Shift) -> Work:
        """Take and finish tasks until none is left, the time is up or the limit is reached."""
        ...


def drain(
    shift: Shift,
    take: Callable[[], Sequence[T]],
    finish: Callable[[Sequence[T]], None],
    *,
    busy: tuple[type[Exception], ...] = (),
) -> Work:
    """The loop of a worker that asks for its tasks."""
    work = Work()
    until = shift.begin()
    work.began = time.monotonic()
    while work.done < shift.limit and (asked := time.monotonic()) < until:
        try:
            held = take()
        except busy:
            work.busy += 1
            continue
        work.claims_s.append(time.monotonic() - asked)
        if not held:
            break
        _insist(lambda held=held: finish(held), work, busy)
        work.done += len(held)
    work.ended = time.monotonic()
    return work


async def drain_async(
    shift: Shift,
    take: Callable[[], Awaitable[Sequence[T]]],
    finish: Callable[[Sequence[T]], Awaitable[None]],
) -> Work:
    """The same for systems that are called with await."""
    work = Work()
    until = shift.begin()
    work.began = time.monotonic()
    while work.done < shift.limit and (asked := time.monotonic()) < until:
        held = await take()
        work.claims_s.append(time.monotonic() - asked)
        if not held:
            break
        await finish(held)
        work.done += len(held)
    work.ended = time.monotonic()
    return work


def _insist(act: Callable[[], None], work: Work, busy: tuple[type[Exception], ...]) -> None:
    while True:
        try:
            return act()
        except busy:
            work.busy += 1
