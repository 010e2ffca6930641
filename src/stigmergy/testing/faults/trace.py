"""What a process wrote, in order, as strace saw it: writes, syncs, renames. Pure.

Unlike a layer in Python it sees what SQLite's own code does, and nothing has to be told of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal

from stigmergy.errors import StigmergyError

__all__ = ["COMMAND", "Op", "read_trace"]

Kind = Literal["create", "write", "truncate", "sync", "rename", "unlink", "mkdir"]

_CALLS: Final = (
    *("openat", "open", "creat", "close", "lseek", "mkdir", "mkdirat"),
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "truncate", "ftruncate", "fallocate"),
    *("fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync", "copy_file_range"),
    *(
        "rename",
        "renameat",
        "renameat2",
        "unlink",
        "unlinkat",
        "rmdir",
        "link",
        "linkat",
        "symlink",
    ),
)
COMMAND: Final = ("strace", "-y", "-xx", "-s", "100000000", "-e", f"trace={','.join(_CALLS)}", "-o")
"""Followed by the file for the trace, and what is to be traced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """Something that was done to a file or folder."""

    kind: Kind
    path: str
    offset: int = 0
    """Of a write; the new size of a truncation."""
    data: bytes = b""
    to: str = ""
    """The new name."""


_LINE: Final = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)(?:<([^>]*)>)?")
_FD: Final = re.compile(r"(\d+|AT_FDCWD)<([^>]*)>")
_TEXT: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def read_trace(lines: Iterable[str], *, under: str) -> list[Op]:
    """The successful operations on what lies under a folder, in order.

    Raises:
        StigmergyError: something was done there that this module does not know.
    """
    return list(_Reader(under).read(lines))


class _Reader:
    def __init__(self, under: str) -> None:
        self._under = under
        self._offsets: dict[int, int] = {}
        """Of the descriptors that are written at their own position."""
        self._names: set[str] = set()

    def read(self, lines: Iterable[str]) -> Iterator[Op]:
        """Each operation as it comes."""
        for line in lines:
            if (found := _LINE.match(line)) is None or int(found[3]) < 0:
                continue
            call, arguments, result = found[1], found[2], int(found[3])
            yield from self._op(call, arguments, result, _plain(found[4] or ""))

    def _op(self, call: str, arguments: str, result: int, opened: str) -> Iterator[Op]:
        match call:
            case "openat" | "open" | "creat":
                yield from self._open(arguments, result, opened)
            case "mkdir" | "mkdirat":
                yield from self._on_names("mkdir", arguments)
            case "rename" | "renameat" | "renameat2":
                yield from self._on_names("rename", arguments)
            case "unlink" | "unlinkat":
                yield from self._on_names("unlink", arguments)
            case _:
                yield from self._on_descriptor(call, arguments, result)

    def _open(self, arguments: str, fd: int, path: str) -> Iterator[Op]:
        self._offsets[fd] = 0
        if not self._is_ours(path):
            return
        if "O_CREAT" in arguments and path not in self._names:
            self._names.add(path)
            yield Op(kind="create", path=path)
        elif "O_TRUNC" in arguments:
            yield Op(kind="truncate", path=path)

    def _on_names(self, kind: Kind, arguments: str) -> Iterator[Op]:
        names = [_plain(text) for text in _TEXT.findall(arguments)]
        folders = [_plain(folder) for _, folder in _FD.findall(arguments)] or [""] * len(names)
        paths = [str(PurePosixPath(f, n)) for f, n in zip(folders, names, strict=False)]
        if not any(map(self._is_ours, paths)):
            return
        if not all(map(self._is_ours, paths)):
            raise StigmergyError(f"{kind} out of the traced folder: {paths}")
        self._names.discard(paths[0])
        if kind == "rename":
            self._names.add(paths[1])
            yield Op(kind=kind, path=paths[0], to=paths[1])
        else:
            yield Op(kind=kind, path=paths[0])

    def _on_descriptor(self, call: str, arguments: str, result: int) -> Iterator[Op]:
        if (found := _FD.match(arguments)) is None:
            if self._under in _plain(arguments):
                raise StigmergyError(f"the trace has a call that is not known: {call}({arguments}")
            return
        fd, path = int(found[1]), _plain(found[2])
        if call == "lseek":
            self._offsets[fd] = result
        if not self._is_ours(path) or arguments[found.end() :].startswith("(deleted)"):
            return
        numbers = [int(n) for n in re.findall(r", (\d+)(?=[,)]|$)", arguments)]
        match call:
            case "close" | "lseek":
                return
            case "write" | "pwrite64":
                text = _TEXT.search(arguments)
                data = bytes.fromhex(text[1].replace("\\x", ""))[:result] if text else b""
                at = numbers[-1] if call == "pwrite64" else self._offsets.get(fd, 0)
                if call == "write":
                    self._offsets[fd] = at + result
                yield Op(kind="write", path=path, offset=at, data=data)
            case "ftruncate":
                yield Op(kind="truncate", path=path, offset=numbers[-1])
            case "fsync" | "fdatasync":
                yield Op(kind="sync", path=path)
            case _:
                raise StigmergyError(f"the trace has a call that is not known: {call} of {path}")

    def _is_ours(self, path: str) -> bool:
        # The shared-memory index is made anew by whoever opens the database first.
        return f"{path}/".startswith(f"{self._under}/") and not path.endswith("-shm")


def _plain(text: str) -> str:
    return re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), text)
