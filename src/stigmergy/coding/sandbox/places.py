"""Where a sandbox lives on disk, and the two ways to get a checkout there.

A place is a folder with `workspace/` (holding `repo/`), `home/` and `tmp/`, all writable for the
program, and whatever its view keeps beside them out of the program's reach.

The overlay is mounted anew for each program, in that program's own mount namespace. So nothing is
ever left in the host's mount table, root and ordinary users take the same path, and between
programs the host reads and writes the layers directly.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stigmergy.coding.git.process import GitError, run_git
from stigmergy.coding.git.reader import ObjectReader
from stigmergy.coding.sandbox.disk import remove_tree
from stigmergy.coding.sandbox.gitdir import ObjectStore, isolated, write_git_dir, write_start
from stigmergy.coding.sandbox.inside import mount
from stigmergy.coding.sandbox.layers import Layers, LayerStore, tree_of
from stigmergy.coding.sandbox.splitindex import parse_index
from stigmergy.coding.sandbox.treediff import GITLINK

__all__ = ["OverlayPlaces", "Place", "Places", "WorktreePlaces", "mount_argv", "python"]

_RESET_TIMEOUT_S = 3600.0
_INSIDE = Path(mount.__file__).parent


def python() -> str:
    """The interpreter for what starts inside and around sandboxes."""
    return os.path.realpath(sys.executable)


def mount_argv(state: Path, lower: str, upper: str, work: str, target: str) -> list[str]:
    """The command line that mounts an overlay and becomes the program that is to be added."""
    start = "import sys; sys.path.append(sys.argv[1]); import mount; mount.main(sys.argv[2:])"
    words = ["-I", "-S", "-c", start, str(_INSIDE), str(state), lower, upper, work, target]
    return [python(), *words]


class Place(Protocol):
    """One sandbox's folder."""

    @property
    def folder(self) -> Path:
        """Holds `workspace`, `home` and `tmp`."""
        ...

    @property
    def layers(self) -> Sequence[Path]:
        """What makes up `workspace/repo`, the writable layer first."""
        ...

    def prefix(self) -> list[str]:
        """The command line that makes the checkout appear for the program after it."""
        ...

    def close(self) -> None:
        """Give it back. No program runs in it any more."""
        ...


class Places(Protocol):
    """Makes places. Thread-safe."""

    def open(self, name: str, commit: str) -> Place:
        """A place whose checkout is `commit`, and in which nothing else is."""
        ...

    def close(self) -> None:
        """End what runs in the background; every place is closed."""
        ...


@dataclass(slots=True)
class _OverlayPlace:
    folder: Path
    below: Layers
    store: LayerStore
    state: Path
    mounts: int = 0

    @property
    def layers(self) -> Sequence[Path]:
        return (self.folder / "upper", *self.below.folders)

    def prefix(self) -> list[str]:
        # A volatile overlay refuses a work folder that was used before.
        self.mounts += 1
        work = self.folder / f"work-{self.mounts}"
        work.mkdir()
        lower = ":".join(str(folder.relative_to(self.state)) for folder in self.below.folders)
        return mount_argv(
            self.state,
            lower,
            str((self.folder / "upper").relative_to(self.state)),
            str(work.relative_to(self.state)),
            str((self.folder / "workspace" / "repo").relative_to(self.state)),
        )

    def close(self) -> None:
        remove_tree(self.folder)
        self.store.give_back(self.below)


class OverlayPlaces:
    """Copy-on-write checkouts over shared layers."""

    def __init__(self, store: ObjectStore, reader: ObjectReader, state: Path) -> None:
        self._state = state
        self._boxes = state / "boxes"
        self._boxes.mkdir()
        self._layers = LayerStore(store, reader, state / "layers")
        self._serials = itertools.count(1)

    def open(self, name: str, commit: str) -> Place:
        """See `Places`."""
        folder = self._boxes / f"{next(self._serials)}-{name}"
        _make_folders(folder)
        upper = folder / "upper"
        upper.mkdir()
        try:
            below = self._layers.check_out(commit, upper)
        except BaseException:
            remove_tree(folder)
            raise
        return _OverlayPlace(folder, below, self._layers, self._state)

    def close(self) -> None:
        """See `Places`."""
        self._layers.close()


