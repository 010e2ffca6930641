"""`stig board export` and `stig board import`: a whole board as one file, and back."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import IO, Annotated, Final

import typer

from stigmergy.board import open_store
from stigmergy.board.exportfile import ExportFile, is_export
from stigmergy.board.transfer import export_board, import_board
from stigmergy.cli.board.place import AsJson, BoardUrl, board_url
from stigmergy.cli.board.reading import source
from stigmergy.cli.console import plural
from stigmergy.cli.exports import destination, talk

__all__ = ["export", "import_"]

_STDIN: Final = "-"


def export(
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to; - for stdout.")],
    as_json: AsJson = False,
    board: BoardUrl = None,
) -> None:
    """Write the whole board to a file: tasks, rules and journal, as JSON lines.

    The file is a backup, and moves a board from one kind of store to another.
    Others may go on with the board meanwhile. Only an export is overwritten.

    [bold]Examples[/bold]

      stig board export backup.jsonl

      stig board export - | gzip > backup.jsonl.gz
    """
    with closing(open_store(board_url(board))) as store, destination(file, is_export) as out:
        tasks, events = export_board(store, out.write, now=time.time())
    if as_json:
        print(json.dumps({"tasks": tasks, "events": events}, indent=2), file=talk(file))
    else:
        said = f"exported {plural(tasks, 'task')} and {plural(events, 'event')}"
        print(said, file=talk(file))


def import_(
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="An export; - for stdin.")],
    as_json: AsJson = False,
    board: BoardUrl = None,
) -> None:
    """Put an export onto an empty board, which is made if it is not there.

    The file is checked whole first: one that was cut off or changed is refused
    with the number of its line, and nothing of it is imported.

    [bold]Examples[/bold]

      stig board import backup.jsonl --board restored.db

      zcat backup.jsonl.gz | stig board import - --board tasks/
    """
    where = "stdin" if file == _STDIN else file
    with source(file) as stream, _seekable(stream) as lines:
        exported = ExportFile(lines, where=where)
        with closing(open_store(board_url(board, create=True))) as store:
            import_board(store, exported)
            url = store.url
    tasks, events = exported.tasks, exported.events
    if as_json:
        print(json.dumps({"tasks": tasks, "events": events, "board": url}, indent=2))
    else:
        typer.echo(f"imported {plural(tasks, 'task')} and {plural(events, 'event')}")


@contextmanager
def _seekable(stream: IO[bytes]) -> Generator[IO[bytes]]:
    """What a pipe holds as a file, since it is read twice: to check it, and to import it."""
    if stream.seekable():
        yield stream
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(stream, copy)
        copy.seek(0)
        yield copy
