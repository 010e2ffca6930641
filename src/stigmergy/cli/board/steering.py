"""`stig board retry`, `cancel`, `priority`, `pause` and `resume`: by name, by a filter, by type."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Final

import typer

from stigmergy.board import Query, TaskStatus
from stigmergy.board.rules import ALL
from stigmergy.board.task import MAX_PRIORITY, MIN_PRIORITY
from stigmergy.cli.board.picking import ErrorHas, Parent, Types, pick
from stigmergy.cli.board.place import AsJson
from stigmergy.cli.board.reach import Place, open_any
from stigmergy.cli.console import clean, plural
from stigmergy.errors import UsageError
from stigmergy.swarm.anyboard import AnyBoard

__all__ = ["Ids", "cancel", "each", "pause", "priority", "resume", "retry", "say"]

_UNFINISHED: Final = (TaskStatus.PENDING, TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS)
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="The tasks.")]
PausedType = Annotated[str | None, typer.Argument(metavar="TYPE", help="The type.")]
Every = Annotated[bool, typer.Option("--all", help="All types, those to come included.")]


def retry(
    *,
    task_ids: Ids = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed.")] = False,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="All that were cancelled.")
    ] = False,
    types: Types = None,
    parent: Parent = None,
    error: ErrorHas = None,
    as_json: AsJson = False,
    board: Place,
) -> None:
    """Begin failed or cancelled tasks anew, with those that failed because of them.

    [bold]Examples[/bold]

      stig board retry resize-1

      stig board retry --failed --type resize --error 'timed out'
    """
    statuses = [TaskStatus.FAILED] * failed + [TaskStatus.CANCELLED] * cancelled
    _check_choice(task_ids, statuses, [types, parent, error], options="--failed or --cancelled")
    with open_any(board, may="admin") as opened:
        if task_ids:
            done, refused = _retry_named(opened, task_ids)
            left: list[str] = []
        else:
            query = Query(
                statuses=frozenset(statuses),
                task_types=frozenset(types) if types else None,
                parent_id=parent,
            )
            before = pick(opened, statuses=statuses, types=types, parent=parent, error=error)
            opened.retry_all(query, error=error or "")
            after = pick(opened, statuses=statuses, types=types, parent=parent, error=error)
            dead = {task.task_id for task in after}
            left = [task.task_id for task in before if task.task_id in dead]
            done = [task.task_id for task in before if task.task_id not in dead]
            refused = {}
    say("retried", done, refused, left=left, as_json=as_json)


def cancel(
    *,
    task_ids: Ids = None,
    pending: Annotated[
        bool, typer.Option("--pending", help="All that nobody is working on.")
    ] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="All, also those that agents hold.")
    ] = False,
    types: Types = None,
    parent: Parent = None,
    error: ErrorHas = None,
    reason: Annotated[str, typer.Option(help="For the journal.")] = "by the user",
    as_json: AsJson = False,
    board: Place,
) -> None:
    """Stop tasks that are not finished. Those that depend on them fail, and say so.

    Agents that hold one are refused when they report or renew.

    [bold]Examples[/bold]

      stig board cancel resize-1 resize-2

      stig board cancel --pending --type resize --reason 'not needed any more'
    """
    statuses = list(_UNFINISHED) if unfinished else [TaskStatus.PENDING] * pending
    _check_choice(task_ids, statuses, [types, parent, error], options="--pending or --unfinished")
    with open_any(board, may="admin") as opened:
        if task_ids:
            done, refused = each(task_ids, lambda name: opened.cancel(name, reason=reason))
        elif error is None:
            query = Query(
                statuses=frozenset(statuses),
                task_types=frozenset(types) if types else None,
                parent_id=parent,
            )
            done = [task.task_id for task in opened.cancel_all(query, reason=reason)]
            refused = {}
        else:
            found = pick(opened, statuses=statuses, types=types, parent=parent, error=error)
            # Cancelling one fails those that depend on it, which may be among those found.
            done, refused = each(
                (task.task_id for task in found),
                lambda name: opened.cancel(name, reason=reason),
                skip=lambda name: _stands(opened, name) not in statuses,
            )
    say("cancelled", done, refused, as_json=as_json)


def priority(
    *,
    number: Annotated[
        int,
        typer.Argument(
            metavar="N",
            min=MIN_PRIORITY,
            max=MAX_PRIORITY,
            help="1 is the most urgent, 10 the least.",
        ),
    ],
    task_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The tasks.")],
    as_json: AsJson = False,
    board: Place,
) -> None:
    """Let unfinished tasks be taken earlier or later.

    [bold]Example[/bold]

      stig board priority 1 resize-7 resize-8
    """
    with open_any(board, may="admin") as opened:
        done, refused = each(task_ids, lambda name: opened.set_priority(name, number))
    say(f"priority {number} for", done, refused, keys=("prioritized", "refused"), as_json=as_json)


def pause(
    *,
    task_type: PausedType = None,
    every: Every = False,
    as_json: AsJson = False,
    board: Place,
) -> None:
    """Let no task of a type, or none at all, be taken until `resume`. What agents hold goes on.

    [bold]Examples[/bold]

      stig board pause resize

      stig board pause --all
    """
    _check_pause(task_type, every=every)
    with open_any(board, may="admin") as opened:
        opened.pause(task_type)
        types = None if task_type is None else [task_type]
        held = len(opened.list_all(statuses=_UNFINISHED[1:], task_types=types))
    if as_json:
        print(json.dumps({"paused": task_type or ALL, "held": held}, indent=2))
    else:
        goes_on = f"; {plural(held, 'task')} held by agents go on" if held else ""
        typer.echo(f"paused {_named(task_type)}{goes_on}")


def resume(
    *,
    task_type: PausedType = None,
    every: Every = False,
    as_json: AsJson = False,
    board: Place,
) -> None:
    """Let tasks of a paused type be taken again, or with --all those of all types.

    --all takes back `pause --all`: a type that was paused by itself stays so.

    [bold]Examples[/bold]

      stig board resume resize

      stig board resume --all
    """
    _check_pause(task_type, every=every)
    with open_any(board, may="admin") as opened:
        opened.resume(task_type)
        paused = opened.rules().paused
    if as_json:
        print(json.dumps({"resumed": task_type or ALL, "paused": list(paused)}, indent=2))
    else:
        # Of other pauses those are told that hold on to what was resumed.
        left = [_named_in_rules(one) for one in paused if every or one == ALL]
        still = f"; still paused: {', '.join(left)}" if left else ""
        typer.echo(f"resumed {_named(task_type)}{still}")


def _check_pause(task_type: str | None, *, every: bool) -> None:
    if (task_type is None) != every:
        raise UsageError("name a task type, or give --all for every type")


def _named(task_type: str | None) -> str:
    return "all types" if task_type is None else clean(task_type)


def _named_in_rules(paused: str) -> str:
    return _named(None if paused == ALL else paused)


def _check_choice(
    task_ids: Sequence[str] | None,
    statuses: Sequence[TaskStatus],
    filters: Iterable[object],
    *,
    options: str,
) -> None:
    if task_ids and (statuses or any(filters)):
        raise UsageError(f"name tasks, or pick them with {options}, not both")
    if not task_ids and not statuses:
        raise UsageError(f"name a task, or pick tasks with {options}")


def each(
    names: Iterable[str],
    act: Callable[[str], object],
    *,
    skip: Callable[[str], bool] | None = None,
) -> tuple[list[str], dict[str, str]]:
    """Those for which it went well, and why it did not for the others."""
    done: list[str] = []
    refused: dict[str, str] = {}
    for name in dict.fromkeys(names):
        if skip is not None and skip(name):
            continue
        try:
            act(name)
        except UsageError as error:
            refused[name] = str(error)
        else:
            done.append(name)
    return done, refused


def _retry_named(board: AnyBoard, names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Retry what can be, in an order that goes: needed tasks before those that need them."""
    dead = [name for name in dict.fromkeys(names) if _is_dead(_stands(board, name))]
    _, refused = each((name for name in names if name not in set(dead)), board.retry)
    left = dead
    while left:
        # One that failed because of another came back with it.
        _, again = each(left, board.retry, skip=lambda name: not _is_dead(_stands(board, name)))
        if len(again) == len(left):
            refused |= again
            break
        left = list(again)
    return [name for name in dead if name not in refused], refused


def _stands(board: AnyBoard, name: str) -> TaskStatus | None:
    task = board.get(name)
    return None if task is None else task.status


def _is_dead(status: TaskStatus | None) -> bool:
    return status in (TaskStatus.FAILED, TaskStatus.CANCELLED)


def say(
    word: str,
    done: Sequence[str],
    refused: dict[str, str],
    *,
    left: Sequence[str] = (),
    keys: tuple[str, str] | None = None,
    noun: str = "task",
    as_json: bool,
) -> None:
    """Tell what was done; what was refused makes the command fail, what was `left` does not.

    `keys` name what was done and what was refused in JSON, if not `word` and "refused".
    """
    if as_json:
        done_key, refused_key = keys or (word, "refused")
        told = {done_key: list(done), refused_key: refused, "left": list(left)}
        print(json.dumps(told, indent=2))
    elif done or not refused:
        typer.echo(f"{word} {plural(len(done), noun)}")
        if left:
            why = "what they depend on failed or was cancelled: retry that"
            typer.echo(f"{plural(len(left), 'task')} stay as they were: {why}")
    if refused:
        raise UsageError("\n".join(refused.values()))
