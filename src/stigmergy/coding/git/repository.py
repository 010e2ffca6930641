"""A git repository as the merge queue and the sandboxes see it: objects, merges and refs.

Nothing here touches a working tree, an index or HEAD. Refs move only in `update_refs`, and only
by compare-and-swap.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from stigmergy.coding.git.objects import (
    Change,
    Clean,
    Commit,
    Conflict,
    Identity,
    TreeEntry,
    Worktree,
    check_oid,
    check_ref,
    commit_bytes,
    parse_commit,
    path_text,
)
from stigmergy.coding.git.process import Completed, GitError, require_git, run_git
from stigmergy.coding.git.reader import ObjectReader
from stigmergy.errors import NotFoundError, TransientError, UsageError

__all__ = ["Repository"]

_LOST = re.compile(
    r"but expected|reference already exists|unable to resolve reference|reference is missing"
)


class Repository:
    """Thread-safe. A context manager: closing ends the one long-lived git process."""

    def __init__(self, path: Path) -> None:
        """Open the repository that holds `path` (a working tree or a bare repository).

        Raises:
            UsageError: there is no repository there, or git is too old.
        """
        require_git()
        self.path = path
        try:
            answer = run_git(
                ["rev-parse", "--path-format=absolute", "--git-common-dir", "--is-bare-repository"],
                cwd=path,
            )
        except GitError as error:
            if "dubious ownership" in error.stderr:  # git goes on to say how to trust it
                raise UsageError(f"{path} belongs to another user: {error.stderr}") from error
            raise UsageError(
                f"{path} is not in a git repository ({error.stderr}). Run `git init` there, "
                "or name another folder."
            ) from error
        common, bare = answer.stdout.decode(errors="surrogateescape").splitlines()
        self.git_dir = Path(common)
        self.is_bare = bare == "true"
        self._reader = ObjectReader(self.git_dir)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the reading process; the repository can still be used and then starts it anew."""
        self._reader.close()

    def git(
        self,
        *args: str,
        stdin: bytes = b"",
        accept: Sequence[int] = (0,),
        timeout_s: float = 120.0,
    ) -> Completed:
        """Run one git command in the repository's own directory, so that no working tree is meant.

        Raises:
            GitError: it ended otherwise than `accept` allows.
        """
        # --git-dir, not cwd alone: with it git cannot take a linked worktree for the repository.
        located = ("--git-dir", str(self.git_dir), *args)
        return run_git(located, cwd=self.git_dir, stdin=stdin, accept=accept, timeout_s=timeout_s)

    # Names and history

    def rev_parse(self, name: str) -> str:
        """The commit that a name (branch, tag, `HEAD~2`, abbreviated id) stands for.

        Raises:
            NotFoundError: it names no commit.
        """
        done = self.git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}",
            accept=(0, 1, 128),
        )  # fmt: skip
        if done.code != 0:
            raise NotFoundError(f"{name!r} names no commit in {self.path}.")
        return done.stdout.decode().strip()

    def tip(self, ref: str) -> str | None:
        """The commit a ref points at, or None where there is no such ref."""
        try:
            return self._reader.commit_at(ref)
        except NotFoundError:
            return None

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """`ancestor` is in the history of `descendant`; a commit is its own ancestor."""
        if ancestor in (descendant, *self.commit(descendant).parents):
            return True
        args = ("merge-base", "--is-ancestor", check_oid(ancestor), check_oid(descendant))
        return self.git(*args, accept=(0, 1)).code == 0

    def merge_base(self, one: str, other: str) -> str | None:
        """A best common ancestor, or None for unrelated histories."""
        done = self.git("merge-base", check_oid(one), check_oid(other), accept=(0, 1))
        return done.stdout.decode().strip() or None

    def commits(self, base: str, tip: str) -> tuple[Commit, ...]:
        """What `tip` has and `base` has not, parents before children."""
        last = self.commit(tip)
        if last.parents == (base,):
            return (last,)
        done = self.git(
            "rev-list", "--reverse", "--topo-order", f"{check_oid(base)}..{check_oid(tip)}"
        )
        return tuple(self.commit(oid) for oid in done.stdout.decode().split())

    def new_patches(self, base: str, tip: str) -> frozenset[str]:
        """Ids of the commits in `base..tip` whose patch no commit of `tip..base` has."""
        done = self.git(
            "rev-list", "--cherry-pick", "--right-only", "--no-merges",
            f"{check_oid(base)}...{check_oid(tip)}",
        )  # fmt: skip
        return frozenset(done.stdout.decode().split())

    # Objects

    def commit(self, oid: str) -> Commit:
        """A commit by its full id."""
        kind, data = self._reader.read(oid)
        if kind != "commit":
            raise UsageError(f"object {oid} is a {kind}, not a commit.")
        return parse_commit(oid, data)

    def blob(self, oid: str) -> bytes:
        """A file's content by its object id."""
        kind, data = self._reader.read(oid)
        if kind != "blob":
            raise UsageError(f"object {oid} is a {kind}, not a file.")
        return data

    def ls_tree(self, commit: str, *, under: str = "") -> tuple[TreeEntry, ...]:
        """Every file, link and submodule at a commit; `under` limits it to a folder or file."""
        limit = ("--", under) if under else ()
        done = self.git("ls-tree", "-r", "-z", "--full-tree", check_oid(commit), *limit)
        return tuple(_tree_entry(record) for record in _records(done.stdout))

    def read_file(self, commit: str, path: str) -> bytes | None:
        """A file's content at a commit (a link's target), or None where there is no file."""
        entry = next((entry for entry in self.ls_tree(commit, under=path)), None)
        return None if entry is None or entry.path != path else self.blob(entry.oid)

    def write_commit(self, data: bytes) -> str:
        """Store a commit object given as its bytes (`commit_bytes`); idempotent."""
        done = self.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=data)
        return done.stdout.decode().strip()

    def commit_tree(
        self,
        tree: str,
        *,
        parents: Sequence[str],
        message: str,
        author: Identity,
        when: float,
    ) -> str:
        """Store a commit of our own; `when` is a Unix time, raised to that of the parents."""
        line = author.line(self.no_earlier(when, parents))
        return self.write_commit(
            commit_bytes(
                tree=check_oid(tree),
                parents=tuple(check_oid(parent) for parent in parents),
                author=line,
                committer=line,
                message=message.encode(),
            )
        )

    def no_earlier(self, when: float, parents: Sequence[str]) -> float:
        """`when`, or the latest commit time of the parents, whichever is later.

        Git's walks trust these dates: with children older than their parents `base..tip` lists
        commits that `base` has.
        """
        return max(when, *(self.commit(parent).committed_at for parent in parents))

    # Merging and differences

    def merge_tree(self, ours: str, theirs: str) -> Clean | Conflict:
        """Merge two commits without a checkout, as `git merge` would."""
        # One process a merge: in git 2.39 the output of `--stdin` lags a merge behind its input,
        # so a long-lived process cannot be asked for merges that build on each other.
        done = self.git(
            "merge-tree", "--write-tree", "-z", "--name-only", check_oid(ours), check_oid(theirs),
            accept=(0, 1, 128),
        )  # fmt: skip
        if done.code == 128:
            if "unrelated histories" in done.stderr:
                return Conflict((), (f"{theirs} has no history in common with {ours}",))
            raise GitError(("merge-tree", ours, theirs), code=128, stderr=done.stderr)
        if done.code == 0:
            return Clean(done.stdout.split(b"\0", 1)[0].strip().decode())
        return _conflict(done.stdout)

    def changes(self, pairs: Iterable[tuple[str, str]]) -> list[tuple[Change, ...]]:
        """The differing paths of each pair of tree ids, renames not looked for. One process."""
        asked = list(pairs)
        lines = "".join(f"{check_oid(old)} {check_oid(new)}\n" for old, new in asked)
        done = self.git(
            "diff-tree", "--stdin", "-r", "-z", "--raw", "--no-renames", "--no-abbrev",
            stdin=lines.encode(),
        )  # fmt: skip
        return _changes(done.stdout, asked)

    def diff_paths(self, old: str, new: str) -> tuple[str, ...]:
        """The paths that differ between two commits."""
        pair = (self.commit(old).tree, self.commit(new).tree)
        return tuple(change.path for change in self.changes([pair])[0])

    def diff(
        self,
        old: str,
        new: str,
        *,
        context: int = 0,
        paths: Sequence[str] = (),
        as_text: bool = False,
    ) -> bytes:
        """The patch between two trees or commits, renames found, binary content included.

        `as_text` shows binary files line by line as well; such a patch is for reading only.
        """
        # A command line has room for some thousand paths; more are not worth limiting to.
        limit = ("--", *paths) if 0 < len(paths) <= 1000 else ()
        done = self.git(
            "diff-tree", "-p", "-r", f"-U{context}", "-M",
            "--text" if as_text else "--binary", "--full-index",
            "--no-ext-diff", "--no-textconv", "--no-color", "--diff-algorithm=histogram",
            check_oid(old), check_oid(new), *limit,
        )  # fmt: skip
        return done.stdout

    def conflict_markers(self, commit: str) -> tuple[str, ...]:
        """Text files at a commit with a line that starts as a conflict marker does."""
        done = self.git(
            "grep", "-I", "-l", "-z", "-E", "^(<<<<<<<|>>>>>>>) ", check_oid(commit),
            accept=(0, 1),
        )  # fmt: skip
        return tuple(path_text(name.partition(b":")[2]) for name in _records(done.stdout))

    # Refs and working trees

    def update_refs(self, updates: Sequence[tuple[str, str, str]], *, reason: str) -> bool:
        """Move refs, all or none: each `(ref, new, old)` only if the ref is still at `old`.

        The zero id as `old` demands that the ref does not exist, as `new` deletes it.
        False: a ref was elsewhere, and nothing moved.

        Raises:
            TransientError: another process holds a ref's lock.
        """
        commands = [
            f"update {check_ref(ref)}\0{check_oid(new)}\0{check_oid(old)}\0"
            for ref, new, old in updates
        ]
        done = self.git(
            "update-ref", "--stdin", "-z", "-m", reason,
            stdin="".join(commands).encode(),
            accept=(0, 1, 128),
        )  # fmt: skip
        if done.code == 0:
            return True
        if _LOST.search(done.stderr):
            return False
        if "File exists" in done.stderr:
            raise TransientError(f"a ref is locked by another process: {done.stderr.strip()}")
        raise GitError(("update-ref", "--stdin"), code=done.code, stderr=done.stderr)

    def worktrees(self) -> tuple[Worktree, ...]:
        """The main working tree (or the bare repository) first, then the linked ones."""
        done = self.git("worktree", "list", "--porcelain", "-z")
        records = done.stdout.split(b"\0\0")
        return tuple(_worktree(record) for record in records if record)


