"""Wake up when a file changes: inotify where the system has it, a short poll elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from typing import Protocol

    class _Change(Protocol):
        name: str


__all__ = ["wait_for_change"]

_POLL_S = 0.02
_SAFETY_S = 1.0
"""inotify is looked past this often: network and overlay file systems may not report."""


def wait_for_change(
    folder: Path, *, names: frozenset[str], timeout_s: float, ready: Callable[[], bool]
) -> bool:
    """Sleep until `ready()`, looking again whenever one of the files `names` in `folder` changes.

    False if the time ran out first. `ready` is called after the watch is set, so a change between
    an earlier look and this call is not missed.
    """
    deadline = time.monotonic() + timeout_s
    with _watch(folder, names) as wait:
        while not ready():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            wait(left)
    return True


@contextmanager
def _watch(folder: Path, names: frozenset[str]) -> Generator[Callable[[float], None]]:
    """A function that sleeps until something may have changed, at most the given seconds."""
    if sys.platform != "linux":
        pause = threading.Event()
        yield lambda left: bool(pause.wait(min(left, _POLL_S))) or None
        return
    from inotify_simple import INotify, flags

    inotify = INotify()
    mask = int(flags.MODIFY | flags.CREATE | flags.MOVED_TO | flags.CLOSE_WRITE)
    inotify.add_watch(folder, mask)  # pyright: ignore[reportUnknownMemberType] - no stubs

    def wait(left: float) -> None:
        deadline = time.monotonic() + min(left, _SAFETY_S)
        while (rest := deadline - time.monotonic()) > 0:
            changes = cast("list[_Change]", inotify.read(timeout=max(1, int(rest * 1000))))  # pyright: ignore[reportUnknownMemberType] - no stubs
            if not changes or any(os.fsdecode(change.name) in names for change in changes):
                return

    try:
        yield wait
    finally:
        inotify.close()
