"""The ledger: reservations and spend, shared by threads and processes."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from stigmergy.errors import CorruptError
from stigmergy.models.budget import Amount, Exceeded, MustWait, Scope, Spend
from stigmergy.models.config import BudgetLimits
from stigmergy.models.ledger import Ledger, Reservation

TASK = Scope("task", "task/r/F07", "task 'F07'")
FLEET = Scope("fleet", "fleet/", "the fleet")
ESTIMATE = Amount(100, Decimal("0.01"))


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "state" / "spend.db") as opened:
        yield opened


def reserve(ledger, *, tokens=None, estimate=ESTIMATE):
    limits = BudgetLimits(tokens=tokens)
    return ledger.reserve(
        [(TASK, limits), (FLEET, BudgetLimits())], estimate, allow_unknown_prices=True
    )


def test_a_call_is_reserved_then_settled_in_every_scope(ledger):
    reservation = reserve(ledger)
    assert ledger.reserved(TASK.key) == ledger.reserved(FLEET.key) == ESTIMATE
    ledger.settle(reservation, Amount(40, Decimal("0.000123456")))
    for scope in (TASK, FLEET):
        assert ledger.reserved(scope.key) == Amount(0, Decimal(0))
        assert ledger.spent(scope.key) == Spend(tokens=40, cost=Decimal("0.000123456"))


def test_what_is_not_known_counts_as_reserved(ledger):
    ledger.settle(reserve(ledger), None)
    assert ledger.spent(TASK.key) == Spend(100, Decimal("0.01"), estimated_tokens=100)


def test_tokens_without_a_price_are_counted_as_such(ledger):
    ledger.settle(reserve(ledger), Amount(40, None))
    assert ledger.spent(TASK.key) == Spend(40, Decimal(0), unpriced_tokens=40)


def test_settling_twice_counts_once(ledger):
    reservation = reserve(ledger)
    ledger.settle(reservation, Amount(40, None))
    ledger.settle(reservation, Amount(40, None))
    assert ledger.spent(TASK.key).tokens == 40


def test_costs_are_never_rounded_down(ledger):
    ledger.settle(reserve(ledger), Amount(1, Decimal("0.0000000001")))
    assert ledger.spent(TASK.key).cost == Decimal("0.000000001")


def test_a_refused_call_reserves_nothing_anywhere(ledger):
    assert isinstance(reserve(ledger, tokens=99), Exceeded)
    assert ledger.reserved(FLEET.key).tokens == 0


def test_two_open_ledgers_see_one_spend(ledger, tmp_path):
    with Ledger(tmp_path / "state" / "spend.db") as other:
        reservation = reserve(ledger, tokens=150)
        assert isinstance(reserve(other, tokens=150), MustWait)
        ledger.settle(reservation, Amount(10, None))
        assert isinstance(reserve(other, tokens=150), Reservation)


def test_a_ledger_that_was_closed_in_a_call_has_spent_all_of_it(tmp_path):
    path = tmp_path / "spend.db"
    with Ledger(path) as ledger:
        reserve(ledger)
    with Ledger(path) as ledger:
        assert ledger.spent(TASK.key) == Spend(100, Decimal("0.01"), estimated_tokens=100)
    assert not list(tmp_path.glob("*.owner-*"))


def test_threads_cannot_reserve_more_than_there_is(ledger):
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda _: reserve(ledger, tokens=1_000), range(40)))
    assert sum(isinstance(outcome, Reservation) for outcome in outcomes) == 10


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path):
    path = tmp_path / "spend.db"
    path.write_bytes(b"not a database, " * 100)
    with pytest.raises(CorruptError):
        Ledger(path)
    assert path.read_bytes() == b"not a database, " * 100


def test_only_the_user_may_read_it(ledger, tmp_path):
    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "state").iterdir()}
    assert modes == {0}
