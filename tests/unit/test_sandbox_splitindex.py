"""An index written from changes is, to git, the index of the changed tree."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from stigmergy.coding.git.reader import ObjectReader
from stigmergy.coding.sandbox.gitdir import ObjectStore
from stigmergy.coding.sandbox.splitindex import IndexEntry, SharedIndex, parse_index
from stigmergy.coding.sandbox.treediff import TooManyChangesError, diff_trees, parse_tree
from stigmergy.errors import CorruptError


def git(where: Path, *arguments: str, stdin: bytes | None = None) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=where, check=True, capture_output=True, input=stdin
    )
    return done.stdout.decode("utf-8", "surrogateescape").removesuffix("\n")


def index_info(entries: dict[bytes, tuple[int, str]]) -> bytes:
    return b"".join(
        f"{mode:o} {oid}\t".encode() + path + b"\0" for path, (mode, oid) in entries.items()
    )


def write_tree(where: Path, entries: dict[bytes, tuple[int, str]]) -> str:
    """Put the entries into the index and write it as a tree."""
    (where / ".git" / "index").unlink(missing_ok=True)
    git(where, "update-index", "-z", "--index-info", stdin=index_info(entries))
    return git(where, "write-tree")


@pytest.fixture(params=["sha1", "sha256"])
def repository(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    git(tmp_path, "init", "--quiet", f"--object-format={request.param}")
    git(tmp_path, "config", "index.version", "2")
    return tmp_path


@pytest.mark.parametrize("count", [0, 1, 64, 700])
def test_git_reads_random_changes_as_the_new_tree(
    repository: Path, rng: random.Random, count: int
) -> None:
    blobs = [git(repository, "hash-object", "-w", "--stdin", stdin=b"%d" % n) for n in range(5)]

    def some_entry() -> tuple[int, str]:
        return rng.choice([0o100644, 0o100755, 0o120000]), rng.choice(blobs)

    def some_path() -> bytes:
        parts = [b"%c%d" % (rng.choice(b"abc"), rng.randrange(9)) for _ in range(3)]
        return b"/".join(parts) + rng.choice([b"", b"\xff\n", b" x", b"y" * 70])

    old = {some_path(): some_entry() for _ in range(count)}
    new = {path: entry for path, entry in old.items() if rng.random() < 0.8}
    new |= {path: some_entry() for path in new if rng.random() < 0.2}
    new |= {some_path(): some_entry() for _ in range(count // 5 + 1)}
    old_tree, new_tree = write_tree(repository, old), write_tree(repository, new)

    store = ObjectStore.of(repository / ".git")
    git(repository, "read-tree", old_tree)
    shared = SharedIndex(
        *parse_index((repository / ".git/index").read_bytes(), store.width), store.digest
    )
    reader = ObjectReader(repository / ".git")
    diff = diff_trees(reader.read, old_tree, new_tree, limit=10_000)
    reader.close()
    (repository / ".git" / shared.file_name).write_bytes(shared.data)
    changes = {path: entry and IndexEntry(entry) for path, entry in diff.files.items()}
    (repository / ".git/index").write_bytes(shared.changed(changes))

    assert git(repository, "write-tree") == new_tree
    assert git(repository, "diff-index", "--cached", new_tree) == ""
    listed = git(repository, "ls-files", "-s", "-z").encode("utf-8", "surrogateescape")
    assert listed == git(repository, "ls-tree", "-r", "-z", new_tree).encode(
        "utf-8", "surrogateescape"
    ).replace(b" blob ", b" ").replace(b"\t", b" 0\t")


def test_a_diff_knows_what_to_remove_and_when_to_stop(repository: Path) -> None:
    blob = git(repository, "hash-object", "-w", "--stdin", stdin=b"x")
    file = (0o100644, blob)
    old = write_tree(repository, {b"a/b/c": file, b"a/b/d": file, b"e": file, b"f/g": file})
    new = write_tree(repository, {b"e/inner": file, b"f": file})
    reader = ObjectReader(repository / ".git")
    diff = diff_trees(reader.read, old, new, limit=10)
    assert diff.removed == (b"a",)
    assert {path for path, entry in diff.files.items() if entry is None} == {
        b"a/b/c",
        b"a/b/d",
        b"e",
        b"f/g",
    }
    with pytest.raises(TooManyChangesError):
        diff_trees(reader.read, old, new, limit=3)
    reader.close()


@pytest.mark.parametrize("name", [b".git", b".GIT", b"..", b".", b"", b"a/b"])
def test_names_that_must_not_be_checked_out_are_refused(name: bytes) -> None:
    with pytest.raises(CorruptError, match="unsafe"):
        parse_tree(b"100644 " + name + b"\0" + bytes(20), "1" * 40)
