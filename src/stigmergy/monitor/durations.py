"""How long tasks take, by type, from those that were completed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from stigmergy.monitor.tasks import TaskRow

__all__ = ["Durations"]

_LATER: Final = 0.1
"""The weight of each further observation in the mean, so that it follows what changes."""
_UNKNOWN_S: Final = 1.0
"""Of a type of which none was completed: then chains are compared by their length."""


@dataclass(slots=True)
class Durations:
    """A running mean for each type."""

    by_type: dict[str, float] = field(default_factory=dict[str, float])

    def learn(self, row: TaskRow) -> None:
        """Of a task that was just completed."""
        if row.claimed_at is None or row.finished_at is None:
            return
        took_s = max(0.001, row.finished_at - row.claimed_at)
        known = self.by_type.get(row.task_type)
        self.by_type[row.task_type] = took_s if known is None else known + _LATER * (took_s - known)

    def of(self, row: TaskRow) -> float:
        """How long such a task takes, as far as is known."""
        known = self.by_type.values()
        mean = sum(known) / len(known) if known else _UNKNOWN_S
        return self.by_type.get(row.task_type, mean)
