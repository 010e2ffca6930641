"""Reciprocal rank fusion: one ranking from several that cannot be compared by score. Pure.

Source: Cormack, Clarke, Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual
Rank Learning Methods", SIGIR 2009.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final, TypeVar

__all__ = ["fuse"]

_K = TypeVar("_K", bound=Hashable)

_DAMPING: Final = 60
"""The paper's constant: the first of one ranking does not outweigh good places in all."""


def fuse(rankings: Sequence[Sequence[_K]], *, damping: int = _DAMPING) -> list[tuple[_K, float]]:
    """The items of all rankings, the best first, each with its score.

    A score is the sum of 1 / (damping + place) over the rankings that have the item. Of equal
    scores that one comes first which an earlier ranking has first.
    """
    scores: dict[_K, float] = {}
    for ranking in rankings:
        for place, item in enumerate(dict.fromkeys(ranking), start=1):
            scores[item] = scores.get(item, 0.0) + 1.0 / (damping + place)
    return sorted(scores.items(), key=lambda scored: -scored[1])
