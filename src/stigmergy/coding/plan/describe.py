"""What `stig run --dry-run` shows of a plan, as plain values. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stigmergy.coding.plan.graph import critical_path, levels
from stigmergy.coding.plan.overlap import Overlap, find_overlaps
from stigmergy.coding.plan.workitem import WorkItem

__all__ = ["Description", "Row", "describe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One item, as a line of a table."""

    key: str
    title: str
    priority: int
    wave: int
    """Counts from 1; items of a wave wait only for items of earlier waves."""
    depends_on: tuple[str, ...]
    scope: tuple[str, ...]
    acceptance: int
    """How many criteria it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A plan before it runs."""

    rows: tuple[Row, ...]
    """By wave, then priority, then as given."""
    waves: tuple[tuple[str, ...], ...]
    critical_path: tuple[str, ...]
    """A longest chain of items that wait for each other: more workers do not shorten it."""
    overlaps: tuple[Overlap, ...]

    @property
    def widest_wave(self) -> int:
        """More workers than this have nothing to do."""
        return max(map(len, self.waves), default=0)


def describe(items: Sequence[WorkItem]) -> Description:
    """The plan of valid items (`check_items`)."""
    graph = {item.key: item.depends_on for item in items}
    waves = levels(graph)
    wave_of = {key: number for number, wave in enumerate(waves, 1) for key in wave}
    rows = [
        Row(
            key=item.key,
            title=item.title.strip().splitlines()[0],
            priority=item.priority,
            wave=wave_of[item.key],
            depends_on=item.depends_on,
            scope=item.scope,
            acceptance=len(item.acceptance),
        )
        for item in items
    ]
    return Description(
        rows=tuple(sorted(rows, key=lambda row: (row.wave, row.priority))),
        waves=waves,
        critical_path=critical_path(graph),
        overlaps=find_overlaps(items),
    )
