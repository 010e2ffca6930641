"""Boards here and over HTTP: which of them a command reaches, and by which token.

A command that a server can serve takes a `Place` for its board, and `over_http` gives it the
options that reach one. All others take a URL and open the board itself. The token comes from a file
or from `STIG_TOKEN`, never from the command line, which others can read.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Final, Literal

import typer

from stigmergy.addresses import is_remote
from stigmergy.cli.board.place import BoardUrl, open_board
from stigmergy.errors import UsageError
from stigmergy.swarm.anyboard import AnyBoard

__all__ = ["Authority", "May", "Place", "TokenFile", "open_any", "over_http", "token_of"]

TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="For a board over HTTP; else STIG_TOKEN."),
]
Authority = Annotated[
    Path | None,
    typer.Option(
        "--authority", metavar="FILE", help="The CA certificate that an https board is checked by."
    ),
]
May = Literal["read", "worker", "admin"]
"""What a command has to be allowed; the scopes of tokens go by these names."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a board is, and what reaches it there."""

    url: str | None = None
    token_file: Path | None = None
    authority: Path | None = None


@contextmanager
def open_any(
    place: Place, *, may: May = "read", create: bool = False, stop: Event | None = None
) -> Generator[AnyBoard]:
    """The board, open; see `open_board` for the errors of one that is here.

    Args:
        place: where it is.
        may: what is going to be done; of a file's tokens the one that just suffices is taken.
        create: make it if it is not there.
        stop: once it is set a server that does not answer is not asked again.

    Raises:
        UsageError: a board over HTTP has no token, or one here has options for HTTP.
    """
    if place.url is None or not is_remote(place.url):
        if place.token_file is not None or place.authority is not None:
            raise UsageError("--token-file and --authority are for a board over HTTP")
        with open_board(place.url, create=create) as board:
            yield board
        return
    from stigmergy.swarm.remote import RemoteBoard

    verify = None if place.authority is None else str(place.authority)
    token = token_of(place.token_file, may=may)
    with RemoteBoard(place.url, token=token, verify=verify, stop=stop) as remote:
        yield remote


def token_of(file: Path | None, *, may: May) -> str:
    """The token for a server.

    Raises:
        UsageError: there is none.
    """
    from stigmergy.config import TOKEN_VARIABLE  # the settings take a while to import

    if file is None:
        if token := os.environ.get(TOKEN_VARIABLE, "").strip():
            return token
        raise UsageError(
            f"a board over HTTP asks for a token: give --token-file or set {TOKEN_VARIABLE}"
        )
    from stigmergy.server.auth import Scope, chosen_token, read_token_file

    return chosen_token(read_token_file(file), Scope[may.upper()])


_OPTIONS: Final = {"board": BoardUrl, "token_file": TokenFile, "authority": Authority}


def over_http(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes a `Place`, with options in its stead; any other as it is."""
    signature = inspect.signature(command, eval_str=True)
    board = signature.parameters.get("board")
    if board is None or board.annotation is not Place:
        return command

    def reaching(
        *, board: str | None, token_file: Path | None, authority: Path | None, **given: Any
    ) -> None:
        command(**given, board=Place(board, token_file, authority))

    kept = [each for each in signature.parameters.values() if each.name != "board"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in _OPTIONS.items()
    ]
    changed = signature.replace(parameters=[*kept, *added])
    # As `functools.wraps` would do it, but for the signature, by which options are made.
    reaching.__name__, reaching.__doc__ = command.__name__, command.__doc__
    reaching.__signature__ = changed  # pyright: ignore[reportFunctionMemberAccess] - PEP 362
    reaching.__annotations__ = {name: each.annotation for name, each in changed.parameters.items()}
    return reaching
