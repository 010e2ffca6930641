"""Figures, the tables they stand in, and their JSON form."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Figure", "Report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number, the median of its rounds."""

    section: str
    system: str
    measure: str
    unit: str
    """/s, ms, MB, x (a ratio) or empty (a count)."""
    rounds: tuple[float, ...]
    """Empty: not measured."""
    note: str = ""

    @property
    def value(self) -> float | None:
        return statistics.median(self.rounds) if self.rounds else None

    @property
    def text(self) -> str:
        """As a table shows it; a star says that there is a note."""
        if self.value is None:
            return "not measured"
        return _number(self.value, self.unit) + ("*" if self.note else "")


class Report:
    """Collects figures; a section's table is printed as soon as it is whole."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self.facts: dict[str, str] = {}

    def add(
        self,
        section: str,
        system: str,
        measure: str,
        rounds: Sequence[float | None],
        unit: str,
        *,
        note: str = "",
    ) -> Figure:
        """Note a figure: what each round measured, None where it measured nothing."""
        measured = tuple(value for value in rounds if value is not None)
        figure = Figure(
            section=section,
            system=system,
            measure=measure,
            unit=unit,
            rounds=measured,
            note=note,
        )
        self.figures.append(figure)
        return figure

    def value(self, section: str, system: str, measure: str) -> float | None:
        """A figure that was noted before."""
        wanted = (section, system, measure)
        for figure in self.figures:
            if (figure.section, figure.system, figure.measure) == wanted:
                return figure.value
        return None

    def show(self, section: str) -> None:
        """Print a section: a row for each system, a column for each measure."""
        figures = [figure for figure in self.figures if figure.section == section]
        cells = {(figure.system, figure.measure): figure for figure in figures}
        systems = list(dict.fromkeys(figure.system for figure in figures))
        measures = list(dict.fromkeys(figure.measure for figure in figures))
        rows = [["", *(_heading(figures, measure) for measure in measures)]]
        for system in systems:
            found = [cells.get((system, measure)) for measure in measures]
            rows.append([system, *("" if one is None else one.text for one in found)])
        print(f"\n== {section}")
        _print_rows(rows)
        for figure in figures:
            if figure.note:
                print(f"  * {figure.system}, {figure.measure}: {figure.note}")

    def say(self, text: str) -> None:
        print(text, flush=True)

    def write(self, path: Path) -> None:
        """All figures as JSON."""
        figures = [{**asdict(figure), "value": figure.value} for figure in self.figures]
        path.write_text(json.dumps({"facts": self.facts, "figures": figures}, indent=1) + "\n")


def _heading(figures: Sequence[Figure], measure: str) -> str:
    unit = next(figure.unit for figure in figures if figure.measure == measure)
    return f"{measure} {unit}".strip()


def _number(value: float, unit: str) -> str:
    match unit:
        case "/s" | "MB" | "":
            return f"{value:,.0f}"
        case "x":
            return f"{value:.2f}" if value < 100 else f"{value:,.0f}"
        case _:
            return f"{value:.3f}" if value < 10 else f"{value:,.0f}"


def _print_rows(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *rest = (
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *rest]).rstrip(), flush=True)
