"""The agents of a run in their number: more are started, those too many leave between tasks.

A worker asks before each task whether it is still wanted, so nobody is torn from its work, and one
that is wanted again before it has left stays. `follow` is called by the thread that owns the
nursery.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Protocol

from stigmergy.coding.context import Pulse
from stigmergy.swarm import Nursery

__all__ = ["MOST_AGENTS", "Crew", "Hand"]

MOST_AGENTS: Final = 1000


class Hand(Protocol):
    """Somebody who works until it is no longer wanted, or the run stops."""

    def work(self, wanted: Callable[[], bool]) -> None:
        """Work; `wanted` is asked before each task, and after it has said no never again."""
        ...


class Crew:
    """As many workers as are wanted, called `agent-1` and so on.

    Args:
        nursery: where they run.
        hire: makes the worker of a name.
        pulse: wakes those who wait for a task, so that they learn that they may leave.
    """

    def __init__(self, nursery: Nursery, hire: Callable[[str], Hand], pulse: Pulse) -> None:
        self._nursery = nursery
        self._hire = hire
        self._pulse = pulse
        self._lock = threading.Lock()
        self._wanted = 0
        self._here: set[int] = set()

    def follow(self, count: int) -> None:
        """Be so many from now on. Idempotent."""
        with self._lock:
            if count == self._wanted:
                return
            self._wanted = count
            new = [number for number in range(1, count + 1) if number not in self._here]
            self._here.update(new)
        for number in new:
            name = f"agent-{number}"
            hand = self._hire(name)
            self._nursery.start(
                lambda hand=hand, number=number: hand.work(lambda: self._is_wanted(number)),
                name=name,
            )
        self._pulse.tick()

    def _is_wanted(self, number: int) -> bool:
        with self._lock:
            if number <= self._wanted:
                return True
            self._here.discard(number)
            return False
