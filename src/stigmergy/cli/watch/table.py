"""A table brought up to date cell by cell, so that nothing flickers and the cursor stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.text import Text
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from stigmergy.cli.watch.picture import MOST_ROWS, Cell, Row

__all__ = ["RowTable"]

_WIDTHS: Final = {
    "agent": (10, 16),
    "state": (8, 9),
    "for": (8, 8),
    "tokens": (8, 10),
    "doing": (60, 60),
    "task": (12, 20),
    "type": (8, 12),
    "status": (11, 11),
    "stands": (18, 30),
    "item": (12, 16),
    "back": (4, 4),
    "came to": (20, 34),
    "what": (60, 60),
}
"""Of columns, in characters, where there is little room and where there is more.

Fixed, so that nothing moves sideways and nothing is measured.
"""


class RowTable(DataTable[Text]):
    """Shows rows in the order given. Off the top, the cursor stays on its row."""

    def __init__(self, headings: Sequence[str], *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, cursor_type="row", zebra_stripes=False, cell_padding=1)
        self._headings: tuple[str, ...] = ()
        self._is_roomy = False
        self._keys: list[str] = []
        self._cells: list[tuple[Cell, ...]] = []
        self.head(headings)

    def head(self, headings: Sequence[str], *, is_roomy: bool = False) -> None:
        """Begin anew under these headings, unless they stand there already."""
        if (tuple(headings), is_roomy) == (self._headings, self._is_roomy):
            return
        self._headings, self._is_roomy = tuple(headings), is_roomy
        self._keys, self._cells = [], []
        self.clear(columns=True)
        for heading in headings:
            self.add_column(heading, key=heading, width=self._width(heading))

    @property
    def selected(self) -> str | None:
        """The key of the row under the cursor."""
        row = self.cursor_row
        return self._keys[row] if 0 <= row < len(self._keys) else None

    def show(self, rows: Sequence[Row]) -> int:
        """Show these rows, as far as there is room; how many cells that changed."""
        rows = rows[:MOST_ROWS]
        chosen = self.selected
        changed = 0
        for place, row in enumerate(rows):
            if place >= len(self._cells):
                self.add_row(*map(self._cell, self._headings, row.cells))
                self._cells.append(row.cells)
                changed += len(row.cells)
            elif row.cells != self._cells[place]:
                changed += self._change(place, row.cells)
        while len(self._cells) > len(rows):
            self.remove_row(self.ordered_rows[-1].key)
            self._cells.pop()
            changed += 1
        self._keys = [row.key for row in rows]
        # At the top it stays at the top: whoever wants to follow a row goes to it.
        if self.cursor_row > 0 and chosen is not None and chosen in self._keys:
            place = self._keys.index(chosen)
            if place != self.cursor_row:
                self.move_cursor(row=place, animate=False)
        return changed

    def _change(self, place: int, cells: tuple[Cell, ...]) -> int:
        changed = 0
        before = self._cells[place]
        for column, (old, new) in enumerate(zip(before, cells, strict=True)):
            if old != new:
                cell = self._cell(self._headings[column], new)
                self.update_cell_at(Coordinate(place, column), cell)
                changed += 1
        self._cells[place] = cells
        return changed

    def _width(self, heading: str) -> int:
        return _WIDTHS[heading][self._is_roomy]

    def _cell(self, heading: str, cell: Cell) -> Text:
        text, style = cell
        widest = self._width(heading)
        shown = text if len(text) <= widest else f"{text[: widest - 1]}…"
        return Text(shown, style=style, no_wrap=True)
