"""Stacking: what the target's tip would be with a branch landed on it, as commits, no checkout.

Nothing here moves a ref. The commits it writes are unreachable until the lander moves the target
to them, and git collects those that never land.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from stigmergy.coding.git.objects import Commit, Conflict, Identity, commit_bytes
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.merge.batch import Candidate

__all__ = [
    "COMMITTER",
    "AlreadyIn",
    "Conflicted",
    "NoCommit",
    "StackResult",
    "Stacked",
    "Strategy",
    "stack",
]

COMMITTER = Identity("Stigmergy merge queue", "merge@stigmergy.invalid")


class Strategy(StrEnum):
    """How a branch becomes part of the target."""

    FAST_FORWARD = "fast-forward"
    """The branch's own commits; it is rebased first, and its ref moved, where main went on."""
    REBASE = "rebase"
    """The branch's commits replayed onto the tip: a straight history."""
    MERGE_COMMIT = "merge-commit"
    """One merge commit a branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacked:
    """A branch that merges cleanly."""

    commit: str
    """The new tip: `onto` with the branch's changes."""
    commits: tuple[str, ...]
    """What landing adds to the target's first-parent history, oldest first."""
    onto: str
    fork: str
    """Where the branch left the target: the branch's own changes are `fork..branch`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflicted:
    """A branch that needs a decision first."""

    onto: str
    paths: tuple[str, ...]
    detail: str


@dataclass(frozen=True, slots=True)
class NoCommit:
    """The branch changes nothing: never a success."""

    detail: str


@dataclass(frozen=True, slots=True)
class AlreadyIn:
    """The branch made changes, and the tip has every one of them."""

    onto: str


StackResult = Stacked | Conflicted | NoCommit | AlreadyIn


def stack(
    repository: Repository,
    candidate: Candidate,
    *,
    onto: str,
    strategy: Strategy,
    when: float,
) -> StackResult:
    """Stack one candidate on the commit `onto`; `when` (Unix time) dates new commits."""
    if candidate.commit == candidate.base:
        return NoCommit(f"the branch is still at its base {candidate.base[:12]}: no commits")
    own = repository.commits(onto, candidate.commit)
    lack = _lacks_work(repository, candidate, own)
    if lack is not None:
        return lack
    if not own:
        return AlreadyIn(onto)
    match strategy:
        case Strategy.MERGE_COMMIT:
            return _merge(repository, candidate, onto=onto, when=when)
        case Strategy.FAST_FORWARD if _sits_on(repository, own, onto):
            return _fast_forward(repository, candidate, own, onto=onto)
        case Strategy.REBASE | Strategy.FAST_FORWARD:
            if any(len(commit.parents) > 1 for commit in own):
                return _squash(repository, candidate, own, onto=onto, when=when)
            return _rebase(repository, own, onto=onto, when=when)
        case _:
            assert_never(strategy)


def _lacks_work(
    repository: Repository, candidate: Candidate, own: Sequence[Commit]
) -> NoCommit | None:
    base = candidate.base
    if repository.commit(candidate.commit).tree == repository.commit(base).tree:
        return NoCommit(f"the branch's files are those of its base {base[:12]}")
    if own and own[0].parents == (base,):
        return None
    # An agent that checked out an older commit has not done its task, though main has it.
    if repository.is_ancestor(candidate.commit, base):
        return NoCommit(f"the branch is behind its base {base[:12]}: no commits")
    return None


def _sits_on(repository: Repository, own: Sequence[Commit], onto: str) -> bool:
    return own[0].parents == (onto,) or repository.is_ancestor(onto, own[-1].oid)


def _fast_forward(
    repository: Repository, candidate: Candidate, own: Sequence[Commit], *, onto: str
) -> StackResult:
    if repository.commit(candidate.commit).tree == repository.commit(onto).tree:
        return AlreadyIn(onto)
    return Stacked(
        commit=candidate.commit,
        commits=tuple(commit.oid for commit in own),
        onto=onto,
        fork=onto,
    )


def _merge(repository: Repository, candidate: Candidate, *, onto: str, when: float) -> StackResult:
    merged = repository.merge_tree(onto, candidate.commit)
    if isinstance(merged, Conflict):
        return _conflicted(merged, onto)
    if merged.tree == repository.commit(onto).tree:
        return AlreadyIn(onto)
    subject = repository.commit(candidate.commit).subject
    commit = repository.commit_tree(
        merged.tree,
        parents=(onto, candidate.commit),
        message=f"Merge {candidate.task_id}: {subject}\n",
        author=COMMITTER,
        when=when,
    )
    fork = _fork(repository, onto, candidate.commit)
    return Stacked(commit=commit, commits=(commit,), onto=onto, fork=fork)


def _squash(
    repository: Repository,
    candidate: Candidate,
    own: Sequence[Commit],
    *,
    onto: str,
    when: float,
) -> StackResult:
    """A branch with merges of its own has no commits to replay one by one: it becomes one."""
    merged = repository.merge_tree(onto, candidate.commit)
    if isinstance(merged, Conflict):
        return _conflicted(merged, onto)
    if merged.tree == repository.commit(onto).tree:
        return AlreadyIn(onto)
    written = [commit for commit in own if len(commit.parents) < 2] or list(own)
    model = written[-1]
    commit = _replayed(repository, model, tree=merged.tree, onto=onto, when=when)
    fork = _fork(repository, onto, candidate.commit)
    return Stacked(commit=commit, commits=(commit,), onto=onto, fork=fork)


def _rebase(
    repository: Repository, own: Sequence[Commit], *, onto: str, when: float
) -> StackResult:
    result = _replay(repository, own, own, onto=onto, when=when)
    if not isinstance(result, Conflicted) or not own[0].parents:
        return result
    # Perhaps the conflict is with the branch's own commits, landed by another way and changed
    # since: leave out those whose patch the target has already.
    missing = repository.new_patches(onto, own[-1].oid)
    if len(missing) == len(own):
        return result
    rest = [commit for commit in own if commit.oid in missing]
    return _replay(repository, rest, own, onto=onto, when=when) if rest else AlreadyIn(onto)


def _replay(
    repository: Repository,
    wanted: Sequence[Commit],
    own: Sequence[Commit],
    *,
    onto: str,
    when: float,
) -> StackResult:
    """Replay `wanted`, which are the branch's `own` commits or some of them, in order."""
    branch = {commit.oid for commit in own}
    tip, tree = onto, repository.commit(onto).tree
    landed: list[str] = []
    for commit in wanted:
        if commit.parents == (tip,):
            if commit.tree != tree:
                landed.append(commit.oid)
                tip, tree = commit.oid, commit.tree
            continue
        ours = tip
        if branch.intersection(commit.parents):
            # git 2.39 cannot be told a merge base. A commit with the tip's tree whose parent is
            # the replayed commit's parent makes that parent the base of the merge. The first
            # commit's parent is in the tip's history, and so is the base already.
            ours = _replayed(repository, commit, tree=tree, onto=commit.parents[0], when=when)
        merged = repository.merge_tree(ours, commit.oid)
        if isinstance(merged, Conflict):
            return _conflicted(merged, onto, commit)
        if merged.tree != tree:
            tip = _replayed(repository, commit, tree=merged.tree, onto=tip, when=when)
            tree = merged.tree
            landed.append(tip)
    if not landed:
        return AlreadyIn(onto)
    # Under skewed dates git may list commits that the target has, down to the very first.
    fork = own[0].parents[0] if own[0].parents else _fork(repository, onto, own[-1].oid)
    return Stacked(commit=tip, commits=tuple(landed), onto=onto, fork=fork)


def _replayed(repository: Repository, commit: Commit, *, tree: str, onto: str, when: float) -> str:
    """The commit with another tree and parent; author, message and encoding stay."""
    return repository.write_commit(
        commit_bytes(
            tree=tree,
            parents=(onto,),
            author=commit.author,
            committer=COMMITTER.line(repository.no_earlier(when, [onto])),
            message=commit.message,
            encoding=commit.encoding,
        )
    )


def _fork(repository: Repository, onto: str, commit: str) -> str:
    fork = repository.merge_base(onto, commit)
    assert fork is not None, "unrelated histories conflict, so they are never stacked"
    return fork


def _conflicted(merged: Conflict, onto: str, commit: Commit | None = None) -> Conflicted:
    where = f"at commit {commit.oid[:12]} ({commit.subject}): " if commit else ""
    said = "; ".join(merged.messages) or "git gave no reason"
    return Conflicted(onto=onto, paths=merged.paths, detail=where + said)
