"""Turns: agents of one run that work one at a time, in the order in which they asked."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from stigmergy.swarm import Stop

__all__ = ["Turns"]

_LOOK_S: Final = 0.2


class Turns:
    """Lets one in at a time, the one that has waited longest first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    @contextmanager
    def taken(self, stop: Stop) -> Generator[bool]:
        """Wait for the turn and have it inside; False: the run stopped before it came."""
        mine = object()
        with self._changed:
            self._queue.append(mine)
        try:
            with self._changed:
                while self._queue[0] is not mine and not stop.is_set():
                    self._changed.wait(_LOOK_S)
                got = self._queue[0] is mine and not stop.is_set()
            yield got
        finally:
            with self._changed:
                self._queue.remove(mine)
                self._changed.notify_all()
