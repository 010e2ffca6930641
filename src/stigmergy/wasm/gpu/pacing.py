"""How many instructions an agent may use in one dispatch. Pure.

A watchdog ends a device that is busy for two seconds or so, and everything on it is lost; a host
that asks all the time is slow. So a slice doubles while dispatches are fast and halves when slow.
"""

from dataclasses import dataclass

__all__ = ["FAST_S", "SLOW_S", "Pace"]

FAST_S = 0.05
SLOW_S = 0.2
_VERY_FAST_S = 0.005
_LEAST = 256


@dataclass(frozen=True, slots=True)
class Pace:
    """The next slice: `limit` instructions for each of at most `agents` agents in a dispatch.

    For how many agents a first guess is good is not known.
    """

    limit: int
    longest: int
    agents: int | None = None

    def after(self, elapsed_s: float, agents: int) -> "Pace":
        """Return the pace after a dispatch of so many agents took so long."""
        if elapsed_s < _VERY_FAST_S:
            limit = self.limit * 8
        elif elapsed_s < FAST_S:
            limit = self.limit * 2
        elif elapsed_s > SLOW_S:
            limit = self.limit // 2
        else:
            limit = self.limit
        return Pace(self._within(limit), self.longest, agents)

    def for_agents(self, agents: int) -> "Pace":
        """Return the pace with so many agents in a dispatch: of more, each may use less."""
        if self.agents is None or agents <= self.agents:
            return self
        return Pace(self._within(self.limit * self.agents // agents), self.longest, agents)

    def _within(self, limit: int) -> int:
        return max(min(_LEAST, self.longest), min(limit, self.longest))
