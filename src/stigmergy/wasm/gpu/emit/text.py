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
        self._depth += 1
        try:
            yield self._lines
        finally:
            self._depth -= 1
            self._lines = kept

    def add(self, lines: list[str]) -> None:
        """Add what was written aside."""
        self._lines += lines
