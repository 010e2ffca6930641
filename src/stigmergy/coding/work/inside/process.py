"""Running a program with bounded time and output, and nothing of it left afterwards."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Ended", "Tail", "run"]

_POLL_S = 0.1
"""How soon we see that a program ended whose children still hold its output open."""
_LINE_BYTES = 4_096


class Ended(NamedTuple):
    """How a program ended, and the start and the end of what it printed."""

    code: int
    """Exit status; negative is the signal that killed it."""
    output: str
    """stdout and stderr as they came; a note stands where the middle was dropped."""
    timed_out: bool
    duration_s: float


class Tail:
    """Keeps the first `head` and the last `tail` bytes of a stream."""

    def __init__(self, head: int, tail: int) -> None:
        self._head_limit, self._tail_limit = head, tail
        self._head, self._tail = bytearray(), bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        room = self._head_limit - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        excess = len(self._tail) - self._tail_limit
        if excess > 0:
            self._dropped += excess
            del self._tail[:excess]

    def text(self) -> str:
        """What was kept, as text."""
        if not self._dropped:
            return (self._head + self._tail).decode(errors="replace")
        head, tail = self._head.decode(errors="replace"), self._tail.decode(errors="replace")
        return f"{head}\n[… {self._dropped:,} bytes left out …]\n{tail}"


class _Lines:
    """Cuts a stream of bytes into lines for `on_line`; a very long line comes in pieces."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""

    def add(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._on_line(line[:_LINE_BYTES].decode(errors="replace"))
        if len(self._rest) > _LINE_BYTES:
            self.end()

    def end(self) -> None:
        if self._rest:
            self._on_line(self._rest[:_LINE_BYTES].decode(errors="replace"))
        self._rest = b""


def run(
    argv: Sequence[str],
    *,
    cwd: str,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    head_bytes: int = 8_192,
    tail_bytes: int = 24_576,
    on_line: Callable[[str], None] | None = None,
) -> Ended:
    """Run a program to its end or for `timeout_s`; then its process group is killed.

    Raises:
        OSError: it could not be started.
    """
    started = time.monotonic()
    # A session of its own: what it starts can be killed without killing us, and it has no
    # terminal to ask anything on.
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=None if env is None else dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    kept = Tail(head_bytes, tail_bytes)
    lines = _Lines(on_line or (lambda _: None))

    def take(data: bytes) -> None:
        kept.add(data)
        lines.add(data)

    try:
        timed_out = not _read(process, take, deadline=started + timeout_s)
    finally:
        _kill_group(process)
    _read(process, take, deadline=time.monotonic() + _POLL_S)
    lines.end()
    assert process.stdout is not None
    process.stdout.close()
    return Ended(process.returncode, kept.text(), timed_out, time.monotonic() - started)


def _read(
    process: subprocess.Popen[bytes], take: Callable[[bytes], None], *, deadline: float
) -> bool:
    """Take output until the program ended; False when the deadline came first."""
    assert process.stdout is not None
    fd = process.stdout.fileno()
    open_pipe = True
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not open_pipe:
                return _ended(process, left)
            if selector.select(min(left, _POLL_S)):
                data = os.read(fd, 65_536)
                open_pipe = bool(data)
                take(data)
            elif process.poll() is not None:
                return True  # a program in the background still holds the pipe
    return False


def _ended(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # every one of them has ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
