"""Spread work over the swarm and bring the results together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping

from stigmergy.board import JsonObject, Task, TaskBoard, TaskStatus
from stigmergy.board.task import new_task_id
from stigmergy.errors import StigmergyError, TransientError, UsageError
from stigmergy.swarm.reduction import REDUCTIONS, Reduction

__all__ = ["SwarmCoordinator"]


class SwarmCoordinator:
    """Posts the parts of a job and reduces their results. Holds no state: any process can ask."""

    def __init__(self, task_board: TaskBoard) -> None:
        self._board = task_board

    def map(
        self,
        task_type: str,
        description: str,
        subtask_payloads: Iterable[JsonObject],
        *,
        requires: Iterable[str] = (),
        priority: int = 5,
        max_attempts: int = 3,
        parent_id: str | None = None,
    ) -> str:
        """Post a task for each payload, all or none; the id under which they stand together."""
        parent = parent_id or new_task_id()
        wanted = tuple(requires)
        self._board.post_many(
            Task(
                task_type=task_type,
                description=description,
                payload=dict(payload),
                requires=wanted,
                parent_id=parent,
                priority=priority,
                max_attempts=max_attempts,
            )
            for payload in subtask_payloads
        )
        return parent

    def reduce(self, parent_id: str, strategy: str | Reduction = "first") -> JsonObject:
        """One result of those that are in. Ask `get_progress` whether all are.

        Args:
            parent_id: what `map` returned.
            strategy: `first`, `best_score`, `merge_all`, `majority_vote`, or a function of the
                list of results.

        Raises:
            UsageError: no such strategy, or no result is in.
        """
        reduction = _reduction(strategy)
        results = self._board.get_results_by_parent(parent_id)
        if not results:
            raise UsageError(f"nothing to reduce: no child of {parent_id!r} is completed")
        return reduction(results)

    def mapreduce(
        self,
        task_type: str,
        description: str,
        subtask_payloads: Iterable[JsonObject],
        strategy: str | Reduction = "first",
        *,
        timeout_s: float | None = None,
        stop: threading.Event | None = None,
    ) -> JsonObject:
        """Map, wait for the agents, reduce.

        Raises:
            StigmergyError: a part failed; its error is in the text.
            TransientError: the time ran out or `stop` was set; the tasks stay on the board.
        """
        reduction = _reduction(strategy)
        parent = self.map(task_type, description, subtask_payloads)
        self.wait(parent, timeout_s=timeout_s, stop=stop)
        failed = self._board.list_all(
            parent_id=parent, statuses=[TaskStatus.FAILED, TaskStatus.CANCELLED]
        )
        if failed:
            raise StigmergyError(
                f"{len(failed)} parts of {parent!r} failed; "
                f"the first is task {failed[0].task_id!r}: {failed[0].error}"
            )
        return self.reduce(parent, reduction)

    def wait(
        self,
        parent_id: str,
        *,
        timeout_s: float | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Sleep until no child of `parent_id` is left to do.

        Raises:
            TransientError: the time ran out or `stop` was set first.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            last = self._board.last_seq()  # before looking, so that what comes after is not missed
            if self._board.progress(parent_id).is_complete:
                return
            left = 0.25 if deadline is None else min(0.25, deadline - time.monotonic())
            if left <= 0 or (stop is not None and stop.is_set()):
                raise TransientError(f"the parts of {parent_id!r} are not all done yet")
            self._board.wait(after=last, timeout_s=left)

    def get_progress(self, parent_id: str) -> JsonObject:
        """How far the parts of a job are.

        Keys: `total, completed, failed, cancelled, pending, in_progress, progress_pct,
        is_complete`.
        """
        progress = self._board.progress(parent_id)
        return {
            "total": progress.total,
            "completed": progress.completed,
            "failed": progress.failed,
            "cancelled": progress.cancelled,
            "pending": progress.pending,
            "in_progress": progress.in_progress,
            "progress_pct": progress.progress_pct,
            "is_complete": progress.is_complete,
        }


def _reduction(strategy: str | Reduction) -> Reduction:
    if not isinstance(strategy, str):
        return strategy
    known: Mapping[str, Reduction] = REDUCTIONS
    if strategy not in known:
        raise UsageError(f"no reduction {strategy!r}; there are {', '.join(known)}, or a function")
    return known[strategy]
