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
from typing import Final, cast

from stigmergy.board.folders import make_folder, sync_folder
from stigmergy.board.task import Json, JsonObject
from stigmergy.errors import CorruptError, TransientError

__all__ = ["BlobFolder", "is_reference", "is_well_named", "reference_name"]

_KEY: Final = "$blob"
_PREFIX: Final = "sha256-"
_NAME: Final = re.compile(_PREFIX + "[0-9a-f]{64}")
_DRAFT: Final = ".draft-"


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
        name = _name(content)
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
        if _name(content) != name:
            raise CorruptError(f"the blob {path} is damaged: its SHA-256 differs", where=str(path))
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise CorruptError(f"the blob {path} is no JSON: {error}", where=str(path)) from error
        if not isinstance(value, dict):
            raise CorruptError(f"the blob {path} holds no JSON object", where=str(path))
        return cast("JsonObject", value)

    def sweep(self, keep: Collection[str], *, older_than_s: float = 24 * 3600.0) -> int:
        """Remove files that are not in `keep`, and what dead writers left half written; how many.

        Young ones stay: their rows may not be written yet.
        """
        if not self.path.is_dir():
            return 0
        youngest = time.time() - older_than_s
        return sum(
            _remove_if_older(path, than=youngest)
            for path in list(self.path.glob("*/*"))
            if path.name not in keep and path.name.startswith((_PREFIX, _DRAFT))
        )

    def _path(self, name: str) -> Path:
        return self.path / name[7:9] / name

    def _write(self, path: Path, content: bytes) -> None:
        make_folder(path.parent)
        fd, draft = tempfile.mkstemp(prefix=_DRAFT, dir=path.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def _name(content: bytes) -> str:
    return f"{_PREFIX}{hashlib.sha256(content).hexdigest()}"


def _remove_if_older(path: Path, *, than: float) -> bool:
    try:
        if path.stat().st_mtime >= than:
            return False
        path.unlink()
    except FileNotFoundError:  # another one sweeps too
        return False
    return True