def _records(data: bytes) -> Iterator[bytes]:
    return (record for record in data.split(b"\0") if record)


def _tree_entry(record: bytes) -> TreeEntry:
    head, _, path = record.partition(b"\t")
    mode, _, oid = head.decode().split(" ")
    return TreeEntry(mode, oid, path_text(path))


def _conflict(data: bytes) -> Conflict:
    """Parse `merge-tree -z --name-only`: tree, paths, an empty field, then the messages.

    A message is: count, that many paths, a type, a text.
    """
    fields = data.split(b"\0")
    end = fields.index(b"", 1)
    paths = tuple(dict.fromkeys(path_text(name) for name in fields[1:end]))
    messages: list[str] = []
    at = end + 1
    while at < len(fields) and fields[at].isdigit():
        kind_at = at + 1 + int(fields[at])
        kind, text = fields[kind_at : kind_at + 2]
        if kind.startswith(b"CONFLICT"):
            messages.append(text.decode(errors="replace").strip())
        at = kind_at + 2
    return Conflict(paths, tuple(messages))


def _changes(data: bytes, asked: list[tuple[str, str]]) -> list[tuple[Change, ...]]:
    """Parse `diff-tree --stdin -z --raw`: a line `OLD NEW` heads each pair's records."""
    found: list[tuple[Change, ...]] = []
    at = 0
    for old, new in asked:
        header = f"{old} {new}\n".encode()
        if not data.startswith(header, at):
            raise GitError(("diff-tree", "--stdin"), code=0, stderr="its answer was not understood")
        at += len(header)
        answer: list[Change] = []
        while data.startswith(b":", at):
            meta_end = data.index(b"\0", at)
            path_end = data.index(b"\0", meta_end + 1)
            old_mode, new_mode, old_oid, new_oid, _ = data[at + 1 : meta_end].decode().split(" ")
            path = path_text(data[meta_end + 1 : path_end])
            answer.append(Change(path, old_mode, new_mode, old_oid, new_oid))
            at = path_end + 1
        found.append(tuple(answer))
    return found


def _worktree(record: bytes) -> Worktree:
    fields = dict(_field(line) for line in record.split(b"\0"))
    return Worktree(
        path=path_text(fields[b"worktree"]),
        head=fields[b"HEAD"].decode() if b"HEAD" in fields else None,
        ref=path_text(fields[b"branch"]) if b"branch" in fields else None,
        bare=b"bare" in fields,
    )


def _field(line: bytes) -> tuple[bytes, bytes]:
    key, _, value = line.partition(b" ")
    return key, value
