"""The commands of `stig`, and how an error reaches the user."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import stigmergy
from stigmergy.cli.cancel import cancel
from stigmergy.cli.doctor import doctor
from stigmergy.cli.logs import logs
from stigmergy.cli.report import report
from stigmergy.cli.run import resume, run
from stigmergy.cli.status import status
from stigmergy.errors import StigmergyError

__all__ = ["app", "run_app"]

app = typer.Typer(
    name="stig",
    help="Set many agents to work on one repository: plan, code in sandboxes, prove, merge.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run, resume, status, logs, report, cancel, doctor):
    app.command()(command)


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


def run_app() -> None:
    """Run the command that `sys.argv` names; ends the process.

    Errors on purpose become one message and their exit code; others keep their traceback, since
    they are ours to mend.
    """
    try:
        app()
    except StigmergyError as error:
        sys.stderr.write(f"stig: {error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
