"""What needs somebody's attention: decided from how a swarm stands and what time it is. Pure.

Each kind of alert is one function of this module. An alert names its reason and what to do, in
words for people; `actions.py` decides whether a machine does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal

from stigmergy.board import JsonObject
from stigmergy.monitor.agents import AgentRow
from stigmergy.monitor.attempts import Attempt, AttemptBook
from stigmergy.monitor.run import RunView
from stigmergy.monitor.tasks import TaskBook

__all__ = ["KINDS", "STUCK", "Alert", "AlertKind", "Situation", "Thresholds", "find_alerts"]

AlertKind = Literal[
    "silent",
    "repeating",
    "overtime",
    "empty_diff",
    "suspicious_result",
    "expiring",
    "no_agents",
    "gate_red",
    "budget",
    "failing",
    "person",
    "crashed",
]
STUCK: Final[frozenset[AlertKind]] = frozenset({"silent", "repeating", "overtime"})
"""Of an attempt that is going on and, by all signs, nowhere; the agent is shown as stuck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From when on something is worth an alert."""

    silent_s: float = 300.0
    """An attempt of which nothing is heard for so long."""
    same_tool: int = 5
    """The same tool call so often in a row."""
    overtime_s: float | None = None
    """An attempt that goes on for longer; None takes the run's own limit for a task, if any."""
    expirations: int = 2
    """Leases of one task that ran out."""
    no_agents_s: float = 60.0
    """Tasks ready to be taken, and for so long nobody took one or holds one."""
    gate_red_s: float = 600.0
    """A target that is red for longer."""
    budget: float = 0.8
    """A part of the budget that is spent."""
    failed: float = 0.5
    """A part of the latest attempts that failed."""
    failed_of: int = 10
    """The fewest attempts of which that is said."""
    person_s: float = 60.0
    """A person is asked and has not answered for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something for a person to look at."""

    kind: AlertKind
    subject: str
    """The task, agent or thing that it is about."""
    text: str
    """What is wrong, with the figures that say so."""
    action: str
    """What to do about it."""
    since: float
    severity: Literal["warning", "critical"] = "warning"
    agent_id: str = ""
    """Whose attempt it is about."""

    @property
    def alert_id(self) -> str:
        """The same for as long as it stands."""
        return f"{self.kind}:{self.subject}"

    def stood_since(self, since: float) -> Alert:
        """The same, known for longer."""
        return replace(self, since=since)

    def document(self) -> JsonObject:
        """As JSON values."""
        return {"id": self.alert_id, **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """How the swarm stands: what `find_alerts` decides from."""

    run: RunView
    tasks: TaskBook
    agents: Mapping[str, AgentRow]
    attempts: AttemptBook
    paused: frozenset[str]
    last_claim_at: float | None
    crashed: bool


def find_alerts(here: Situation, limits: Thresholds, *, now: float) -> dict[str, Alert]:
    """All that is wrong at that time, by id."""
    return {alert.alert_id: alert for kind in KINDS.values() for alert in kind(here, limits, now)}


def _silent(here: Situation, limits: Thresholds, now: float) -> Iterable[Alert]:
    for attempt in here.attempts.running.values():
        quiet_s = now - attempt.heard_at
        if quiet_s >= limits.silent_s and not _lands(here, attempt):
            yield _of_attempt(
                "silent",
                attempt,
                f"{attempt.agent_id} has said nothing of {attempt.task_id} for {_span(quiet_s)}",
                since=attempt.heard_at + limits.silent_s,
            )


def _repeating(here: Situation, limits: Thresholds, _now: float) -> Iterable[Alert]:
    for attempt in here.attempts.running.values():
        if attempt.same_tool >= limits.same_tool and attempt.tool is not None:
            call = " ".join(part for part in attempt.tool if part)[:200]
            yield _of_attempt(
                "repeating",
                attempt,
                f"{attempt.agent_id} made the same tool call {attempt.same_tool} times in a row "
                f"in {attempt.task_id}: {call}",
                since=attempt.heard_at,
            )


def _overtime(here: Situation, limits: Thresholds, now: float) -> Iterable[Alert]:
    limit = limits.overtime_s
    if limit is None:
        told = here.run.facts.get("task_timeout_s")
        limit = float(told) if isinstance(told, int | float) else None
    if limit is None:
        return
    for attempt in here.attempts.running.values():
        spent_s = now - attempt.since
        if spent_s > limit and not _lands(here, attempt):
            yield _of_attempt(
                "overtime",
                attempt,
                f"{attempt.agent_id} has been at {attempt.task_id} for {_span(spent_s)}; "
                f"the limit is {_span(limit)}",
                since=attempt.since + limit,
            )


def _empty_diff(here: Situation, _limits: Thresholds, _now: float) -> Iterable[Alert]:
    for odd in here.attempts.empty.values():
        yield Alert(
            kind="empty_diff",
            subject=odd.task_id,
            agent_id=odd.agent_id,
            text=f"{odd.agent_id} completed {odd.task_id} without a commit",
            action=f"read `stig logs {odd.task_id}`: nothing to do, or nothing done?",
            since=odd.at,
        )


def _suspicious(here: Situation, _limits: Thresholds, _now: float) -> Iterable[Alert]:
    for odd in here.attempts.suspicious.values():
        yield Alert(
            kind="suspicious_result",
            subject=odd.task_id,
            agent_id=odd.agent_id,
            text=f"{odd.agent_id} completed {odd.task_id} without a token from the model "
            "and without a tool call",
            action="look at the result before you believe it; check that the model answers",
            since=odd.at,
        )


def _expiring(here: Situation, limits: Thresholds, now: float) -> Iterable[Alert]:
    for name in here.tasks.shown:
        row = here.tasks.rows[name]
        if row.expirations >= limits.expirations:
            yield Alert(
                kind="expiring",
                subject=name,
                text=f"the lease of {name} ran out {row.expirations} times: its agents die at it, "
                "or renew too late",
                action="look for what kills the agents; give longer leases, or cancel the task",
                since=row.claimed_at or row.posted_at or now,
            )


def _no_agents(here: Situation, limits: Thresholds, now: float) -> Iterable[Alert]:
    if here.run.ended_at is not None or "*" in here.paused or here.attempts.running:
        return
    ready = sum(n for kind, n in here.tasks.ready.items() if n > 0 and kind not in here.paused)
    if not ready:
        return
    since = here.last_claim_at
    if since is None:
        oldest = next((here.tasks.rows[name] for name in here.tasks.shown), None)
        since = None if oldest is None else oldest.posted_at
    if since is not None and now - since >= limits.no_agents_s:
        yield Alert(
            kind="no_agents",
            subject="board",
            text=f"{ready} tasks are ready, and nobody has taken one for {_span(now - since)}",
            action="start agents that take such tasks and have what the tasks require",
            since=since + limits.no_agents_s,
            severity="critical",
        )


def _gate_red(here: Situation, limits: Thresholds, now: float) -> Iterable[Alert]:
    since = here.run.red_since
    if since is not None and here.run.ended_at is None and now - since >= limits.gate_red_s:
        yield Alert(
            kind="gate_red",
            subject="target",
            text=f"the target has been red for {_span(now - since)}: nothing can land",
            action="look at the gate's output; mend the target, or pause the run",
            since=since + limits.gate_red_s,
            severity="critical",
        )


def _budget(here: Situation, limits: Thresholds, now: float) -> Iterable[Alert]:
    run = here.run
    spent: dict[str, tuple[float, object]] = {
        "usd": (run.cost_usd, run.facts.get("budget_usd")),
        "tokens": (run.prompt_tokens + run.completion_tokens, run.facts.get("budget_tokens")),
    }
    for unit, (used, budget) in spent.items():
        if not isinstance(budget, int | float) or budget <= 0 or run.ended_at is not None:
            continue
        part = used / budget
        if part >= limits.budget:
            figures = (
                f"${used:,.2f} of ${budget:,.2f}"
                if unit == "usd"
                else f"{used:,.0f} of {budget:,.0f} tokens"
            )
            yield Alert(
                kind="budget",
                subject=unit,
                text=f"{figures} are spent ({part:.0%}); at the limit the run stops",
                action="let it stop there, or stop it and resume with a larger budget",
                since=now,
                severity="critical" if part >= 1 else "warning",
            )


def _failing(here: Situation, limits: Thresholds, now: float) -> Iterable[Alert]:
    latest = here.attempts.outcomes
    failed = sum(not completed for completed in latest)
    if here.run.ended_at is not None or len(latest) < limits.failed_of:
        return
    if failed / len(latest) >= limits.failed:
        yield Alert(
            kind="failing",
            subject="attempts",
            text=f"{failed} of the latest {len(latest)} attempts failed",
            action="read the errors of failed tasks; pause until the cause is mended",
            since=now,
            severity="critical" if failed == len(latest) else "warning",
        )


def _person(here: Situation, limits: Thresholds, now: float) -> Iterable[Alert]:
    for name in here.tasks.for_person:
        row = here.tasks.rows[name]
        since = row.posted_at if row.posted_at is not None else now
        if now - since >= limits.person_s:
            yield Alert(
                kind="person",
                subject=name,
                text=f"{name} has waited for a person for {_span(now - since)}: "
                f"{row.title or 'no title'}",
                action=f"approve or refuse {name}",
                since=since + limits.person_s,
            )


def _crashed(here: Situation, _limits: Thresholds, now: float) -> Iterable[Alert]:
    if here.crashed and here.run.ended_at is None:
        yield Alert(
            kind="crashed",
            subject=here.run.run_id or "run",
            text="the run's process is gone, and it had not ended",
            action="`stig resume` goes on; nothing that landed is lost",
            since=now,
            severity="critical",
        )


def _of_attempt(kind: AlertKind, attempt: Attempt, words: str, *, since: float) -> Alert:
    return Alert(
        kind=kind,
        subject=attempt.task_id,
        agent_id=attempt.agent_id,
        text=words,
        action=f"read `stig logs {attempt.task_id}`; end the attempt, so that it is tried again",
        since=since,
    )


def _lands(here: Situation, attempt: Attempt) -> bool:
    """A run's queue holds what waits for the gate, which has a limit of its own."""
    row = here.tasks.rows.get(attempt.task_id)
    return row is not None and row.task_type == "land"


def _span(seconds: float) -> str:
    """Coarse, so that an alert's text does not change with every look at it."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s" if whole < 10 else f"{whole // 10 * 10} s"
    if whole < 7200:
        return f"{whole // 60} min"
    return f"{whole / 3600:.1f} h"


KINDS: Final[Mapping[AlertKind, Callable[[Situation, Thresholds, float], Iterable[Alert]]]] = {
    "silent": _silent,
    "repeating": _repeating,
    "overtime": _overtime,
    "empty_diff": _empty_diff,
    "suspicious_result": _suspicious,
    "expiring": _expiring,
    "no_agents": _no_agents,
    "gate_red": _gate_red,
    "budget": _budget,
    "failing": _failing,
    "person": _person,
    "crashed": _crashed,
}
"""What decides on each kind."""
