"""`stig board waiting`, `approve` and `refuse`: what waits for a person, and what they say."""

from __future__ import annotations

import getpass
import json
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from stigmergy.board import Task, TaskStatus, TaskType
from stigmergy.board.approvals import waits_for_person
from stigmergy.board.task import task_to_json
from stigmergy.cli.board.place import AsJson
from stigmergy.cli.board.reach import Place, open_any
from stigmergy.cli.board.steering import each, say
from stigmergy.cli.board.telling import brief
from stigmergy.cli.console import data, duration

__all__ = ["By", "approve", "refuse", "table_of_waiting", "waiting", "who"]

TaskIds = Annotated[list[str], typer.Argument(metavar="ID...", help="The tasks.")]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who decides; your user name if not given."),
]


def who(by: str | None) -> str:
    """The name under which a decision stands in the journal."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "unknown"


def waiting(*, as_json: AsJson = False, board: Place) -> None:
    """List what waits for a person: tasks that only `approve` or `refuse` ends.

    [bold]Example[/bold]

      stig board waiting
    """
    with open_any(board) as opened:
        pending = opened.list_all(statuses=[TaskStatus.PENDING], task_types=[TaskType.APPROVAL])
    found = [task for task in pending if waits_for_person(task)]
    if as_json:
        print(json.dumps({"tasks": [task_to_json(task) for task in found]}, indent=2))
        return
    console = Console(highlight=False)
    console.print(table_of_waiting(found, now=time.time()) if found else "nothing waits for you")


def table_of_waiting(tasks: list[Task], *, now: float) -> Table:
    """What waits, since when, and what is asked."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("task", "waits for"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what is asked", ratio=1, overflow="fold")
    for task in tasks:
        asked = data(brief(task))
        table.add_row(data(task.task_id, "bold"), duration(now - task.created_at), asked)
    return table


def approve(
    *,
    task_ids: TaskIds,
    reason: Annotated[str, typer.Option(help="For the journal.")] = "",
    by: By = None,
    as_json: AsJson = False,
    board: Place,
) -> None:
    """Say yes to tasks that wait for a person. What depends on them goes on.

    [bold]Example[/bold]

      stig board approve deploy-7 --reason 'looks good'
    """
    name = who(by)
    with open_any(board, may="admin") as opened:
        done, failed = each(task_ids, lambda one: opened.approve(one, by=name, reason=reason))
    say("approved", done, failed, keys=("approved", "errors"), as_json=as_json)


def refuse(
    *,
    task_ids: TaskIds,
    reason: Annotated[str, typer.Option(help="For the journal, and for whoever reads it.")] = "",
    by: By = None,
    as_json: AsJson = False,
    board: Place,
) -> None:
    """Say no to tasks that wait for a person. What depends on them fails with the reason.

    [bold]Example[/bold]

      stig board refuse deploy-7 --reason 'the change is too large'
    """
    name = who(by)
    with open_any(board, may="admin") as opened:
        done, failed = each(task_ids, lambda one: opened.refuse(one, by=name, reason=reason))
    say("refused", done, failed, keys=("refused", "errors"), as_json=as_json)
