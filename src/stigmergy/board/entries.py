"""What a line of the journal tells of a task's change: one place for every path that writes it."""

from __future__ import annotations

from typing import Final

from stigmergy.board.task import JsonObject, Task, TaskStatus, TaskType

__all__ = ["claimed_entry", "ended_entry", "posted_entry"]


_TITLE: Final = 200
"""Characters of what a person is asked."""


def posted_entry(task: Task) -> JsonObject:
    """Of `posted`."""
    data: JsonObject = {
        "task_type": task.task_type,
        "priority": task.priority,
        "parent_id": task.parent_id,
        "depends_on": list(task.depends_on),
    }
    if task.unique_key is not None:
        data["unique_key"] = task.unique_key
    if task.task_type == TaskType.APPROVAL:
        # Whoever reads the journal alone learns what was asked of a person.
        data["title"] = task.description.strip().partition("\n")[0][:_TITLE]
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
