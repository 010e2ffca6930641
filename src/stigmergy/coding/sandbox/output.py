"""A program's output: lines handed on as they come, a bounded amount, and the true end kept."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["LINE_BYTES", "TAIL_BYTES", "Captured"]

LINE_BYTES = 1024**2
"""A longer line is handed on in pieces of this size."""
TAIL_BYTES = 64 * 1024


class Captured:
    """One stream. `dropped` counts the bytes beyond the limit: no line is made of them.

    The tail is the stream's end all the same: there stands why a program failed.
    """

    def __init__(self, limit: int, on_line: Callable[[str], None] | None) -> None:
        self.dropped = 0
        self._left = limit
        self._on_line = on_line
        self._line = b""
        self._tail = b""

    def add(self, data: bytes) -> None:
        """Take what was read; may call `on_line`."""
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        kept = data[: self._left]
        self._left -= len(kept)
        self.dropped += len(data) - len(kept)
        if self._on_line is None:
            return
        *lines, self._line = (self._line + kept).split(b"\n")
        for line in lines:
            self._on_line(line.decode(errors="replace"))
        while len(self._line) >= LINE_BYTES:
            piece, self._line = self._line[:LINE_BYTES], self._line[LINE_BYTES:]
            self._on_line(piece.decode(errors="replace"))

    def finish(self) -> str:
        """Hand on a last line without newline; returns the tail."""
        if self._line and self._on_line is not None:
            line, self._line = self._line, b""
            self._on_line(line.decode(errors="replace"))
        return self._tail.decode(errors="replace")
