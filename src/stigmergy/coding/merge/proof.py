"""The proof that what lands is what the branch changed: no more, and nothing silently dropped.

It reads the finished commits, not the merge that made them, so it does not trust the merge. The
branch's change (`fork..branch`) is compared with the landing's (`before..after`):

1. a path whose old and new object are the same in both is proved exactly;
2. for the remaining paths (the target changed them too) the patches without context are equal;
3. failing that, the sums of lines added and removed are equal, but for lines by which both the
   branch and the target have changed since the fork: that is an overlap, and it is recorded.

The third is blind to the order of lines and needs no alignment, so it holds under renames and
under hunks that slide. What fails all three does not land.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from stigmergy.coding.git.objects import GITLINK_MODE, Change, is_zero
from stigmergy.coding.git.repository import Repository

__all__ = ["Landing", "Proof", "Unproved", "prove"]

_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """What is to be proved: `fork..branch` arrives as `before..after`. All commits."""

    fork: str
    branch: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """How it was proved."""

    kind: Literal["identical", "patch", "lines"]
    """The weakest step that was needed, of the three."""
    paths: int
    """Paths that the landing changes."""
    overlap: tuple[str, ...] = ()
    """Paths where the target already had some or all of what the branch changed."""


@dataclass(frozen=True, slots=True)
class Unproved:
    """What lands would differ from what the branch changed."""

    detail: str
    paths: tuple[str, ...]


def prove(repository: Repository, landings: Sequence[Landing]) -> list[Proof | Unproved]:
    """Compare each landing with its branch. One git process for all that are proved exactly."""
    pairs: list[tuple[str, str]] = []
    for landing in landings:
        trees = [
            repository.commit(oid).tree
            for oid in (landing.fork, landing.branch, landing.before, landing.after)
        ]
        pairs += [(trees[0], trees[1]), (trees[2], trees[3])]
    changes = repository.changes(pairs)
    return [
        _prove_one(repository, landing, changes[2 * at], changes[2 * at + 1])
        for at, landing in enumerate(landings)
    ]


def _prove_one(
    repository: Repository,
    landing: Landing,
    branch: Sequence[Change],
    landed: Sequence[Change],
) -> Proof | Unproved:
    exact = set(branch) & set(landed)
    wanted = [change for change in branch if change not in exact]
    done = [change for change in landed if change not in exact]
    if not wanted and not done:
        return Proof(kind="identical", paths=len(landed))
    if _same_patch(repository, landing):
        return Proof(kind="patch", paths=len(landed))
    return _prove_lines(repository, landing, wanted, done, paths=len(landed))


def _same_patch(repository: Repository, landing: Landing) -> bool:
    """Stricter than `git patch-id`, for which white space and binary content do not count."""
    of_branch = repository.diff(landing.fork, landing.branch)
    of_landing = repository.diff(landing.before, landing.after)
    return _unplaced(of_branch) == _unplaced(of_landing)


def _unplaced(patch: bytes) -> list[bytes]:
    """A patch without what depends on the rest of its files: line numbers and object ids."""
    return [
        b"@@" if line.startswith(b"@@ ") else line
        for line in patch.split(b"\n")
        if not line.startswith((b"index ", b"similarity index ", b"dissimilarity index "))
    ]


def _prove_lines(
    repository: Repository,
    landing: Landing,
    wanted: Sequence[Change],
    done: Sequence[Change],
    *,
    paths: int,
) -> Proof | Unproved:
    main = _changes(repository, landing.fork, landing.before)
    missing = _ledger(repository, wanted)
    missing.subtract(_ledger(repository, done))
    difference = {line: count for line, count in missing.items() if count}
    overlap: set[str] = set()
    if difference:
        # What the landing leaves out must be in the branch's change and in the target's as well.
        sides = (
            _gross(repository, landing.fork, landing.branch, wanted),
            _gross(repository, landing.fork, landing.before, _near(main, (*wanted, *done))),
        )
        if any(
            count > added[line] if count > 0 else -count > removed[line]
            for line, count in difference.items()
            for added, removed in sides
        ):
            where = tuple(sorted({change.path for change in (*wanted, *done)}))
            return Unproved(_explain(difference, where), where)
        overlap = {change.path for change in wanted}
    return Proof(kind="lines", paths=paths, overlap=tuple(sorted(overlap)))


def _changes(repository: Repository, old: str, new: str) -> tuple[Change, ...]:
    return repository.changes([(repository.commit(old).tree, repository.commit(new).tree)])[0]


def _ledger(repository: Repository, changes: Iterable[Change]) -> Counter[bytes]:
    """Lines added less lines removed; a file's mode counts as a line of it."""
    sums: Counter[bytes] = Counter()
    for change in changes:
        sums.update(_lines(repository, change.new_mode, change.new_oid))
        sums.subtract(_lines(repository, change.old_mode, change.old_oid))
    return sums


def _near(main: Iterable[Change], ours: Iterable[Change]) -> list[Change]:
    """What the target changed in the same paths, or by adding and removing (perhaps renaming)."""
    paths = {change.path for change in ours}
    return [
        change
        for change in main
        if change.path in paths or is_zero(change.old_oid) or is_zero(change.new_oid)
    ]


def _gross(
    repository: Repository, old: str, new: str, changes: Sequence[Change]
) -> tuple[Counter[bytes], Counter[bytes]]:
    """Each line gained, and each lost, between two commits by the `changes` among theirs.

    Gross, not net: a line that was moved counts on both sides.
    """
    added = Counter(_mode_line(change.new_mode) for change in changes)
    removed = Counter(_mode_line(change.old_mode) for change in changes)
    for change in changes:
        if GITLINK_MODE in (change.old_mode, change.new_mode):
            added += _lines(repository, change.new_mode, change.new_oid)
            removed += _lines(repository, change.old_mode, change.old_oid)
    if changes:
        paths = [change.path for change in changes]
        patch = repository.diff(old, new, paths=paths, as_text=True)
        _count_patch(patch, added, removed)
    return added, removed


def _count_patch(patch: bytes, added: Counter[bytes], removed: Counter[bytes]) -> None:
    in_hunk = False
    for line in patch.split(b"\n"):
        if line.startswith((b"diff --git ", b"@@ ")):
            in_hunk = line.startswith(b"@@ ")
        elif in_hunk and line.startswith((b"+", b"-")):
            side = added if line.startswith(b"+") else removed
            side[line[1:]] += 1
        elif in_hunk and line.startswith(b"\\"):
            # "No newline at end of file": the other side may have one, an empty last line.
            added[b""] += 1
            removed[b""] += 1


def _lines(repository: Repository, mode: str, oid: str) -> Counter[bytes]:
    if is_zero(oid):
        return Counter()
    if mode == GITLINK_MODE:
        return Counter([_mode_line(mode), b"\0commit " + oid.encode()])
    return Counter([_mode_line(mode), *repository.blob(oid).split(b"\n")])


def _mode_line(mode: str) -> bytes:
    return b"\0mode " + mode.encode()


def _explain(difference: dict[bytes, int], where: Sequence[str]) -> str:
    shown = [
        f"{'missing' if count > 0 else 'extra'} {line[:80].decode(errors='replace')!r}"
        for line, count in sorted(difference.items())[:_SHOWN]
    ]
    more = f" and {len(difference) - _SHOWN} more lines" if len(difference) > _SHOWN else ""
    return f"what lands in {', '.join(where[:_SHOWN])} differs: {'; '.join(shown)}{more}"
