"""What a line of the journal tells of a task's change: one place for every path that writes it."""

from __future__ import annotations

from typing import Final

from stigmergy.board.task import JsonObject, Task, TaskStatus

__all__ = ["claimed_entry", "ended_entry", "posted_entry"]


_TITLE: Final = 200
"""Characters of a task's description that its line tells."""


def posted_entry(task: Task) -> JsonObject:
    """Of `posted`: what whoever reads the journal alone must know of the task."""
    data: JsonObject = {
        "task_type": task.task_type,
        "priority": task.priority,
        "parent_id": task.parent_id,
        "depends_on": list(task.depends_on),
        "max_attempts": task.max_attempts,
    }
    if task.description:
        data["title"] = task.description.strip().partition("\n")[0][:_TITLE]
    if task.requires:
        data["requires"] = list(task.requires)
    if task.unique_key is not None:
        data["unique_key"] = task.unique_key
    return data


def claimed_entry(task: Task) -> JsonObject:
    """Of `claimed`."""
    return {"attempt": task.attempts, "fence": task.fence}


def ended_entry(task: Task, note: JsonObject | None = None) -> JsonObject:
    """Of whatever ended an attempt: `completed`, `failed`, `expired`, `cancelled`."""
    data: JsonObject = {**(note or {}), "status": task.status.value, "attempt": task.attempts}
    if task.error is not None:
        data["error"] = task.error
    if task.status is TaskStatus.PENDING:
        data["not_before"] = task.not_before
    return data
