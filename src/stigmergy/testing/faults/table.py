"""The fault table: a row for each fault and store, and how it is shown."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stigmergy.testing.faults.checker import Violation

__all__ = ["HEADER", "Fault", "Row", "Setting", "format_row", "row_to_json", "verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a fault is given."""

    store: str
    """`sqlite`, `files` or `postgres`."""
    server: str
    """The URL of an empty database; empty for stores that are files."""
    folder: Path
    """Empty; for boards that are files, for ledgers and copies."""
    seed: str
    short: bool
    """A few seconds, instead of minutes."""

    @property
    def url(self) -> str:
        """A board that is not there yet."""
        return self.another("board")

    def another(self, name: str) -> str:
        """One more board that is not there yet."""
        if self.server:
            return f"{self.server}&board={name}"
        return str(self.folder / (f"{name}.db" if self.store == "sqlite" else name))

    @property
    def rng(self) -> random.Random:
        """Randomness that the seed gives; the same each time it is asked for."""
        return random.Random(self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of a fault."""

    injected: int
    """How often something was broken."""
    violations: Sequence[Violation] = ()
    notes: str = ""
    limit: str = ""
    """What this store cannot promise, and did not keep, in words; empty where there is nothing."""

    def harmed(self, harm: str) -> int:
        """How many violations did that."""
        return sum(violation.harm == harm for violation in self.violations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that breaks, and how to see what comes of it."""

    name: str
    stores: tuple[str, ...]
    run: Callable[[Setting], Row]
    missing: Callable[[], str | None] = lambda: None
    """Why it cannot be run on this machine; None where it can."""


_WIDTHS: Final = (34, 9, 9, 5, 11, 6, 9)


def _line(cells: Sequence[str]) -> str:
    *narrow, last = cells
    padded = [
        cell.ljust(width) if place < 2 or place == 6 else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(narrow, _WIDTHS, strict=True))
    ]
    return "  ".join([*padded, last]).rstrip()


HEADER: Final = _line(
    ["fault", "store", "injected", "lost", "done twice", "other", "verdict", "notes"]
)


def verdict(row: Row | None) -> str:
    """In a word; None was not run."""
    if row is None:
        return "not run"
    if row.violations:
        return "BROKEN"
    return "limit" if row.limit else "holds"


def format_row(fault: str, store: str, row: Row | None, *, seconds: float, why: str = "") -> str:
    """A line of the table; `why` says why it was not run."""
    if row is None:
        return _line([fault, store, "-", "-", "-", "-", "not run", why])
    counts = [row.injected, *(row.harmed(harm) for harm in ("lost", "done twice", "other"))]
    notes = "; ".join(note for note in (row.limit, row.notes, f"{seconds:.1f} s") if note)
    return _line([fault, store, *map(str, counts), verdict(row), notes])


def row_to_json(
    fault: str, store: str, row: Row | None, *, seconds: float, why: str = ""
) -> dict[str, Any]:
    """The same for programs."""
    record: dict[str, Any] = {"fault": fault, "store": store, "verdict": verdict(row)}
    if row is None:
        return record | {"why": why}
    return record | {
        "injected": row.injected,
        "lost": row.harmed("lost"),
        "done_twice": row.harmed("done twice"),
        "other": row.harmed("other"),
        "violations": [str(violation) for violation in row.violations],
        "limit": row.limit,
        "notes": row.notes,
        "seconds": round(seconds, 3),
    }
