"""How the swarm went on over time, in at most six hundred points however long it takes.

A point says how things stood at the end of a step; sums are those since the beginning, so of two
points the later one stands for both. When all points are taken the step doubles. Made of events
alone: whoever folds the same journal gets the same points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Final

from stigmergy.board import JsonObject

__all__ = ["MOST_POINTS", "Point", "Series", "Standing"]

MOST_POINTS: Final = 600
_STEP_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How things stand at one moment. Unknown is None."""

    landings: int
    """Since the beginning, as are `tokens` and `cost_usd`."""
    pending: int
    working: int
    """Agents that hold a task."""
    completed: int
    failed: int
    tokens: int | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """How things stood at the end of a step."""

    at: float
    standing: Standing

    def document(self) -> JsonObject:
        """As JSON values."""
        return {"at": self.at, **asdict(self.standing)}


@dataclass(slots=True)
class Series:
    """The points so far. `advance` comes before what changes the standing."""

    step_s: float = _STEP_S
    points: list[Point] = field(default_factory=list[Point])
    new: list[Point] = field(default_factory=list[Point])
    """Points added since somebody emptied this."""
    remade: bool = False
    """Earlier points were changed since somebody reset this."""
    _until: float | None = None
    """The end of the step that has begun."""

    def advance(self, at: float, standing: Callable[[], Standing]) -> None:
        """Close the steps that have ended by then."""
        if self._until is None:
            self._until = self._end_of_step(at)
        if at < self._until:
            return
        stood = standing()
        while at >= self._until:
            missing = math.floor((at - self._until) / self.step_s) + 1
            if len(self.points) + missing > MOST_POINTS:
                self._double()
                continue
            point = Point(at=self._until, standing=stood)
            self.points.append(point)
            self.new.append(point)
            self._until += self.step_s

    def _end_of_step(self, at: float) -> float:
        return (math.floor(at / self.step_s) + 1) * self.step_s

    def _double(self) -> None:
        assert self._until is not None
        begun = self._until - self.step_s
        self.step_s *= 2
        # Those at an odd multiple of the old step fall within a step of the new one.
        self.points = [point for point in self.points if point.at % self.step_s == 0]
        self._until = self._end_of_step(begun)
        self.new.clear()
        self.remade = True

    def document(self) -> JsonObject:
        """As JSON values."""
        return {"step_s": self.step_s, "points": [point.document() for point in self.points]}
