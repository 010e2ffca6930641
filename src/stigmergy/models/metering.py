"""Room in the budgets before each request to a provider, and the bill after it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import assert_never

from stigmergy.errors import BudgetExceededError
from stigmergy.models.budget import Amount, Exceeded, Fits, MustWait, PriceUnknown, scopes_of
from stigmergy.models.chat import ChatError
from stigmergy.models.config import BudgetLimits, Budgets
from stigmergy.models.ledger import Ledger, Reservation
from stigmergy.models.timing import Timing

__all__ = ["Meter"]

_POLL_S = 1.0
"""Room made by another process is seen after at most this long."""


class Meter:
    """The budgets of one run over a ledger. For use in one event loop.

    Args:
        ledger: shared with other runs.
        run: names the run's scope; a run that is resumed keeps what it has spent.
        budgets: the limits; a task may have its own.
        task_limits: those of tasks with limits of their own, looked up at every call.
        timing: the clocks.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        run: str,
        budgets: Budgets,
        task_limits: Mapping[str, BudgetLimits],
        timing: Timing,
    ) -> None:
        self._ledger = ledger
        self._run = run
        self._budgets = budgets
        self._task_limits = task_limits
        self._timing = timing
        self._settled = asyncio.Event()

    @property
    def budgets(self) -> Budgets:
        """The limits and how they are reckoned."""
        return self._budgets

    def limited(self, task: str) -> bool:
        """Whether any limit holds for calls of the task."""
        budgets = self._budgets
        limits = (self._limits_of(task), budgets.run, budgets.fleet)
        return not all(limit.unlimited for limit in limits)

    async def reserve(self, task: str, estimate: Amount, *, model: str) -> Reservation:
        """Room for a request; waits while only the reservations of other calls are in the way.

        Raises:
            BudgetExceededError: a scope has reached its limit.
            ChatError: the price is not known and a limit on cost holds; or room did not come
                within `budgets.wait_s`.
        """
        give_up_at = self._timing.clock() + self._budgets.wait_s
        while True:
            settled = self._settled
            outcome = self._try(task, estimate)
            match outcome:
                case Reservation():
                    return outcome
                case Exceeded():
                    raise BudgetExceededError(
                        f"{outcome.text}. Nothing more is spent; raise the limit to go on.",
                        scope=outcome.scope.key,
                    )
                case PriceUnknown():
                    raise ChatError(
                        f"{outcome.scope.name} has a limit on cost, and the price of model "
                        f"{model!r} is not known: give it a price, or allow unknown prices",
                        status=402,
                        code="unknown_price",
                    )
                case MustWait():
                    if self._timing.clock() >= give_up_at:
                        raise ChatError(
                            f"{outcome.text}, while calls under way hold the rest: try again later",
                            status=429,
                            code="budget_reserved",
                            retry_after_s=self._budgets.wait_s,
                        )
                case Fits():
                    raise AssertionError("the ledger turns what fits into a reservation")
                case _:
                    assert_never(outcome)
            await _wait(settled)

    def settle(self, reservation: Reservation, actual: Amount | None) -> None:
        """What the request cost; None if nobody knows, which counts as all that was reserved."""
        self._ledger.settle(reservation, actual)
        self._settled.set()
        self._settled = asyncio.Event()

    def _try(
        self, task: str, estimate: Amount
    ) -> Reservation | Fits | MustWait | Exceeded | PriceUnknown:
        budgets = self._budgets
        scopes = scopes_of(
            run=self._run, task=task, now=self._timing.now(), window=budgets.fleet_window
        )
        limits = (self._limits_of(task), budgets.run, budgets.fleet)
        return self._ledger.reserve(
            tuple(zip(scopes, limits, strict=True)),
            estimate,
            allow_unknown_prices=budgets.allow_unknown_prices,
        )

    def _limits_of(self, task: str) -> BudgetLimits:
        return self._task_limits.get(task, self._budgets.task)


async def _wait(settled: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_POLL_S):
            await settled.wait()
    except TimeoutError:
        pass
