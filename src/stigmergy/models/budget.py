"""The arithmetic of hard budgets: pure.

Before a call an upper estimate of its tokens and cost is reserved in every scope (task, run,
fleet); afterwards the reservation is replaced by what was spent. Reservations count like spend
against a limit, so calls at the same time cannot overspend together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from stigmergy.models.config import BudgetLimits

__all__ = [
    "NOTHING",
    "Amount",
    "Exceeded",
    "Fits",
    "MustWait",
    "PriceUnknown",
    "Scope",
    "Spend",
    "Standing",
    "Verdict",
    "estimate_tokens",
    "judge",
    "scopes_of",
]


@dataclass(frozen=True, slots=True)
class Amount:
    """Tokens, and US dollars where they are known."""

    tokens: int
    cost: Decimal | None


NOTHING = Amount(0, Decimal(0))


@dataclass(frozen=True, slots=True)
class Scope:
    """What a limit holds for."""

    kind: Literal["task", "run", "fleet"]
    key: str
    """Distinct over all scopes of the machine; what the ledger stores spend under."""
    name: str
    """For people."""


@dataclass(frozen=True, slots=True)
class Spend:
    """What a scope has spent. `cost` is the sum of the known part."""

    tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced_tokens: int = 0
    """Of `tokens`, those of calls whose price is not known."""
    estimated_tokens: int = 0
    """Of `tokens`, those of calls whose usage never came back: counted as reserved."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a scope is: its limits, its spend, and what calls under way have reserved."""

    scope: Scope
    limits: BudgetLimits
    spent: Spend
    reserved: Amount


@dataclass(frozen=True, slots=True)
class Fits:
    """The call may be made."""


@dataclass(frozen=True, slots=True)
class MustWait:
    """It would fit, if calls under way spend less than they reserved."""

    scope: Scope
    text: str


@dataclass(frozen=True, slots=True)
class Exceeded:
    """It cannot fit any more."""

    scope: Scope
    text: str


@dataclass(frozen=True, slots=True)
class PriceUnknown:
    """A limit on cost holds, and the cost is not known."""

    scope: Scope


Verdict = Fits | MustWait | Exceeded | PriceUnknown


def judge(
    standings: Sequence[Standing], estimate: Amount, *, allow_unknown_prices: bool
) -> Verdict:
    """Whether a call of at most `estimate` may be made in all these scopes.

    The verdict that will not pass comes first: one exhausted scope outweighs one to wait for.
    """
    verdicts = [_judge_one(standing, estimate, allow_unknown_prices) for standing in standings]
    for kind in (PriceUnknown, Exceeded, MustWait):
        for verdict in verdicts:
            if isinstance(verdict, kind):
                return verdict
    return Fits()


def estimate_tokens(
    *, prompt_bytes: int, completion_tokens: int, choices: int, bytes_per_token: float
) -> int:
    """The tokens to reserve: of the prompt by its size, of the completions by their maximum."""
    return math.ceil(prompt_bytes / bytes_per_token) + completion_tokens * choices


def scopes_of(
    *, run: str, task: str, now: datetime, window: Literal["all", "month", "day"]
) -> tuple[Scope, Scope, Scope]:
    """The scopes a call counts in. `now` is in UTC."""
    fleet = {"all": "", "month": f"{now:%Y-%m}", "day": f"{now:%Y-%m-%d}"}[window]
    return (
        Scope("task", f"task/{run}/{task}", f"task {task!r}"),
        Scope("run", f"run/{run}", f"run {run!r}"),
        Scope("fleet", f"fleet/{fleet}", f"the fleet ({fleet})" if fleet else "the fleet"),
    )


def _judge_one(standing: Standing, estimate: Amount, allow_unknown_prices: bool) -> Verdict:  # noqa: FBT001 - private, and named at its one call
    limits, scope = standing.limits, standing.scope
    if limits.tokens is not None:
        spent, asked = standing.spent.tokens, estimate.tokens
        if spent + asked > limits.tokens:
            return Exceeded(scope, _text(scope, "tokens", limits.tokens, spent, asked))
        if spent + asked + standing.reserved.tokens > limits.tokens:
            return MustWait(scope, _text(scope, "tokens", limits.tokens, spent, asked))
    if limits.cost_usd is None:
        return Fits()
    if estimate.cost is None:
        return Fits() if allow_unknown_prices else PriceUnknown(scope)
    return _judge_cost(standing, limits.cost_usd, estimate.cost)


def _judge_cost(standing: Standing, limit: Decimal, asked: Decimal) -> Verdict:
    scope, spent = standing.scope, standing.spent.cost
    # At the limit a free call is refused too: the scope has been stopped.
    if spent + asked > limit or spent >= limit > 0:
        return Exceeded(scope, _text(scope, "US dollars", limit, spent, asked))
    if spent + asked + (standing.reserved.cost or 0) > limit:
        return MustWait(scope, _text(scope, "US dollars", limit, spent, asked))
    return Fits()


def _text(
    scope: Scope, unit: str, limit: int | Decimal, spent: int | Decimal, asked: int | Decimal
) -> str:
    return (
        f"the budget of {scope.name} is {limit:,} {unit}; {spent:,} are spent, and this call "
        f"may need {asked:,}"
    )
