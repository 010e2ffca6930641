"""Where a replay stands: its place in the run's own time, and how fast that goes by. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["MAX_SPEED", "MIN_SPEED", "Playhead", "Position"]

MIN_SPEED = 0.1
MAX_SPEED = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """As it is shown."""

    at: float
    """In the run's own time."""
    begins: float
    ends: float
    speed: float
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Playhead:
    """A place in a recorded time; `now` is always the clock of whoever watches."""

    begins: float
    ends: float
    speed: float
    since: float
    """By the watcher's clock: when `origin` was."""
    origin: float
    """In the run's own time."""
    paused: bool = False

    @classmethod
    def start(cls, *, begins: float, ends: float, speed: float, now: float) -> Playhead:
        """At the beginning, going."""
        speed = min(max(speed, MIN_SPEED), MAX_SPEED)
        return cls(begins=begins, ends=ends, speed=speed, since=now, origin=begins)

    def place(self, now: float) -> float:
        """Where it stands in the run's own time; never beyond the end."""
        gone = 0.0 if self.paused else max(0.0, now - self.since) * self.speed
        return min(self.origin + gone, self.ends)

    def position(self, now: float) -> Position:
        """As it is shown."""
        return Position(
            at=self.place(now),
            begins=self.begins,
            ends=self.ends,
            speed=self.speed,
            paused=self.paused,
        )

    def changed(
        self,
        now: float,
        *,
        speed: float | None = None,
        paused: bool | None = None,
        at: float | None = None,
    ) -> Playhead:
        """From now on at another speed, place, or standing still."""
        place = self.place(now) if at is None else min(max(at, self.begins), self.ends)
        return replace(
            self,
            since=now,
            origin=place,
            speed=self.speed if speed is None else min(max(speed, MIN_SPEED), MAX_SPEED),
            paused=self.paused if paused is None else paused,
        )
