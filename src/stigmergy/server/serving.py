"""A board served while a block lasts: the socket, TLS, tokens, and what is refused to listen on."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import platformdirs

from stigmergy.addresses import is_loopback
from stigmergy.board import TaskBoard
from stigmergy.config import TOKEN_VARIABLE
from stigmergy.errors import NotFoundError, UsageError
from stigmergy.memory import Memory
from stigmergy.models.serving import running
from stigmergy.server.app import AppSettings, build_app
from stigmergy.server.auth import (
    Scope,
    Token,
    TokenTable,
    check_token,
    make_token_file,
    read_token_file,
)
from stigmergy.server.context import ServedRun, ServerContext
from stigmergy.server.guard import BodyLimits
from stigmergy.server.live import ReplaySource
from stigmergy.server.origins import Origins, check_origin
from stigmergy.server.rates import Rate
from stigmergy.server.wire import TimedProtocol

__all__ = ["ServeOptions", "Served", "default_token_file", "serving_board"]

_BACKLOG: Final = 2048
_LAST_WORDS_S: Final = 2.0
"""How long those who watch have to be told of the end."""
_LONGEST_HEAD: Final = 32 * 1024
_GRACE_S: Final = 5
"""Streams and waiting claims are told that it ends; on a busy machine that takes a moment."""
_IDLE_S: Final = 75
"""How long a connection may be kept without a request: longer than a claim waits, so that workers
need no new one for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How a board is to be served."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free one."""
    token_file: Path | None = None
    """The usual one if not given; it is made if it is not there."""
    token: str | None = field(default=None, repr=False)
    """From the environment: one for every scope, instead of the file."""
    certificate: Path | None = None
    key: Path | None = None
    insecure_http: bool = False
    """Listen without TLS where others can read what is sent."""
    read_only: bool = False
    names: frozenset[str] = frozenset()
    """Names that the server is known by, besides its address."""
    allowed_origins: frozenset[str] = frozenset()
    rate: Rate = field(default_factory=Rate)
    limits: BodyLimits = field(default_factory=BodyLimits)
    state: Path | None = None
    """The folder of what the server keeps for itself; the user's if not given."""
    memory: Path | None = None
    """The file of what the swarm has learned, served too; it is made if it is not there."""
    run: ServedRun | None = None
    """The coding run that the board belongs to."""
    replay: ReplaySource | None = None
    """Show this instead of what happens on the board."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A board that is being served."""

    url: str
    token_file: Path | None
    made: bool
    """The token file was made just now."""
    admin_token: str | None = field(repr=False)
    """None if the file has none."""

    @property
    def page(self) -> str:
        """The dashboard's address with the token in it, for a terminal that nobody else reads."""
        return f"{self.url}/#token={self.admin_token}" if self.admin_token else f"{self.url}/"


def default_token_file() -> Path:
    """This user's."""
    return Path(platformdirs.user_state_dir("stigmergy")) / "server" / "tokens"


@contextlib.contextmanager
def serving_board(board: TaskBoard, options: ServeOptions) -> Generator[Served]:
    """Serve an open board until the block ends.

    Raises:
        UsageError: the address is refused or taken, or the token file or certificate is not good.
    """
    _check_address(options)
    tokens, file, made = _tokens(options)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listener(options.host, options.port))
        port: int = listener.getsockname()[1]
        settings = AppSettings(
            origins=Origins(
                host=options.host,
                port=port,
                names=frozenset(name.lower() for name in options.names),
                allowed=frozenset(map(check_origin, options.allowed_origins)),
            ),
            tokens=TokenTable(tokens),
            answers=_answers_file(board, options),
            limits=options.limits,
            rate=options.rate,
            read_only=options.read_only,
            memory=None if options.memory is None else stack.enter_context(Memory(options.memory)),
            run=options.run,
            replay=options.replay,
        )
        closing = _Closing()
        stack.enter_context(
            running(
                lambda ready: build_app(
                    board, settings, on_ready=lambda context: closing.begin(context, ready)
                ),
                [listener],
                name="board server",
                ending=closing.end,
                http=TimedProtocol,
                grace_s=_GRACE_S,
                timeout_keep_alive=_IDLE_S,
                h11_max_incomplete_event_size=_LONGEST_HEAD,
                proxy_headers=False,
                **_tls(options),
            )
        )
        scheme = "http" if options.certificate is None else "https"
        admin = next((token.text for token in tokens if token.scope is Scope.ADMIN), None)
        yield Served(
            url=f"{scheme}://{_in_url(options.host)}:{port}",
            token_file=file,
            made=made,
            admin_token=admin,
        )


class _Closing:
    """Tells the event loop from another thread that the server ends."""

    def __init__(self) -> None:
        self._context: ServerContext | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, context: ServerContext, ready: Any) -> None:
        self._context, self._loop = context, asyncio.get_running_loop()
        ready()

    def end(self) -> None:
        if self._loop is None or self._context is None:
            return
        ended = threading.Event()
        context = self._context

        async def end() -> None:
            await asyncio.to_thread(context.live.feed.finish, timeout_s=_LAST_WORDS_S)
            context.closing.set()
            await context.desk.close()
            ended.set()

        with contextlib.suppress(RuntimeError):  # the loop is closed
            asyncio.run_coroutine_threadsafe(end(), self._loop)
            ended.wait(5.0)


def _check_address(options: ServeOptions) -> None:
    if (options.certificate is None) != (options.key is None):
        raise UsageError("--certificate and --key belong together")
    if is_loopback(options.host):
        return
    if options.certificate is None and not options.insecure_http:
        raise UsageError(
            f"{options.host} can be reached from other machines, and tokens would be readable on "
            "the way: give --certificate and --key, or --insecure-http if something else "
            "encrypts (a VPN, a proxy on this machine)"
        )
    if options.token is None and (options.token_file is None or not options.token_file.exists()):
        raise UsageError(
            f"{options.host} can be reached from other machines: name an existing --token-file, "
            "or set STIG_TOKEN"
        )


def _tokens(options: ServeOptions) -> tuple[list[Token], Path | None, bool]:
    if options.token is not None:
        return [check_token(Token(Scope.ADMIN, options.token), where=TOKEN_VARIABLE)], None, False
    file = options.token_file or default_token_file()
    try:
        return read_token_file(file), file, False
    except NotFoundError:
        return make_token_file(file), file, True


@contextlib.contextmanager
def _listener(host: str, port: int) -> Generator[socket.socket]:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError, OverflowError) as error:
        raise UsageError(f"cannot listen on {host} port {port}: {error}") from error
    with listener:
        yield listener


def _tls(options: ServeOptions) -> dict[str, Any]:
    if options.certificate is None or options.key is None:
        return {}
    try:  # uvicorn would tell of a wrong one in its own thread alone
        check = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        check.load_cert_chain(options.certificate, options.key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"the certificate {options.certificate} and key {options.key} cannot be used: {error}"
        ) from error
    return {"ssl_certfile": str(options.certificate), "ssl_keyfile": str(options.key)}


def _answers_file(board: TaskBoard, options: ServeOptions) -> Path:
    folder = options.state or Path(platformdirs.user_state_dir("stigmergy")) / "server"
    name = hashlib.sha256(board.url.encode()).hexdigest()[:24]
    return folder / f"{name}.answers.db"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
