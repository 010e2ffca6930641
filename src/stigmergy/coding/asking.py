"""What a run asks a person: may this plan be worked on, may this work land. Pure.

An approval is a task on the run's board that no agent can take (see `board.approvals`). What must
not go on before the answer depends on it, so a refusal fails it with the reason, and an answer
that came while no process ran the run is as good as any.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from stigmergy.board import JsonObject, Task
from stigmergy.board.approvals import approval
from stigmergy.coding.plan.workitem import WorkItem
from stigmergy.coding.tasks import item_key, rounds, work_to_land
from stigmergy.coding.work.handoff import Handoff

__all__ = ["ask_to_land", "ask_to_plan", "is_plan_approval", "landing_approval_id", "waiting_for"]

_PLAN: Final = re.compile(r"plan\.approval\d+")
_SHOWN: Final = 200
"""Items, or paths, that an approval lists; it says how many there are."""
_SUMMARY: Final = 4000


def landing_approval_id(land: Task) -> str:
    """The approval of the work that a land task has now; what mends it later has another."""
    return f"{item_key(land)}.approval{rounds(land) + 1}"


def ask_to_land(land: Task, work: Task, handoff: Handoff, *, ref: str) -> Task:
    """The approval that a piece of work waits for before it enters the merge queue.

    Args:
        land: the task that will land it.
        work: the completed work.
        handoff: what came of it, counted by git.
        ref: where its commits can be looked at.
    """
    result, counted = work.result or {}, handoff.metrics
    key = item_key(land)
    first_line = land.description.strip().partition("\n")[0]
    payload: JsonObject = {
        "key": key,
        "asks": "landing",
        "work": work_to_land(land),
        "branch": ref,
        "base": result.get("base"),
        "commit": result.get("commit"),
        "commits": handoff.commits,
        "files_changed": counted.files_changed,
        "lines_added": counted.lines_added,
        "lines_removed": counted.lines_removed,
        "paths": list(handoff.changes[:_SHOWN]),
        "summary": handoff.summary[:_SUMMARY],
        "concerns": list(handoff.concerns),
    }
    return approval(
        landing_approval_id(land),
        f"Land {key} ({_stat(handoff)}): {first_line}"[:1000],
        payload=payload,
        parent_id=land.parent_id,
        priority=land.priority,
    )


def ask_to_plan(
    items: Sequence[WorkItem], tasks: Sequence[Task], *, number: int, run_id: str
) -> list[Task]:
    """The approval of a plan, and its tasks such that no work begins before it.

    Args:
        items: what is planned.
        tasks: of these items.
        number: how many plans of this run there are, with this one.
        run_id: the run.
    """
    name = f"plan.approval{number}"
    told = [
        {
            "key": item.key,
            "title": item.title[:200],
            "scope": list(item.scope[:_SHOWN]),
            "depends_on": list(item.depends_on),
        }
        for item in items[:_SHOWN]
    ]
    count = f"{len(items):,} item{'' if len(items) == 1 else 's'}"
    titles = "; ".join(item.title for item in items[:5])
    more = "; …" if len(items) > 5 else ""
    asked = approval(
        name,
        f"Work on a plan of {count}: {titles}{more}"[:1000],
        payload={"asks": "plan", "items": told, "count": len(items)},
        parent_id=run_id,
    )
    works = {item.key for item in items}
    return [
        asked,
        *(
            replace(task, depends_on=(*task.depends_on, name)) if task.task_id in works else task
            for task in tasks
        ),
    ]


def is_plan_approval(task_id: str) -> bool:
    """It asks whether a plan may be worked on."""
    return _PLAN.fullmatch(task_id) is not None


def waiting_for(task: Task) -> str:
    """What an approval is about: an item's key, or `the plan`."""
    return str(task.payload["key"]) if "key" in task.payload else "the plan"


def _stat(handoff: Handoff) -> str:
    counted = handoff.metrics
    files = "unknown" if counted.files_changed is None else str(counted.files_changed)
    lines = "" if counted.lines_added is None else f", +{counted.lines_added}"
    lines += "" if counted.lines_removed is None else f" -{counted.lines_removed}"
    return f"{files} file{'' if files == '1' else 's'}{lines}"
