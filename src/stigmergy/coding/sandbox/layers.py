"""Checkouts for overlays: a full one of a base commit, and thin layers of what changed since.

A sandbox writes only what its commit changes against the newest layer, so opening one costs the
change, never the repository. When a pile of layers grows it is flattened, and when the change
outgrows it, a new base is made; both are done beside the running sandboxes.

A layer is never written after it was first mounted.

Every checked-out file gets one time that lies before the run. Git takes a file that is as new as
its index for changed, and `git add` would hash and store it anew, in each sandbox.
"""

from __future__ import annotations

import itertools
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stigmergy.coding.git.objects import check_oid, parse_commit
from stigmergy.coding.git.process import run_git
from stigmergy.coding.git.reader import ObjectReader
from stigmergy.coding.sandbox.disk import remove_tree
from stigmergy.coding.sandbox.gitdir import ObjectStore, isolated, write_git_dir, write_start
from stigmergy.coding.sandbox.splitindex import IndexEntry, SharedIndex, parse_index, stat_words
from stigmergy.coding.sandbox.treediff import (
    GITLINK,
    LINK,
    Entry,
    TooManyChangesError,
    TreeDiff,
    diff_trees,
)
from stigmergy.errors import UsageError

__all__ = ["LayerStore", "Layers", "tree_of"]

_LAYER_AFTER = 16
"""A sandbox that has to write more files than this is followed by a layer that has them."""
_FLATTEN_AFTER = 12
"""Layers on a base; each makes every look-up of a missing file slower."""
_REBASE_AFTER = 2_000
"""Files changed since the base; more are checked out anew."""
_VIEWS = 3
"""Lines of development that are kept ready at the same time."""
_CHECKOUT_TIMEOUT_S = 3600.0
_AGE_NS = 2 * 10**9
"""Of a file that was checked out. Git compares whole seconds, so more than one."""


@dataclass(frozen=True, slots=True)
class _Base:
    folder: Path
    index: SharedIndex


@dataclass(frozen=True, slots=True)
class _View:
    """What a sandbox of commit `commit` would see without writing anything."""

    base: _Base
    layers: tuple[Path, ...]
    """The newest first, without the base."""
    commit: str
    tree: str
    changes: dict[bytes, IndexEntry | None]
    """What differs from the base's index."""


@dataclass(frozen=True, slots=True)
class Layers:
    """What lies below one sandbox's own files, the newest first. To be given back."""

    folders: tuple[Path, ...]


