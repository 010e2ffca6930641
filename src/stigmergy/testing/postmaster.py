"""Run one PostgreSQL server and outlive nobody: it ends when the process that asked for it does.

`postgres.py` starts this file as a process of its own, between the tests and the postmaster.
SIGTERM, SIGINT and SIGQUIT go on to the postmaster (smart, fast and immediate shutdown); SIGUSR1
kills it and its children. A plain PR_SET_PDEATHSIG would not do: it is sent when the thread that
started the server ends, not the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GRACE_MS = 5_000
"""How long the server has for an immediate shutdown before it is killed."""
_LIBC = ctypes.CDLL(None)


def main(owner: int, user: int, group: int, argv: list[str]) -> None:
    """Run `argv` for the process `owner`; as another user if this one is root.

    Prints the server's process id once it is started. Returns when no process of it is left.
    """
    try:
        owner_fd = os.pidfd_open(owner)
    except ProcessLookupError:
        return
    if os.getppid() != owner:  # it died, and its number is another's now
        return
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what the postmaster leaves behind comes to us
    server = subprocess.Popen(
        argv,
        stdout=sys.stderr,  # both into the log
        preexec_fn=lambda: _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT),  # noqa: PLW1509 # one thread
        user=user,
        group=group,
        extra_groups=[] if os.geteuid() == 0 else None,
    )
    server_fd = os.pidfd_open(server.pid)

    def heed(number: int, _: object) -> None:
        if number == signal.SIGUSR1:
            _kill_descendants()
        else:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(server_fd, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1):
        signal.signal(number, heed)
    print(server.pid, flush=True)  # noqa: T201 # the answer to the owner
    _wait(server.pid, server_fd=server_fd, owner_fd=owner_fd)
    while _kill_descendants():
        _reap()


def _wait(pid: int, *, server_fd: int, owner_fd: int) -> None:
    """Until the server has ended, asking it to when the owner ends."""
    poll = select.poll()
    for fd in (server_fd, owner_fd):
        poll.register(fd, select.POLLIN)
    while not (ended := {fd for fd, _ in poll.poll()}):
        pass
    if server_fd not in ended:
        os.kill(pid, signal.SIGQUIT)
        poll.unregister(owner_fd)
        poll.poll(_GRACE_MS)


def _kill_descendants() -> list[int]:
    """Kill all; whom. They are stopped first, so that none is started meanwhile."""
    pids = _descendants(os.getpid())
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    return pids


def _descendants(pid: int) -> list[int]:
    found = _children(pid)
    for child in found:
        found += _children(child)
    return found


def _children(pid: int) -> list[int]:
    try:
        return [int(name) for name in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return []


def _reap() -> None:
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), argv=sys.argv[4:])
