"""The arithmetic of budgets."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from stigmergy.models.budget import (
    NOTHING,
    Amount,
    Exceeded,
    Fits,
    MustWait,
    PriceUnknown,
    Scope,
    Spend,
    Standing,
    estimate_tokens,
    judge,
    scopes_of,
)
from stigmergy.models.config import BudgetLimits

TASK = Scope("task", "task/r/F07", "task 'F07'")
RUN = Scope("run", "run/r", "run 'r'")
UNSPENT = Spend()


def standing(scope=TASK, *, tokens=None, cost=None, spent=UNSPENT, reserved=NOTHING):
    return Standing(scope, BudgetLimits(tokens=tokens, cost_usd=cost), spent, reserved)


def verdict(*standings, tokens=10, cost=Decimal(1), allow_unknown_prices=False):
    return judge(standings, Amount(tokens, cost), allow_unknown_prices=allow_unknown_prices)


def test_a_call_fits_up_to_the_limit_and_not_beyond():
    assert verdict(standing(tokens=30, spent=Spend(tokens=20))) == Fits()
    assert isinstance(verdict(standing(tokens=29, spent=Spend(tokens=20))), Exceeded)
    assert verdict(standing(cost=Decimal(3), spent=Spend(cost=Decimal(2)))) == Fits()
    assert isinstance(
        verdict(standing(cost=Decimal("2.9"), spent=Spend(cost=Decimal(2)))), Exceeded
    )


def test_the_refusal_names_scope_limit_and_spent():
    text = verdict(standing(tokens=25_000, spent=Spend(tokens=24_995))).text
    assert "task 'F07'" in text
    assert "25,000 tokens" in text
    assert "24,995" in text


def test_what_others_reserved_is_waited_for():
    assert isinstance(verdict(standing(tokens=30, reserved=Amount(25, Decimal(0)))), MustWait)
    assert isinstance(
        verdict(standing(cost=Decimal(2), reserved=Amount(0, Decimal("1.5")))), MustWait
    )


def test_an_exhausted_scope_outweighs_one_to_wait_for():
    waiting = standing(tokens=30, reserved=Amount(25, Decimal(0)))
    exhausted = standing(RUN, tokens=5)
    assert verdict(waiting, exhausted) == verdict(exhausted)
    assert isinstance(verdict(waiting, exhausted), Exceeded)


def test_an_unknown_price_is_refused_where_cost_is_limited():
    assert verdict(standing(cost=Decimal(5)), cost=None) == PriceUnknown(TASK)
    assert verdict(standing(tokens=50), cost=None) == Fits()
    assert verdict(standing(cost=Decimal(5)), cost=None, allow_unknown_prices=True) == Fits()


def test_tokens_are_limited_whatever_the_price():
    limited = standing(cost=Decimal(5), tokens=5)
    assert isinstance(verdict(limited, cost=None, allow_unknown_prices=True), Exceeded)


def test_a_scope_that_has_spent_its_money_stops_even_free_calls():
    assert isinstance(
        verdict(standing(cost=Decimal(5), spent=Spend(cost=Decimal(5))), cost=Decimal(0)), Exceeded
    )


def test_a_limit_of_nothing_lets_only_free_calls_through():
    assert verdict(standing(cost=Decimal(0)), cost=Decimal(0)) == Fits()
    assert isinstance(verdict(standing(cost=Decimal(0)), cost=Decimal("0.001")), Exceeded)


def test_an_estimate_counts_every_choice():
    assert (
        estimate_tokens(prompt_bytes=100, completion_tokens=50, choices=3, bytes_per_token=3.0)
        == 34 + 150
    )


@pytest.mark.parametrize(
    ("window", "key"), [("all", "fleet/"), ("month", "fleet/2026-07"), ("day", "fleet/2026-07-14")]
)
def test_the_fleets_window_is_in_its_scope(window, key):
    now = datetime(2026, 7, 14, tzinfo=UTC)
    task, run, fleet = scopes_of(run="r", task="F07", now=now, window=window)
    assert (task.key, run.key, fleet.key) == ("task/r/F07", "run/r", key)
