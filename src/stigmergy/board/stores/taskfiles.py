"""The task files of a folder board: written as a mirror of the journal, and compared with it.

A file whose content is not what the board wrote was edited by hand. To find that out cheaply its
stat is remembered; a stat that is too young to be trusted (two writes within one tick of the
file system's clock look alike) makes the content be read again.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stigmergy.board.task import Json, Task, check_task_id, task_to_json
from stigmergy.errors import UsageError

__all__ = ["Broken", "Edited", "Finding", "Missing", "TaskFiles"]

_TICK_S: Final = 0.02
"""Stats younger than this do not prove that a file is unchanged."""
_GRACE_S: Final = 0.5
"""So long may somebody take to write a file before half of it is held against it."""
_MAX_BYTES: Final = 32 * 1024**2
_YOUNG: Final = 64
_YOUNG_BYTES: Final = 16 * 1024
"""So many files of that size are remembered as written, until their stat can be trusted."""


@dataclass(frozen=True, slots=True)
class Edited:
    """The file says something else than the journal, or the journal does not know the task."""

    name: str
    """The file's name without `.json`."""
    data: Json
    is_fresh: bool
    """Written just now, so there may be more to come."""


@dataclass(frozen=True, slots=True)
class Broken:
    """What stands there can be no task."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Missing:
    """The journal knows the task, and its file is gone."""

    name: str


Finding = Edited | Broken | Missing

_Stat = tuple[int, int, int]


class TaskFiles:
    """The files `<task_id>.json` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prefix = f"{folder}/"
        self._known: dict[str, _Stat] = {}
        """Files seen to be as the journal has them, by a stat that proves it."""
        self._young: dict[str, tuple[Task, bytes]] = {}
        """What this process wrote so lately that no stat proves it; a few small ones."""

    def write(self, task: Task) -> None:
        """Write a task's file in place, unsynced: the journal is what a crash is survived with.

        Raises:
            OSError: the disk is full, or something that is no regular file stands there.
        """
        content = f"{_pretty(task_to_json(task))}\n".encode()
        # Not truncated first and not renamed into place: both make ext4 write data out at once.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(self._path(task.task_id), flags, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(self._path(task.task_id)))
            if os.pwrite(fd, content, 0) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), task.task_id)
            if os.fstat(fd).st_size > len(content):
                os.ftruncate(fd, len(content))
            self._remember(task, content)
        finally:
            os.close(fd)

    def delete(self, name: str) -> None:
        """Remove a task's file. Idempotent.

        Raises:
            OSError: it cannot be removed.
        """
        self._path(name).unlink(missing_ok=True)
        self._forget(name)

    def set_aside(self, file_name: str, to: Path) -> None:
        """Move whatever stands under that name. Idempotent.

        Raises:
            OSError: it cannot be moved.
        """
        path = self._folder / file_name
        if os.path.lexists(path) and not os.path.lexists(to):
            to.parent.mkdir(exist_ok=True)
            path.rename(to)
        self._forget(path.stem)

    def look(self, name: str, task: Task | None) -> Finding | None:
        """What is other than the journal has it; None where all is as it should be."""
        try:
            found = os.lstat(f"{self._prefix}{name}.json")  # pathlib takes five times as long
        except (FileNotFoundError, NotADirectoryError):
            self._forget(name)
            return None if task is None else Missing(name)
        return self._compare(name, task, found)

    def sweep(self, tasks: dict[str, Task], *, but: Container[str]) -> Iterator[Finding]:
        """Look at every file and every task, except the names in `but`."""
        present: set[str] = set()
        with os.scandir(self._folder) as entries:
            for entry in entries:
                name, dot, kind = entry.name.rpartition(".")
                if not name or kind != "json" or not dot or name.startswith(".") or name in but:
                    continue
                present.add(name)
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # removed while we look: the next sweep will see
                    continue
                if finding := self._compare(name, tasks.get(name), found):
                    yield finding
        for name in tasks:
            if name not in present and name not in but:
                self._forget(name)
                yield Missing(name)

    def _compare(self, name: str, task: Task | None, found: os.stat_result) -> Finding | None:
        if task is not None and self._known.get(name) == _key(found):
            return None
        if not stat.S_ISREG(found.st_mode):
            return Broken(name, "it is not a regular file")
        age_s = time.time() - found.st_mtime
        is_fresh = 0 <= age_s < _GRACE_S
        try:
            check_task_id(name)
            content = _read(self._path(name))
            is_ours = task is not None and self._is_young(task, content)
            data = None if is_ours else _parse(content)
        except FileNotFoundError:  # removed while we look
            return None
        except (UsageError, OSError, ValueError, RecursionError) as error:
            return None if is_fresh else Broken(name, str(error))
        if is_ours or (task is not None and data == task_to_json(task)):
            if not 0 <= age_s < _TICK_S:
                self._known[name] = _key(found)
                self._young.pop(name, None)
            return None
        return Edited(name, data, is_fresh)

    def _remember(self, task: Task, content: bytes) -> None:
        self._forget(task.task_id)
        if len(content) > _YOUNG_BYTES:
            return
        if len(self._young) >= _YOUNG:
            self._young.clear()
        self._young[task.task_id] = task, content

    def _is_young(self, task: Task, content: bytes) -> bool:
        known = self._young.get(task.task_id)
        return known is not None and known[0] is task and known[1] == content

    def _forget(self, name: str) -> None:
        self._known.pop(name, None)
        self._young.pop(name, None)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


_pretty: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, indent=2).encode


def _key(found: os.stat_result) -> _Stat:
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> bytes:
    """The file's content.

    Raises:
        OSError, ValueError: it cannot be read, or is too large.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        if size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
        return os.pread(fd, size, 0)  # not the limit: that much would be allocated for each file
    finally:
        os.close(fd)


def _parse(content: bytes) -> Json:
    """The content as JSON.

    Raises:
        ValueError, RecursionError: it is none.
    """
    return json.loads(content.decode(), parse_constant=_refuse)


def _refuse(constant: str) -> Json:
    raise ValueError(f"{constant} is not JSON")
