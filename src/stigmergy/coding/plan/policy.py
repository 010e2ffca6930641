"""When a planner plans again, how long it waits after an error, and when it gives up. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Ceilings", "ItemOutcome", "Progress", "backoff_s", "is_replan_due"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """Hard limits of a planner, so that no model can plan for ever."""

    max_sprints: int = 20
    max_items: int = 200
    """In all sprints together."""
    items_per_sprint: int = 20
    outcomes_per_replan: int = 3
    """So many items must have ended since the last sprint, or all that were open."""
    max_errors: int = 10
    """In a row."""
    first_backoff_s: float = 2.0
    max_backoff_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemOutcome:
    """How an item ended: its handoff, and whether it landed."""

    status: Literal["landed", "failed"]
    summary: str = ""
    """What the agent said."""
    concerns: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    error: str = ""
    """Why it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where the run stands, as the source of its items sees it."""

    tip: str
    """The commit that the target is at."""
    ended: Mapping[str, ItemOutcome] = field(default_factory=dict[str, ItemOutcome])
    open: frozenset[str] = frozenset()
    """Keys of the items on the board that have not ended."""

    @property
    def known(self) -> frozenset[str]:
        """Keys of all items on the board."""
        return self.open | self.ended.keys()

    @property
    def failed(self) -> frozenset[str]:
        """Keys of the items that will not land."""
        return frozenset(key for key, end in self.ended.items() if end.status == "failed")


def is_replan_due(progress: Progress, *, told: frozenset[str], ceilings: Ceilings) -> bool:
    """There is enough news for a sprint; `told` are the ended items that the planner knows of."""
    news = len(progress.ended.keys() - told)
    return not progress.open or news >= ceilings.outcomes_per_replan


def backoff_s(errors: int, ceilings: Ceilings) -> float:
    """Seconds to wait after so many errors in a row (1 is the first)."""
    doublings = min(errors - 1, 30)  # enough for any ceiling, and no float overflows
    return min(ceilings.max_backoff_s, ceilings.first_backoff_s * 2.0**doublings)
