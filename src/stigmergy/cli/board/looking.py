"""`stig board list` and `stig board show`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from stigmergy.board import Event, Match, Rules, Task, TaskStatus
from stigmergy.board.approvals import waits_for_person
from stigmergy.board.lifecycle import is_ready
from stigmergy.board.task import task_to_json
from stigmergy.cli.board.picking import ErrorHas, Parent, Types, pick
from stigmergy.cli.board.place import AsJson
from stigmergy.cli.board.reach import Place, open_any
from stigmergy.cli.board.telling import (
    brief,
    event_line,
    event_to_json,
    paused_by,
    pretty,
    standing,
    status_text,
    tell,
)
from stigmergy.cli.console import clean, clean_lines, data, day_time, duration, plural
from stigmergy.errors import NotFoundError, UsageError
from stigmergy.swarm.anyboard import AnyBoard

__all__ = ["list_tasks", "show"]


def list_tasks(
    *,
    status: Annotated[
        list[TaskStatus] | None, typer.Option(help="That stand so; repeatable.")
    ] = None,
    types: Types = None,
    parent: Parent = None,
    agent: Annotated[
        str | None, typer.Option(metavar="AGENT", help="That this agent holds or has finished.")
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="The dead letters, with their errors in full.")
    ] = False,
    error: ErrorHas = None,
    newest: Annotated[bool, typer.Option("--newest", help="Newest first.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="Show so many; 0 for all.")] = 50,
    as_json: AsJson = False,
    board: Place,
) -> None:
    """List tasks, in the order in which they were posted.

    [bold]Examples[/bold]

      stig board list --status pending --type resize

      stig board list --failed --error 'timed out'

      stig board list --newest --limit 10 --json
    """
    if failed and status:
        raise UsageError("give --failed or --status, not both")
    statuses = [TaskStatus.FAILED] if failed else status
    with open_any(board) as opened:
        found = pick(
            opened,
            statuses=statuses,
            types=types,
            parent=parent,
            agent=agent,
            error=error,
            limit=limit + 1 if limit and not newest else None,
        )
        rules = opened.rules()
    if newest:
        found.reverse()
    shown = found[:limit] if limit else found
    if as_json:
        tasks = [task_to_json(task) for task in shown]
        print(json.dumps({"tasks": tasks, "more": len(found) > len(shown)}, indent=2))
        return
    console = Console(highlight=False)
    if not found:
        is_filtered = any((status, types, parent, agent, failed, error))
        console.print("no such task" if is_filtered else "no task")
        return
    now = time.time()
    console.print(_letters(shown, now=now) if failed else _table(shown, rules, now=now))
    if len(shown) < len(found):
        console.print("… and more; --limit 0 shows all", style="dim")


def show(
    *,
    task_id: Annotated[str, typer.Argument(metavar="ID", help="The task.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="As one JSON object, with all fields and the history.")
    ] = False,
    board: Place,
) -> None:
    """Show all of a task: what it needs, where it stands and what happened to it.

    [bold]Example[/bold]

      stig board show resize-1
    """
    with open_any(board) as opened:
        task = opened.get(task_id)
        if task is None:
            raise NotFoundError(f"no task {task_id!r} on this board")
        task = replace(task, payload=opened.load(task.payload))
        if task.result is not None:
            task = replace(task, result=opened.load(task.result))
        history = opened.history(task_id)
        needed = {name: opened.get(name) for name in (*task.depends_on, *task.waiting_on)}
        parts = opened.progress(task_id)
        held_back = _held_back(opened, task)
    if as_json:
        document = {
            "task": task_to_json(task),
            "depends_on": {n: None if t is None else t.status for n, t in needed.items()},
            "held_back": held_back,
            "parts": asdict(parts),
            "history": [event_to_json(event) for event in history],
        }
        print(json.dumps(document, indent=2))
        return
    console = Console(highlight=False)
    console.print(_page(task, needed, history, held_back=held_back, now=time.time()))
    if parts.total:
        done = f"{parts.completed:,} of {plural(parts.total, 'part')} completed"
        console.print(Text(f"\n{done}; `stig board list --parent {clean(task_id)}` shows them"))


def _table(tasks: Sequence[Task], rules: Rules, *, now: float) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("task", "type", "status"):
        table.add_column(heading, no_wrap=True)
    table.add_column("tries", justify="right", no_wrap=True)
    table.add_column("stands", ratio=1)
    table.add_column("what", ratio=1)
    for task in tasks:
        table.add_row(
            data(task.task_id, "bold"),
            data(task.task_type),
            status_text(task.status),
            f"{task.attempts}/{task.max_attempts}",
            data(standing(task, now=now, rules=rules)),
            data(brief(task), "dim"),
        )
    return table


def _letters(tasks: Sequence[Task], *, now: float) -> Group:
    """Each failed task with its whole error under it."""
    parts: list[RenderableType] = []
    for task in tasks:
        ago = "" if task.finished_at is None else f", {duration(now - task.finished_at)} ago"
        head = f"{clean(task.task_type)}, after {plural(task.attempts, 'attempt')}{ago}"
        parts.append(Text.assemble((clean(task.task_id), "bold"), "  ", (head, "dim")))
        parts += [Text(f"  {line}", style="red") for line in clean_lines(task.error or "unknown")]
    return Group(*parts)


def _page(
    task: Task,
    needed: Mapping[str, Task | None],
    history: Sequence[Event],
    *,
    held_back: str,
    now: float,
) -> Group:
    parts: list[RenderableType] = [
        Text.assemble((clean(task.task_id), "bold cyan"), "  ", clean(task.task_type)),
        Text.assemble(status_text(task.status), f": {held_back or standing(task, now=now)}"),
    ]
    parts += [Text(line) for line in clean_lines(task.description)]
    parts += [Text(), _facts(task, needed, now=now)]
    if task.payload:
        parts += [_heading("payload"), pretty(task.payload)]
    if task.progress:
        parts += [_heading("progress"), pretty(task.progress)]
    # What a failed task has for a result is its error, which comes next.
    if task.result is not None and task.result.get("error") != task.error:
        parts += [_heading("result"), pretty(task.result)]
    if task.error:
        parts.append(_heading("error"))
        parts += [Text(line, style="red") for line in clean_lines(task.error)]
    parts.append(_heading("history"))
    for event in history:
        lines = tell(event)
        parts += [
            event_line(event, line, first=number == 0, name="") for number, line in enumerate(lines)
        ]
    if not history:
        parts.append(Text("unknown: the journal does not go back so far", style="dim"))
    return Group(*parts)


def _held_back(board: AnyBoard, task: Task) -> str:
    """Why a task that is ready is not taken: its type is paused, or a limit is reached."""
    now = time.time()
    if not is_ready(task, now):
        return ""
    rules = board.rules()
    if waits_for_person(task):
        return ""
    if paused := paused_by(rules, task):
        return paused
    held = board.list_all(statuses=[TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS])
    full = [
        clean(limit.name)
        for limit in rules.limits
        if not Match(barred=frozenset(limit.bars(limit.counted(held), now))).accepts(
            task.task_type, (), task.limit_key
        )
    ]
    return f"held back by the limit {', '.join(full)}" if full else ""


def _heading(word: str) -> Text:
    return Text(f"\n{word}", style="bold")


def _facts(task: Task, needed: Mapping[str, Task | None], *, now: float) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")

    def row(name: str, value: str) -> None:
        table.add_row(name, Text(value))

    row("posted", f"{day_time(task.created_at)}, {duration(now - task.created_at)} ago")
    if task.finished_at is not None:
        row("finished", f"{day_time(task.finished_at)}, {duration(now - task.finished_at)} ago")
    row("priority", f"{task.priority} (1 is the most urgent, 10 the least)")
    row("attempts", f"{task.attempts} of {task.max_attempts}")
    if task.fence:
        row("fence", str(task.fence))
    if task.requires:
        row("requires", clean(", ".join(task.requires)))
    if task.parent_id is not None:
        row("part of", clean(task.parent_id))
    if task.unique_key is not None:
        row("unique key", clean(task.unique_key))
    if task.limit_key is not None:
        row("limit key", clean(task.limit_key))
    if task.not_before > now and task.status is TaskStatus.PENDING:
        row("not before", day_time(task.not_before))
    for name in task.depends_on:
        row("depends on", f"{clean(name)}: {_state(needed.get(name))}")
    return table


def _state(task: Task | None) -> str:
    return "not on the board any more" if task is None else task.status.value.replace("_", " ")
