"""Keeping leases alive while their work goes on: one thread for all that a process holds."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from stigmergy.board import Lease, Task
from stigmergy.errors import LostLeaseError, NotFoundError, TransientError, UsageError
from stigmergy.swarm.agentboard import AgentBoard

__all__ = ["Heartbeat", "Held"]


class Held:
    """A lease that is being renewed."""

    def __init__(self, lease: Lease, lease_s: float, lost: threading.Event) -> None:
        self.lease = lease
        self.lease_s = lease_s
        self.lost = lost
        """Set when the lease is gone (expired, cancelled): stop the work, its result is void."""


class Heartbeat:
    """Renews leases at a third of their duration, from a thread that ends with the `with`.

    A board that is busy is asked again at the next beat; only the board's refusal loses a lease.
    Thread-safe.
    """

    def __init__(self, board: AgentBoard) -> None:
        self._board = board
        self._held: set[Held] = set()
        self._wake = threading.Condition()
        self._asked = False
        self._stopped = False
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._thread.join()

    @contextmanager
    def holding(
        self, task: Task, *, lease_s: float, lost: threading.Event | None = None
    ) -> Generator[Held]:
        """Renew the task's lease until the block is left; `lost` is set if it is gone."""
        if (lease := task.lease) is None:
            raise UsageError(f"task {task.task_id!r} is not claimed")
        held = Held(lease, lease_s, lost or threading.Event())
        with self._wake:
            self._held.add(held)
            self._wake.notify()
        try:
            yield held
        finally:
            with self._wake:
                self._held.discard(held)

    def check(self) -> None:
        """Renew everything now, to learn at once what was cancelled."""
        with self._wake:
            self._asked = True  # the thread may be renewing, and not hear it
            self._wake.notify()

    def _beat(self) -> None:
        while True:
            with self._wake:
                if not (self._stopped or self._asked):
                    self._wake.wait(min((held.lease_s / 3 for held in self._held), default=None))
                if self._stopped:
                    return
                self._asked = False
                due = list(self._held)
            for held in due:
                self._renew(held)

    def _renew(self, held: Held) -> None:
        try:
            held.lease = self._board.renew(held.lease, lease_s=held.lease_s)
        except (LostLeaseError, NotFoundError):
            held.lost.set()
            with self._wake:
                self._held.discard(held)
        except TransientError:
            return  # the next beat asks again; the lease lasts for three
