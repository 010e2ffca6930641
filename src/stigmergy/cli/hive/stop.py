"""`stig hive stop`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from stigmergy.cli.board.deciding import who
from stigmergy.cli.board.reach import Place, open_any
from stigmergy.cli.console import clean
from stigmergy.cli.hive.folder import Hive, find_hive, hives_of
from stigmergy.cli.hive.shared import SharedUrl
from stigmergy.cli.journal import open_board
from stigmergy.coding.hive_board import hives_on
from stigmergy.coding.run import STOP_WANTED
from stigmergy.errors import TransientError, UsageError

__all__ = ["stop"]

_LOOK_S = 0.2


def stop(
    *,
    name: Annotated[
        str | None, typer.Argument(help="The hive, or its run; not needed when one is at work.")
    ] = None,
    all_hives: Annotated[
        bool, typer.Option("--all", help="Every hive that is at work in this repository.")
    ] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait until it has stopped.")
    ] = 60.0,
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who asks; your user name.")
    ] = None,
    board: SharedUrl = None,
    repo: Annotated[Path, typer.Option("--repo", help="The repository.")] = Path(),
) -> None:
    """Let a hive end as on Ctrl-C where it runs: what has landed or was found stays.

    What agents were just doing goes back to the board; `stig resume` goes on.

    [bold]Examples[/bold]

      stig hive stop csv-export

      stig hive stop --all
    """
    if all_hives and name is not None:
        raise UsageError("give a name or --all, not both")
    if board is not None:
        _stop_on(board, name, all_hives=all_hives, by=who(by))
        return
    alive = [hive for hive in hives_of(repo) if hive.is_alive]
    chosen = alive if all_hives else [_choose(repo, alive, name)]
    for hive in chosen:
        _ask(hive, by=who(by))
    deadline = time.monotonic() + wait
    for hive in chosen:
        _wait(hive, deadline)
        typer.echo(
            f"hive {hive.spec.name} has stopped; `stig resume {hive.directory.run_id}` goes on"
        )
    if not chosen:
        typer.echo("no hive is at work here")


def _stop_on(url: str, name: str | None, *, all_hives: bool, by: str) -> None:
    """Cancel hives' tasks on a shared board; their processes notice it within seconds."""
    if name is None and not all_hives:
        raise UsageError("name the hive, or give --all")
    with open_any(Place(url), may="admin") as board:
        chosen = [
            task
            for task in hives_on(board)
            if not task.status.is_final and name in (None, task.payload.get("name"))
        ]
        for task in chosen:
            board.cancel(task.task_id, reason=f"stopped by {by}")
            typer.echo(f"hive {clean(str(task.payload.get('name')))} is told to stop")
    if not chosen:
        told = "no hive is at work on that board" if name is None else f"no hive {name!r} is there"
        raise UsageError(told)


def _choose(repo: Path, alive: list[Hive], name: str | None) -> Hive:
    if name is None:
        if len(alive) == 1:
            return alive[0]
        names = ", ".join(hive.spec.name for hive in alive)
        raise UsageError(
            f"several hives are at work here: {names}; name one, or give --all"
            if alive
            else "no hive is at work here"
        )
    hive = find_hive(alive, name) if _has(alive, name) else find_hive(hives_of(repo), name)
    if not hive.is_alive:
        raise UsageError(f"hive {hive.spec.name} is not at work; `stig hive status` says more")
    return hive


def _has(hives: list[Hive], name: str) -> bool:
    return any(hive.spec.name == name for hive in hives)


def _ask(hive: Hive, *, by: str) -> None:
    with open_board(hive.directory) as board:
        board.record(STOP_WANTED, data={"by": by})


def _wait(hive: Hive, deadline: float) -> None:
    with open_board(hive.directory) as board:
        while hive.is_alive:
            if time.monotonic() >= deadline:
                raise TransientError(
                    f"hive {hive.spec.name} was asked to stop and has not yet: an agent or the "
                    "gate is still at work"
                )
            board.wait(after=board.last_seq(), timeout_s=_LOOK_S)
