"""Payloads and results too large for a row, as files named by their SHA-256.

A file is whole and synced before the row that refers to it is written, and never changes after.
What nothing refers to any more is removed by `sweep`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from stigmergy.board.task import Json, JsonObject
from stigmergy.errors import CorruptError, TransientError

__all__ = ["BlobFolder", "is_reference", "is_well_named", "reference_name"]

_KEY: Final = "$blob"
_NAME: Final = re.compile(r"sha256-[0-9a-f]{64}")


def is_reference(value: Json) -> bool:
    """Whether a payload or result stands for a file."""
    return isinstance(value, dict) and _KEY in value


def is_well_named(reference: JsonObject) -> bool:
    """Whether a reference names a file as `BlobFolder` does."""
    name = reference.get(_KEY)
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def reference_name(reference: JsonObject) -> str:
    """The name of the file that a reference stands for.

    Raises:
        CorruptError: it can be none.
    """
    if not is_well_named(reference):
        raise CorruptError(f"{reference.get(_KEY)!r} names no blob", where="blob reference")
    return str(reference[_KEY])


class BlobFolder:
    """A folder of such files, made when the first is written. Thread-safe, shared by processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, text: str) -> JsonObject:
        """Keep a JSON text; the reference to it. Idempotent.

        Raises:
            TransientError: it could not be written.
        """
        content = text.encode()
        name = f"sha256-{hashlib.sha256(content).hexdigest()}"
        path = self._path(name)
        try:
            if not path.exists():
                self._write(path, content)
            else:
                os.utime(path)  # young again, so no sweep takes it before it is referred to
        except OSError as error:
            raise TransientError(
                f"a payload or result of {len(content):,} bytes could not be kept in {self.path}: "
                f"{error}; free some space and try again"
            ) from error
        return {_KEY: name, "bytes": len(content)}

    def get(self, reference: JsonObject) -> JsonObject:
        """What a reference stands for.

        Raises:
            CorruptError: the file is gone, or is not what was written.
        """
        name = reference_name(reference)
        path = self._path(name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CorruptError(
                f"the blob {path} cannot be read: {error}", where=str(path)
            ) from error
        if f"sha256-{hashlib.sha256(content).hexdigest()}" != name:
            raise CorruptError(f"the blob {path} is damaged: its SHA-256 differs", where=str(path))
        return json.loads(content)

    def sweep(self, keep: Collection[str], *, older_than_s: float = 24 * 3600.0) -> int:
        """Remove files that are not in `keep`; how many.

        Young ones stay: their rows may not be written yet.
        """
        if not self.path.is_dir():
            return 0
        removed = 0
        for path in self.path.glob("*/sha256-*"):
            if path.name not in keep and time.time() - path.stat().st_mtime > older_than_s:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def _path(self, name: str) -> Path:
        return self.path / name[7:9] / name

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, draft = tempfile.mkstemp(prefix=".", dir=path.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
        for folder in (path.parent, self.path):
            _sync(folder)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
