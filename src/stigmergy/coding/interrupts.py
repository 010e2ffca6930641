"""Ending one attempt of a run from outside, with the reason: the rest of the run goes on."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from stigmergy.board import Task

__all__ = ["Interrupts", "Running"]


@dataclass(slots=True)
class Running:
    """An attempt that goes on."""

    agent_id: str
    stop: threading.Event
    reason: str | None = None
    """Why it was ended from outside."""


class Interrupts:
    """The attempts that go on in this process, by task. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, Running] = {}

    @contextmanager
    def attempt(self, task: Task, stop: threading.Event) -> Generator[Running]:
        """Let the attempt be ended by setting `stop`, until the block is left."""
        running = Running(task.claimed_by or "", stop)
        with self._lock:
            self._running[task.task_id] = running
        try:
            yield running
        finally:
            with self._lock:
                if self._running.get(task.task_id) is running:
                    del self._running[task.task_id]

    def end(self, task_id: str, *, agent_id: str, reason: str) -> bool:
        """End that agent's attempt; False if it does not go on, or was ended before."""
        with self._lock:
            running = self._running.get(task_id)
            if running is None or running.agent_id != agent_id or running.reason is not None:
                return False
            running.reason = reason
        running.stop.set()
        return True
