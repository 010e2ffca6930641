"""`stig agent run`: a program takes the tasks of a board, here or on another machine."""

from __future__ import annotations

import shlex
from typing import Annotated, Final

import typer

from stigmergy.board import DEFAULT_LEASE_S
from stigmergy.board.task import new_task_id
from stigmergy.cli.board.reach import Place, open_any, over_http
from stigmergy.cli.board.reading import seconds
from stigmergy.errors import UsageError
from stigmergy.swarm import Nursery, Stop, SwarmAgent, stop_on_signals
from stigmergy.swarm.command import CommandHandler

__all__ = ["agent"]

agent: Final = typer.Typer(
    name="agent",
    help="Take tasks from a board, here or over HTTP.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
_IDLE_S: Final = 2.0
"""How long an agent waits in one call, and may take to notice that it is to stop."""


@agent.callback()
def options() -> None:
    """Take tasks from a board, here or over HTTP."""


def run(
    *,
    command: Annotated[
        str,
        typer.Option(
            metavar="COMMAND",
            help="Does a task: JSON on stdin and stdout. Split into words, no shell.",
        ),
    ],
    types: Annotated[
        list[str], typer.Option("--type", metavar="TYPE", help="Tasks of this type; repeatable.")
    ],
    capability: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="What the agent has; repeatable.")
    ] = None,
    agents: Annotated[int, typer.Option(min=1, max=1000, help="Tasks at work at a time.")] = 1,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Before each agent's number; random if not given."),
    ] = None,
    lease: Annotated[
        str, typer.Option(metavar="TIME", help="After which silent agents lose their tasks.")
    ] = f"{DEFAULT_LEASE_S:.0f}s",
    timeout: Annotated[str, typer.Option(metavar="TIME", help="For one task.")] = "1h",
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when nothing is left for these agents.")
    ] = False,
    board: Place,
) -> None:
    """Let a program do the tasks of a board, on this machine or another.

    The program gets the task as JSON on stdin and prints the result as JSON.
    It ends with 0 when the task is done, with 65 when it would fail each
    time, else the task is tried again. Leases are renewed meanwhile.

    [bold]Examples[/bold]

      stig agent run --board board.db --type resize --command ./resize.sh

      stig agent run --board https://build:8420 --token-file worker.token
        --type resize --command ./resize.sh --agents 8
    """
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--command cannot be split into words: {error}") from None
    if not argv:
        raise UsageError("--command is empty")
    handler = CommandHandler(argv=argv, timeout_s=seconds(timeout, what="--timeout"))
    lease_s = seconds(lease, what="--lease")
    stop = Stop()
    first = name or f"agent-{new_task_id()[:8]}"
    with (
        stop_on_signals(stop),
        open_any(board, may="worker", stop=stop) as opened,
        Nursery(stop) as nursery,
    ):
        for number in range(1, agents + 1):
            worker = SwarmAgent(
                first if agents == 1 else f"{first}-{number}",
                opened,
                capabilities=capability or (),
                handlers=dict.fromkeys(types, handler),
                lease_s=lease_s,
            )
            nursery.start(
                lambda worker=worker: worker.run(stop, until_idle=until_idle, idle_s=_IDLE_S),
                name=worker.agent_id,
            )


agent.command(name="run")(over_http(run))
