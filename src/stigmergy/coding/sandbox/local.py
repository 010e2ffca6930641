"""Sandboxes on this machine: an overlay or a pooled checkout, under bubblewrap where it works."""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from stigmergy.coding.git.process import require_git, run_git
from stigmergy.coding.git.reader import ObjectReader
from stigmergy.coding.locking import take
from stigmergy.coding.sandbox.bubblewrap import (
    HOME,
    MODEL_SOCKET,
    WORKSPACE,
    Confinement,
    copy_etc,
    existing_folders,
)
from stigmergy.coding.sandbox.choice import choose
from stigmergy.coding.sandbox.disk import read_layered, relative_parts, remove_tree, write_beneath
from stigmergy.coding.sandbox.gitdir import ObjectStore
from stigmergy.coding.sandbox.harvest import Harvest
from stigmergy.coding.sandbox.places import OverlayPlaces, Place, Places, WorktreePlaces, python
from stigmergy.coding.sandbox.process import MARKER, Order, run_supervised, supervisor_argv
from stigmergy.coding.sandbox.sandbox import (
    Exit,
    Limits,
    ModelSocket,
    Protection,
    Sandbox,
    SandboxSettings,
)
from stigmergy.errors import UsageError

__all__ = ["LocalSandboxes"]

_MODEL_PORT = 8421
"""Where the model gateway is found on loopback inside a sandbox that has its own network."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PASSED_ON = frozenset(
    (
        *("LANG", "LANGUAGE", "TZ", "TERM"),
        *("LC_ALL", "LC_CTYPE", "LC_COLLATE", "LC_MESSAGES", "LC_MONETARY", "LC_NUMERIC"),
        *("LC_TIME", "LC_ADDRESS", "LC_IDENTIFICATION", "LC_MEASUREMENT", "LC_NAME", "LC_PAPER"),
        "LC_TELEPHONE",
    )
)
"""By name, not by a pattern: whatever else begins with LC_ is somebody's own, perhaps a secret."""
_MADE = ("boxes", "etc", "layers", "slots")
"""What a factory makes in its state folder."""


class LocalSandboxes:
    """A `SandboxFactory` for one repository. A context manager.

    `state` is a folder of this factory alone, outside of the repository's tracked files; what an
    earlier, killed factory left there is removed.

    Raises:
        UnsupportedError: the settings demand what this machine cannot do.
        UsageError: there is no repository, a shared path is missing, or `state` is in use.
    """

    def __init__(
        self,
        repository: Path,
        state: Path,
        settings: SandboxSettings | None = None,
        model_socket: ModelSocket | None = None,
    ) -> None:
        require_git()
        settings = settings or SandboxSettings()
        common_dir = run_git(("rev-parse", "--git-common-dir"), cwd=repository).stdout
        git_dir = (repository / os.fsdecode(common_dir.removesuffix(b"\n"))).resolve()
        store = ObjectStore.of(git_dir)
        self._state = state.resolve()
        self._lock_fd = _take_over(self._state)
        try:
            choice = choose(settings, self._state)
            confinement = _confinement(choice.bubblewrap, self._state / "etc", settings, store)
        except BaseException:
            os.close(self._lock_fd)
            raise
        self._protection = choice.protection
        self._reader = ObjectReader(git_dir)
        self._places: Places = (
            OverlayPlaces(store, self._reader, self._state)
            if choice.protection.view == "overlay"
            else WorktreePlaces(store, self._reader, self._state)
        )
        self._common = _Common(
            settings, model_socket, confinement, store, self._reader, self._state
        )
        self._open: dict[str, _LocalSandbox | None] = {}
        self._closed = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def protection(self) -> Protection:
        """What the sandboxes of this factory confine."""
        return self._protection

    def open(self, name: str, commit: str) -> Sandbox:
        """A fresh sandbox at `commit`; see `SandboxFactory`.

        Raises:
            UsageError: the name is unfit or in use, or `commit` is not a commit.
        """
        if _NAME.fullmatch(name) is None:
            raise UsageError(
                f"{name!r} cannot name a sandbox: letters, digits, '.', '_', '-' only."
            )
        with self._lock:
            if self._closed:
                raise UsageError("the sandboxes of this run are closed.")
            if name in self._open:
                raise UsageError(f"a sandbox named {name!r} is open already.")
            self._open[name] = None  # taken, while it is being made
        try:
            place = self._places.open(name, commit)
            sandbox = _LocalSandbox(name, commit, place, self._common)
        except BaseException:
            self._forget(name)
            raise
        sandbox.on_close = lambda: self._forget(name)
        with self._lock:
            self._open[name] = sandbox
        return sandbox

    def close(self) -> None:
        """Close every sandbox and remove what was made on disk; idempotent.

        No program may run any more: whoever runs one stops it first.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            left = [sandbox for sandbox in self._open.values() if sandbox is not None]
        for sandbox in left:
            sandbox.close()
        self._places.close()
        self._reader.close()
        for entry in _MADE:
            remove_tree(self._state / entry)
        os.close(self._lock_fd)

    def _forget(self, name: str) -> None:
        with self._lock:
            self._open.pop(name, None)


@dataclass(frozen=True, slots=True)
class _Common:
    """What all sandboxes of a factory share."""

    settings: SandboxSettings
    model: ModelSocket | None
    confinement: Confinement | None
    store: ObjectStore
    reader: ObjectReader
    scratch: Path

    def relay(self) -> tuple[int, str] | None:
        """The forwarder to serve inside, where the host's loopback is out of reach."""
        if self.model is None or self.confinement is None or self.confinement.network:
            return None
        return _MODEL_PORT, MODEL_SOCKET

    def relay_socket(self) -> Path | None:
        """The gateway's socket, where it is to be brought inside."""
        return self.model.path if self.model is not None and self.relay() else None

    def environment(self, place: Place) -> dict[str, str]:
        """What every program gets."""
        confined = self.confinement is not None
        found = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
        found["PATH"] = self.confinement.path if self.confinement else os.environ.get("PATH", "")
        found["HOME"] = HOME if confined else str(place.folder / "home")
        found["TMPDIR"] = "/tmp" if confined else str(place.folder / "tmp")  # noqa: S108 # its own
        found["STIG_WORKSPACE"] = WORKSPACE if confined else str(place.folder / "workspace")
        found["GIT_CONFIG_NOSYSTEM"] = "1"
        found["GIT_TERMINAL_PROMPT"] = "0"
        if self.model is not None:
            inside = f"http://127.0.0.1:{_MODEL_PORT}/v1"
            found["OPENAI_BASE_URL"] = inside if self.relay() else self.model.url
        return found | dict(self.settings.env)


