"""`stig doctor`: what a run would find on this machine and in this repository."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stigmergy.cli.checks import Check, check_machine, check_repository
from stigmergy.cli.console import clean

__all__ = ["doctor"]

_WORDS: Final = {
    "ok": ("ok", "green"),
    "missing": ("missing", "bold red"),
    "note": ("note", "yellow"),
}


def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    repo: Annotated[Path, typer.Option("--repo", help="The repository.")] = Path(),
) -> None:
    """Check this machine and this repository, and say what to do about what is missing.

    Starts nothing and changes nothing. Ends with 0 when runs are possible here,
    and with 1 when something that every run needs is missing. Of keys only the
    names are shown.

    [bold]Example[/bold]

      stig doctor --repo ../my-project
    """
    checks = [*check_machine(os.environ), *check_repository(repo)]
    possible = not any(check.state == "missing" for check in checks)
    if as_json:
        document = {"runs_possible": possible, "checks": [asdict(check) for check in checks]}
        print(json.dumps(document, indent=2))
    else:
        _show(checks, Console(), possible=possible)
    raise typer.Exit(0 if possible else 1)


def _show(checks: list[Check], console: Console, *, possible: bool) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for check in checks:
        word, style = _WORDS[check.state]
        said = Text(clean(check.found))
        for advice in check.advice:
            said.append(f"\n{clean(advice)}", style="dim" if check.state == "ok" else "yellow")
        table.add_row(Text(word, style=style), check.name, said)
    console.print(table)
    verdict = "runs are possible here" if possible else "no run is possible here yet"
    console.print(Text(f"\n{verdict}", style="bold green" if possible else "bold red"))
