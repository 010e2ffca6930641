"""A work item as tasks on the board, and what the board's tasks say about it.

An item `F07` is a `code` task `F07` and a `land` task `F07.land` that depends on it; whatever
depends on the item depends on its landing. When the merge queue sends work back, a `fix` task
`F07.fix1` is posted and `F07.land` waits for that: the last work that it depends on is always
the one to land. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from stigmergy.board import JsonObject, Task, TaskType
from stigmergy.coding.plan.workitem import WorkItem

__all__ = [
    "SWEEP_KEY",
    "WORK_TYPES",
    "Rework",
    "fix_task",
    "has_work",
    "is_item",
    "is_own_name",
    "is_sweep",
    "item_key",
    "land_id",
    "rounds",
    "sweep_tasks",
    "tasks_of_items",
    "work_to_land",
    "work_type",
]

WORK_TYPES: Final = (TaskType.CODE, TaskType.FIX)
"""What an agent in a sandbox takes."""
SWEEP_KEY: Final = "sweep"
"""Items that the reconciler files are called `sweep1`, `sweep2` …"""

_NO_WORK: Final = re.compile(r".*\.(?:land|approval\d+)")
_OWN_NAME: Final = re.compile(rf".*\.(?:land|approval\d+|fix\d+)|{SWEEP_KEY}\d+")
_TEXT_CHARS: Final = 20_000
_MOST_URGENT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rework:
    """Why work comes back, and where mending starts."""

    kind: Literal["no-commit", "conflict", "gate-red", "partial", "out-of-scope"]
    detail: str
    gate_output: str = ""
    previous: str = ""
    """The work so far, as a diff, where the mending does not start from it."""
    base: str | None = None
    """The commit to start from; None is the target's tip."""


def work_type(task: Task) -> str:
    """What its item was planned as; empty where nothing was said."""
    return str(task.payload.get("type", ""))


def land_id(key: str) -> str:
    """The id of an item's land task."""
    return f"{key}.land"


def item_key(task: Task) -> str:
    """The item that a task of a run belongs to."""
    return str(task.payload.get("key", task.task_id))


def is_item(task: Task) -> bool:
    """It is an item's land task, so it stands for the item."""
    return task.task_type == TaskType.LAND


def is_sweep(land: Task) -> bool:
    """It lands what mends a red target."""
    return item_key(land).startswith(SWEEP_KEY) and "found_at" in land.payload


def is_own_name(task_id: str) -> bool:
    """A run itself gives such names, beside those of its items."""
    return _OWN_NAME.fullmatch(task_id) is not None


def has_work(land: Task) -> bool:
    """It depends on work."""
    return bool(_works(land))


def work_to_land(land: Task) -> str:
    """The id of the task whose commits a land task is to land: the latest of the item's own."""
    return _works(land)[-1]


def rounds(land: Task) -> int:
    """How often the item's work has come back."""
    return len(_works(land)) - 1


def _works(land: Task) -> list[str]:
    # A land task may wait for the landing of a sweep as well, which is no work of its item, and
    # for what a person says.
    return [name for name in land.depends_on if not _NO_WORK.fullmatch(name)]


def tasks_of_items(items: Iterable[WorkItem], *, run_id: str, max_attempts: int) -> list[Task]:
    """The tasks to post, two for each item."""
    tasks: list[Task] = []
    for item in items:
        payload: JsonObject = {
            "key": item.key,
            "scope": list(item.scope),
            "acceptance": list(item.acceptance),
        }
        landing: JsonObject = {"key": item.key}
        if item.task_type:
            payload["type"] = landing["type"] = item.task_type
        tasks.append(
            Task(
                task_id=item.key,
                task_type=item.task_type or TaskType.CODE,
                description=item.brief,
                payload=payload,
                depends_on=tuple(land_id(name) for name in item.depends_on),
                parent_id=run_id,
                priority=item.priority,
                max_attempts=max_attempts,
            )
        )
        tasks.append(
            Task(
                task_id=land_id(item.key),
                task_type=TaskType.LAND,
                description=item.brief,
                payload=landing,
                depends_on=(item.key,),
                parent_id=run_id,
                priority=item.priority,
                # Attempts at landing end by crashes of the queue alone; rejections are rounds.
                max_attempts=1000,
            )
        )
    return tasks


def fix_task(land: Task, work: Task, rework: Rework, *, max_attempts: int) -> Task:
    """The task that mends an item's work after it came back."""
    key = item_key(land)
    payload: JsonObject = {
        "key": key,
        "scope": work.payload.get("scope", []),
        "acceptance": work.payload.get("acceptance", []),
        "reason": rework.kind,
        "detail": rework.detail[:_TEXT_CHARS],
        "gate_output": _tail(rework.gate_output),
        "previous": rework.previous[:_TEXT_CHARS],
        "base": rework.base,
    }
    if "type" in land.payload:
        payload["type"] = land.payload["type"]
    return Task(
        task_id=f"{key}.fix{rounds(land) + 1}",
        task_type=TaskType.FIX,
        description=land.description,
        payload=payload,
        parent_id=land.parent_id,
        # Others wait for what has come this far, so it goes before fresh work of its kind.
        priority=max(_MOST_URGENT, land.priority - 1),
        max_attempts=max_attempts,
    )


def sweep_tasks(
    number: int, *, commit: str, detail: str, gate_output: str, run_id: str, max_attempts: int
) -> list[Task]:
    """The item that mends a target found red: the most urgent there is."""
    key = f"{SWEEP_KEY}{number}"
    payload: JsonObject = {
        "key": key,
        "scope": [],
        "acceptance": ["the gate is green"],
        "reason": "gate-red",
        "detail": detail[:_TEXT_CHARS],
        "gate_output": _tail(gate_output),
        "found_at": commit,
    }
    description = f"Mend the target branch: {detail}"[:1000]
    fix = Task(
        task_id=key,
        task_type=TaskType.FIX,
        description=description,
        payload=payload,
        parent_id=run_id,
        priority=_MOST_URGENT,
        max_attempts=max_attempts,
    )
    land = Task(
        task_id=land_id(key),
        task_type=TaskType.LAND,
        description=description,
        payload={"key": key, "found_at": commit},
        depends_on=(key,),
        parent_id=run_id,
        priority=_MOST_URGENT,
        max_attempts=1000,
    )
    return [fix, land]


def _tail(text: str) -> str:
    return text[-_TEXT_CHARS:]
