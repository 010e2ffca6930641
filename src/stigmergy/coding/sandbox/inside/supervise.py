"""Run one program, watch its limits, and leave no process behind.

Under bubblewrap this is process 1 of the sandbox's PID namespace: nothing inside can signal or
trace it, and when it exits the kernel kills everything else. Without a PID namespace it adopts
orphans (subreaper) and kills its descendants itself.

It is steered by one Unix socket to the orchestrator: the order comes in, the outcome goes out, and
when the other end closes, because the run was stopped or the orchestrator died, it ends.
"""

# ruff: noqa: SIM105, PTH208 -- contextlib and pathlib would double the start-up time
from __future__ import annotations

import _socket
import ctypes
import os
import resource
import select
import sys
import time

TYPE_CHECKING = False  # `typing` costs too much to import
if TYPE_CHECKING:
    from stigmergy.coding.sandbox.inside.relay import Relay

__all__ = ["main"]

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_SIGKILL = 9
_SIGSTOP = 19
_IGNORED_BY_PYTHON = (13, 25)  # SIGPIPE, SIGXFSZ; the module `signal` costs too much to import
_TICK_MS = 250
"""How often limits are looked at that the kernel does not enforce."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Order:
    """What to run. Fields are separated by NUL, which no argument or variable can hold."""

    def __init__(self, data: bytes) -> None:
        self.argv: list[bytes] = []
        self.env: dict[bytes, bytes] = {}
        self.numbers: dict[str, int] = {}
        self.texts: dict[str, bytes] = {}
        for record in data.split(b"\0"):
            kind, _, value = record.partition(b" ")
            if kind == b"argv":
                self.argv.append(value)
            elif kind == b"env":
                name, _, text = value.partition(b"=")
                self.env[name] = text
            elif kind in {b"cwd", b"socket"}:
                self.texts[kind.decode()] = value
            elif kind:
                self.numbers[kind.decode()] = int(value)


def main(control_fd: int) -> None:
    """Serve one order from the socket `control_fd`, then exit."""
    control = _socket.socket(fileno=control_fd)
    # The program must not inherit this: it could forge the outcome.
    os.set_inheritable(control_fd, False)  # noqa: FBT003 # positional only
    order = Order(_receive(control))
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_DUMPABLE, 0)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    relay: Relay | None = None
    if "port" in order.numbers:
        # Beside us on sys.path; the package's own name would import more than we need.
        relay = __import__("relay").Relay(order.numbers["port"], order.texts["socket"])
    child = os.fork()
    if child == 0:
        _become(order, libc)
    _tell(control, b"started")
    outcome = _watch(order, child, control, relay)
    if os.getpid() == 1 or _kill_descendants():
        _tell(control, b"swept")
    _tell(control, outcome)
    os._exit(0)


def _receive(control: _socket.socket) -> bytes:
    data = b""
    while b"\n" not in data:
        data += control.recv(16) or _gone()
    head, _, data = data.partition(b"\n")
    size = int(head)
    parts, got = [data], len(data)
    while got < size:
        part = control.recv(1 << 20) or _gone()
        parts.append(part)
        got += len(part)
    return b"".join(parts)


def _gone() -> bytes:
    os._exit(0)


def _tell(control: _socket.socket, text: bytes) -> None:
    try:
        control.send(text + b"\n")
    except OSError:
        pass  # the orchestrator is gone, and we are about to be


def _become(order: Order, libc: ctypes.CDLL) -> None:
    """In the child: set the limits and turn into the program."""
    try:
        os.setsid()
    except PermissionError:
        pass  # it leads a session already
    try:
        for number in _IGNORED_BY_PYTHON:  # and an ignored signal stays ignored across exec
            libc.signal(number, None)
        _set_limits(order.numbers)
        os.chdir(order.texts["cwd"])
        os.execvpe(order.argv[0], order.argv, order.env)  # noqa: S606 # no shell is wanted
    except (FileNotFoundError, NotADirectoryError) as error:
        code, reason = 127, error
    except (OSError, ValueError) as error:
        code, reason = 126, error
    name = os.fsdecode(order.argv[0])
    os.write(2, f"stigmergy: {name} cannot be run: {reason}\n".encode(errors="replace"))
    os._exit(code)


def _set_limits(numbers: dict[str, int]) -> None:
    limits = [(resource.RLIMIT_CORE, 0)]
    if "memory" in numbers:
        # Not RLIMIT_AS: runtimes reserve far more address space than they ever touch.
        limits.append((resource.RLIMIT_DATA, numbers["memory"]))
    if "file" in numbers:
        limits.append((resource.RLIMIT_FSIZE, numbers["file"]))
    if "processes" in numbers and os.getppid() == 1:
        # Only in a namespace of our own: elsewhere it would count the user's other processes.
        limits.append((resource.RLIMIT_NPROC, numbers["processes"]))
    for kind, wanted in limits:
        _, hard = resource.getrlimit(kind)
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))


def _watch(order: Order, child: int, control: _socket.socket, relay: Relay | None) -> bytes:
    """Wait for the program's end, for the order to stop, or for a limit; say which."""
    poll = select.poll()
    poll.register(control.fileno(), select.POLLIN)
    ended_fd = os.pidfd_open(child)
    poll.register(ended_fd, select.POLLIN)
    if relay is not None:
        relay.register(poll)
    look_at = time.monotonic() + _TICK_MS / 1000
    while True:
        wait_ms = max(0, int((look_at - time.monotonic()) * 1000)) + 1
        for fd, event in poll.poll(wait_ms):
            if fd == control.fileno():
                return b"stopped"
            if fd == ended_fd:
                return _outcome(child)
            if relay is not None:
                relay.handle(fd, event)
        if time.monotonic() >= look_at:
            _reap_orphans(child)
            broken = _broken_limit(order.numbers)
            if broken is not None:
                return b"limit " + broken.encode()
            look_at = time.monotonic() + _TICK_MS / 1000