@dataclass(slots=True)
class _Slot:
    """A full checkout that is used again and again. Its real index lies out of the way."""

    folder: Path
    pool: WorktreePlaces

    @property
    def layers(self) -> Sequence[Path]:
        return (self.folder / "workspace" / "repo",)

    def prefix(self) -> list[str]:
        return []

    def close(self) -> None:
        self.pool.give_back(self)


class WorktreePlaces:
    """A pool of checkouts, reset when they are taken, so that a crash leaves no trace either."""

    def __init__(self, store: ObjectStore, reader: ObjectReader, state: Path) -> None:
        self._store = store
        self._reader = reader
        self._slots = state / "slots"
        self._slots.mkdir()
        self._lock = threading.Lock()
        self._free: list[_Slot] = []
        self._serials = itertools.count(1)

    def open(self, name: str, commit: str) -> Place:
        """See `Places`; `name` is not used: slots outlive their sandboxes."""
        del name
        tree_of(self._reader, commit)  # a wrong id is the caller's fault, not a slot's
        with self._lock:
            slot = self._free.pop() if self._free else None
        if slot is not None:
            try:
                self._reset(slot, commit)
            except (GitError, OSError):
                remove_tree(slot.folder)  # past mending; a fresh one takes its place
            else:
                return slot
        slot = _Slot(self._slots / str(next(self._serials)), self)
        try:
            self._reset(slot, commit)
        except BaseException:
            remove_tree(slot.folder)
            raise
        return slot

    def give_back(self, slot: _Slot) -> None:
        """It may be taken again."""
        with self._lock:
            self._free.append(slot)

    def close(self) -> None:
        """See `Places`."""

    def _reset(self, slot: _Slot, commit: str) -> None:
        """Make the slot's checkout `commit`, whatever a program left there.

        Our own git folder, which no program sees, knows the state of each file by its change time,
        which no program can set.
        """
        repo = slot.folder / "workspace" / "repo"
        _empty(slot.folder, keep=("workspace", "git"))
        _empty(slot.folder / "workspace", keep=("repo",))
        _make_folders(slot.folder)
        if repo.is_symlink() or not repo.is_dir():
            remove_tree(slot.folder)
            _make_folders(slot.folder)
        remove_tree(repo / ".git")
        git_dir = slot.folder / "git"
        if not git_dir.exists():
            write_git_dir(git_dir, self._store)
        (git_dir / "index.lock").unlink(missing_ok=True)
        environment = isolated(git_dir, repo)
        for asked in (("read-tree", "--reset", "-u", commit), ("clean", "-ffdxq")):
            run_git(asked, cwd=repo, env=environment, timeout_s=_RESET_TIMEOUT_S)
        index = (git_dir / "index").read_bytes()
        entries, _ = parse_index(index, self._store.width)
        _remove_nested(
            repo, {path for path, known in entries.items() if known.entry.mode == GITLINK}
        )
        write_git_dir(repo / ".git", self._store)
        write_start(repo / ".git", commit, index)


def _remove_nested(repo: Path, submodules: Container[bytes]) -> None:
    """Remove what `git clean` never looks at: git folders inside folders of tracked files.

    The next program's git would obey them, so one agent would speak to another. So it would with
    what it leaves in a submodule's folder, which is empty in a fresh checkout.
    """
    root = os.fsencode(repo) + b"/"
    folders = [repo]  # not os.walk, which recurses as deep as what an agent has landed
    while folders:
        with os.scandir(folders.pop()) as found:
            entries = list(found)
        for entry in entries:
            if entry.name == ".git":
                remove_tree(Path(entry.path))
            elif os.fsencode(entry.path).removeprefix(root) in submodules:
                remove_tree(Path(entry.path))
                Path(entry.path).mkdir()
            elif entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))


def _make_folders(folder: Path) -> None:
    for name in ("workspace/repo", "home", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)


def _empty(folder: Path, *, keep: Sequence[str]) -> None:
    if folder.is_dir():
        for entry in os.scandir(folder):
            if entry.name not in keep:
                remove_tree(Path(entry.path))
