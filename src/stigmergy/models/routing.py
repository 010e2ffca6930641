"""Which provider to ask next: pure.

Primaries come before spillover. Within a role the order is drawn by weight, without replacement,
so that over many calls each provider is first in proportion to its weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Candidate", "next_ready_at", "order"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What routing knows of a provider that offers the model."""

    name: str
    role: Literal["primary", "spillover"] = "primary"
    weight: float = 1.0
    in_flight: int = 0
    max_concurrent: int | None = None
    ready_at: float = -math.inf
    """It is cooling down until then."""

    @property
    def has_room(self) -> bool:
        """Whether one more call may be sent."""
        return self.max_concurrent is None or self.in_flight < self.max_concurrent


def order(
    candidates: Sequence[Candidate], *, now: float, draws: Sequence[float]
) -> tuple[str, ...]:
    """The names of those that can be asked now, best first.

    Args:
        candidates: distinct by name.
        now: on the clock of `ready_at`.
        draws: one number in [0, 1) for each candidate, uniform and independent.
    """
    ranked = [
        (candidate.role != "primary", _arrival(candidate.weight, draw), candidate.name)
        for candidate, draw in zip(candidates, draws, strict=True)
        if candidate.has_room and candidate.ready_at <= now
    ]
    return tuple(name for _, _, name in sorted(ranked))


def next_ready_at(candidates: Sequence[Candidate]) -> float | None:
    """When the first of those with room has cooled down; None if none has room."""
    return min((c.ready_at for c in candidates if c.has_room), default=None)


def _arrival(weight: float, draw: float) -> float:
    # The first of independent exponential clocks with rates `weight` rings in proportion to it.
    # Source: Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.
    return math.inf if weight == 0 else -math.log(1.0 - draw) / weight
