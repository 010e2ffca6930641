"""Git's index for a sandbox, written as a few changes to an index that all sandboxes share.

A checkout's index lists every file; copying it makes each sandbox cost what the repository costs.
Git's split index stores only the difference to a `sharedindex.<id>` file. Git can write one, but
must read the whole shared index first; this module writes it from the changes alone.

Source: git's `Documentation/gitformat-index.txt` (version 2, extensions `TREE` and `link`) and
`ewah/ewah_io.c`.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stigmergy.coding.sandbox.treediff import GITLINK, Entry

__all__ = ["IndexEntry", "SharedIndex", "parse_index", "stat_words"]

_HEADER = struct.Struct(">4sII")
_STAT = struct.Struct(">10I")
_NO_STAT = bytes(_STAT.size)
_LITERALS_AT = 33
_MOST_NAME_LENGTH = 0xFFF


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A path in an index; `status` are the ten 32-bit words git compares, zeros mean unknown."""

    entry: Entry
    status: bytes = _NO_STAT


@dataclass(frozen=True, slots=True)
class CacheTree:
    """A folder in the `TREE` extension, in git's order: a folder before its subfolders."""

    path: bytes
    """With a final slash; empty for the root."""
    name: bytes
    entries: bytes
    """Count of index entries beneath, as decimal text."""
    subtrees: bytes
    oid: bytes


def stat_words(status: os.stat_result, mode: int) -> bytes:
    """The ten words of an index entry for a checked-out file."""
    if mode == GITLINK:
        return _STAT.pack(0, 0, 0, 0, 0, 0, mode, 0, 0, 0)
    ctime, mtime = divmod(status.st_ctime_ns, 10**9), divmod(status.st_mtime_ns, 10**9)
    numbers = (
        *ctime,
        *mtime,
        status.st_dev,
        status.st_ino,
        mode,
        status.st_uid,
        status.st_gid,
        status.st_size,
    )
    return _STAT.pack(*(number & 0xFFFFFFFF for number in numbers))


def parse_index(data: bytes, width: int) -> tuple[dict[bytes, IndexEntry], tuple[CacheTree, ...]]:
    """Paths and cached trees of an index that git wrote for us: version 2, no conflicts.

    `width` is the length of an object id in bytes.
    """
    _, version, count = _HEADER.unpack_from(data)
    assert version == 2, "written under index.version=2"
    entries: dict[bytes, IndexEntry] = {}
    at = _HEADER.size
    for _ in range(count):
        mode = int.from_bytes(data[at + 24 : at + 28], "big")
        oid = data[at + 40 : at + 40 + width].hex()
        end = data.index(b"\0", at + 42 + width)
        found = IndexEntry(Entry(mode, oid), data[at : at + _STAT.size])
        entries[data[at + 42 + width : end]] = found
        at += _padded(end - at)
    while at < len(data) - width:
        kind, size = struct.unpack_from(">4sI", data, at)
        if kind == b"TREE":
            return entries, tuple(_parse_trees(data[at + 8 : at + 8 + size], width))
        at += 8 + size
    return entries, ()


def _parse_trees(data: bytes, width: int) -> Iterator[CacheTree]:
    at = 0
    open_folders: list[tuple[bytes, int]] = []  # path, subfolders still to come
    while at < len(data):
        name_end = data.index(b"\0", at)
        line_end = data.index(b"\n", name_end)
        name = data[at:name_end]
        entries, subtrees = data[name_end + 1 : line_end].split(b" ")
        at = line_end + 1
        while open_folders and open_folders[-1][1] == 0:
            open_folders.pop()
        path = b""
        if open_folders:
            parent, left = open_folders.pop()
            open_folders.append((parent, left - 1))
            path = parent + name + b"/"
        open_folders.append((path, int(subtrees)))
        has_id = not entries.startswith(b"-")
        oid = data[at : at + width] if has_id else b""
        at += len(oid)
        yield CacheTree(path, name, entries, subtrees, oid)


