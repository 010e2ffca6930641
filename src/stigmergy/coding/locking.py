"""Taking a lock on a file, where somebody may hold it for an instant without being at work.

Who only asks whether it is held has it for that long; and when a process is killed, a child that
it was just starting has what it held until the child becomes another program.
"""

from __future__ import annotations

import fcntl
import time
from typing import Final

__all__ = ["is_free", "take"]

_INSTANT_S: Final = 1.0
_LOOK_S: Final = 0.01


def take(fd: int) -> bool:
    """Hold the lock from now until the file is closed; False: somebody is at work under it."""
    until = time.monotonic() + _INSTANT_S
    while not _try(fd, fcntl.LOCK_EX):
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_S)
    return True


def is_free(fd: int) -> bool:
    """Whether nobody holds it. Two may ask at once, and not take each other for the holder."""
    return _try(fd, fcntl.LOCK_SH)


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
