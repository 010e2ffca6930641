"""Parts of the machine that faults need: namespaces of one's own, and why there are none.

Whatever is mounted or connected lives in a namespace that ends with its processes, so nothing is
left behind however a run ends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from stigmergy.testing.faults.forkserver import ForkServer

__all__ = ["inside", "mount", "mount_missing", "namespace_missing", "own_namespace", "trouble"]


def own_namespace(*kinds: str) -> list[str]:
    """The words before a command that give it namespaces of those kinds (`mount`, `net`)."""
    words = ["unshare", *(f"--{kind}" for kind in kinds)]
    # Still this user, with all rights in these namespaces: PostgreSQL refuses to be run by root.
    mine = ["--user", "--map-current-user", "--keep-caps"]
    return words if os.geteuid() == 0 else [*words, *mine]


def inside(kinds: Sequence[str], function: Callable[..., object], **arguments: object) -> Any:
    """What a module's function returns in a process with namespaces of its own."""
    with ForkServer(prefix=own_namespace(*kinds)) as server:
        return server.call(function, timeout_s=3600.0, **arguments)


def mount(*words: str) -> None:
    """Run `mount` in this process's own namespace."""
    subprocess.run(["mount", *words], check=True, capture_output=True, text=True)


@cache
def namespace_missing(*kinds: str) -> str | None:
    """Why this user cannot have such namespaces, or None."""
    return trouble([*own_namespace(*kinds), "true"])


@cache
def mount_missing() -> str | None:
    """Why this user cannot mount in a namespace of their own, or None."""
    return trouble([*own_namespace("mount"), "mount", "-t", "tmpfs", "tmpfs", "/mnt"])


def trouble(argv: Sequence[str]) -> str | None:
    """Why a program does not work here, or None."""
    if shutil.which(argv[0]) is None:
        return f"{argv[0]} is not installed"
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 0:
        return None
    return done.stderr.strip() or f"{argv[0]} ended with {done.returncode}"
