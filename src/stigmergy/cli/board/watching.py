"""`stig board watch`."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from stigmergy.board import Event
from stigmergy.cli.board.reach import Place, open_any
from stigmergy.cli.board.telling import event_line, event_to_json, tell
from stigmergy.swarm import Stop, stop_on_signals

__all__ = ["watch"]


def watch(
    *,
    after: Annotated[
        int | None,
        typer.Option(min=0, metavar="SEQ", help="Begin after this event; 0 for the first one."),
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only of this task; repeatable.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Only this kind; repeatable.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line; `seq` is for --after.")
    ] = False,
    board: Place,
) -> None:
    """Tell what happens on the board as it happens, until Ctrl-C.

    [bold]Examples[/bold]

      stig board watch

      stig board watch --after 0 --task resize-1

      stig board watch --json --kind completed --kind failed
    """
    console = Console(highlight=False, soft_wrap=True)
    stop = Stop()
    with open_any(board) as opened, stop_on_signals(stop):
        begin = opened.last_seq() if after is None else after
        for event in opened.watch(after=begin, stop=stop):
            if _is_wanted(event, task, kind):
                _print(console, event, as_json=as_json)


def _is_wanted(event: Event, tasks: list[str] | None, kinds: list[str] | None) -> bool:
    return (not tasks or event.task_id in tasks) and (not kinds or event.kind in kinds)


def _print(console: Console, event: Event, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(event_to_json(event)), flush=True)
        return
    for number, line in enumerate(tell(event)):
        console.print(event_line(event, line, first=number == 0))
