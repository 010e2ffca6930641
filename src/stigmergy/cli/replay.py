"""`stig replay`: a run played again from its journal, in the dashboard."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from stigmergy.board import Event, TaskBoard
from stigmergy.cli.journal import open_board, state_folder
from stigmergy.cli.run_options import check_port
from stigmergy.cli.serve import announce
from stigmergy.config import TOKEN_VARIABLE
from stigmergy.errors import NotFoundError
from stigmergy.swarm import Stop, stop_on_signals

__all__ = ["replay"]


def replay(
    *,
    run: Annotated[
        str | None,
        typer.Argument(help="The run, or the beginning or end of its id; the latest if not given."),
    ] = None,
    speed: Annotated[
        float,
        typer.Option(min=0.1, max=10_000, help="Seconds of the run for each second that passes."),
    ] = 1.0,
    port: Annotated[
        int, typer.Option(metavar="PORT", callback=check_port, help="0 takes a free one.")
    ] = 0,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Lines of a scope and a token; made if it is not there."),
    ] = None,
    repo: Annotated[Path, typer.Option("--repo", help="The repository.")] = Path(),
) -> None:
    """Play a run again from its journal: the same dashboard, at any speed, and marked REPLAY.

    Nothing on the board is changed. The place and the speed can be changed in the
    dashboard. On this machine alone. Ctrl-C ends it.

    [bold]Examples[/bold]

      stig replay

      stig replay 3fa2 --speed 30
    """
    from stigmergy.server.context import ServedRun
    from stigmergy.server.live import ReplaySource
    from stigmergy.server.serving import ServeOptions, serving_board

    directory = state_folder(repo).find(run)
    stop = Stop()
    with stop_on_signals(stop), open_board(directory) as board:
        events = _journal(board)
        if not events:
            raise NotFoundError(f"the journal of run {directory.run_id} is empty")
        options = ServeOptions(
            port=port,
            token_file=token_file,
            token=os.environ.get(TOKEN_VARIABLE) or None,
            read_only=True,
            run=ServedRun(directory=directory, spec=directory.read_spec()),
            replay=ReplaySource(events, speed=speed, clock=time.monotonic),
        )
        with serving_board(board, options) as served:
            announce(served)
            stop.wait()


def _journal(board: TaskBoard) -> list[Event]:
    events: list[Event] = []
    while batch := board.events(after=events[-1].seq if events else 0, limit=5_000):
        events += batch
    return events
