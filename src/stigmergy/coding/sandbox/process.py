"""Run a supervised program from the host's side: feed it its order, take its output, end it.

The supervisor (`inside/supervise.py`) hangs on one Unix socket. Closing it is how a program is
stopped, by us or by our death; the kernel closes it whatever kills us.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from stigmergy.coding.sandbox.inside import supervise
from stigmergy.coding.sandbox.output import Captured
from stigmergy.coding.sandbox.sandbox import Exit, Limits
from stigmergy.errors import StigmergyError

__all__ = ["MARKER", "Order", "SandboxStartError", "run_supervised", "supervisor_argv"]

MARKER = "STIG_SANDBOX_ID"
"""Set for every program, unique for a run: how strays are found where no PID namespace is."""

_STOP_LOOK_MS = 50
_START_TIMEOUT_S = 60.0
_GRACE_S = 6.0
"""For the supervisor to kill what it has started, before it is killed itself."""
_CLEAN_LOOKS = 2
_INSIDE = Path(supervise.__file__).parent


class SandboxStartError(StigmergyError):
    """The program's surroundings could not be set up; it was not started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the supervisor is to run."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    limits: Limits
    relay: tuple[int, str] | None = None
    """Serve this loopback port and connect it to the Unix socket at this path."""

    def encode(self) -> bytes:
        """The message that `inside/supervise.py` reads."""
        fields = [f"argv {word}" for word in self.argv]
        fields += [f"env {name}={value}" for name, value in self.env.items()]
        fields.append(f"cwd {self.cwd}")
        limits = self.limits
        numbers = {
            "memory": limits.memory_bytes,
            "processes": limits.processes,
            "file": limits.file_bytes,
        }
        if self.relay is not None:
            port, path = self.relay
            numbers["port"] = port
            fields.append(f"socket {path}")
        fields += [f"{name} {value}" for name, value in numbers.items() if value is not None]
        data = "\0".join(fields).encode("utf-8", "surrogateescape")
        return f"{len(data)}\n".encode() + data


def supervisor_argv(python: str) -> list[str]:
    """The command line of the supervisor; the number of its socket is to be added."""
    # Imported rather than run as a script, so that its compiled form is used.
    start = "import sys; sys.path.append(sys.argv[1]); import supervise; "
    return [python, "-I", "-S", "-c", start + "supervise.main(int(sys.argv[2]))", str(_INSIDE)]


def run_supervised(
    command: Sequence[str],
    order: Order,
    *,
    stop: threading.Event | None,
    on_line: Callable[[str], None] | None,
) -> Exit:
    """Run `order` under `command`, which ends in `supervisor_argv`.

    Raises:
        SandboxStartError: the supervisor did not come up; the text has what it said.
    """
    began = time.monotonic()
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                env={},
                cwd="/",
                start_new_session=True,
            )
        run = _Run(process, ours, order.limits, on_line)
        try:
            run.send(order.encode())
            reason = run.follow(began + order.limits.wall_s, stop)
        finally:
            said = run.end()
            if "swept" not in said:
                _kill_strays(order.env.get(MARKER))
            run.drain()
    return run.outcome(reason, said, time.monotonic() - began)


class _Run:
    """One process and its three streams; `end` and then `drain` must be called."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        control: socket.socket,
        limits: Limits,
        on_line: Callable[[str], None] | None,
    ) -> None:
        self._process = process
        self._control = control
        self._stdout = Captured(limits.output_bytes, on_line)
        self._stderr = Captured(limits.output_bytes, None)
        assert process.stdout is not None
        assert process.stderr is not None
        self._pipes = {
            process.stdout.fileno(): (process.stdout, self._stdout),
            process.stderr.fileno(): (process.stderr, self._stderr),
        }
        for fd in self._pipes:
            os.set_blocking(fd, False)

    def send(self, order: bytes) -> None:
        self._control.settimeout(_START_TIMEOUT_S)
        with suppress(OSError):  # it is not there to listen; `outcome` tells why
            self._control.sendall(order)

    def follow(self, deadline: float, stop: threading.Event | None) -> str:
        """Take output until the process ends, time is up or the stop event is set."""
        poll = select.poll()
        ended = os.pidfd_open(self._process.pid)
        try:
            poll.register(ended, select.POLLIN)
            for fd in self._pipes:
                poll.register(fd, select.POLLIN)
            while True:
                if stop is not None and stop.is_set():
                    return "stopped"
                left_ms = int((deadline - time.monotonic()) * 1000) + 1
                if left_ms <= 0:
                    return "timed-out"
                wait_ms = left_ms if stop is None else min(left_ms, _STOP_LOOK_MS)
                for fd, _ in poll.poll(wait_ms):
                    if fd == ended:
                        return "exited"
                    if not self._take(fd):
                        poll.unregister(fd)
        finally:
            os.close(ended)

    def end(self) -> list[str]:
        """See that everything is dead, and return the supervisor's words."""
        self._control.shutdown(socket.SHUT_WR)
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return self._words()

    def drain(self) -> None:
        """Take what it wrote last, and close its pipes even if `on_line` fails on that."""
        with ExitStack() as pipes:
            for pipe, _ in self._pipes.values():
                pipes.callback(pipe.close)
            for fd in self._pipes:
                while self._take(fd):
                    pass

    def outcome(self, reason: str, said: list[str], duration_s: float) -> Exit:
        verdict = next((line for line in said if line.startswith(("exit ", "limit "))), None)
        stderr = self._stderr.finish()
        if "started" not in said and reason == "exited":
            text = stderr.strip() or f"it ended with {self._process.returncode}"
            raise SandboxStartError(f"the sandbox could not be set up: {text[-2000:]}")
        code = -9
        if reason == "exited" and verdict is not None:
            kind, _, value = verdict.partition(" ")
            if kind == "exit":
                code = int(value)
            else:
                stderr += (
                    f"\nstigmergy: killed: all its processes together passed the {value} limit\n"
                )
        return Exit(
            code=code,
            reason=reason,
            duration_s=duration_s,
            stdout_tail=self._stdout.finish(),
            stderr_tail=stderr,
            dropped_bytes=self._stdout.dropped + self._stderr.dropped,
        )

    def _take(self, fd: int) -> bool:
        """Read what is there, once. False at the end, or when there is nothing."""
        _, captured = self._pipes[fd]
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return False
        captured.add(data)
        return bool(data)

    def _words(self) -> list[str]:
        self._control.settimeout(0)
        data = b""
        try:
            while part := self._control.recv(4096):
                data += part
        except OSError:
            pass  # nothing more, or it was reset with our order unread
        return data.decode(errors="replace").splitlines()


def _kill_strays(marker: str | None) -> None:
    """Kill what carries the marker: the supervisor died before it could.

    Looks until twice in a row nothing is found: one that was just started by another, or is just
    becoming another program, is not seen by a single look.
    """
    if marker is None:
        return
    until = time.monotonic() + _GRACE_S
    clean = 0
    while clean < _CLEAN_LOOKS and time.monotonic() < until:
        strays = [process for process in psutil.process_iter() if _carries(process, marker)]
        for process in strays:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(strays, timeout=_GRACE_S)
        clean = 0 if strays else clean + 1


def _carries(process: psutil.Process, marker: str) -> bool:
    try:
        return process.environ().get(MARKER) == marker
    except (psutil.Error, OSError):
        return False  # it ended, or is another user's