class _LocalSandbox:
    def __init__(self, name: str, base: str, place: Place, common: _Common) -> None:
        self.on_close: Callable[[], None] = _nothing
        self._name = name
        self._base = base
        self._place = place
        self._common = common
        self._is_open = True

    @property
    def name(self) -> str:
        return self._name

    @property
    def base(self) -> str:
        return self._base

    def write_file(self, path: str, data: bytes) -> None:
        root, inner = self._root_of(path)
        write_beneath(root[0], inner, data)

    def read_file(self, path: str, *, max_bytes: int) -> bytes | None:
        roots, inner = self._root_of(path)
        return read_layered(roots, inner, max_bytes=max_bytes)

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
        self._see_open()
        if not argv:
            raise UsageError("there is no program to run.")
        common, folder = self._common, self._place.folder
        environment = common.environment(self._place) | dict(env or {})
        environment[MARKER] = f"{self._name}.{secrets.token_hex(8)}"
        _refuse_nul((*argv, *environment, *environment.values()))
        inside = () if cwd == "." else relative_parts(cwd)
        command = self._place.prefix()
        if common.confinement is not None:
            command += common.confinement.argv(folder, relay=common.relay_socket())
        order = Order(
            argv=argv,
            env=environment,
            cwd="/".join((environment["STIG_WORKSPACE"], *inside)),
            limits=limits or common.settings.limits,
            relay=common.relay(),
        )
        command += supervisor_argv(python())
        return run_supervised(command, order, stop=stop, on_line=on_line)

    def export(self, ref: str) -> str | None:
        self._see_open()
        harvest = Harvest(
            layers=self._place.layers,
            store=self._common.store,
            reader=self._common.reader,
            scratch=self._common.scratch,
        )
        return harvest.bring(self._base, ref)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._place.close()
            self.on_close()

    def _root_of(self, path: str) -> tuple[Sequence[Path], str]:
        """The layers in which a path of the workspace is found, and its name there."""
        self._see_open()
        first, *rest = relative_parts(path)
        if first == "repo" and rest:
            return self._place.layers, "/".join(rest)
        return (self._place.folder / "workspace",), path

    def _see_open(self) -> None:
        if not self._is_open:
            raise UsageError(f"the sandbox {self._name!r} is closed.")


def _nothing() -> None:
    """Until the factory says what closing means to it."""


def _refuse_nul(words: Sequence[str]) -> None:
    if any("\0" in word for word in words):
        raise UsageError("an argument or environment variable holds a NUL byte.")


def _confinement(
    program: str | None, etc: Path, settings: SandboxSettings, store: ObjectStore
) -> Confinement | None:
    shared = existing_folders(settings.share)
    if program is None:
        return None
    copy_etc(etc, network=settings.network)
    return Confinement(
        program=program,
        etc=etc,
        readable=(*store.folders, *shared),
        network=settings.network,
    )


def _take_over(state: Path) -> int:
    """Lock the state folder and remove what a killed factory left; returns the lock."""
    state.mkdir(parents=True, exist_ok=True)
    lock_fd = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not take(lock_fd):
            raise UsageError(f"the sandboxes in {state} are in use by another process.")
        for name in _MADE:
            remove_tree(state / name)
    except (OSError, UsageError):
        os.close(lock_fd)
        raise
    return lock_fd
