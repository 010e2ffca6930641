"""`stig board doctor`, `prune` and `migrate`: keeping a board in good order."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stigmergy.board import Query, TaskStatus, open_store
from stigmergy.board.doctor import Finding, examine, mend
from stigmergy.cli.board.place import AsJson, BoardUrl, board_url, open_board, place_of
from stigmergy.cli.board.reading import seconds
from stigmergy.cli.board.schema import Postgres, is_postgres, sqlite_version
from stigmergy.cli.console import clean, plural
from stigmergy.errors import UsageError

__all__ = ["doctor", "migrate", "prune"]


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


def prune(
    *,
    older_than: Annotated[
        str, typer.Option(metavar="TIME", help="Finished so long ago: 30d; 0 for all.")
    ],
    status: Annotated[
        str, typer.Option(metavar="LIST", help="Of these, with commas between.")
    ] = "completed,failed,cancelled",
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="No more tasks than these.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many, drop none.")] = False,
    as_json: AsJson = False,
    board: BoardUrl = None,
) -> None:
    """Drop finished tasks that are old, and events and files that are.

    Events go by their own age, whatever --status says. `stig board export`
    keeps them; `stig board retain` drops what is old from then on.

    [bold]Examples[/bold]

      stig board prune --older-than 30d --dry-run

      stig board prune --older-than 7d --status completed
    """
    older_than_s = seconds(older_than, what="--older-than")
    statuses = _statuses(status)
    if dry_run:
        url = board_url(board)
        with closing(open_store(url)) as store:
            before = time.time() - older_than_s
            query = Query(statuses=statuses, finished_before=before, limit=limit)
            found = len(store.select(query))
        if as_json:
            print(json.dumps({"dry_run": True, "tasks": found}, indent=2))
        else:
            typer.echo(f"{plural(found, 'task')} would be dropped, and older events with them")
        return
    with open_board(board) as opened:
        gone = opened.prune(older_than_s=older_than_s, statuses=statuses, limit=limit)
    if as_json:
        print(json.dumps({"dry_run": False, **asdict(gone)}, indent=2))
    else:
        parts = [plural(gone.tasks, "task"), plural(gone.events, "event")]
        parts += [plural(gone.blobs, "file")] if gone.blobs else []
        typer.echo(f"dropped {', '.join(parts)}")


def _statuses(text: str) -> frozenset[TaskStatus]:
    finished = [status for status in TaskStatus if status.is_final]
    named = {name.strip() for name in text.split(",")}
    if unknown := sorted(named - set(finished)):
        raise UsageError(
            f"--status has {unknown[0]!r}: take some of {', '.join(finished)}; tasks that are not "
            "finished are never dropped"
        )
    return frozenset(status for status in finished if status in named)


def _schema(url: str) -> int | None:
    """The version of a board's schema; None of a board that has none."""
    if is_postgres(url):
        return Postgres(url).version()
    place = place_of(url)
    return sqlite_version(place) if place is not None and place.is_file() else None


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