class SharedIndex:
    """The index of a base checkout, and the small indexes that differ from it. Immutable."""

    def __init__(
        self,
        entries: Mapping[bytes, IndexEntry],
        trees: tuple[CacheTree, ...],
        digest: Callable[[bytes], bytes],
    ) -> None:
        self.paths = sorted(entries)
        self._trees = trees
        self._digest = digest
        body = _body([(path, entries[path]) for path in self.paths])
        self._id = digest(body)
        self.file_name = f"sharedindex.{self._id.hex()}"
        self.data = body + self._id

    def changed(self, changes: Mapping[bytes, IndexEntry | None]) -> bytes:
        """The index of a checkout that differs from the base in `changes`; None is removed."""
        deleted: list[int] = []
        replaced: list[int] = []
        replacements: list[tuple[bytes, IndexEntry]] = []
        added: list[tuple[bytes, IndexEntry]] = []
        for path in sorted(changes):
            change = changes[path]
            at = bisect_left(self.paths, path)
            known = at < len(self.paths) and self.paths[at] == path
            if change is None:
                deleted += [at] if known else []
            elif known:
                replaced.append(at)
                replacements.append((b"", change))  # its name is the replaced entry's
            else:
                added.append((path, change))
        link = self._id + _ewah(deleted) + _ewah(replaced)
        body = _body(replacements + added) + _extension(b"link", link)
        if self._trees:
            body += _extension(b"TREE", self._trees_without(changes))
        return body + self._digest(body)

    def _trees_without(self, changes: Iterable[bytes]) -> bytes:
        """The cached trees, those that hold a changed path marked as unknown."""
        stale: set[bytes] = set()
        for path in changes:
            stale.add(b"")
            end = path.rfind(b"/")
            while end >= 0 and path[: end + 1] not in stale:
                stale.add(path[: end + 1])
                end = path.rfind(b"/", 0, end)
        parts: list[bytes] = []
        for tree in self._trees:
            if tree.path in stale:
                parts.append(tree.name + b"\0-1 " + tree.subtrees + b"\n")
            else:
                parts.append(tree.name + b"\0" + tree.entries + b" " + tree.subtrees + b"\n")
                parts.append(tree.oid)
        return b"".join(parts)


def _body(entries: Sequence[tuple[bytes, IndexEntry]]) -> bytes:
    parts = [_HEADER.pack(b"DIRC", 2, len(entries))]
    for path, index_entry in entries:
        entry = index_entry.entry
        status = index_entry.status
        if status == _NO_STAT:
            status = _STAT.pack(0, 0, 0, 0, 0, 0, entry.mode, 0, 0, 0)
        flags = min(len(path), _MOST_NAME_LENGTH).to_bytes(2, "big")
        record = status + bytes.fromhex(entry.oid) + flags + path
        parts.append(record.ljust(_padded(len(record)), b"\0"))
    return b"".join(parts)


def _padded(size: int) -> int:
    """With one to eight NULs after it, a multiple of eight."""
    return (size + 8) & ~7


def _extension(name: bytes, data: bytes) -> bytes:
    return name + len(data).to_bytes(4, "big") + data


def _ewah(bits: Sequence[int]) -> bytes:
    """A compressed bitmap with these bits set, in ascending order.

    Words come as runs: a marker (how many zero words, how many literal words), then the literals.
    """
    literals: dict[int, int] = {}
    for bit in bits:
        literals[bit // 64] = literals.get(bit // 64, 0) | 1 << bit % 64
    words: list[int] = []
    last_marker = done = 0
    for at, literal in literals.items():
        last_marker = len(words)
        words += [(at - done) << 1 | 1 << _LITERALS_AT, literal]
        done = at + 1
    words = words or [0]
    size = bits[-1] + 1 if bits else 0
    return struct.pack(f">II{len(words)}QI", size, len(words), *words, last_marker)
