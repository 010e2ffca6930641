"""Git's objects as values, and the commit object's own text form.

Commits are parsed from and written as the object's raw bytes, so that an author's name in any
encoding, a time zone or a message without a final newline survives a replay unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stigmergy.errors import CorruptError, UsageError

__all__ = [
    "GITLINK_MODE",
    "Change",
    "Clean",
    "Commit",
    "Conflict",
    "Identity",
    "TreeEntry",
    "Worktree",
    "check_oid",
    "check_ref",
    "commit_bytes",
    "is_zero",
    "parse_commit",
    "path_text",
]

GITLINK_MODE = "160000"
"""The mode of a submodule: its object is a commit of another repository."""

_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REF = re.compile(
    r"refs/(?!.*(?:\.\.|//|@\{|\.lock(?:/|$)|/\.|\.(?:/|$)))"
    r"[^\x00-\x20\x7f~^:?*\[\\]*[^\x00-\x20\x7f~^:?*\[\\/]"
)


def check_oid(text: str) -> str:
    """`text`, when it is a full object id (SHA-1 or SHA-256)."""
    if _OID.fullmatch(text) is None:
        raise UsageError(f"{text[:80]!r} is not a full object id (40 or 64 hexadecimal digits).")
    return text


def check_ref(text: str) -> str:
    """`text`, when it is a full and well-formed ref name (`refs/heads/main`)."""
    if _REF.fullmatch(text) is None:
        raise UsageError(f"{text[:80]!r} is not a full ref name such as refs/heads/main.")
    return text


def is_zero(oid: str) -> bool:
    """Git's id for "nothing is there"."""
    return not oid.strip("0")


def path_text(path: bytes) -> str:
    """A path as text; bytes that are not UTF-8 survive as surrogates (`os.fsencode` undoes it)."""
    return path.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who, for commits that we write ourselves."""

    name: str
    email: str

    def line(self, when: float) -> bytes:
        """The identity at a Unix time, in UTC, as it stands in a commit."""
        name, email = (re.sub(r"[<>\r\n\0]", "", part).strip() for part in (self.name, self.email))
        return f"{name} <{email}> {int(when)} +0000".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit. `author`, `committer` and `message` are as in the object, not decoded."""

    oid: str
    tree: str
    parents: tuple[str, ...]
    author: bytes
    committer: bytes
    message: bytes
    encoding: bytes | None = None

    @property
    def subject(self) -> str:
        """The first line of the message."""
        lines = self.message.strip().splitlines()
        return lines[0].decode(errors="replace") if lines else ""

    @property
    def committed_at(self) -> int:
        """The committer's Unix time; 0 where it is malformed."""
        found = re.search(rb"> (-?\d+) [+-]\d{4}$", self.committer)
        return int(found[1]) if found else 0


def parse_commit(oid: str, data: bytes) -> Commit:
    """The commit in an object's bytes. Signatures and merge tags are not kept."""
    head, _, message = data.partition(b"\n\n")
    fields: dict[bytes, list[bytes]] = {}
    for line in head.split(b"\n"):
        if line.startswith(b" "):
            continue  # a continued signature
        key, _, value = line.partition(b" ")
        fields.setdefault(key, []).append(value)
    try:
        return Commit(
            oid=oid,
            tree=fields[b"tree"][0].decode(),
            parents=tuple(parent.decode() for parent in fields.get(b"parent", [])),
            author=fields[b"author"][0],
            committer=fields[b"committer"][0],
            message=message,
            encoding=fields.get(b"encoding", [None])[0],
        )
    except KeyError as error:
        raise CorruptError(f"commit {oid} has no {error} line", where=oid) from None


def commit_bytes(
    *,
    tree: str,
    parents: tuple[str, ...],
    author: bytes,
    committer: bytes,
    message: bytes,
    encoding: bytes | None = None,
) -> bytes:
    """A commit object's bytes."""
    lines = [b"tree " + tree.encode()]
    lines += [b"parent " + parent.encode() for parent in parents]
    lines += [b"author " + author, b"committer " + committer]
    if encoding is not None:
        lines.append(b"encoding " + encoding)
    return b"\n".join(lines) + b"\n\n" + message


@dataclass(frozen=True, slots=True)
class Clean:
    """A merge without conflicts, and its tree."""

    tree: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """A merge that needs a decision: the paths, and what git says about each."""

    paths: tuple[str, ...]
    messages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """A file, link or submodule in a tree."""

    mode: str
    oid: str
    path: str


@dataclass(frozen=True, slots=True)
class Change:
    """One path's difference between two trees; the zero id and mode `000000` mean absent."""

    path: str
    old_mode: str
    new_mode: str
    old_oid: str
    new_oid: str


@dataclass(frozen=True, slots=True)
class Worktree:
    """A working tree of the repository; `ref` is None where HEAD is detached."""

    path: str
    head: str | None
    ref: str | None
    bare: bool
