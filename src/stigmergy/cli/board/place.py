"""Which board a command works on, and that none is made by looking for it.

A board is named by `--board`, by `STIG_BOARD`, or is `board.db` in the working folder. Only what
puts tasks on a board begins one; everything else says that it is not there, and what to do.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from stigmergy.addresses import is_remote
from stigmergy.board import TaskBoard
from stigmergy.cli.board.schema import Postgres, is_postgres, sqlite_version
from stigmergy.errors import NotFoundError, UnsupportedError, UsageError

__all__ = ["AsJson", "BoardUrl", "board_url", "open_board", "place_of"]

BoardUrl = Annotated[
    str | None,
    typer.Option(
        "--board",
        envvar="STIG_BOARD",
        metavar="URL",
        help="The board: a file, a folder, a URL or a server; else `board.db` here.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="As one JSON object.")]

_USUAL: Final = "board.db"
_SQLITE: Final = frozenset({".db", ".sqlite", ".sqlite3"})
_BEGINS: Final = "`stig board post` begins one"


@contextmanager
def open_board(url: str | None, *, create: bool = False) -> Generator[TaskBoard]:
    """The board, open.

    Raises:
        NotFoundError: there is none, and `create` does not ask for one.
        UsageError: what is there is no board.
        UnsupportedError: it is a server.
    """
    with TaskBoard(board_url(url, create=create)) as board:
        yield board


def board_url(url: str | None, *, create: bool = False) -> str:
    """What opens the board; see `open_board` for the errors."""
    named = url or _USUAL
    if named.partition(":")[0] == "memory" and ":" in named:
        raise UsageError("memory: is a board of one process, so no command can share it")
    if is_remote(named):
        raise UnsupportedError(
            f"{named} is a server, which does not offer this: run it beside the board, with the "
            "--board that `stig serve` was given"
        )
    if is_postgres(named):
        database = Postgres(named)
        if not create and database.version() == 0:
            raise NotFoundError(f"there is no board at {database.url}; {_BEGINS}")
        return named
    place = place_of(named)
    if place is not None and not _stands(place, named) and not create:
        if url is None:
            raise NotFoundError(
                f"there is no {_USUAL} in this folder: name a board with --board URL or "
                "STIG_BOARD, or begin one here with `stig board post TYPE`"
            )
        raise NotFoundError(f"there is no board at {named}; {_BEGINS}")
    return named


def place_of(url: str) -> Path | None:
    """The file or folder of a board; None of one that is neither."""
    scheme, separator, rest = url.partition(":")
    if separator and scheme in ("sqlite", "files"):
        return Path(rest.removeprefix("///")) if rest.startswith("///") else None
    return None if "://" in url else Path(url)


def _stands(place: Path, url: str) -> bool:
    if url.startswith("files:") or not (url.startswith("sqlite:") or place.suffix in _SQLITE):
        return (place / ".board").is_dir() or place.is_file()  # a file is for the store to refuse
    return sqlite_version(place) != 0
