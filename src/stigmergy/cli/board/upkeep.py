"""`stig board doctor` and `stig board migrate`: keeping a board in good order."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stigmergy.board import open_store
from stigmergy.board.doctor import Finding, examine, mend
from stigmergy.cli.board.place import AsJson, BoardUrl, board_url, place_of
from stigmergy.cli.console import clean, plural

__all__ = ["doctor", "migrate"]


def doctor(
    *,
    mends: Annotated[
        bool, typer.Option("--mend", help="Mend what can be, and say what was mended.")
    ] = False,
    as_json: AsJson = False,
    board: BoardUrl = None,
) -> None:
    """Examine the board: its storage, its tasks, its leases, its journal.

    Changes nothing without --mend. Ends with 1 while there is a fault that is
    not mended, and with 0 otherwise; a note is no fault.

    [bold]Examples[/bold]

      stig board doctor

      stig board doctor --mend
    """
    with closing(open_store(board_url(board))) as store:
        mended = mend(store) if mends else []
        left = examine(store)
    faults = [finding for finding in left if not finding.is_note]
    if as_json:
        document = {
            "sound": not faults,
            "mended": [asdict(finding) for finding in mended],
            "findings": [asdict(finding) for finding in left],
        }
        print(json.dumps(document, indent=2))
    else:
        _show(mended, left)
    raise typer.Exit(1 if faults else 0)


def migrate(*, as_json: AsJson = False, board: BoardUrl = None) -> None:
    """Bring the board's schema up to this version of stigmergy, and say from which.

    Every command does so when it opens a board. Older versions of stigmergy
    refuse a board that a newer one has migrated.

    [bold]Example[/bold]

      stig board migrate --board sqlite:///board.db
    """
    url = board_url(board)
    before = _schema(url)
    with closing(open_store(url)):
        after = _schema(url)
    if as_json:
        print(json.dumps({"before": before, "after": after}, indent=2))
    elif before is None:
        typer.echo("a board of this kind has no schema: there is nothing to migrate")
    elif before == after:
        typer.echo(f"schema {after}: nothing to migrate")
    else:
        typer.echo(f"migrated from schema {before} to {after}")


def _schema(url: str) -> int | None:
    """The version of the schema of a board in SQLite; None of another one."""
    place = place_of(url)
    if place is None or not place.is_file():
        return None
    with closing(sqlite3.connect(f"{place.absolute().as_uri()}?mode=ro", uri=True)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)


def _show(mended: Sequence[Finding], left: Sequence[Finding]) -> None:
    console = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", style="bold")
    table.add_column(overflow="fold", ratio=1)
    for finding in mended:
        table.add_row(Text("mended", style="green"), *_cells(finding, advice=""))
    for finding in left:
        word, style = ("note", "yellow") if finding.is_note else ("fault", "bold red")
        table.add_row(Text(word, style=style), *_cells(finding, advice=finding.advice))
    if mended or left:
        console.print(table)
        console.print()
    faults = sum(not finding.is_note for finding in left)
    verdict = f"{plural(faults, 'fault')}" if faults else "the board is sound"
    if mendable := sum(finding.can_mend for finding in left):
        verdict += f"; `stig board doctor --mend` mends {mendable:,} of {len(left):,}"
    console.print(Text(verdict, style="bold red" if faults else "bold green"))


def _cells(finding: Finding, *, advice: str) -> tuple[Text, Text]:
    said = Text(clean(finding.what))
    if advice:
        said.append(f"\n{clean(advice)}", style="yellow")
    return Text(clean(finding.task_id) or "the board"), said
