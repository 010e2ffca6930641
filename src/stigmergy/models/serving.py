"""An ASGI application on sockets of its own, in a thread that ends with a block."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Literal

import uvicorn
from starlette.types import ASGIApp

from stigmergy.errors import StigmergyError, UsageError

__all__ = ["running", "serving"]

_LONGEST_SOCKET_PATH = 107
"""Bytes; the kernel's field has 108 with the final zero. Source: unix(7)."""
_START_TIMEOUT_S = 30.0
_GRACE_S = 1
"""What calls under way get to end in when a server closes; then they are cancelled."""


@contextlib.contextmanager
def serving(
    app: Callable[[Callable[[], None]], ASGIApp], *, socket_path: Path | None
) -> Generator[int]:
    """Serve until the block ends; yields the port on 127.0.0.1.

    Args:
        app: builds the application; it calls what it is handed once it can answer.
        socket_path: serve there too; only this user may connect. Removed at the end.

    Raises:
        UsageError: the path is too long, or something is there.
    """
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        sockets = [tcp]
        if socket_path is not None:
            sockets.append(stack.enter_context(_unix_socket(socket_path)))
        port: int = tcp.getsockname()[1]
        stack.enter_context(running(app, sockets, name="model gateway"))
        yield port


@contextlib.contextmanager
def running(
    app: Callable[[Callable[[], None]], ASGIApp],
    sockets: list[socket.socket],
    *,
    name: str,
    ending: Callable[[], None] = lambda: None,
    http: type[asyncio.Protocol] | Literal["h11"] = "h11",
    grace_s: int = _GRACE_S,
    **options: Any,
) -> Generator[None]:
    """Serve on sockets that are bound already, until the block ends.

    Args:
        app: builds the application; it calls what it is handed once it can answer.
        sockets: they are not closed.
        name: in errors, and of the thread.
        ending: called before the server ends: streams are to be ended by then.
        http: uvicorn's protocol, or one derived from it.
        grace_s: what is under way gets to end in; then it is cancelled.
        options: of `uvicorn.Config`.
    """
    for each in sockets:
        _send_at_once(each)
    ready = threading.Event()
    config = uvicorn.Config(
        app(ready.set),
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=grace_s,
        http=http,
        **options,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, args=(sockets,), name=name.replace(" ", "-"), daemon=True
    )
    thread.start()
    try:
        if not ready.wait(_START_TIMEOUT_S):
            raise StigmergyError(f"the {name} did not start within {_START_TIMEOUT_S:g} s")
        yield
    finally:
        ending()
        server.should_exit = True
        thread.join()


@contextlib.contextmanager
def _unix_socket(path: Path) -> Generator[socket.socket]:
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise UsageError(
            f"the socket path {path} has {len(os.fsencode(path))} bytes, and the system allows "
            f"{_LONGEST_SOCKET_PATH}: choose a shorter one"
        )
    _remove_stale(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        # Nobody can connect before listen, and by then only this user may.
        listener.bind(os.fspath(path))
        try:
            path.chmod(0o600)
            listener.listen(128)
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _remove_stale(path: Path) -> None:
    """Remove what a killed gateway left, and nothing else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise UsageError(f"{path} exists and is no socket: choose another path for the gateway")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        else:
            raise UsageError(f"another gateway serves on {path}: choose another path")


def _send_at_once(listener: socket.socket) -> None:
    """Let no answer wait for its head to be acknowledged, which takes a client 40 ms.

    An answer is two writes at least. asyncio does it for sockets that it made by itself alone;
    connections have it from their listener.
    """
    if listener.family in (socket.AF_INET, socket.AF_INET6):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
