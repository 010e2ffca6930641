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
    kind: Literal["gauge", "counter"]
    """A counter only grows."""
    series: str
    """Its name in `/metrics`, with its unit; a counter's ends in `_total` there as well."""


def _gauge(name: str, text: str, series: str = "") -> Metric:
    return Metric(name=name, text=text, kind="gauge", series=series or name)


def _counter(name: str, text: str, series: str = "") -> Metric:
    return Metric(name=name, text=text, kind="counter", series=series or name)


METRICS: Final = (
    _counter("landings", "Commits that came onto the target."),
    _gauge("landings_per_hour", "Landings an hour, since the run started."),
    _counter("returns", "Work that came back from the merge queue."),
    _gauge("merge_success_rate", "Landings among the queue's verdicts.", "merge_success_ratio"),
    _gauge("items", "Work items of the run."),
    _gauge("items_landed", "Items that have landed, or needed no change."),
    _gauge("items_failed", "Items that were given up or cancelled."),
    _gauge("tasks_pending", "Tasks that nobody holds and that are not finished.", "tasks{status}"),
    _gauge("tasks_waiting", "Pending tasks that wait for other tasks."),
    _gauge("tasks_for_person", "Pending tasks that wait for a person."),
    _gauge("tasks_claimed", "Tasks that an agent took and has not begun.", "tasks{status}"),
    _gauge("tasks_in_progress", "Tasks that an agent works on.", "tasks{status}"),
    _gauge("tasks_completed", "Tasks that are completed, pruned or not.", "tasks{status}"),
    _gauge("tasks_failed", "Tasks that failed for good, pruned or not.", "tasks{status}"),
    _gauge("tasks_cancelled", "Tasks that were cancelled, pruned or not.", "tasks{status}"),
    _counter("retries", "Attempts that failed and were followed by another."),
    _counter("expired_leases", "Attempts whose agent fell silent until its lease ran out."),
    _gauge("agents_working", "Agents that hold a task, in whatever state.", "agents{state}"),
    _gauge("agents_waiting", "Agents that wait for a model's answer.", "agents{state}"),
    _gauge("agents_stuck", "Agents that an alert calls stuck.", "agents{state}"),
    _gauge("agents_idle", "Agents that hold nothing and are not gone.", "agents{state}"),
    _counter("gate_runs", "Runs of the gate that came to a verdict."),
    _counter("gate_red", "Runs of the gate that came out red."),
    _counter("gate_seconds", "Time in the gate."),
    _gauge("gate_p50_s", "Median of the gate's latest thousand runs.", "gate_median_seconds"),
    _gauge("gate_max_s", "Longest of the gate's latest thousand runs.", "gate_longest_seconds"),
    _gauge("target_green", "The gate's last word on the target; 1: green, 0: red."),
    _counter("calls", "Calls of models."),
    _counter("calls_replayed", "Calls of models that a recording answered."),
    _counter("calls_without_usage", "Calls of models whose tokens are unknown."),
    _counter("calls_without_price", "Calls of models whose cost is unknown."),
    _counter("tokens_prompt", "Tokens that models read, as far as known.", "tokens{direction}"),
    _counter("tokens_completion", "Tokens that they wrote, as far as known.", "tokens{direction}"),
    _gauge("tokens_in_flight", "Tokens used by attempts that go on.", "in_flight_tokens"),
    _counter("cost_usd", "What calls of models cost, as far as known.", "cost_dollars"),
    _gauge("budget_usd_used", "Spent part of the budget in dollars.", "budget_dollars_used_ratio"),
    _gauge("budget_tokens_used", "Spent part of the budget in tokens.", "budget_tokens_used_ratio"),
    _gauge("tool_calls_active", "Tool calls of agents that go on."),
    _counter("suspicious_results", "Coding tasks completed with neither a token nor a tool call."),
    _counter("empty_results", "Coding tasks completed without a commit."),
    _counter("memory_reads", "Entries of the memory that were read."),
    _counter("memory_writes", "Entries of the memory that were written."),
    _gauge("alerts", "Alerts that stand.", "alerts{kind}"),
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
        if row.lost or not row.held:
            idle += not row.gone and not row.lost
            continue
        working += 1
        waiting += row.waiting and not row.stuck
        stuck += row.stuck
    if here.run.started_at is not None and here.run.ended_at is None and not here.crashed:
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
