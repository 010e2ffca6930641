"""`stig hive wizard`: asks what a hive is to be, says the command line, then spawns it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from stigmergy.cli.hive.folder import strategy_folders
from stigmergy.coding.strategies.strategy import Found, find_strategies
from stigmergy.config import load_settings
from stigmergy.errors import UsageError

__all__ = ["wizard"]


def wizard(
    *, repo: Annotated[Path, typer.Option("--repo", help="The repository.")] = Path()
) -> None:
    """Ask what the hive is to be, say the equivalent command line, and spawn it.

    Needs a terminal; scripts use `stig hive spawn`.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "stig hive wizard asks questions and needs a terminal; in a script use "
            "`stig hive spawn OBJECTIVE --strategy … --model …`"
        )
    words = ["hive", "spawn", *_asked(find_strategies(folders=strategy_folders()))]
    if repo != Path():
        words += ["--repo", str(repo)]
    typer.echo(f"\nThis is the same as\n\n  {shlex.join(['stig', *words])}\n")
    if not typer.confirm("Spawn it now?", default=True):
        raise typer.Exit(1)
    from stigmergy.cli.hive.app import hive  # it has this command as well

    # The very command that was shown: nothing is done another way.
    code = typer.main.get_command(hive).main(args=words[1:], standalone_mode=False)
    raise typer.Exit(code if isinstance(code, int) else 0)


def _asked(found: list[Found]) -> list[str]:
    """The arguments of `stig hive spawn` that the answers make."""
    objective = _text("What is the hive to reach?")
    typer.echo("\nStrategies:")
    for each in found:
        typer.echo(f"  {each.strategy.name}: {each.strategy.summary}")
    names = {each.strategy.name: each.strategy for each in found}
    while (strategy := str(typer.prompt("Which?", default="development"))) not in names:
        typer.echo(f"There is none called {strategy!r}.")
    words = [objective, "--strategy", strategy]
    agents = typer.prompt("How many agents?", default=load_settings().agents, type=int)
    words += ["--agents", str(agents)]
    if agents > 1 and typer.confirm("May they work at the same time?", default=True):
        words.append("--parallel")
    if typer.confirm("Research first, and tell all others what was found?", default=False):
        words.append("--research")
    namespaces = typer.prompt(
        "Namespaces of the memory, with spaces between (empty: the hive's name)", default=""
    )
    for namespace in str(namespaces).split():
        words += ["--memory-namespace", namespace]
    words += _agent()
    if names[strategy].lands:
        gate = typer.prompt("The gate's command (empty: found by itself)", default="")
        words += ["--gate", gate] if gate else []
    if typer.confirm("Serve the dashboard while it works?", default=False):
        words.append("--serve")
    return words


def _agent() -> list[str]:
    """Who does the work: what the settings say, a model, or a program."""
    settings = load_settings()
    if settings.model is not None or settings.agent_command is not None:
        return []
    model = typer.prompt("Model, as PRESET:MODEL (empty: a program does the tasks)", default="")
    if model:
        return ["--model", model]
    return ["--agent-command", _text("The program's command line")]


def _text(question: str) -> str:
    while not (answer := str(typer.prompt(question)).strip()):
        pass
    return answer