class LayerStore:
    """The layers of one repository, in a folder of their own. Thread-safe."""

    def __init__(self, store: ObjectStore, reader: ObjectReader, root: Path) -> None:
        self._store = store
        self._reader = reader
        self._root = root
        root.mkdir()
        self._file_time = time.time_ns() - _AGE_NS
        self._lock = threading.Lock()
        self._making_base = threading.Lock()
        self._views: list[_View] = []
        self._used: Counter[Path] = Counter()
        self._numbers = itertools.count(1)
        self._growing = False
        self._background = ThreadPoolExecutor(1, thread_name_prefix="stig-layers")

    def check_out(self, commit: str, upper: Path) -> Layers:
        """Make `upper` over the returned layers a checkout of `commit`, with its `.git`.

        Raises:
            UsageError: `commit` is not a commit of the repository.
        """
        tree = tree_of(self._reader, commit)
        view, diff = self._nearest(commit, tree)
        try:
            written = self._write(diff, upper)
            changes = {**view.changes, **written}
            write_start(upper / ".git", commit, view.base.index.changed(changes))
        except BaseException:
            self.give_back(_layers(view))
            raise
        self._grow_if_due(view, commit, len(written), len(changes))
        return _layers(view)

    def give_back(self, layers: Layers) -> None:
        """A sandbox over these layers is gone: those that nobody will use are removed."""
        with self._lock:
            self._used.subtract(layers.folders)
            unused = self._forget_unused()
        self._remove(unused)

    def close(self) -> None:
        """Wait for what is done in the background."""
        self._background.shutdown()

    def _nearest(self, commit: str, tree: str) -> tuple[_View, TreeDiff]:
        """A view close to the tree, marked as used, and what the tree changes against it."""
        found = self._near_view(tree)
        if found is None:
            with self._making_base:  # one makes it; who waited finds it
                found = self._near_view(tree)
                if found is None:
                    self._install(self._new_base(commit, tree), replaces=None)
                    found = self._near_view(tree)
        assert found is not None, "a base of this very tree was just made"
        return found

    def _near_view(self, tree: str) -> tuple[_View, TreeDiff] | None:
        with self._lock:
            views = tuple(self._views)
        for view in views:
            try:
                diff = diff_trees(self._reader.read, view.tree, tree, limit=_REBASE_AFTER)
            except TooManyChangesError:
                continue
            with self._lock:
                if any(view is kept for kept in self._views):
                    self._used.update(_layers(view).folders)
                    return view, diff
            return self._near_view(tree)  # it was replaced while we compared
        return None

    # Growing

    def _grow_if_due(self, view: _View, commit: str, written: int, changed: int) -> None:
        if written <= _LAYER_AFTER and changed <= _REBASE_AFTER:
            return
        with self._lock:
            if self._growing:
                return
            self._growing = True
        try:
            self._background.submit(self._grow, view, commit)
        except RuntimeError:
            self._growing = False  # closing

    def _grow(self, view: _View, commit: str) -> None:
        try:
            self._install(self._grown(view, commit), replaces=view)
        finally:
            self._growing = False

    def _grown(self, view: _View, commit: str) -> _View:
        tree = tree_of(self._reader, commit)
        diff = diff_trees(self._reader.read, view.tree, tree, limit=2 * _REBASE_AFTER)
        if len(view.changes.keys() | diff.files.keys()) > _REBASE_AFTER:
            return self._new_base(commit, tree)
        below, known = view.layers, view.changes
        if len(below) >= _FLATTEN_AFTER:
            base_tree = tree_of(self._reader, self._base_commit(view.base))
            diff = diff_trees(self._reader.read, base_tree, tree, limit=2 * _REBASE_AFTER)
            below, known = (), {}
        folder = self._root / f"layer-{next(self._numbers)}"
        folder.mkdir()
        changes = {**known, **self._write(diff, folder)}
        return _View(view.base, (folder, *below), commit, tree, changes)

    def _base_commit(self, base: _Base) -> str:
        return (base.folder / ".git" / "refs" / "heads" / "work").read_text().strip()

    def _new_base(self, commit: str, tree: str) -> _View:
        folder = self._root / f"base-{next(self._numbers)}"
        try:
            index = _checkout_all(folder, commit, self._store)
            entries, trees = parse_index(index, self._store.width)
            root = os.fsencode(folder) + b"/"
            aged = {path: self._aged(root + path, known.entry) for path, known in entries.items()}
            shared = SharedIndex(aged, trees, self._store.digest)
            (folder / ".git" / shared.file_name).write_bytes(shared.data)
            write_start(folder / ".git", commit, shared.changed({}))
        except BaseException:
            remove_tree(folder)
            raise
        return _View(_Base(folder, shared), (), commit, tree, {})

    def _install(self, view: _View, *, replaces: _View | None) -> None:
        with self._lock:
            kept = [old for old in self._views if old is not replaces]
            self._views = [view, *kept][:_VIEWS]
            self._used.update(dict.fromkeys(_layers(view).folders, 0))
            unused = self._forget_unused()
        self._remove(unused)

    def _forget_unused(self) -> list[Path]:
        current = {folder for view in self._views for folder in _layers(view).folders}
        unused = [path for path, count in self._used.items() if count <= 0 and path not in current]
        for path in unused:
            del self._used[path]
        return unused

    def _remove(self, folders: Iterable[Path]) -> None:
        for folder in folders:
            try:
                self._background.submit(remove_tree, folder)
            except RuntimeError:
                return  # closing: the whole root is about to go

    # Writing

    def _write(self, diff: TreeDiff, folder: Path) -> dict[bytes, IndexEntry | None]:
        """Put the difference into an empty layer; returns it as index entries."""
        root = os.fsencode(folder) + b"/"
        made: set[bytes] = {root}
        for path in diff.removed:
            _make_parents(root + path, made)
            os.mknod(root + path, stat.S_IFCHR, 0)  # a whiteout; anybody may make one
        written: dict[bytes, IndexEntry | None] = {}
        for path, entry in diff.files.items():
            if entry is not None:
                _make_parents(root + path, made)
                self._write_entry(root + path, entry)
                written[path] = self._aged(root + path, entry)
            else:
                written[path] = None
        return written

    def _write_entry(self, path: bytes, entry: Entry) -> None:
        if entry.mode == GITLINK:
            os.mkdir(path)  # noqa: PTH102 # bytes: names need not be UTF-8
            return
        _, data = self._reader.read(entry.oid)
        if entry.mode == LINK:
            os.symlink(data, path)  # noqa: PTH211 # bytes, as above
            return
        mode = 0o777 if entry.mode & 0o100 else 0o666
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)

    def _aged(self, path: bytes, entry: Entry) -> IndexEntry:
        """Give a checked-out file its time; returns it as the index knows it."""
        if entry.mode != GITLINK:
            os.utime(path, ns=(self._file_time, self._file_time), follow_symlinks=False)
        return IndexEntry(entry, stat_words(os.lstat(path), entry.mode))


def tree_of(reader: ObjectReader, commit: str) -> str:
    """The tree of a commit.

    Raises:
        UsageError: `commit` is not the full id of a commit of the repository.
    """
    kind, data = reader.read(check_oid(commit))
    if kind != "commit":
        raise UsageError(f"object {commit} is a {kind}, not a commit.")
    return parse_commit(commit, data).tree


def _layers(view: _View) -> Layers:
    return Layers((*view.layers, view.base.folder))


def _make_parents(path: bytes, made: set[bytes]) -> None:
    parent = path[: path.rindex(b"/") + 1]
    if parent not in made:
        _make_parents(parent[:-1], made)
        os.mkdir(parent)  # noqa: PTH102 # bytes: names need not be UTF-8
        made.add(parent)


def _checkout_all(folder: Path, commit: str, store: ObjectStore) -> bytes:
    """Check out a whole commit into a new folder, with a `.git`; returns its index."""
    git_dir = folder / ".git"
    write_git_dir(git_dir, store)
    environment = isolated(git_dir, folder)
    run_git(("read-tree", commit), cwd=folder, env=environment, timeout_s=_CHECKOUT_TIMEOUT_S)
    run_git(
        ("checkout-index", "--all", "--index", "--quiet", "--force"),
        cwd=folder,
        env=environment,
        timeout_s=_CHECKOUT_TIMEOUT_S,
    )
    index = git_dir / "index"
    return index.read_bytes() if index.exists() else b""
