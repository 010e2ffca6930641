"""Mount a sandbox's overlay in a mount namespace of its own, then become another program.

The mount lives exactly as long as the processes of the sandbox: nothing is left in the host's
mount table, however the run ends. The same way serves root and, through a user namespace, anybody.

It must never touch the host's namespace: it mounts nothing before `unshare` has succeeded.
"""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["FAILED", "main"]

FAILED = 70
"""Exit status when the view could not be mounted; the reason is on stderr."""

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_MS_NOSUID_NODEV = 0x2 | 0x4


def main(arguments: list[str]) -> None:
    """`STATE LOWER UPPER WORK TARGET PROGRAM…`; all folders are relative to STATE."""
    state, lower, upper, work, target, *program = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        _own_namespace(libc)
        # Relative names keep the option string short: the kernel takes one page of it.
        os.chdir(state)
        _overlay(libc, lower, upper, work, target)
        os.chdir("/")
        os.execv(program[0], program)  # noqa: S606 # no shell is wanted
    except OSError as error:
        os.write(2, f"stigmergy: the overlay could not be mounted: {error}\n".encode())
        os._exit(FAILED)


def _own_namespace(libc: ctypes.CDLL) -> None:
    user, group = os.geteuid(), os.getegid()
    if user == 0 and libc.unshare(_CLONE_NEWNS) == 0:
        pass
    elif libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS) == 0:
        # The identity map: inside and outside agree on who owns a file.
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    else:
        raise _failure("unshare")
    if libc.mount(None, b"/", None, _MS_REC_PRIVATE, None) != 0:
        raise _failure("make mounts private")


def _overlay(libc: ctypes.CDLL, lower: str, upper: str, work: str, target: str) -> None:
    # `volatile`: no fsync reaches the disk. A sandbox that a crash interrupts is thrown away.
    options = f"lowerdir={lower},upperdir={upper},workdir={work},userxattr,volatile"
    arguments = (b"overlay", os.fsencode(target), b"overlay", _MS_NOSUID_NODEV)
    if libc.mount(*arguments, os.fsencode(options)) != 0:
        raise _failure("mount")


def _failure(call: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{call}: {os.strerror(code)}")


def _write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


if __name__ == "__main__":
    main(sys.argv[1:])
