"""`stig serve`."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stigmergy.board import TaskBoard
from stigmergy.cli.board.place import BoardUrl, open_board
from stigmergy.cli.programlog import LogFormat, LogLevel, write_log
from stigmergy.cli.run_options import check_port
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.run import Beside
from stigmergy.coding.rundir import RunDirectory, StateFolder, state_home
from stigmergy.coding.spec import RunSpec
from stigmergy.config import TOKEN_VARIABLE, load_settings
from stigmergy.swarm import Stop, stop_on_signals

if TYPE_CHECKING:
    from stigmergy.server.serving import Served

__all__ = ["announce", "beside", "serve"]


def serve(
    *,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; this machine alone by default.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", callback=check_port, help="0 takes a free one.")
    ] = 8420,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Lines of a scope and a token; made if it is not there."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For TLS, in PEM; with --key.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of the certificate, in PEM.")
    ] = None,
    insecure_http: Annotated[
        bool,
        typer.Option("--insecure-http", help="Listen on other addresses without TLS all the same."),
    ] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Refuse whatever would change the board.")
    ] = False,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A host name that clients call the server by; repeatable."
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Let pages of https://HOST call the API; repeatable."),
    ] = None,
    memory: Annotated[
        Path | None,
        typer.Option(
            envvar="STIG_MEMORY", metavar="FILE", help="Serve what the swarm has learned, too."
        ),
    ] = None,
    rate: Annotated[
        float, typer.Option(min=1, help="Requests a second that a token may make.")
    ] = 1000.0,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    board: BoardUrl = None,
) -> None:
    """Serve a board over HTTP: an API for workers, event streams, the dashboard.

    A token is asked for always; the file with them is made at the first start.
    STIG_TOKEN, if it is set, is the one token instead. Ctrl-C and SIGTERM
    end the server, with 0; what its clients hold stays theirs.

    [bold]Examples[/bold]

      stig serve --board board.db

      stig serve --host 0.0.0.0 --certificate cert.pem --key key.pem --token-file tokens

      stig serve --board board.db --log-level info --log-format json
    """
    from stigmergy.server.rates import Rate
    from stigmergy.server.serving import ServeOptions, serving_board

    settings = load_settings(log_format=log_format, log_level=log_level)
    write_log(settings.log_format, settings.log_level, environ=os.environ)
    options = ServeOptions(
        host=host,
        port=port,
        token_file=token_file,
        token=os.environ.get(TOKEN_VARIABLE) or None,
        certificate=certificate,
        key=key,
        insecure_http=insecure_http,
        read_only=read_only,
        names=frozenset(name or ()),
        allowed_origins=frozenset(allow_origin or ()),
        memory=memory,
        rate=Rate(per_s=rate, burst=max(1, round(2 * rate))),
    )
    stop = Stop()
    with (
        stop_on_signals(stop),
        open_board(board) as opened,
        serving_board(opened, options) as served,
    ):
        announce(served)
        stop.wait()


def beside(port: int) -> Beside:
    """What serves a run's board on this machine while it works."""

    @contextmanager
    def serving(board: TaskBoard, directory: RunDirectory, spec: RunSpec) -> Generator[None]:
        from stigmergy.server.context import ServedRun
        from stigmergy.server.serving import ServeOptions, serving_board

        options = ServeOptions(
            port=port,
            token=os.environ.get(TOKEN_VARIABLE) or None,
            state=directory.path / "server",
            memory=_memory_of(spec),
            run=ServedRun(directory=directory, spec=spec),
        )
        with serving_board(board, options) as served:
            announce(served, err=True)
            yield

    return serving


def _memory_of(spec: RunSpec) -> Path | None:
    """Where a run's memory lies; None if there is none and the run makes none."""
    if spec.settings.memory is not None:
        return spec.settings.memory
    with Repository(spec.repository) as repository:
        file = StateFolder(state_home(repository)).memory()
    return file if file.exists() or spec.settings.memory_namespace else None


def announce(served: Served, *, err: bool = False) -> None:
    """Say where it is; the token itself is told to a person at a terminal alone.

    On stdout the address stands alone, for scripts; on stderr among other words it is named.
    """
    stream = sys.stderr if err else sys.stdout
    if served.token_file is not None and served.made:
        typer.echo(f"made tokens for read, worker and admin in {served.token_file}", err=True)
    name = "dashboard: " if err else ""
    print(f"{name}{served.page if stream.isatty() else served.url}", file=stream, flush=True)
    if served.token_file is not None:
        typer.echo(f"its tokens are in {served.token_file}", err=True)
