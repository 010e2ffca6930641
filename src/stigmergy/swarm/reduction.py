"""From many results to one. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from stigmergy.board import JsonObject
from stigmergy.board.task import Json
from stigmergy.errors import UsageError

__all__ = ["REDUCTIONS", "Reduction", "best_score", "first", "majority_vote", "merge_all"]

Reduction = Callable[[Sequence[JsonObject]], JsonObject]
"""Makes one result of a non-empty sequence of results in posting order."""


def first(results: Sequence[JsonObject]) -> JsonObject:
    """The first in posting order."""
    return results[0]


def best_score(results: Sequence[JsonObject]) -> JsonObject:
    """The one with the highest number under `score`; the earlier of equals.

    Raises:
        UsageError: none of them has such a number.
    """
    scored = [result for result in results if _score(result) is not None]
    if not scored:
        raise UsageError("best_score: none of the results has a number under 'score'")
    return max(scored, key=lambda result: _score(result) or 0.0)


def merge_all(results: Sequence[JsonObject]) -> JsonObject:
    """All keys of all results, nothing dropped.

    Under one key objects merge, lists join, equal values stay one, and different values become a
    list of them in posting order.
    """
    merged: JsonObject = {}
    spread: set[str] = set()
    """Keys whose value became a list here, as against lists that were given."""
    for result in results:
        for key, value in result.items():
            if key not in merged:
                merged[key] = value
            elif key in spread:
                merged[key] = [*merged[key], value]
            else:
                merged[key], joined = _join(merged[key], value)
                if not joined:
                    spread.add(key)
    return merged


def majority_vote(results: Sequence[JsonObject]) -> JsonObject:
    """What most say: of `vote` where results have it, of whole results otherwise.

    Returns an object with `winner`, its `votes`, the `total`, and whether that is a `majority`
    (more than half). Among equals the earliest wins, with `majority` False.
    """
    ballots = [result.get("vote", result) for result in results]
    counts: dict[str, int] = {}
    for ballot in ballots:
        counts[_canonical(ballot)] = counts.get(_canonical(ballot), 0) + 1
    winner = max(ballots, key=lambda ballot: counts[_canonical(ballot)])
    votes = counts[_canonical(winner)]
    return {
        "winner": winner,
        "votes": votes,
        "total": len(ballots),
        "majority": votes * 2 > len(ballots),
    }


REDUCTIONS: Final[Mapping[str, Reduction]] = {
    "first": first,
    "best_score": best_score,
    "merge_all": merge_all,
    "majority_vote": majority_vote,
}
"""By the names that `SwarmCoordinator.reduce` takes."""


def _score(result: JsonObject) -> float | None:
    score: object = result.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        return None
    return float(score)


def _join(left: Json, right: Json) -> tuple[Json, bool]:
    if isinstance(left, dict) and isinstance(right, dict):
        return merge_all([cast("JsonObject", left), cast("JsonObject", right)]), True
    if isinstance(left, list) and isinstance(right, list):
        joined: list[Json] = [*cast("list[Json]", left), *cast("list[Json]", right)]
        return joined, True
    if _canonical(left) == _canonical(right):
        return cast("Json", left), True
    return cast("Json", [left, right]), False


def _canonical(value: Json) -> str:
    return json.dumps(value, sort_keys=True)
