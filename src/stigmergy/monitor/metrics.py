"""The figures of a swarm, each with its meaning; what is not known is None, never 0. Pure.

The dashboard, `stig status`, `/metrics` and the reference page have them from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from stigmergy.board import TaskStatus
from stigmergy.monitor.alerts import Alert, Situation

__all__ = ["METRICS", "Metric", "measure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What a figure is."""

    name: str
    """In documents and on the dashboard."""
    text: str
    unit: Literal["", "seconds", "tokens", "dollars", "ratio", "per hour"] = ""
    kind: Literal["gauge", "counter"] = "gauge"
    """A counter only grows."""


def _metric(
    name: str,
    text: str,
    unit: Literal["", "seconds", "tokens", "dollars", "ratio", "per hour"] = "",
    kind: Literal["gauge", "counter"] = "gauge",
) -> Metric:
    return Metric(name=name, text=text, unit=unit, kind=kind)


METRICS: Final = (
    _metric("landings", "Commits that came onto the target.", kind="counter"),
    _metric("landings_per_hour", "Those an hour, since the run started.", "per hour"),
    _metric("returns", "Work that came back from the merge queue.", kind="counter"),
    _metric("merge_success_rate", "Of the queue's verdicts, those that landed.", "ratio"),
    _metric("items", "Work items of the run."),
    _metric("items_landed", "Items that have landed, or needed no change."),
    _metric("items_failed", "Items that were given up or cancelled."),
    _metric("tasks_pending", "Tasks that nobody holds and that are not finished."),
    _metric("tasks_waiting", "Of those, tasks that wait for other tasks."),
    _metric("tasks_for_person", "Of those, tasks that wait for a person."),
    _metric("tasks_claimed", "Tasks that an agent took and has not begun."),
    _metric("tasks_in_progress", "Tasks that an agent works on."),
    _metric("tasks_completed", "Tasks that are completed, pruned ones included."),
    _metric("tasks_failed", "Tasks that failed for good, pruned ones included."),
    _metric("tasks_cancelled", "Tasks that were cancelled, pruned ones included."),
    _metric("retries", "Attempts that failed and were followed by another.", kind="counter"),
    _metric("expired_leases", "Attempts whose agent fell silent.", kind="counter"),
    _metric("agents_working", "Agents that hold a task."),
    _metric("agents_waiting", "Of those, agents that wait for a model's answer."),
    _metric("agents_stuck", "Of those, agents that an alert calls stuck."),
    _metric("agents_idle", "Agents that hold nothing and are not gone."),
    _metric("gate_runs", "Runs of the gate that came to a verdict.", kind="counter"),
    _metric("gate_red", "Of those, red ones.", kind="counter"),
    _metric("gate_seconds", "Time in the gate.", "seconds", "counter"),
    _metric("gate_p50_s", "The median of the gate's latest thousand runs.", "seconds"),
    _metric("gate_max_s", "The longest of them.", "seconds"),
    _metric("target_green", "1: the gate was green on the target; 0: red."),
    _metric("calls", "Calls of models.", kind="counter"),
    _metric("calls_replayed", "Of those, calls that a recording answered.", kind="counter"),
    _metric("calls_without_usage", "Calls whose tokens are unknown.", kind="counter"),
    _metric("calls_without_price", "Calls whose cost is unknown.", kind="counter"),
    _metric("tokens_prompt", "Tokens that models read, as far as known.", "tokens", "counter"),
    _metric("tokens_completion", "Tokens that they wrote, as far as known.", "tokens", "counter"),
    _metric("tokens_in_flight", "Tokens used by attempts that go on.", "tokens"),
    _metric("cost_usd", "What calls cost, as far as known.", "dollars", "counter"),
    _metric("budget_usd_used", "Of the run's budget in dollars, the part spent.", "ratio"),
    _metric("budget_tokens_used", "Of the run's budget in tokens, the part spent.", "ratio"),
    _metric("tool_calls_active", "Tool calls of agents that go on."),
    _metric(
        "suspicious_results",
        "Completed coding tasks with neither a token nor a tool call.",
        kind="counter",
    ),
    _metric("empty_results", "Completed coding tasks without a commit.", kind="counter"),
    _metric("memory_reads", "Entries of the memory that were read.", kind="counter"),
    _metric("memory_writes", "Entries of the memory that were written.", kind="counter"),
    _metric("alerts", "Alerts that stand."),
)
"""Every figure, in the order in which it is shown."""


