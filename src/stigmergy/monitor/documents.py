"""Rows of the view as JSON values: what the dashboard, `stig watch` and programs get. Pure."""

from __future__ import annotations

from stigmergy.board import JsonObject
from stigmergy.monitor.activity import Line
from stigmergy.monitor.agents import AgentRow
from stigmergy.monitor.run import ItemView, Landing, Return, RunView
from stigmergy.monitor.tasks import TaskRow, key_of

__all__ = [
    "of_agent",
    "of_gate",
    "of_item",
    "of_landing",
    "of_line",
    "of_return",
    "of_run",
    "of_task",
]


def of_agent(row: AgentRow) -> JsonObject:
    """An agent."""
    return {
        "id": row.name,
        "state": row.state,
        "task_id": row.task_id,
        "task_type": row.task_type or None,
        "tasks": len(row.held),
        "doing": row.doing,
        "since": row.since,
        "tokens": row.tokens,
        "cost_usd": row.cost_usd,
        "finished": row.finished,
        "failed": row.failed,
        "last_failure": None
        if row.last_failure is None
        else {
            "at": row.last_failure.at,
            "task_id": row.last_failure.task_id,
            "error": row.last_failure.error,
        },
        "last_seen": row.last_seen,
    }


def of_task(row: TaskRow) -> JsonObject:
    """A task."""
    return {
        "id": row.task_id,
        "type": row.task_type,
        "status": row.status.value,
        "title": row.title,
        "parent_id": row.parent_id,
        "depends_on": list(row.depends_on),
        "priority": row.priority,
        "attempts": row.attempts,
        "max_attempts": row.max_attempts,
        "claimed_by": row.claimed_by,
        "posted_at": row.posted_at,
        "claimed_at": row.claimed_at,
        "finished_at": row.finished_at,
        "error": row.error,
        "progress": row.progress,
        "waits": bool(row.unmet) and not row.is_final,
        "waits_for_person": row.waits_for_person,
        "key": row.key,
    }


def of_item(item: ItemView) -> JsonObject:
    """A work item of a run."""
    return {
        "key": item.key,
        "title": item.description,
        "state": item.state,
        "landed_at": item.landed_at,
        "commit": item.commit,
        "returns": item.returns,
        "error": item.error,
        "depends_on": list(item.depends_on),
    }


def of_landing(landing: Landing) -> JsonObject:
    """A commit that landed."""
    return {
        "id": str(landing.seq),
        "at": landing.at,
        "key": landing.key,
        "commit": landing.commit,
        "batch_size": landing.batch_size,
        "gate_s": landing.gate_s,
        "proof": landing.proof,
    }


def of_return(back: Return) -> JsonObject:
    """Work that came back."""
    return {
        "id": str(back.seq),
        "at": back.at,
        "key": back.key,
        "kind": back.kind,
        "detail": back.detail[:2000],
        "fix": back.fix,
    }


def of_line(line: Line) -> JsonObject:
    """Something that happened."""
    return {
        "seq": line.seq,
        "at": line.at,
        "text": line.text,
        "task_id": line.task_id,
        "agent_id": line.agent_id,
    }


def of_gate(run: RunView) -> JsonObject:
    """What the gate does and did."""
    return {
        "running": [key_of(name) for name in run.gating],
        "since": run.gate_since if run.gating else None,
        "runs": run.gate_runs,
        "red": run.gate_red,
        "seconds_total": run.gate_s,
        "target_green": run.target_green,
    }


def of_run(run: RunView, *, state: str) -> JsonObject:
    """The run; what a board without one has of it is unknown."""
    facts = run.facts
    gate = facts.get("gate")
    wanted = facts.get("agents") if run.agents_wanted is None else run.agents_wanted
    return {
        "run_id": run.run_id,
        "label": run.label,
        "state": state,
        "verdict": run.verdict or None,
        "exit_code": run.exit_code,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "resumed": run.resumed,
        "target": facts.get("target"),
        "source": facts.get("source"),
        "source_text": facts.get("source_text"),
        "gate": gate if isinstance(gate, list) else [],
        "model": facts.get("model"),
        "agents_wanted": wanted,
        "budget_usd": facts.get("budget_usd"),
        "budget_tokens": facts.get("budget_tokens"),
        "sandbox": facts.get("sandbox"),
        "planning": run.planning or None,
    }
