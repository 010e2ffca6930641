"""Options that pick tasks, shared by the commands that list and steer them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from stigmergy.board import Task, TaskStatus
from stigmergy.swarm.anyboard import AnyBoard

__all__ = ["ErrorHas", "Parent", "Types", "pick"]

Types = Annotated[
    list[str] | None, typer.Option("--type", metavar="TYPE", help="Of this type; repeatable.")
]
Parent = Annotated[str | None, typer.Option(metavar="ID", help="The parts of this task.")]
ErrorHas = Annotated[
    str | None, typer.Option("--error", metavar="TEXT", help="Whose error has this in it.")
]


def pick(
    board: AnyBoard,
    *,
    statuses: Iterable[TaskStatus] | None = None,
    types: Iterable[str] | None = None,
    parent: str | None = None,
    agent: str | None = None,
    error: str | None = None,
    limit: int | None = None,
) -> list[Task]:
    """The tasks that pass all that is given, in posting order; the first `limit` of them."""
    found = board.list_all(
        statuses=statuses,
        task_types=types,
        parent_id=parent,
        claimed_by=agent,
        limit=limit if error is None else None,
    )
    if error is not None:
        found = [task for task in found if task.error is not None and error in task.error]
    return found[:limit]
