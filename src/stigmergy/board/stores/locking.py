"""One writer at a time, over threads and processes, in the order of arrival.

The kernel grants `flock` roughly in order, where SQLite's own busy handler polls and lets some
processes starve for seconds. A lock belongs to an open file, so every holding opens the file anew:
that parts threads as well as processes, and closing is letting go.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from stigmergy.errors import TransientError

__all__ = ["BoardLock"]


class BoardLock:
    """An exclusive lock on a file, which is made if it is not there. Not reentrant.

    Args:
        path: the file.
        what: what it guards, for the errors.
    """

    def __init__(self, path: Path, *, what: str = "the board") -> None:
        self.path = path
        self._what = what

    @contextmanager
    def held(self, *, timeout_s: float | None = None) -> Generator[int]:
        """Hold it; the file descriptor that does, see `acquire`."""
        fd = self.acquire(timeout_s=timeout_s)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def held_if_free(self) -> Generator[bool]:
        """Hold it if nobody else does; whether it is held."""
        fd = self._opened()
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)

    def acquire(self, *, timeout_s: float | None = None) -> int:
        """A file descriptor that holds it; closing that lets go.

        Args:
            timeout_s: how long to wait at most. To wait with a time-out costs a thread, as much as
                the transaction that follows; so that is for whoever opens a board, and learns then
                that somebody is stuck. Without one the thread waits in the kernel, which may take
                as long as a holder is stopped.

        Raises:
            TransientError: another holder kept it beyond the time-out.
        """
        fd = self._opened()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if timeout_s is not None:
                return _Waiter(fd).result(timeout_s, self.path, self._what)
            return _wait(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _opened(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise TransientError(f"{self._what} cannot be locked: {error}; try again") from error

    def let_go(self, fd: int) -> None:
        """Let the next one have it, while the file stays open for its content."""
        fcntl.flock(fd, fcntl.LOCK_UN)


def _wait(fd: int) -> int:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except BaseException:  # an interrupt must not leave a lock behind
        os.close(fd)
        raise
    return fd


class _Waiter:
    """Waits in the kernel, which keeps the order of arrival, in a thread of its own.

    `flock` has no time-out; the thread lends it one. Whoever of the two comes first decides
    under `_decision` who closes the file.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._decision = threading.Lock()
        self._granted = threading.Event()
        self._abandoned = False
        threading.Thread(target=self._wait, name="board-lock", daemon=True).start()

    def _wait(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        with self._decision:
            if self._abandoned:
                os.close(self._fd)
            else:
                self._granted.set()

    def result(self, timeout_s: float, path: Path, what: str) -> int:
        """The locked file."""
        try:
            self._granted.wait(timeout_s)
        except BaseException:  # an interrupt must not leave a lock behind
            if self._abandon():
                os.close(self._fd)
            raise
        if not self._abandon():
            raise TransientError(
                f"{what} is locked by another process for more than {timeout_s:.0f} s "
                f"({path}); is one stopped or stuck?"
            )
        return self._fd

    def _abandon(self) -> bool:
        """Whether the lock was granted already; if not, the thread closes the file."""
        with self._decision:
            self._abandoned = not self._granted.is_set()
            return not self._abandoned