def measure(
    here: Situation,
    alerts: Sequence[Alert],
    *,
    memory: tuple[int | None, int | None],
    now: float,
) -> dict[str, float | None]:
    """All figures at that time, by name."""
    return {
        **_landing(here, now),
        **_tasks(here),
        **_agents(here),
        **_models(here),
        "suspicious_results": here.attempts.suspicious_results,
        "empty_results": here.attempts.empty_results,
        "memory_reads": memory[0],
        "memory_writes": memory[1],
        "alerts": len(alerts),
    }


def _landing(here: Situation, now: float) -> dict[str, float | None]:
    run = here.run
    is_run = run.started_at is not None
    decided = len(run.landings) + len(run.returns)
    times = sorted(run.gate_times_s)
    rate = run.landings_per_hour(now)
    return {
        "landings": len(run.landings) if is_run else None,
        "landings_per_hour": None if rate is None else round(rate, 1),
        "returns": len(run.returns) if is_run else None,
        "merge_success_rate": len(run.landings) / decided if decided else None,
        "items": len(run.items) if is_run else None,
        "items_landed": run.landed if is_run else None,
        "items_failed": run.failed if is_run else None,
        "gate_runs": run.gate_runs if is_run else None,
        "gate_red": run.gate_red if is_run else None,
        "gate_seconds": run.gate_s if is_run else None,
        "gate_p50_s": _median(times),
        "gate_max_s": times[-1] if times else None,
        "target_green": None if run.target_green is None else int(run.target_green),
    }


def _median(ordered: Sequence[float]) -> float | None:
    if not ordered:
        return None
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _tasks(here: Situation) -> dict[str, float | None]:
    book = here.tasks
    pending = book.counts[TaskStatus.PENDING]
    ready = sum(count for count in book.ready.values() if count > 0) + len(book.for_person)
    return {
        "tasks_pending": pending,
        "tasks_waiting": max(0, pending - ready),
        "tasks_for_person": len(book.for_person),
        "tasks_claimed": book.counts[TaskStatus.CLAIMED],
        "tasks_in_progress": book.counts[TaskStatus.IN_PROGRESS],
        "tasks_completed": book.counts[TaskStatus.COMPLETED],
        "tasks_failed": book.counts[TaskStatus.FAILED],
        "tasks_cancelled": book.counts[TaskStatus.CANCELLED],
        "retries": book.retries,
        "expired_leases": book.expirations,
    }


def _agents(here: Situation) -> dict[str, float | None]:
    working = waiting = stuck = idle = 0
    for row in here.agents.values():
        if row.is_lander:
            continue
        if not row.held:
            idle += not row.gone
            continue
        working += 1
        waiting += row.waiting and not row.stuck
        stuck += row.stuck
    if here.run.started_at is not None and here.run.ended_at is None:
        # A run's agents that never had a task are in no event, but they are there.
        idle = max(idle, _wanted(here) - working)
    return {
        "agents_working": working,
        "agents_waiting": waiting,
        "agents_stuck": stuck,
        "agents_idle": idle,
    }


def _wanted(here: Situation) -> int:
    wanted = here.run.agents_wanted
    asked = here.run.facts.get("agents") if wanted is None else wanted
    return asked if isinstance(asked, int) else 0


def _models(here: Situation) -> dict[str, float | None]:
    run = here.run
    tokens_known = run.model_calls > run.calls_without_usage
    cost_known = run.model_calls > run.calls_without_price
    flying = [a.tokens for a in here.attempts.running.values() if a.tokens is not None]
    asked = run.model_calls > 0 or run.facts.get("model") is not None
    return {
        "calls": run.model_calls if asked else None,
        "calls_replayed": run.replayed_calls if asked else None,
        "calls_without_usage": run.calls_without_usage if asked else None,
        "calls_without_price": run.calls_without_price if asked else None,
        "tokens_prompt": run.prompt_tokens if tokens_known else None,
        "tokens_completion": run.completion_tokens if tokens_known else None,
        "tokens_in_flight": sum(flying) if flying else None,
        "cost_usd": round(run.cost_usd, 6) if cost_known else None,
        "budget_usd_used": _part(run.cost_usd if cost_known else None, run.facts, "budget_usd"),
        "budget_tokens_used": _part(
            run.prompt_tokens + run.completion_tokens if tokens_known else None,
            run.facts,
            "budget_tokens",
        ),
        "tool_calls_active": (
            sum(a.tools_active for a in here.attempts.running.values())
            if any(a.tool_calls for a in here.attempts.running.values())
            else None
        ),
    }


def _part(used: float | None, facts: dict[str, object], name: str) -> float | None:
    budget = facts.get(name)
    if used is None or not isinstance(budget, int | float) or budget <= 0:
        return None
    return round(used / budget, 4)
