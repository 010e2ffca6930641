"""The Sandbox seam: a private, disposable view of a repository in which a program runs.

A `SandboxFactory` opens sandboxes at a commit; a `Sandbox` holds a workspace folder with the
checkout in `repo/`, runs programs in it under limits, and exports the commits they made. What a
sandbox protects against differs between kinds and machines, so each says it in a `Protection`.

Nothing here trusts what runs inside: names are checked, files that come out are bounded in size
and never followed through links.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

__all__ = [
    "Exit",
    "Limits",
    "ModelSocket",
    "Protection",
    "Sandbox",
    "SandboxFactory",
    "SandboxSettings",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one program in a sandbox may use. None means unlimited."""

    wall_s: float = 1800.0
    memory_bytes: int | None = 4 * 1024**3
    processes: int | None = 512
    file_bytes: int | None = 1024**3
    output_bytes: int = 8 * 1024**2
    """Of stdout and of stderr each; what comes after it is dropped and counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a program in a sandbox ended."""

    code: int
    """Exit status; negative is the signal that killed it."""
    reason: str
    """`exited`, `timed-out` (wall_s reached) or `stopped` (the stop event was set)."""
    duration_s: float
    stdout_tail: str
    stderr_tail: str
    dropped_bytes: int = 0

    @property
    def ok(self) -> bool:
        """It ended by itself with status 0."""
        return self.code == 0 and self.reason == "exited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """What is in force on this machine; shown by `stig doctor` and a run's first line."""

    kind: str
    """`local`."""
    view: str
    """How the checkout is made: `overlay` or `worktree`."""
    writes_confined: bool
    network_confined: bool
    processes_confined: bool
    notes: tuple[str, ...] = ()
    """Why something is not in force, and what to install to have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSocket:
    """How the model gateway comes into a sandbox that has no network."""

    path: Path
    """A Unix socket on the host; a forwarder inside serves it on loopback."""
    url: str
    """Where the gateway is reached without network confinement, `http://127.0.0.1:PORT/v1`."""


class Sandbox(Protocol):
    """One disposable workspace. Used by one thread at a time; closing is idempotent."""

    @property
    def name(self) -> str:
        """Unique among the open sandboxes of a factory."""
        ...

    @property
    def base(self) -> str:
        """The commit that the checkout started from, a full object id."""
        ...

    def write_file(self, path: str, data: bytes) -> None:
        """Put a file into the workspace, `path` relative to it (`task.json`)."""
        ...

    def read_file(self, path: str, *, max_bytes: int) -> bytes | None:
        """A regular file of the workspace, or None where there is none.

        Raises:
            CorruptError: it is larger than `max_bytes`, a link, or not a regular file.
        """
        ...

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "repo",
        limits: Limits | None = None,
        stop: threading.Event | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Exit:
        """Run a program to its end; its whole process group is gone when this returns.

        `on_line` is called in this thread's turn with each line of stdout, without its newline.
        `argv` is never given to a shell. A program that cannot be found ends with code 127.
        """
        ...

    def export(self, ref: str) -> str | None:
        """Bring the sandbox's HEAD into the repository as `ref` (`refs/stigmergy/…`).

        Returns the commit, or None when HEAD is still the base: nothing was committed.
        """
        ...

    def close(self) -> None:
        """Kill what still runs and give the workspace back."""
        ...


class SandboxFactory(Protocol):
    """Opens sandboxes on one repository. Thread-safe."""

    @property
    def protection(self) -> Protection:
        """What the sandboxes of this factory confine."""
        ...

    def open(self, name: str, commit: str) -> Sandbox:
        """A fresh sandbox whose checkout is `commit`; nothing of an earlier one shows."""
        ...

    def close(self) -> None:
        """Close every sandbox and remove what the factory made on disk."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """What a user can set about sandboxes."""

    view: str = "auto"
    """`auto`, `overlay` or `worktree`."""
    confine: str = "auto"
    """`auto` (bubblewrap where it works), `bubblewrap` (or fail) or `none`."""
    share: tuple[Path, ...] = ()
    """Further host paths that are readable inside (toolchains, package caches)."""
    network: bool = False
    """Grant the host's network."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    limits: Limits = field(default_factory=Limits)
