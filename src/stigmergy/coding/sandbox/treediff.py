"""The difference of two commits' trees, read object by object: no process, only what differs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from stigmergy.errors import CorruptError

__all__ = ["GITLINK", "LINK", "Entry", "TooManyChangesError", "TreeDiff", "diff_trees"]

TREE = 0o040000
LINK = 0o120000
GITLINK = 0o160000
_MODES = {TREE, 0o100644, 0o100755, 0o100664, LINK, GITLINK}

ReadObject = Callable[[str], tuple[str, bytes]]


class TooManyChangesError(Exception):
    """The trees differ in more paths than the caller asked for; never leaves this package."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, link or submodule: its mode and object id."""

    mode: int
    oid: str


@dataclass(frozen=True, slots=True)
class TreeDiff:
    """What turns the old tree into the new one. Paths are bytes, as git has them."""

    files: dict[bytes, Entry | None]
    """The new state of each path that differs; None is removed."""
    removed: tuple[bytes, ...]
    """The highest path of each removed file or folder that nothing replaces."""


def diff_trees(read: ReadObject, old: str, new: str, *, limit: int) -> TreeDiff:
    """Compare two trees by their ids.

    Raises:
        TooManyChangesError: more than `limit` paths differ.
        CorruptError: a tree holds a name or mode that must not be checked out.
    """
    files: dict[bytes, Entry | None] = {}
    removed: list[bytes] = []
    waiting: list[tuple[bytes, str | None, str | None, bool]] = [(b"", old, new, False)]
    while waiting:
        prefix, old_oid, new_oid, within_removed = waiting.pop()
        before, after = _tree(read, old_oid), _tree(read, new_oid)
        for name in before.keys() | after.keys():
            was, now = before.get(name), after.get(name)
            if was == now:
                continue
            path = prefix + name
            was_tree = was.oid if was is not None and was.mode == TREE else None
            now_tree = now.oid if now is not None and now.mode == TREE else None
            if now is None and not within_removed:
                removed.append(path)
            if was_tree is not None or now_tree is not None:
                gone = within_removed or now_tree is None
                waiting.append((path + b"/", was_tree, now_tree, gone))
            if was is not None and was_tree is None and (now is None or now_tree is not None):
                files[path] = None
            if now is not None and now_tree is None:
                files[path] = now
            if len(files) > limit:
                raise TooManyChangesError
    return TreeDiff(files, tuple(removed))


def _tree(read: ReadObject, oid: str | None) -> dict[bytes, Entry]:
    if oid is None:
        return {}
    kind, data = read(oid)
    if kind != "tree":
        raise CorruptError(f"object {oid} is a {kind}, not a tree", where=oid)
    return parse_tree(data, oid)


def parse_tree(data: bytes, oid: str) -> dict[bytes, Entry]:
    """The entries of a tree object, every name and mode checked."""
    width = len(oid) // 2
    entries: dict[bytes, Entry] = {}
    at = 0
    while at < len(data):
        name_end = data.index(b"\0", at)
        mode_text, _, name = data[at:name_end].partition(b" ")
        at = name_end + 1 + width
        mode = int(mode_text, 8)
        if mode not in _MODES or not _is_safe(name) or name in entries:
            shown = os.fsdecode(name)
            raise CorruptError(f"tree {oid} has an entry {shown!r} that is unsafe", where=oid)
        if mode == 0o100664:  # trees written by very old gits have it; an index never does
            mode = 0o100644
        entries[name] = Entry(mode, data[at - width : at].hex())
    return entries


def _is_safe(name: bytes) -> bool:
    return name not in {b"", b".", b".."} and b"/" not in name and name.lower() != b".git"
