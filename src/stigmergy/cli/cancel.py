"""`stig cancel`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stigmergy.board import TaskBoard, TaskStatus
from stigmergy.cli.console import plural
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.run import state_home
from stigmergy.coding.rundir import StateFolder
from stigmergy.coding.tasks import is_item, item_key
from stigmergy.errors import NotFoundError

__all__ = ["cancel"]

_OPEN = (TaskStatus.PENDING, TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS)


def cancel(
    *,
    item: Annotated[
        str | None, typer.Argument(help="The item to cancel; the whole run if not given.")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="The run; the latest.")] = None,
    repo: Annotated[Path, typer.Option("--repo", help="The repository.")] = Path(),
) -> None:
    """Cancel an item, or all that is left of a run.

    Agents at work on it are stopped; what has landed stays.
    Items that depend on a cancelled one fail, and say so.
    To stop a run and go on later, press Ctrl-C where it runs.

    [bold]Examples[/bold]

      stig cancel F07

      stig cancel
    """
    with Repository(repo) as repository:
        directory = StateFolder(state_home(repository)).find(run)
    with TaskBoard(directory.board_url) as board:
        tasks = [t for t in board.list_all(statuses=_OPEN) if item in (None, item_key(t))]
        if item is not None and not tasks:
            raise NotFoundError(f"run {directory.run_id} has no open item {item!r}")
        for task in tasks:
            current = board.get(task.task_id)
            if current is not None and not current.status.is_final:
                board.cancel(task.task_id, reason="cancelled by the user")
    items = {item_key(task) for task in tasks if is_item(task)}
    typer.echo(f"cancelled {plural(len(items), 'item')} of {directory.run_id}")
