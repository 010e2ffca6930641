"""One request to end that reaches every wait."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["Stop"]


class Stop(threading.Event):
    """An event whose setting sets its children too; a child may be set for itself alone.

    So a wait needs to heed one event, and nobody polls two.
    """

    def __init__(self) -> None:
        super().__init__()
        # Reentrant, because a signal may set the event while its thread is adding a child.
        self._lock = threading.RLock()
        self._children: set[Stop] = set()

    def set(self) -> None:
        """Ask this and all below it to end."""
        super().set()
        with self._lock:
            children = list(self._children)
        for child in children:
            child.set()

    @contextmanager
    def child(self) -> Generator[Stop]:
        """An event for a part of the work, set at the latest with this one."""
        child = Stop()
        with self._lock:
            self._children.add(child)
        if self.is_set():
            child.set()
        try:
            yield child
        finally:
            with self._lock:
                self._children.discard(child)
