"""A table brought up to date cell by cell, so that nothing flickers and the cursor stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.text import Text
from textual.widgets import DataTable

from stigmergy.cli.watch.picture import MOST_ROWS, Cell, Row

__all__ = ["RowTable"]

_WIDEST: Final = {"doing": 60, "what": 60, "stands": 34, "came to": 34, "task": 24, "item": 24}
"""Columns whose texts are cut, in characters."""
_USUAL_WIDTH: Final = 16


class RowTable(DataTable[Text]):
    """Shows rows in the order given. Off the top, the cursor stays on its row."""

    def __init__(self, headings: Sequence[str], *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, cursor_type="row", zebra_stripes=False, cell_padding=1)
        self._headings: tuple[str, ...] = ()
        self._keys: list[str] = []
        self._cells: list[tuple[Cell, ...]] = []
        self.head(headings)

    def head(self, headings: Sequence[str]) -> None:
        """Begin anew under these headings, unless they stand there already."""
        if tuple(headings) == self._headings:
            return
        self._headings = tuple(headings)
        self._keys, self._cells = [], []
        self.clear(columns=True)
        for heading in headings:
            self.add_column(heading, key=heading)

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
                # A column that grows with its cells is measured anew; one that shrinks stays.
                grows = len(new[0]) > len(old[0])
                cell = self._cell(self._headings[column], new)
                self.update_cell_at((place, column), cell, update_width=grows)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - a coordinate is a pair
                changed += 1
        self._cells[place] = cells
        return changed

    def _cell(self, heading: str, cell: Cell) -> Text:
        text, style = cell
        widest = _WIDEST.get(heading, _USUAL_WIDTH)
        shown = text if len(text) <= widest else f"{text[: widest - 1]}…"
        return Text(shown, style=style, no_wrap=True)
