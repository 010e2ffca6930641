"""The commands of `stig`."""

from __future__ import annotations

from typing import Annotated

import typer

import stigmergy
from stigmergy.cli.agent import agent
from stigmergy.cli.board import board
from stigmergy.cli.cancel import cancel
from stigmergy.cli.doctor import doctor
from stigmergy.cli.hive import hive
from stigmergy.cli.logs import logs
from stigmergy.cli.memory import memory
from stigmergy.cli.replay import replay
from stigmergy.cli.report import report
from stigmergy.cli.run import resume, run
from stigmergy.cli.serve import serve
from stigmergy.cli.status import status
from stigmergy.cli.steer import steer
from stigmergy.cli.trace import trace
from stigmergy.cli.wasm import wasm
from stigmergy.cli.watch import watch

__all__ = ["app"]

app = typer.Typer(
    name="stig",
    help="Set many agents to work on one repository: plan, code in sandboxes, prove, merge.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run, resume, watch, serve, status, logs, report, replay, cancel, doctor):
    app.command()(command)
app.add_typer(hive)
app.add_typer(steer)
app.add_typer(trace)
app.add_typer(board)
app.add_typer(memory)
app.add_typer(wasm)
app.add_typer(agent)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stigmergy {stigmergy.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Set many agents to work on one repository: plan, code in sandboxes, prove, merge."""
