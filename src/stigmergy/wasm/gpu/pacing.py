"""How many instructions an agent may use in one dispatch. Pure.

A watchdog ends a device that is busy for two seconds or so, and everything on it is lost; a host
that asks all the time is slow. So a slice doubles while dispatches are fast and halves when slow.
"""

from dataclasses import dataclass, replace

__all__ = ["AIM_S", "Pace"]

AIM_S = 0.15
"""What a dispatch shall take where there may be a watchdog: between 50 and 200 ms."""
_VERY_FAST_S = 0.005
_LEAST = 256


@dataclass(frozen=True, slots=True)
class Pace:
    """The next slice: `limit` instructions for each of at most `agents` agents in a dispatch.

    For how many agents a first guess is good is not known. `aim_s`: what a dispatch shall take; a
    third of it is fast, and four thirds are slow.
    """

    limit: int
    longest: int
    agents: int | None = None
    aim_s: float = AIM_S

    @property
    def fast_s(self) -> float:
        """What is faster could do more."""
        return self.aim_s / 3

    @property
    def slow_s(self) -> float:
        """What is slower shall do less."""
        return self.aim_s * 4 / 3

    def after(self, elapsed_s: float, agents: int) -> "Pace":
        """Return the pace after a dispatch of so many agents took so long."""
        if elapsed_s < _VERY_FAST_S:
            limit = self.limit * 8
        elif elapsed_s < self.fast_s:
            limit = self.limit * 2
        elif elapsed_s > self.slow_s:
            limit = self.limit // 2
        else:
            limit = self.limit
        return replace(self, limit=self._within(limit), agents=agents)

    def for_agents(self, agents: int) -> "Pace":
        """Return the pace with so many agents in a dispatch: of more, each may use less."""
        if self.agents is None or agents <= self.agents:
            return self
        limit = self._within(self.limit * self.agents // agents)
        return replace(self, limit=limit, agents=agents)

    def _within(self, limit: int) -> int:
        return max(min(_LEAST, self.longest), min(limit, self.longest))
