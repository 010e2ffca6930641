"""Where the generator's decisions come from: a seed, or Hypothesis, which can shrink them."""

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Choices", "SeededChoices"]

_Item = TypeVar("_Item")


class Choices(ABC):
    """Decisions, each a number below a bound; 0 is the simplest everywhere."""

    @abstractmethod
    def below(self, bound: int) -> int:
        """Choose one of 0 … bound - 1."""

    def chance(self, percent: int) -> bool:
        """Choose True in so many of a hundred cases."""
        return self.below(100) >= 100 - percent

    def pick(self, items: Sequence[_Item]) -> _Item:
        """Choose one of the items."""
        return items[self.below(len(items))]

    def weighted(self, items: Sequence[tuple[int, _Item]]) -> _Item:
        """Choose one of the items, each by its weight."""
        at = self.below(sum(weight for weight, _ in items))
        for weight, item in items:
            if at < weight:
                return item
            at -= weight
        raise AssertionError

    def bits(self, width: int) -> int:
        """Choose a number of so many bits."""
        return self.below(1 << width)


class SeededChoices(Choices):
    """Decisions from a seed: fast, the same ones on every machine."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)  # noqa: S311 - drawn again from the seed

    def below(self, bound: int) -> int:
        """Choose one of 0 … bound - 1."""
        return self._random.randrange(bound)
