"""Files that a hostile program may have arranged: read, write and remove without being led astray.

Every path is walked component by component from an open folder, never through a link.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from stigmergy.errors import CorruptError, UsageError

__all__ = ["open_layered", "read_layered", "relative_parts", "remove_tree", "write_beneath"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = "user.overlay.opaque"


def relative_parts(path: str) -> tuple[str, ...]:
    """The components of a relative path that stays where it starts."""
    parts = tuple(path.split("/"))
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise UsageError(f"{path!r} is not a plain relative path, such as src/main.py.")
    return parts


def read_layered(roots: Sequence[Path], path: str, *, max_bytes: int) -> bytes | None:
    """A regular file in a stack of overlay layers, the uppermost first; None where there is none.

    Raises:
        CorruptError: it is a link, not a regular file, or larger than `max_bytes`.
    """
    handle = open_layered(roots, path)
    if handle is None:
        return None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise CorruptError(f"{path} in the sandbox is not a regular file", where=path)
        with open(handle, "rb", closefd=False) as file:
            # Memory is set aside for as much as is asked for.
            data = file.read(min(max_bytes, status.st_size) + 1)
    finally:
        os.close(handle)
    if len(data) > max_bytes:
        raise CorruptError(f"{path} in the sandbox is larger than {max_bytes} bytes", where=path)
    return data


def open_layered(roots: Sequence[Path], path: str) -> int | None:
    """A descriptor of what the layers show at `path`: a file, opened without waiting, or a folder.

    Raises:
        CorruptError: it, or a folder on the way to it, is a link or cannot be opened.
    """
    parts = relative_parts(path)
    for root in roots:
        with _folder(root) as start:
            found, hides_lower = _open_in_layer(start, parts, path)
        if found is not None or hides_lower:
            return found
    return None


def _open_in_layer(start: int, parts: Sequence[str], path: str) -> tuple[int | None, bool]:
    """What one layer has there, and whether it hides what lower layers have."""
    here = os.dup(start)
    hides = False
    try:
        for at, part in enumerate(parts):
            try:
                status = os.stat(part, dir_fd=here, follow_symlinks=False)
            except FileNotFoundError:
                return None, hides
            last = at == len(parts) - 1
            if stat.S_ISLNK(status.st_mode):
                raise CorruptError(f"{path} in the sandbox leads through a link", where=path)
            if _is_whiteout(status) or (not last and not stat.S_ISDIR(status.st_mode)):
                return None, True
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                inner = os.open(part, flags if last else _FOLDER, dir_fd=here)
            except OSError as error:
                raise CorruptError(
                    f"{path} in the sandbox cannot be opened: {error.strerror}", where=path
                ) from error
            os.close(here)
            here = inner
            hides = hides or (stat.S_ISDIR(status.st_mode) and _is_opaque(here))
        found, here = here, -1
        return found, True
    finally:
        if here >= 0:
            os.close(here)


def write_beneath(root: Path, path: str, data: bytes) -> None:
    """Write a file under `root`, making folders; a whiteout in the way makes room.

    Raises:
        CorruptError: a link or another kind of file is in the way.
    """
    *folders, name = relative_parts(path)
    with _folder(root) as start:
        here = os.dup(start)
        try:
            for folder in folders:
                inner = _enter(here, folder)
                os.close(here)
                here = inner
            _clear_whiteout(here, name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
            handle = os.open(name, flags | os.O_CLOEXEC, 0o644, dir_fd=here)
            with os.fdopen(handle, "wb") as file:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise CorruptError(f"{path} in the sandbox is not a regular file", where=path)
                file.write(data)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO}:
                raise CorruptError(f"{path} in the sandbox is in the way", where=path) from error
            raise
        finally:
            os.close(here)


def _enter(here: int, folder: str) -> int:
    was_removed = _clear_whiteout(here, folder)
    with suppress(FileExistsError):
        os.mkdir(folder, dir_fd=here)
    inner = os.open(folder, _FOLDER, dir_fd=here)
    if was_removed:
        os.setxattr(inner, _OPAQUE, b"y")  # what lies below stays removed
    return inner


def _clear_whiteout(here: int, name: str) -> bool:
    try:
        status = os.stat(name, dir_fd=here, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if _is_whiteout(status):
        os.unlink(name, dir_fd=here)
        return True
    return False


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(folder: int) -> bool:
    try:
        return os.getxattr(folder, _OPAQUE) == b"y"
    except OSError:
        return False


@contextmanager
def _folder(path: Path) -> Generator[int]:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def remove_tree(path: Path) -> None:
    """Remove a folder and what is in it, also where permissions were taken away; idempotent.

    A link is removed, not followed. What is removed must not be in use any more.
    """
    while os.path.lexists(path):
        with suppress(FileNotFoundError):  # somebody else removes it as well: look again
            if path.is_dir() and not path.is_symlink():
                _remove_folder(path)
            else:
                path.unlink()


@dataclass(frozen=True, slots=True)
class _Level:
    """A folder on the way down, and the folders in it that are still to be removed."""

    name: str
    identity: tuple[int, int]
    folders: list[str]


def _remove_folder(path: Path) -> None:
    # One folder is open at a time, and each step is one name long. So neither the depth nor the
    # length of a path is limited: a program may have nested folders beyond every limit.
    here = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    way = [_Level("", _identity(here), [path.name])]
    try:
        while way[0].folders or len(way) > 1:
            if way[-1].folders:
                name = way[-1].folders.pop()
                here = _moved(here, _open_to_empty(here, name))
                way.append(_Level(name, _identity(here), _unlink_files(here)))
            else:
                emptied = way.pop()
                here = _moved(here, _open_above(here, way[-1].identity))
                os.rmdir(emptied.name, dir_fd=here)
    finally:
        os.close(here)


def _moved(here: int, there: int) -> int:
    os.close(here)
    return there


def _identity(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino


def _open_to_empty(here: int, name: str) -> int:
    """Open a folder and give ourselves back what an ordinary user needs to empty it."""
    try:
        inner = os.open(name, _FOLDER, dir_fd=here)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=here)  # relative to an open folder
        inner = os.open(name, _FOLDER, dir_fd=here)
    try:
        if os.fstat(inner).st_mode & 0o700 != 0o700:
            os.fchmod(inner, 0o700)
    except OSError:
        os.close(inner)
        raise
    return inner


def _open_above(here: int, expected: tuple[int, int]) -> int:
    above = os.open("..", _FOLDER, dir_fd=here)
    if _identity(above) != expected:
        os.close(above)
        raise OSError(errno.ESTALE, "a folder was moved while it was being removed")
    return above


def _unlink_files(folder: int) -> list[str]:
    """Remove all but the folders in a folder; returns those."""
    with os.scandir(folder) as found:
        entries = list(found)
    folders: list[str] = []
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        else:
            os.unlink(entry.name, dir_fd=folder)  # relative to an open folder
    return folders
