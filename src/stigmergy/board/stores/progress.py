"""How far the processes on a folder board have come together: a small file beside the journal.

It says up to where the journal's transactions have reached the task files, so the next process
redoes what a killed one left half done. It is a note, not a truth: written in place and unsynced,
and without a valid one the journal is believed over the files.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Progress", "ProgressFile", "boot_id"]

_BYTES: Final = 512
"""The file's fixed size, so that a shorter note needs no truncation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The note."""

    generation: int
    """Of the journal that `applied` belongs to."""
    applied: int
    """The task files are what the journal has up to this byte."""
    last_seq: int
    boot: str
    """The run of the operating system in which the files were written: they are not synced."""
    folder_mtime_ns: int
    """After the board's own last change; another one means files were added or removed."""
    swept_at: float
    """When all files were last looked at, on the system's monotonic clock."""


class ProgressFile:
    """Read by anybody, written under the board's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._last: tuple[bytes, Progress] | None = None
        """What was read or written last, so that it is not parsed again."""

    def read(self) -> Progress | None:
        """The note, or None where there is none that can be understood."""
        content = os.pread(self._fd, _BYTES, 0)
        if self._last is not None and content == self._last[0]:
            return self._last[1]
        try:
            progress = Progress(**json.loads(content))
        except (ValueError, TypeError):
            return None
        self._last = content, progress
        return progress

    def write(self, progress: Progress) -> None:
        """Replace the note.

        Raises:
            OSError: the disk is full (the first time) or broken.
        """
        body = {name: getattr(progress, name) for name in Progress.__slots__}
        content = json.dumps(body).ljust(_BYTES - 1).encode() + b"\n"
        os.pwrite(self._fd, content, 0)
        self._last = content, progress

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def boot_id() -> str:
    """Names this run of the operating system; empty where the system has no such name."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
