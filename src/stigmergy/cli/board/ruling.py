"""`stig board rules` and what makes them: limits, schedules, retention, fair sharing."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict
from typing import Annotated, Final, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stigmergy.board import Limit, Retention, Rules, Schedule, Task
from stigmergy.board.rules import ALL
from stigmergy.board.task import task_to_json
from stigmergy.cli.board.place import AsJson, BoardUrl, open_board
from stigmergy.cli.board.reach import Place, open_any
from stigmergy.cli.board.reading import object_of, seconds
from stigmergy.cli.console import clean, day_time, duration
from stigmergy.errors import UsageError

__all__ = ["fair", "limit", "retain", "rules", "schedule", "unlimit", "unschedule"]

_RATE: Final = re.compile(r"([1-9]\d{0,8})/(.+)", re.ASCII)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]


def rules(*, as_json: AsJson = False, board: Place) -> None:
    """Show what the board was told: pauses, limits, schedules, retention.

    [bold]Example[/bold]

      stig board rules
    """
    with open_any(board) as opened:
        told = opened.rules()
    if as_json:
        print(json.dumps(_document(told), indent=2))
    else:
        _show(told, Console(highlight=False), now=time.time())


def limit(
    *,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Its name; a limit of that name is replaced.")
    ],
    task_type: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="For tasks of this type.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="For tasks of this limit key; '*': each by itself."),
    ] = None,
    at_once: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Held at the same time.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(metavar="N/TIME", help="Claims in a time: 100/1m.")
    ] = None,
    as_json: AsJson = False,
    board: BoardUrl = None,
) -> None:
    """Let only so many tasks of a type or a key be at work, or be taken in a time.

    Tasks say their key with `post --limit-key`. What is held already goes on.

    [bold]Examples[/bold]

      stig board limit uploads --type upload --at-once 4

      stig board limit hosts --key '*' --rate 100/1m
    """
    number, per_s = _rate(rate)
    made = Limit(
        name=name, task_type=task_type, limit_key=key, at_once=at_once, rate=number, per_s=per_s
    )
    with open_board(board) as opened:
        opened.limit(made)
    if as_json:
        print(json.dumps({"limit": _limit_to_json(made)}, indent=2))
    else:
        typer.echo(f"limit {clean(name)}: {_limit_in_words(made)}")


def unlimit(*, name: Name, as_json: AsJson = False, board: BoardUrl = None) -> None:
    """Drop a limit.

    [bold]Example[/bold]

      stig board unlimit uploads
    """
    with open_board(board) as opened:
        opened.unlimit(name)
    _say_dropped("limit", name, as_json=as_json)


def schedule(
    *,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Its name; a schedule of that name is replaced.")
    ],
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="The type of its tasks.")],
    description: Annotated[
        str, typer.Argument(metavar="DESCRIPTION", help="The work in words.")
    ] = "",
    every: Annotated[
        str | None, typer.Option(metavar="TIME", help="So often: 90s, 10m, 1d.")
    ] = None,
    cron: Annotated[
        str | None, typer.Option(metavar="FIELDS", help="Five fields as cron has: '0 6 * * mon'.")
    ] = None,
    zone: Annotated[str, typer.Option(help="The time zone of --cron: Europe/Berlin.")] = "UTC",
    overlap: Annotated[
        Literal["skip", "allow"],
        typer.Option(help="While an earlier one is unfinished: post none, or another."),
    ] = "skip",
    payload: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="What the agent needs: an object, @FILE, or -."),
    ] = None,
    requires: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A capability that the agent must have; repeatable."),
    ] = None,
    priority: Annotated[int, typer.Option(help="1 is the most urgent, 10 the least.")] = 5,
    max_attempts: Annotated[int, typer.Option(help="Attempts before it has failed.")] = 3,
    limit_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="What `limit --key` counts together.")
    ] = None,
    as_json: AsJson = False,
    board: BoardUrl = None,
) -> None:
    """Post a task again and again. It is posted when an agent asks for work.

    Times that passed while no agent asked are made up for by one task.

    [bold]Examples[/bold]

      stig board schedule sync sync-orders --every 10m

      stig board schedule report weekly --cron '0 6 * * mon' --zone Europe/Berlin
    """
    made = Schedule(
        name=name,
        task=Task(
            task_type=task_type,
            description=description,
            payload=object_of(payload, what="--payload"),
            requires=tuple(requires or ()),
            priority=priority,
            max_attempts=max_attempts,
            limit_key=limit_key,
        ),
        every_s=None if every is None else seconds(every, what="--every"),
        cron=cron,
        zone=zone,
        overlap=overlap,
    )
    with open_board(board) as opened:
        planned = opened.schedule(made)
    if as_json:
        print(json.dumps({"schedule": _schedule_to_json(planned)}, indent=2))
    else:
        typer.echo(f"schedule {clean(name)}: {_schedule_in_words(planned, now=time.time())}")


def unschedule(*, name: Name, as_json: AsJson = False, board: BoardUrl = None) -> None:
    """Drop a schedule. The tasks that it posted stay.

    [bold]Example[/bold]

      stig board unschedule sync
    """
    with open_board(board) as opened:
        opened.unschedule(name)
    _say_dropped("schedule", name, as_json=as_json)


def retain(
    *,
    completed: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long completed tasks stay.")
    ] = None,
    failed: Annotated[str | None, typer.Option(metavar="TIME", help="Failed ones.")] = None,
    cancelled: Annotated[str | None, typer.Option(metavar="TIME", help="Cancelled ones.")] = None,
    events: Annotated[
        str | None, typer.Option(metavar="TIME", help="Events of the journal.")
    ] = None,
    for_ever: Annotated[bool, typer.Option("--for-ever", help="Drop nothing any more.")] = False,
    as_json: AsJson = False,
    board: BoardUrl = None,
) -> None:
    """Drop finished tasks and events after a time, as agents ask for work.

    What is not named stays for ever.

    [bold]Examples[/bold]

      stig board retain --completed 7d --failed 90d --events 90d

      stig board retain --for-ever
    """
    given = {"completed": completed, "failed": failed, "cancelled": cancelled, "events": events}
    lengths = {
        f"{name}_s": seconds(text, what=f"--{name}")
        for name, text in given.items()
        if text is not None
    }
    if bool(lengths) == for_ever:
        raise UsageError("say how long something stays (--completed 7d), or --for-ever")
    kept = Retention(**lengths) if lengths else None
    with open_board(board) as opened:
        opened.retain(kept)
    if as_json:
        print(json.dumps({"retention": None if kept is None else asdict(kept)}, indent=2))
    else:
        typer.echo(f"retention: {_retention_in_words(kept)}")


def fair(
    *,
    on: Annotated[bool, typer.Argument(metavar="true|false", help="Whether.")] = True,
    as_json: AsJson = False,
    board: BoardUrl = None,
) -> None:
    """Let parents take turns, so that one with a thousand parts keeps none waiting.

    It is so for tasks that are posted from then on.

    [bold]Examples[/bold]

      stig board fair

      stig board fair false
    """
    with open_board(board) as opened:
        opened.share_fairly(on=on)
    if as_json:
        print(json.dumps({"fair": on}, indent=2))
    else:
        typer.echo("parents take turns" if on else "parents do not take turns")


def _rate(text: str | None) -> tuple[int | None, float | None]:
    if text is None:
        return None, None
    if (found := _RATE.fullmatch(text)) is None:
        raise UsageError(f"--rate is {text!r}: write how many in which time, as 100/1m")
    # `100/m` is what many write.
    per = found[2] if found[2][0].isdigit() else f"1{found[2]}"
    return int(found[1]), seconds(per, what="--rate")


def _say_dropped(kind: str, name: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"dropped": name}, indent=2))
    else:
        typer.echo(f"dropped the {kind} {clean(name)}")


def _document(told: Rules) -> dict[str, object]:
    return {
        "paused": list(told.paused),
        "limits": [_limit_to_json(limit) for limit in told.limits],
        "schedules": [_schedule_to_json(schedule) for schedule in told.schedules],
        "retention": None if told.retention is None else asdict(told.retention),
        "fair": told.is_fair,
    }


def _limit_to_json(limit: Limit) -> dict[str, object]:
    fields = ("name", "task_type", "limit_key", "at_once", "rate", "per_s")
    return {name: getattr(limit, name) for name in fields}


def _schedule_to_json(schedule: Schedule) -> dict[str, object]:
    fields = ("name", "every_s", "cron", "zone", "overlap", "next_at")
    told: dict[str, object] = {name: getattr(schedule, name) for name in fields}
    return told | {"task": task_to_json(schedule.task)}


def _show(told: Rules, console: Console, *, now: float) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold", style="bold")
    table.add_column(overflow="fold")
    for kind in told.paused:
        name, again = ("all types", "resume --all") if kind == ALL else (clean(kind), "resume")
        table.add_row("paused", Text(name), f"not taken until `stig board {again}`")
    for limit in told.limits:
        table.add_row("limit", Text(clean(limit.name)), Text(_limit_in_words(limit)))
    for schedule in told.schedules:
        said = Text(_schedule_in_words(schedule, now=now))
        table.add_row("schedule", Text(clean(schedule.name)), said)
    if told.retention is not None:
        table.add_row("retention", "", _retention_in_words(told.retention))
    if told.is_fair:
        table.add_row("fair", "", "parents take turns")
    console.print(table if table.row_count else "no rules")


def _limit_in_words(limit: Limit) -> str:
    said: list[str] = []
    if limit.at_once is not None:
        said.append(f"{limit.at_once:,} at once")
    if limit.rate is not None and limit.per_s is not None:
        said.append(f"{limit.rate:,} in {duration(limit.per_s)}")
    whose = "" if limit.task_type is None else f" of type {limit.task_type}"
    match limit.limit_key:
        case None:
            pass
        case "*":
            whose += ", each limit key by itself"
        case key:
            whose += f" of limit key {key}"
    return clean(f"{' and '.join(said)}{whose}")


def _schedule_in_words(schedule: Schedule, *, now: float) -> str:
    if schedule.every_s is not None:
        often = f"every {duration(schedule.every_s)}"
    else:
        often = f"{schedule.cron} {schedule.zone}"
    if schedule.next_at is None:
        due = "next one unknown"
    elif schedule.next_at <= now:
        due = "due: posted when an agent asks"
    else:
        due = f"next at {day_time(schedule.next_at)}"
    return clean(f"{schedule.task.task_type}, {often}, {due}")


def _retention_in_words(kept: Retention | None) -> str:
    if kept is None:
        return "all stays for ever"
    lengths = {name.removesuffix("_s"): value for name, value in asdict(kept).items()}
    said = [f"{name} {_days(value)}" for name, value in lengths.items() if value is not None]
    return f"{', '.join(said)}; the rest for ever" if None in lengths.values() else ", ".join(said)


def _days(length_s: float) -> str:
    return duration(length_s) if length_s < 2 * 86400 else f"{length_s / 86400:,.4g} days"
