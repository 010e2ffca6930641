"""Wake up when a file changes: inotify where the system has it, a short poll elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from typing import Protocol

    class _Change(Protocol):
        name: str


__all__ = ["FileWatch"]

_POLL_S = 0.02
_READ_BYTES = 64 * 1024
_SAFETY_S = 1.0
"""inotify is looked past this often: network and overlay file systems may not report."""


class FileWatch:
    """Waits for changes of some files in a folder. Thread-safe.

    What the kernel needs for it is kept from one wait to the next, for giving it back takes longer
    than a claim; there is one for each thread that waits at the same time.

    Args:
        folder: where the files are, or will be.
        names: of the files.
    """

    def __init__(self, folder: Path, *, names: frozenset[str]) -> None:
        self._folder = folder
        self._names = names
        self._idle: list[_Watch] = []
        self._lock = threading.Lock()
        self._closed = False

    def wait(self, *, timeout_s: float, ready: Callable[[], bool]) -> bool:
        """Sleep until `ready()`, looking again whenever one of the files changes.

        False if the time ran out first. `ready` is called after the watch is set, so a change
        between an earlier look and this call is not missed.
        """
        deadline = time.monotonic() + timeout_s
        if timeout_s <= 0:
            return ready()
        watch = self._take()
        try:
            watch.forget()
            while not ready():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                watch.sleep(min(left, _SAFETY_S))
            return True
        finally:
            self._give_back(watch)

    def close(self) -> None:
        """Give back what is kept. Idempotent."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for watch in idle:
            watch.close()

    def _take(self) -> _Watch:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        if sys.platform == "linux":
            with suppress(OSError):  # a user may have a limited number of them
                return _Inotify(self._folder, self._names)
        return _Watch()

    def _give_back(self, watch: _Watch) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(watch)
                return
        watch.close()


class _Watch:
    """Polls."""

    def forget(self) -> None:
        """Let go of changes that came before."""

    def sleep(self, most_s: float) -> None:
        """Sleep until something may have changed, at most the given seconds."""
        threading.Event().wait(min(most_s, _POLL_S))

    def close(self) -> None:
        """Give back what it holds."""


class _Inotify(_Watch):
    """Is told by the kernel."""

    def __init__(self, folder: Path, names: frozenset[str]) -> None:
        from inotify_simple import INotify, flags

        self._names = names
        self._inotify = INotify(nonblocking=True)
        mask = int(flags.MODIFY | flags.CREATE | flags.MOVED_TO | flags.CLOSE_WRITE)
        try:
            self._inotify.add_watch(folder, mask)  # pyright: ignore[reportUnknownMemberType] - no stubs
        except OSError:
            self._inotify.close()
            raise

    def forget(self) -> None:
        """See `_Watch.forget`."""
        with suppress(BlockingIOError):  # raised when nothing is left
            while os.read(self._inotify.fileno(), _READ_BYTES):
                pass

    def sleep(self, most_s: float) -> None:
        """See `_Watch.sleep`."""
        deadline = time.monotonic() + most_s
        while (rest := deadline - time.monotonic()) > 0:
            changes = self._read(max(1, int(rest * 1000)))
            if not changes or any(os.fsdecode(change.name) in self._names for change in changes):
                return

    def _read(self, timeout_ms: int) -> list[_Change]:
        return cast("list[_Change]", self._inotify.read(timeout=timeout_ms))  # pyright: ignore[reportUnknownMemberType] - no stubs

    def close(self) -> None:
        """See `_Watch.close`."""
        self._inotify.close()
