"""The lines of WGSL that are being written."""

from collections.abc import Generator
from contextlib import contextmanager

from stigmergy.errors import UnsupportedError

__all__ = ["Text"]

_DEEPEST = 60


class Text:
    """Lines, indented by the blocks that they stand in."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: list[str] = []
        self._depth = 0
        self._closed: tuple[int, int, str] | None = None
        """The block that was ended last: how many lines there were then, its depth, its text."""

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"

    def line(self, text: str) -> None:
        """Write a line."""
        self._lines.append("  " * self._depth + text)

    def open(self, text: str) -> None:
        """Begin a block.

        Raises:
            UnsupportedError: Blocks are nested too deeply for shader compilers.
        """
        self.line(text)
        self._depth += 1
        if self._depth > _DEEPEST:
            message = f"{self._name} nests its blocks more deeply than shader compilers take"
            raise UnsupportedError(message)

    def go_on(self, text: str) -> None:
        """Begin a block, or go on in the last one if it began with the same text just before.

        Nothing in it may have changed what the text asks.
        """
        before = self._closed
        if before == (len(self._lines), self._depth, text) and not _jumps(self._lines[-2]):
            self._lines.pop()
            self._depth += 1
        else:
            self.open(text)

    def close_last(self, text: str) -> None:
        """End a block that began with this text, for `go_on`."""
        self.close()
        self._closed = len(self._lines), self._depth, text

    def close(self, text: str = "}") -> None:
        """End a block."""
        self._depth -= 1
        self.line(text)

    def close_and_open(self, text: str) -> None:
        """End a block and begin another in one line, such as `} else {`."""
        self.close(text)
        self._depth += 1

    @contextmanager
    def aside(self) -> Generator[list[str]]:
        """Write into a list of its own what may be added later, one block deeper."""
        kept, self._lines = self._lines, []
        self._closed = None
        self._depth += 1
        try:
            yield self._lines
        finally:
            self._depth -= 1
            self._lines, self._closed = kept, None

    def add(self, lines: list[str]) -> None:
        """Add what was written aside."""
        self._lines += lines


def _jumps(line: str) -> bool:
    """Whether nothing may stand behind a line in its block."""
    return line.endswith(("break;", "continue;"))
