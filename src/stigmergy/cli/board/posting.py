"""`stig board post`."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from stigmergy.board import JsonObject, OnDuplicate, Task
from stigmergy.board.task import new_task_id, task_from_json
from stigmergy.cli.board.reach import Place, open_any
from stigmergy.cli.board.reading import decode, lines_of, moment, object_of, seconds
from stigmergy.cli.console import plural
from stigmergy.errors import CorruptError, UsageError

__all__ = ["post"]


def post(
    *,
    task_type: Annotated[
        str | None, typer.Argument(metavar="TYPE", help="What kind of work; agents go by it.")
    ] = None,
    description: Annotated[
        str, typer.Argument(metavar="DESCRIPTION", help="The work in words.")
    ] = "",
    payload: Annotated[
        str | None,
        typer.Option(
            metavar="JSON", help="What the agent needs: an object, @FILE, or - for stdin."
        ),
    ] = None,
    task_id: Annotated[
        str | None, typer.Option("--id", help="Its name on the board; a random one if not given.")
    ] = None,
    requires: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A capability that the agent must have; repeatable."),
    ] = None,
    depends_on: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A task to be completed first; repeatable."),
    ] = None,
    parent: Annotated[
        str | None, typer.Option(metavar="ID", help="The task that this one is a part of.")
    ] = None,
    priority: Annotated[int, typer.Option(help="1 is the most urgent, 10 the least.")] = 5,
    max_attempts: Annotated[int, typer.Option(help="Attempts before it has failed.")] = 3,
    delay: Annotated[
        str | None, typer.Option("--in", metavar="TIME", help="Not before then: 90s, 10m, 1h30m.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="MOMENT", help="Not before then: 2026-12-24T18:00.")
    ] = None,
    unique_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="No two unfinished tasks have the same one."),
    ] = None,
    on_duplicate: Annotated[
        OnDuplicate,
        typer.Option(help="What to do if an unfinished task has the key."),
    ] = "keep",
    limit_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="What `limit --key` counts together.")
    ] = None,
    many: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Post the tasks of a JSON Lines file; - for stdin."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    board: Place,
) -> None:
    """Put a task on the board, and print its id. The board is made if it is not there.

    With --many: all tasks of a file or none, one JSON object a line, with the
    fields that `stig board show --json` shows. If an unfinished task has the
    unique key already, its id is printed, and --on-duplicate says what becomes
    of it: `keep` it, `replace` what it says if nobody has begun, or `refuse`.

    [bold]Examples[/bold]

      stig board post resize 'A thumbnail' --payload '{"path": "a.png"}'

      stig board post report --depends-on resize-1 --in 10m

      stig board post sync --unique-key sync-eu --on-duplicate replace

      stig board post --many tasks.jsonl
    """
    now = time.time()
    if many is not None:
        if task_type is not None:
            raise UsageError("--many takes types from its lines: leave TYPE out")
        tasks = [_task_of(line, where=where) for where, line in lines_of(many)]
        if not tasks:
            raise UsageError(f"--many {many}: it holds no task")
    else:
        if task_type is None:
            raise UsageError("give the TYPE of the task, or --many FILE for several tasks")
        tasks = [
            Task(
                task_type=task_type,
                description=description,
                payload=object_of(payload, what="--payload"),
                task_id=new_task_id() if task_id is None else task_id,
                requires=tuple(requires or ()),
                depends_on=tuple(depends_on or ()),
                parent_id=parent,
                priority=priority,
                max_attempts=max_attempts,
                not_before=_not_before(delay=delay, at=at, now=now),
                unique_key=unique_key,
                limit_key=limit_key,
            )
        ]
    with open_any(board, may="worker", create=True) as opened:
        names = opened.post_many(tasks, on_duplicate=on_duplicate)
    if as_json:
        print(json.dumps({"task_ids": names}, indent=2))
    elif many is not None:
        typer.echo(f"posted {plural(len(names), 'task')}")
    else:
        typer.echo(names[0])


def _not_before(*, delay: str | None, at: str | None, now: float) -> float:
    if delay is not None and at is not None:
        raise UsageError("give --in or --at, not both")
    if delay is not None:
        return now + seconds(delay, what="--in")
    return 0.0 if at is None else moment(at, what="--at")


def _task_of(line: bytes, *, where: str) -> Task:
    record: JsonObject = {"task_id": new_task_id()} | decode(line, where=where)
    try:
        return task_from_json(record, where=where)
    except CorruptError as error:
        raise UsageError(str(error)) from None
