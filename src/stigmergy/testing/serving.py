"""Boards served for tests: in this process, or by a `stig serve` that can be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

import httpx

from stigmergy.board import TaskBoard
from stigmergy.errors import StigmergyError
from stigmergy.server.auth import Scope, make_token_file, read_token_file
from stigmergy.server.serving import ServeOptions, serving_board
from stigmergy.swarm.remote import RemoteBoard
from stigmergy.testing.ports import free_port

__all__ = ["ServedBoard", "ServerProcess", "served"]

_START_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedBoard:
    """A board behind HTTP."""

    url: str
    tokens: dict[Scope, str]

    def client(
        self, scope: Scope = Scope.ADMIN, *, timeout_s: float = 30.0
    ) -> contextlib.AbstractContextManager[httpx.Client]:
        """An HTTP client with the token of a scope."""
        headers = {"Authorization": f"Bearer {self.tokens[scope]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout_s, trust_env=False)

    def remote(self, scope: Scope = Scope.WORKER, *, patience_s: float = 30.0) -> RemoteBoard:
        """The board as an agent far away has it."""
        return RemoteBoard(self.url, token=self.tokens[scope], patience_s=patience_s)


@contextlib.contextmanager
def served(
    board: TaskBoard, folder: Path, options: ServeOptions | None = None
) -> Generator[ServedBoard]:
    """Serve an open board in this process; the server keeps its own things in `folder`."""
    file = folder / "tokens"
    if not file.exists():
        make_token_file(file)
    wanted = replace(options or ServeOptions(), token_file=file, state=folder)
    with serving_board(board, wanted) as server:
        yield ServedBoard(url=server.url, tokens=_tokens(file))


class ServerProcess:
    """`stig serve` as a process of its own, on the same port each time it is started.

    Args:
        board_url: of a board that is there.
        folder: for what the server keeps for itself, and its output.
    """

    def __init__(self, board_url: str, folder: Path) -> None:
        self._board_url = board_url
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._file = folder / "tokens"
        if not self._file.exists():
            make_token_file(self._file)

    @property
    def token_file(self) -> Path:
        """The server's tokens."""
        return self._file

    @property
    def board(self) -> ServedBoard:
        """Where it is served."""
        return ServedBoard(url=f"http://127.0.0.1:{self._port}", tokens=_tokens(self._file))

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None, "it was not started"
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = "from stigmergy.cli import main; main()"
        words = ["serve", "--board", self._board_url, "--port", str(self._port)]
        words += ["--token-file", str(self._file), "--rate", "100000"]
        environment = {**os.environ, "XDG_STATE_HOME": str(self._folder)}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        until = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise StigmergyError((self._folder / "server.log").read_text())
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        return self._end(signal.SIGTERM)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(60)

    def _answers(self) -> bool:
        try:
            httpx.get(f"http://127.0.0.1:{self._port}/healthz", timeout=5.0, trust_env=False)
        except httpx.TransportError:
            return False
        return True


def _tokens(file: Path) -> dict[Scope, str]:
    return {token.scope: token.text for token in read_token_file(file)}
