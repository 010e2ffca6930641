"""The model gateway of a run: who may ask, what it cost, and when to stop."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stigmergy.coding.context import RunContext
from stigmergy.coding.sandbox.sandbox import ModelSocket
from stigmergy.config import Settings
from stigmergy.models import (
    BudgetLimits,
    Budgets,
    Gateway,
    Ledger,
    ModelCall,
    default_ledger_path,
    gateway_config,
)

__all__ = ["RunModels", "budgets_of", "open_models"]

_SHARED: Final = frozenset({"run", "fleet"})
"""Budgets that stop the run; a task's own stops that task alone."""


@dataclass(slots=True)
class RunModels:
    """The gateway as the run uses it."""

    gateway: Gateway
    socket: ModelSocket
    settings: Settings
    out_of_budget: bool = False

    def issue(self, task_id: str) -> str:
        """See `Tokens.issue`."""
        return self.gateway.issue_token(task=task_id)

    def revoke(self, token: str) -> None:
        """See `Tokens.revoke`."""
        self.gateway.revoke(token)


@contextmanager
def open_models(
    context: RunContext, sockets: Path, *, environ: Mapping[str, str]
) -> Generator[RunModels | None]:
    """Serve the run's model on loopback and on a Unix socket; None when no model is wanted."""
    settings = context.spec.settings
    if settings.model is None:
        yield None
        return
    config = gateway_config(
        settings.model,
        environ=environ,
        spillover=settings.spillover,
        budgets=budgets_of(settings),
        record=settings.record,
        record_label=f"run {context.run_id}",
    )
    config = config.model_copy(update={"conversations": context.directory.conversations})
    models: RunModels | None = None

    def on_call(call: ModelCall) -> None:
        _journal(context, call)
        if models is not None and call.budget_scope in _SHARED:
            models.out_of_budget = True
            context.note(f"the budget of the {call.budget_scope} is used up: the run stops")
            context.stop.set()

    socket = sockets / "model.sock"
    with (
        Ledger(default_ledger_path()) as ledger,
        Gateway(
            config,
            run=context.run_id,
            ledger=ledger,
            environ=environ,
            on_call=on_call,
            socket_path=socket,
        ) as gateway,
    ):
        models = RunModels(gateway, ModelSocket(path=socket, url=gateway.base_url), settings)
        yield models


def budgets_of(settings: Settings) -> Budgets:
    """The hard limits that the settings ask for."""
    return Budgets(
        task=BudgetLimits(tokens=settings.task_tokens, cost_usd=settings.task_usd),
        run=BudgetLimits(tokens=settings.budget_tokens, cost_usd=settings.budget_usd),
        fleet=BudgetLimits(tokens=settings.fleet_tokens, cost_usd=settings.fleet_usd),
        allow_unknown_prices=settings.allow_unknown_prices,
    )


def _journal(context: RunContext, call: ModelCall) -> None:
    context.board.record(
        "model_call",
        task_id=call.task,
        data={
            "turn": call.turn,
            "model": call.model,
            "provider": call.provider,
            "prompt_tokens": call.prompt_tokens,
            "completion_tokens": call.completion_tokens,
            "cost_usd": None if call.cost is None else float(call.cost),
            "duration_ms": call.duration_ms,
            "status": call.status,
            "error": call.error,
            "attempts": call.attempts,
            "replayed": call.replayed,
        },
    )
