"""`stig watch`: which swarm is watched, and how it is reached."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer

from stigmergy.board import TaskBoard
from stigmergy.cli.board.deciding import who
from stigmergy.cli.board.place import open_board
from stigmergy.cli.journal import is_held, state_folder
from stigmergy.cli.journal import open_board as open_run
from stigmergy.cli.watch.feeds import BoardFeed, Feed, HttpFeed
from stigmergy.cli.watch.hands import BoardHands, Hands, HttpHands
from stigmergy.config import TOKEN_VARIABLE
from stigmergy.errors import UsageError

__all__ = ["reached", "watch"]


def watch(
    *,
    run: Annotated[
        str | None, typer.Argument(help="The run, or the beginning or end of its id; the latest.")
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(
            "--board",
            metavar="URL",
            help="Watch this board instead of a run: a file, a folder, or http://… of a server.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For a board over HTTP; else STIG_TOKEN.")
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Who steers; your user name.")
    ] = None,
    repo: Annotated[Path, typer.Option("--repo", help="The repository of the run.")] = Path(),
) -> None:
    """Watch a swarm live in the terminal, and steer it with keys.

    Agents, items or tasks, and the log of the agent under the cursor; v shows
    landings, alerts and metrics. The line at the bottom names the keys.

    [bold]Examples[/bold]

      stig watch

      stig watch --board board.db

      STIG_TOKEN=… stig watch --board http://127.0.0.1:8765
    """
    # Textual reads the one and writes the other.
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("stig watch needs a terminal: `stig status` and `stig logs` do not")
    with reached(run=run, board=board, token_file=token_file, by=who(by), repo=repo) as found:
        from stigmergy.cli.watch.app import WatchApp  # Textual takes a while to import

        feed, hands, title = found
        with feed:
            WatchApp(feed, hands, title=title).run()


@contextmanager
def reached(
    *, run: str | None, board: str | None, token_file: Path | None, by: str, repo: Path
) -> Generator[tuple[Feed, Hands, str]]:
    """What tells of the swarm, what steers it, and its name."""
    if board is not None and run is not None:
        raise UsageError("name a run or a --board, not both")
    if board is None:
        state = state_folder(repo)
        directory = state.find(run)
        with open_run(directory) as opened:
            feed = BoardFeed(opened, is_alive=lambda: is_held(directory, state.holder()))
            yield feed, BoardHands(opened, by=by), directory.run_id
    elif board.startswith(("http://", "https://")):
        with httpx.Client(
            base_url=board.rstrip("/"),
            headers={"Authorization": f"Bearer {_token(token_file)}"},
            trust_env=False,
            timeout=10.0,
        ) as client:
            yield HttpFeed(client), HttpHands(client, by=by), board
    else:
        with open_board(board) as opened:
            yield _of_board(opened, by, board)


def _of_board(board: TaskBoard, by: str, title: str) -> tuple[Feed, Hands, str]:
    return BoardFeed(board), BoardHands(board, by=by), title


def _token(file: Path | None) -> str:
    """The token for a server; it never stands on a command line.

    Raises:
        UsageError: there is none.
    """
    if file is None:
        if token := os.environ.get(TOKEN_VARIABLE, "").strip():
            return token
        raise UsageError(
            f"a board over HTTP needs a token: set {TOKEN_VARIABLE} or give --token-file"
        )
    try:
        lines = [line.split() for line in file.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    known = {words[0]: words[-1] for words in lines if words[0] != "#"}
    # The file of a server has a token for each scope; steering needs the widest.
    return known.get("admin") or next(iter(known.values()), "")
