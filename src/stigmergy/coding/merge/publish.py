"""The user's working tree follows the target branch, and never loses a byte the user wrote.

Landing moves a branch. Where that branch is checked out, index and files must follow, or the
user sees every landing as a change to be reverted. The step from the old commit to the new one is
git's two-tree merge (`git read-tree -m -u OLD NEW`), which keeps the user's own changes in other
files and refuses to touch a changed one. It is tried first without writing, before the branch
moves, so that a refusal costs nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stigmergy.coding.git.objects import is_zero
from stigmergy.coding.git.process import Completed, run_git
from stigmergy.coding.git.repository import Repository

__all__ = ["Follows", "NothingToFollow", "Outcome", "WorkingTree", "WouldOverwrite"]

_INDEX_LOCK_S: Final = 5.0
"""The user's git has the index for an instant when it commits, or only shows the status."""
_INDEX_LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Follows:
    """The working tree is, or can be brought, to the new commit."""

    path: Path


@dataclass(frozen=True, slots=True)
class NothingToFollow:
    """The target is not checked out anywhere."""


@dataclass(frozen=True, slots=True)
class WouldOverwrite:
    """The user has something of their own in these paths; nothing was touched."""

    path: Path
    paths: tuple[str, ...]
    detail: str


Outcome = Follows | NothingToFollow | WouldOverwrite


class WorkingTree:
    """The working tree that has the target checked out, looked up anew each time.

    The user may check out another branch, or add a linked working tree, while we run.
    """

    def __init__(self, repository: Repository, target_ref: str) -> None:
        self._repository = repository
        self._target_ref = target_ref
        self._published_ref = _published_ref(target_ref)

    def check(self, old: str, new: str) -> Outcome:
        """Whether the working tree can follow from `old` to `new`.

        Writes nothing but the file times that the index remembers.
        """
        where = self._where()
        if where is None:
            return NothingToFollow()
        return self._try(where, self._base(where, old), new, write=False)

    def announce(self, old: str) -> None:
        """Note durably, before the target moves, that the working tree is at `old`.

        Should we be killed before `follow`, the next `catch_up` knows where to start from.
        """
        where = self._where()
        if where is not None:
            self._note(self._base(where, old))

    def follow(self, old: str, new: str) -> Outcome:
        """Bring index and files from `old` to `new`, after the target moved. Idempotent."""
        where = self._where()
        if where is None:
            return NothingToFollow()
        outcome = self._try(where, self._base(where, old), new, write=True)
        if isinstance(outcome, Follows):
            self._note(new)
        return outcome

    def catch_up(self) -> Outcome:
        """After a crash: bring the working tree to the target, from where it was last seen."""
        tip = self._repository.tip(self._target_ref)
        if tip is None:
            return NothingToFollow()
        return self.follow(tip, tip)

    def _where(self) -> Path | None:
        for tree in self._repository.worktrees():
            if tree.ref == self._target_ref and not tree.bare and Path(tree.path).is_dir():
                return Path(tree.path)
        return None

    def _base(self, where: Path, old: str) -> str:
        """The commit that the index was last brought to: `old`, unless a step was missed.

        When the index holds exactly `old`'s tree the user, or we, brought it there.
        """
        noted = self._repository.tip(self._published_ref)
        if noted is None or noted == old:
            return old
        if _index_is(where, old) or not self._repository.is_ancestor(noted, old):
            return old
        return noted

    def _note(self, commit: str) -> None:
        noted = self._repository.tip(self._published_ref)
        if noted != commit:
            absent = "0" * len(commit)
            update = (self._published_ref, commit, noted or absent)
            self._repository.update_refs([update], reason="stigmergy: working tree")

    def _try(self, where: Path, old: str, new: str, *, write: bool) -> Outcome:
        lost = self._in_the_way(where, old, new)
        if lost:
            return WouldOverwrite(where, lost, "files that git does not track are in the way")
        step = ("read-tree", *(() if write else ("-n",)), "-m", "-u", old, new)
        if _with_index(where, step).code == 0:
            return Follows(where)
        # Entries that only look changed (touched, same content) must not count as the user's.
        _with_index(where, ("update-index", "-q", "--refresh"))
        done = _with_index(where, step)
        if done.code == 0:
            return Follows(where)
        return WouldOverwrite(where, self._changed_by_user(where, old, new), done.stderr.strip())

    def _in_the_way(self, where: Path, old: str, new: str) -> tuple[str, ...]:
        """Untracked files where `new` puts something. `read-tree` would overwrite ignored ones."""
        changes = self._repository.changes(
            [(self._repository.commit(old).tree, self._repository.commit(new).tree)]
        )[0]
        added = [change.path for change in changes if is_zero(change.old_oid)]
        present = {found for path in added for found in _present(where, path)}
        if not present:
            return ()
        return tuple(sorted(present - _tracked(where)))

    def _changed_by_user(self, where: Path, old: str, new: str) -> tuple[str, ...]:
        ours = set(self._repository.diff_paths(old, new))
        staged = _names(where, "diff-index", "--cached", "--name-only", "-z", "--no-renames", old)
        edited = _names(where, "diff-files", "--name-only", "-z")
        return tuple(sorted(ours.intersection((*staged, *edited))))


def _published_ref(target_ref: str) -> str:
    return f"refs/stigmergy/published/{target_ref.removeprefix('refs/')}"


def _with_index(where: Path, args: Sequence[str]) -> Completed:
    """Run what needs the index for itself, after whoever has it now."""
    until = time.monotonic() + _INDEX_LOCK_S
    while True:
        done = run_git(args, cwd=where, accept=(0, 1, 128))
        if "index.lock" not in done.stderr or time.monotonic() > until:
            return done
        time.sleep(_INDEX_LOOK_S)


def _index_is(where: Path, commit: str) -> bool:
    args = ["diff-index", "--cached", "--quiet", commit]
    return run_git(args, cwd=where, accept=(0, 1)).code == 0


def _tracked(where: Path) -> set[str]:
    return set(_names(where, "ls-files", "-z"))


def _names(where: Path, *args: str) -> list[str]:
    listed = run_git(args, cwd=where).stdout.split(b"\0")
    return [os.fsdecode(name) for name in listed if name]


def _present(where: Path, path: str) -> Iterable[str]:
    """What is on disk at `path`, below it, or in place of a folder above it."""
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        name = "/".join(parts[:depth])
        place = where / name
        if place.is_symlink() or place.is_file():
            return [name]
        if not place.exists():
            return []
        if depth == len(parts):
            return _files_below(place, where)
    return []


def _files_below(folder: Path, where: Path) -> Sequence[str]:
    return [
        os.path.relpath(os.path.join(at, name), where)  # noqa: PTH118 - surrogates survive
        for at, _, names in os.walk(folder)
        for name in names
    ]
