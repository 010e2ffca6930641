"""However calls reserve and settle, no limit is overspent and nothing is lost."""

import tempfile
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from stigmergy.models.budget import Amount, Scope
from stigmergy.models.config import BudgetLimits
from stigmergy.models.ledger import Ledger, Reservation

RUN = Scope("run", "run/r", "run 'r'")
TASKS = [Scope("task", f"task/r/{name}", name) for name in "ab"]
LIMITS = {
    RUN.key: BudgetLimits(tokens=300, cost_usd=Decimal("0.0003")),
    **{task.key: BudgetLimits(tokens=200) for task in TASKS},
}


class Budgeting(RuleBasedStateMachine):
    """Two ledgers over one file, as two processes have; one of them may end in mid-call."""

    reservations = Bundle("reservations")

    @initialize()
    def start(self):
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "spend.db"
        self.ledgers = [Ledger(self.path), Ledger(self.path)]
        self.settled = dict.fromkeys(LIMITS, 0)

    @rule(
        target=reservations,
        which=st.integers(0, 1),
        task=st.sampled_from(TASKS),
        tokens=st.integers(1, 120),
    )
    def reserve(self, which, task, tokens):
        limits = [(scope, LIMITS[scope.key]) for scope in (task, RUN)]
        estimate = Amount(tokens, Decimal(tokens) / 10**6)
        outcome = self.ledgers[which].reserve(limits, estimate, allow_unknown_prices=False)
        if isinstance(outcome, Reservation):
            return which, self.ledgers[which], outcome
        return multiple()

    @rule(made=consumes(reservations), used=st.integers(0, 120), known=st.booleans())
    def settle(self, made, used, known):
        which, owner, reservation = made
        if owner is not self.ledgers[which]:
            return  # its process is gone
        # A provider spends at most what it was allowed to.
        tokens = min(used, reservation.estimate.tokens)
        actual = Amount(tokens, Decimal(tokens) / 10**6) if known else None
        owner.settle(reservation, actual)
        self.count(reservation, (actual or reservation.estimate).tokens)

    @rule(which=st.integers(0, 1))
    def end_in_mid_call(self, which):
        self.ledgers[which].close()
        self.ledgers[which] = Ledger(self.path)

    def count(self, reservation, tokens):
        for scope in reservation.scopes:
            self.settled[scope] += tokens

    @invariant()
    def nothing_is_overspent_and_nothing_is_lost(self):
        for scope, limits in LIMITS.items():
            spent, reserved = self.ledgers[0].spent(scope), self.ledgers[0].reserved(scope)
            assert spent.tokens + reserved.tokens <= limits.tokens
            assert spent.tokens >= self.settled[scope]
            if limits.cost_usd is not None:
                assert reserved.cost is not None
                assert spent.cost + reserved.cost <= limits.cost_usd

    def teardown(self):
        for ledger in self.ledgers:
            ledger.close()
        self.directory.cleanup()


TestBudgeting = Budgeting.TestCase
TestBudgeting.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
