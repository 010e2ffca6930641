"""The vocabulary that all modules share: cells, values, errors and the tree of a formula."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypeAlias

MAX_ROWS = 9_999
MAX_COLUMNS = 702  # A to ZZ


class CellError(Enum):
    """What a cell shows when it has no value."""

    DIV0 = "#DIV/0!"
    REF = "#REF!"
    NAME = "#NAME?"
    VALUE = "#VALUE!"
    CYCLE = "#CYCLE!"

    def __str__(self) -> str:
        return self.value


class SheetError(Exception):
    """A fault that a person can mend; the message is for them."""


class FormulaSyntaxError(SheetError):
    """The text after the equals sign is not a formula."""


class CalculationError(Exception):
    """A calculation ended in an error value."""

    def __init__(self, error: CellError) -> None:
        super().__init__(str(error))
        self.error = error


class Cell(NamedTuple):
    """A place in the sheet, counted from 0: `B3` is `Cell(row=2, column=1)`."""

    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Range:
    """A rectangle of cells, both corners included; `first` is the upper left one."""

    first: Cell
    last: Cell

    def rows(self) -> Iterator[tuple[Cell, ...]]:
        """Its cells, row by row."""
        columns = range(self.first.column, self.last.column + 1)
        for row in range(self.first.row, self.last.row + 1):
            yield tuple(Cell(row, column) for column in columns)

    def cells(self) -> Iterator[Cell]:
        """Its cells, in reading order."""
        for row in self.rows():
            yield from row


Value: TypeAlias = float | str | bool | CellError | None
"""Of a cell. Numbers are always floats; None is an empty cell."""

Block: TypeAlias = tuple[tuple[Value, ...], ...]
"""The values of a range, row by row."""

Argument: TypeAlias = Value | Block
"""Of a function."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, text, boolean or error written in the formula."""

    value: Value


@dataclass(frozen=True, slots=True)
class Reference:
    """The value of another cell."""

    cell: Cell


@dataclass(frozen=True, slots=True)
class Area:
    """The values of a range; only a function can take it."""

    range: Range


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x`, `+x` or `x%`."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands with an operator between them."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A function, its name in capitals, with its arguments."""

    name: str
    arguments: tuple[Node, ...]


Node: TypeAlias = Literal | Reference | Area | Unary | Binary | Call
