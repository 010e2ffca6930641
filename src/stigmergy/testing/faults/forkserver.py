"""Processes that cost a fork and not an interpreter: so a thousand kills take seconds.

A server process imports what its children need and forks one for each order. A child runs one
function and hands back its value; it dies with its server, and the server with whoever started it.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Final, NoReturn, Self

from stigmergy.errors import StigmergyError

__all__ = ["Child", "Ending", "ForkServer"]

_FAILED: Final = 70
_PR_SET_PDEATHSIG: Final = 1
_PRELOADED: Final = (
    "stigmergy.board.stores.files",
    "stigmergy.board.stores.sqlite",
    "stigmergy.board.stores.postgres",
    "stigmergy.board.stores.progress",
    "stigmergy.board.stores.watching",
    "inotify_simple",
)
"""What children would import on their own, each anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a child ended."""

    status: int
    """Its exit code, or minus the signal that killed it."""
    value: Any = None
    """What its function returned, as JSON has it; None if it was killed."""

    @property
    def was_killed(self) -> bool:
        """It died of SIGKILL."""
        return self.status == -signal.SIGKILL


class Child:
    """A process that runs one function."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid = pid
        self._server = server
        # Its zombie is kept until `wait`, so the number cannot mean another process.
        self._pidfd = os.pidfd_open(pid)
        self._ending: Ending | None = None

    @property
    def is_over(self) -> bool:
        """It was waited for."""
        return self._ending is not None

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        if self._ending is None:
            os.kill(self.pid, number)

    def kill(self) -> Ending:
        """SIGKILL, and wait for its end.

        Raises:
            StigmergyError: its function had raised before.
        """
        self.signal(signal.SIGKILL)
        return self.wait(timeout_s=120.0)

    def end(self) -> None:
        """SIGKILL, whatever became of it before. Idempotent."""
        with suppress(StigmergyError):
            self.kill()

    def has_ended(self, *, timeout_s: float = 0.0) -> bool:
        """Whether it ends within so long."""
        if self._ending is not None:
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def wait(self, *, timeout_s: float = 120.0) -> Ending:
        """Until it has ended.

        Raises:
            StigmergyError: its function raised, or it did not end in time (it is killed then).
        """
        if self._ending is None:
            in_time = self.has_ended(timeout_s=timeout_s)
            if not in_time:
                os.kill(self.pid, signal.SIGKILL)
            self._ending = self._server.reap(self.pid)
            os.close(self._pidfd)
            if not in_time:
                raise StigmergyError(f"process {self.pid} did not end within {timeout_s:.0f} s")
        if self._ending.status == _FAILED:
            raise StigmergyError(f"process {self.pid} failed:\n{self._ending.value}")
        return self._ending


class ForkServer:
    """Starts children. Thread-safe; a context manager, whose end is the end of all children.

    Args:
        prefix: words before the server's command: `unshare --mount`, `ip netns exec one`.
        environment: variables besides those of this process.
    """

    def __init__(
        self, *, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self._mutex = threading.Lock()
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self._children: list[Child] = []

    @property
    def pid(self) -> int:
        """The server's process, whose namespaces its children have."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server and all children. Idempotent."""
        for child in self._children:
            child.end()
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def spawn(self, function: Callable[..., object], **arguments: object) -> Child:
        """A child that runs a module's function with these arguments, which JSON can hold."""
        name = f"{function.__module__}:{function.__qualname__}"
        child = Child(self, int(self._order({"call": name, "with": arguments})["pid"]))
        self._children = [known for known in self._children if not known.is_over]
        self._children.append(child)
        return child

    def call(
        self, function: Callable[..., object], *, timeout_s: float = 120.0, **arguments: object
    ) -> Any:
        """What the function returns in a child of its own.

        Raises:
            StigmergyError: it raised, was killed, or took longer.
        """
        ending = self.spawn(function, **arguments).wait(timeout_s=timeout_s)
        if ending.status != 0:
            raise StigmergyError(f"{function.__qualname__} ended with {ending.status}")
        return ending.value

    def reap(self, pid: int) -> Ending:
        """The ending of a child that has ended."""
        answer = self._order({"reap": pid})
        return Ending(status=answer["status"], value=answer["value"])

    def _order(self, order: Mapping[str, object]) -> dict[str, Any]:
        with self._mutex:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            try:
                self._process.stdin.write(json.dumps(order) + "\n")
                self._process.stdin.flush()
                answer = self._process.stdout.readline()
            except BrokenPipeError:
                answer = ""
        if not answer:
            raise StigmergyError(
                f"the server of processes ended with {self._process.wait(timeout=60)}"
            )
        return json.loads(answer)


# In the server ------------------------------------------------------------------------------------


def _serve(orders: IO[str], answers: IO[str]) -> None:
    logging.disable(logging.CRITICAL)  # children are troubled on purpose, and say so otherwise
    for module in _PRELOADED:
        with suppress(ImportError):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # or a collection in a child would copy all that it shares
    values: dict[int, int] = {}
    while line := orders.readline():
        order = json.loads(line)
        if "reap" in order:
            pid = int(order["reap"])
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            value = _take(values.pop(pid), whole=status in {0, _FAILED})
            answer: dict[str, object] = {"status": status, "value": value}
        else:
            memory = os.memfd_create("value")
            pid = _fork(order["call"], order["with"], memory)
            values[pid] = memory
            answer = {"pid": pid}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    for pid in values:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _fork(name: str, arguments: dict[str, object], value: int) -> int:
    module, _, attribute = name.partition(":")
    function = getattr(importlib.import_module(module), attribute)
    server = os.getpid()
    if (pid := os.fork()) == 0:
        _run(function, arguments, value, server=server)
    return pid


def _run(
    function: Callable[..., object], arguments: dict[str, object], value: int, *, server: int
) -> NoReturn:
    status = _FAILED
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:  # it died before that
            os._exit(_FAILED)
        silence = os.open(os.devnull, os.O_RDWR)
        os.dup2(silence, 0)
        os.dup2(silence, 1)
        os.pwrite(value, json.dumps(function(**arguments)).encode(), 0)
        status = 0
    except BaseException:  # noqa: BLE001 - told to whoever waits
        os.ftruncate(value, 0)
        os.pwrite(value, json.dumps(traceback.format_exc()).encode(), 0)
    finally:
        os._exit(status)


def _take(value: int, *, whole: bool) -> object:
    with os.fdopen(value, "rb") as file:
        file.seek(0)
        content = file.read()
    return json.loads(content) if whole and content else None


if __name__ == "__main__":
    _serve(sys.stdin, sys.stdout)
