"""What a landing changed, read from git's objects without a checkout, and cut to a bound."""

from __future__ import annotations

from typing import Final

from stigmergy.board import JsonObject
from stigmergy.coding.git.objects import check_oid
from stigmergy.coding.git.repository import Repository

__all__ = ["MOST_DIFF_BYTES", "commit_document"]

MOST_DIFF_BYTES: Final = 512 * 1024
_MOST_FILES: Final = 1_000


def commit_document(repository: Repository, oid: str, *, since: str | None = None) -> JsonObject:
    """The commit with its patch against an earlier one, by default its first parent.

    Raises:
        UsageError: an id is no full commit id.
        NotFoundError: there is no such commit.
    """
    oid = repository.rev_parse(check_oid(oid))
    head = repository.git(
        "show", "-s", "--no-show-signature", "--format=%an%x00%at%x00%s%x00%b", "--end-of-options",
        oid,
    ).stdout.decode(errors="replace")  # fmt: skip
    author, at, subject, body = head.split("\0", 3)
    parents = (repository.rev_parse(check_oid(since)),) if since else repository.commit(oid).parents
    options = ("-r", "--root", "--no-commit-id", "--no-ext-diff", "--no-textconv", "--no-color")
    commits = (parents[0], oid) if parents else (oid,)
    patch = repository.git("diff-tree", *options, "-M", "-p", "-U3", *commits).stdout
    numbers = repository.git(
        "diff-tree", *options, "--no-renames", "--numstat", "-z", *commits
    ).stdout
    files = _files(numbers)
    return {
        "oid": oid,
        "subject": subject,
        "body": body.strip(),
        "author": author,
        "at": float(at),
        "files": files[:_MOST_FILES],
        "files_total": len(files),
        "diff": _whole_lines(patch).decode(errors="replace"),
        "truncated": len(patch) > MOST_DIFF_BYTES,
    }


def _files(numbers: bytes) -> list[JsonObject]:
    rows = [row.split(b"\t", 2) for row in numbers.split(b"\0")]
    return [
        {
            "path": row[2].decode(errors="replace"),
            "added": _lines(row[0]),
            "removed": _lines(row[1]),
        }
        for row in rows
        if len(row) == 3
    ]


def _lines(count: bytes) -> int | None:
    """A number of `--numstat`; a binary file has none."""
    return int(count) if count.isdigit() else None


def _whole_lines(patch: bytes) -> bytes:
    if len(patch) <= MOST_DIFF_BYTES:
        return patch
    return patch[: patch.rfind(b"\n", 0, MOST_DIFF_BYTES) + 1]
