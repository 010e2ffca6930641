"""How many requests each token may make: a bucket that fills evenly. Pure; time is passed in."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Bucket", "Rate", "RateTable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many requests a second in the long run, and `burst` at once."""

    per_s: float = 1_000.0
    burst: int = 2_000


@dataclass(slots=True)
class Bucket:
    """What is left for one token."""

    left: float
    at: float

    def take(self, rate: Rate, now: float) -> float:
        """Take one; 0.0 if there was one, or else in how many seconds there will be."""
        self.left = min(float(rate.burst), self.left + max(0.0, now - self.at) * rate.per_s)
        self.at = now
        if self.left >= 1.0:
            self.left -= 1.0
            return 0.0
        return (1.0 - self.left) / rate.per_s


@dataclass(slots=True)
class RateTable:
    """The buckets of all tokens: there are as many as the server knows tokens."""

    rate: Rate
    buckets: dict[str, Bucket] = field(default_factory=dict[str, Bucket])

    def take(self, name: str, now: float) -> float:
        """As `Bucket.take`."""
        bucket = self.buckets.setdefault(name, Bucket(float(self.rate.burst), now))
        return bucket.take(self.rate, now)
