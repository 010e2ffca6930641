"""`stig wasm work`: an agent that takes `wasm` tasks from a board, many at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stigmergy.cli.board.place import BoardUrl, open_board
from stigmergy.cli.console import plural
from stigmergy.cli.wasm.options import EngineOption, bytes_of, engine_of
from stigmergy.errors import UsageError

__all__ = ["work"]


def work(
    *,
    modules: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where a task's `module` is looked up."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="The most tasks at once.")] = 1024,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="AGENT", help="Its name on the board.")
    ] = None,
    capability: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="What it has; repeatable.")
    ] = None,
    engine: EngineOption = "auto",
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="The most memory of an agent: 512, 64k, 1M.")
    ] = "64k",
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when no such task is open.")
    ] = False,
    board: BoardUrl = None,
) -> None:
    """Take `wasm` tasks from a board, up to a thousand at a time, and run each batch at once.

    A task's payload names a module (`wasm` in base64, `wat` as text, or
    `module`: a file below --modules), and may have `entry`, `args`,
    `max_instructions`, `memory` (base64) and `read` (what of the memory the
    result shall hold). Ends at Ctrl-C, after the batch in hand.

    [bold]Example[/bold]

      stig board post wasm --payload '{"module": "ant.wat", "args": [7, 500]}'

      stig wasm work --modules ants/ --until-idle
    """
    if modules is not None and not modules.is_dir():
        message = f"--modules is {str(modules)!r}, which is no folder"
        raise UsageError(message)
    from stigmergy.swarm.nursery import stop_on_signals
    from stigmergy.swarm.stop import Stop
    from stigmergy.wasm import BatchAgent, SwarmManager

    stop = Stop()
    with (
        open_board(board) as opened,
        SwarmManager(engine_of(engine), batch, bytes_of(memory, what="--memory")) as swarm,
        stop_on_signals(stop),
    ):
        worker = BatchAgent(
            opened,
            swarm,
            agent_id=agent,
            capabilities=capability or (),
            modules=modules,
            limit=batch,
        )
        typer.echo(f"{worker.agent_id} takes wasm tasks; Ctrl-C ends it", err=True)
        done = worker.run(
            stop,
            until_idle=until_idle,
            progress=lambda count: typer.echo(plural(count, "task"), err=True),
        )
    failed = f", {worker.failed:,} of them failed" if worker.failed else ""
    typer.echo(f"{plural(done, 'task')} came to an end here{failed}")
