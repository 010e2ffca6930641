"""Steering a served board, as a person or a supervisor does, with a token of scope `admin`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from stigmergy.board import JsonObject, Query, Task
from stigmergy.errors import UnsupportedError
from stigmergy.swarm.remote.looking import RemoteView

__all__ = ["RemoteSteering", "TaskName"]


@dataclass(frozen=True, slots=True)
class TaskName:
    """Of a task that something was done to, of which nothing else is told."""

    task_id: str


class RemoteSteering(RemoteView):
    """The verbs of whoever steers. Thread-safe."""

    def cancel(self, task_id: str, *, reason: str = "cancelled") -> Task:
        """See `TaskBoard.cancel`."""
        return self._steer(task_id, "cancel", {"reason": reason})

    def retry(self, task_id: str) -> Task:
        """See `TaskBoard.retry`."""
        return self._steer(task_id, "retry", {})

    def cancel_all(self, query: Query, *, reason: str = "cancelled") -> Sequence[TaskName]:
        """See `TaskBoard.cancel_all`; the names alone are told."""
        return self._steer_all("/tasks/cancel", query, {"reason": reason})

    def retry_all(self, query: Query, *, error: str = "") -> Sequence[TaskName]:
        """See `TaskBoard.retry_all`; the names alone are told."""
        return self._steer_all("/tasks/retry", query, {"error": error})

    def set_priority(self, task_id: str, priority: int) -> Task:
        """See `TaskBoard.set_priority`."""
        return self._steer(task_id, "priority", {"priority": priority})

    def approve(self, task_id: str, *, by: str, reason: str = "") -> Task:
        """See `TaskBoard.approve`."""
        return self._steer(task_id, "approve", {"by": by, "reason": reason})

    def refuse(self, task_id: str, *, by: str, reason: str = "") -> Task:
        """See `TaskBoard.refuse`."""
        return self._steer(task_id, "refuse", {"by": by, "reason": reason})

    def pause(self, task_type: str | None) -> None:
        """See `TaskBoard.pause`."""
        self._wire.write("/pause", {"task_type": task_type})

    def resume(self, task_type: str | None) -> None:
        """See `TaskBoard.resume`."""
        self._wire.write("/resume", {"task_type": task_type})

    def _steer(self, task_id: str, verb: str, body: JsonObject) -> Task:
        told = self._wire.write(f"/tasks/{quote(task_id, safe='')}/{verb}", body)
        return self._wire.task(told["task"])

    def _steer_all(self, path: str, query: Query, body: JsonObject) -> list[TaskName]:
        known = Query(
            statuses=query.statuses, task_types=query.task_types, parent_id=query.parent_id
        )
        if query != known:
            raise UnsupportedError("a server picks tasks by status, type and parent alone")
        chosen: dict[str, Any] = {
            "statuses": None if query.statuses is None else sorted(query.statuses),
            "task_types": None if query.task_types is None else sorted(query.task_types),
            "parent_id": query.parent_id,
        }
        told = self._wire.write(path, chosen | body)
        return [TaskName(task_id) for task_id in told["task_ids"]]
