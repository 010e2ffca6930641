"""Claims that wait: long polls stand in lines, and one claim answers for all of the same line.

Those who ask for the same capabilities and types stand in one line: when the first gets nothing,
nobody behind it would. So a thousand workers that wait cost one claim for each event that may
have made something ready, and no thread. A few claims are under way at a time, whatever the number
of lines, so that reports and posts are never kept waiting by them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from stigmergy.board import Event, Task, TaskBoard
from stigmergy.errors import LostLeaseError, TransientError
from stigmergy.server.bridge import Bridge

__all__ = ["ClaimDesk", "Order"]

_AT_ONCE: Final = 4
_MOST_WAITING: Final = 5_000
_LOOK_S: Final = 1.0
"""Tasks whose time comes, leases that run out and schedules make no event before a claim looks."""
_LOOKS_PER_S: Final = 50
"""Lines that are looked at in a second for that reason alone."""
_MAKES_NOTHING_READY: Final = frozenset({"claimed", "started", "reported", "paused", "model_call"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What an agent asks for."""

    agent_id: str
    limit: int = 1
    capabilities: frozenset[str] = frozenset()
    task_types: frozenset[str] | None = None
    lease_s: float | None = None


@dataclass(eq=False, slots=True)
class _Waiter:
    order: Order
    answer: asyncio.Future[list[Task]]
    asking: bool = False
    """A claim of its is under way: what it brings must not be lost."""
    leaving: bool = False
    """It waits no longer than for that."""


@dataclass(eq=False, slots=True)
class _Line:
    waiting: deque[_Waiter] = field(default_factory=deque[_Waiter])
    queued: bool = False
    called: bool = False
    """Something happened since the latest claim began."""
    asking: int = 0


class ClaimDesk:
    """Where claims wait. To be used from one event loop."""

    def __init__(self, board: TaskBoard, bridge: Bridge) -> None:
        self._board = board
        self._bridge = bridge
        self._lines: dict[object, _Line] = {}
        self._due: asyncio.Queue[tuple[object, _Line]] = asyncio.Queue()
        self._tasks: set[asyncio.Future[None]] = set()
        self._waiting = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many claims wait."""
        return self._waiting

    def open(self) -> None:
        """Begin to serve."""
        self._tasks = {asyncio.create_task(self._serve()) for _ in range(_AT_ONCE)}
        self._tasks.add(asyncio.create_task(self._look()))

    async def close(self) -> None:
        """Answer all that wait with nothing, and end."""
        self._closed = True
        for line in self._lines.values():
            for waiter in line.waiting:
                _answer(waiter, [])
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*list(self._tasks), return_exceptions=True)

    def take(self, events: Sequence[Event]) -> None:
        """Hear of events; those who wait are served if one may have made something ready."""
        if any(event.kind not in _MAKES_NOTHING_READY for event in events):
            for key, line in self._lines.items():
                self._call(key, line)

    async def claim(
        self, order: Order, *, wait_s: float, gone: Callable[[], bool] = lambda: False
    ) -> list[Task]:
        """Up to `limit` tasks; none if there were none within `wait_s`.

        What is claimed for a caller that is cancelled meanwhile, or is `gone`, is given back.

        Raises:
            TransientError: too many wait already.
        """
        if wait_s <= 0 or self._closed:
            return await self._bridge.call(partial(self._ask, order))
        if self._waiting >= _MOST_WAITING:
            raise TransientError(f"{self._waiting} claims wait already", retry_after_s=5.0)
        key = (order.capabilities, order.task_types)
        line = self._lines.setdefault(key, _Line())
        loop = asyncio.get_running_loop()
        waiter = _Waiter(order, loop.create_future())
        line.waiting.append(waiter)
        self._waiting += 1
        timer = loop.call_later(wait_s, self._leave, waiter)
        self._call(key, line)
        try:
            tasks = await asyncio.shield(waiter.answer)
        except asyncio.CancelledError:
            waiter.leaving = True
            waiter.answer.add_done_callback(self._give_back_later)
            if not waiter.asking:
                _answer(waiter, [])
            raise
        finally:
            timer.cancel()
            self._waiting -= 1
            self._tidy(key, line, waiter)
        if tasks and gone():
            await self._give_back(tasks)
            return []
        return tasks

    def _ask(self, order: Order) -> list[Task]:
        return self._board.claim_many(
            order.agent_id,
            order.limit,
            capabilities=order.capabilities,
            task_types=order.task_types,
            lease_s=order.lease_s,
        )

    def _call(self, key: object, line: _Line) -> None:
        line.called = True
        if line.waiting and not line.queued:
            line.queued = True
            self._due.put_nowait((key, line))

    def _leave(self, waiter: _Waiter) -> None:
        waiter.leaving = True
        if not waiter.asking:
            _answer(waiter, [])

    def _tidy(self, key: object, line: _Line, waiter: _Waiter) -> None:
        if waiter in line.waiting:
            line.waiting.remove(waiter)
        if not line.waiting and not line.asking and self._lines.get(key) is line:
            del self._lines[key]

    async def _serve(self) -> None:
        while True:
            key, line = await self._due.get()
            line.queued = line.called = False
            waiter = _first(line)
            if waiter is None:
                continue
            line.asking += 1
            found = await self._ask_for(line, waiter)
            line.asking -= 1
            if found or line.called:
                self._call(key, line)  # there may be more, for the next one

    async def _ask_for(self, line: _Line, waiter: _Waiter) -> bool:
        """Claim for one that was taken from the line; whether it got something."""
        waiter.asking = True
        try:
            tasks = await self._bridge.call(partial(self._ask, waiter.order))
        except Exception as error:  # noqa: BLE001 - it is the answer to who asked
            if not waiter.answer.done():
                waiter.answer.set_exception(error)
            return not isinstance(error, TransientError)  # the next one's order may be better
        finally:
            waiter.asking = False
        if tasks:
            _answer(waiter, tasks)
            return True
        if waiter.leaving or self._closed:
            _answer(waiter, [])
        else:
            line.waiting.appendleft(waiter)
        return False

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(max(_LOOK_S, len(self._lines) / _LOOKS_PER_S))
            for key, line in list(self._lines.items()):
                self._call(key, line)

    def _give_back_later(self, answer: asyncio.Future[list[Task]]) -> None:
        if answer.cancelled() or answer.exception() is not None or not answer.result():
            return
        task = asyncio.ensure_future(self._give_back(answer.result()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _give_back(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            release = partial(self._board.release, task, reason="who asked for it was gone")
            try:
                await self._bridge.call(release)
            except (LostLeaseError, TransientError):
                continue  # its lease runs out


def _first(line: _Line) -> _Waiter | None:
    while line.waiting:
        waiter = line.waiting.popleft()
        if not waiter.answer.done():
            return waiter
    return None


def _answer(waiter: _Waiter, tasks: list[Task]) -> None:
    if not waiter.answer.done():
        waiter.answer.set_result(tasks)