def _outcome(child: int) -> bytes:
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return f"exit {code}".encode()


def _reap_orphans(child: int) -> None:
    while True:
        # WNOWAIT first: the program's own end is told by its pidfd, not here.
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid == child:
            return
        os.waitpid(found.si_pid, 0)


def _broken_limit(numbers: dict[str, int]) -> str | None:
    """The limit that all processes together have passed; those of one are the kernel's."""
    pids = _others()
    if "processes" in numbers and len(pids) > numbers["processes"]:
        return "processes"
    if "memory" not in numbers:
        return None
    pages = sum(_resident(pid) for pid in pids)
    if pages * _PAGE <= numbers["memory"]:
        return None
    # Forked processes share pages; count each page once before killing for it.
    return "memory" if sum(_proportional(pid) for pid in pids) > numbers["memory"] else None


def _others() -> list[int]:
    if os.getpid() == 1:
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
    return _descendants(os.getpid())


def _descendants(pid: int) -> list[int]:
    found = _children(pid)
    for child in found:
        found += _children(child)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    except OSError:
        pass  # it has ended
    return found


def _resident(pid: int) -> int:
    try:
        return int(_read(f"/proc/{pid}/statm").split()[1])
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # it has ended, or hides; what it holds counts in full
    return _resident(pid) * _PAGE


def _read(path: str) -> bytes:
    handle = os.open(path, os.O_RDONLY)
    try:
        parts: list[bytes] = []
        while part := os.read(handle, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(handle)


def _kill_descendants() -> bool:
    """Until none is left; False: some would not go.

    Stopping them all first keeps a fork bomb from outrunning us.
    """
    give_up = time.monotonic() + 5
    while time.monotonic() < give_up:
        pids = _descendants(os.getpid())
        for number in (_SIGSTOP, _SIGKILL):
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass  # it has ended
        try:
            while os.waitpid(-1, 0 if pids else os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        if not pids:
            return False
    return False


if __name__ == "__main__":
    main(int(sys.argv[1]))
