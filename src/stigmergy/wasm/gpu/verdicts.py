"""What drivers turned out to do, remembered between runs: one small file for each question.

Only answers are kept, never data; a folder that cannot be written costs time, not correctness.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import platformdirs

__all__ = ["GOOD", "Verdicts", "verdict_key"]

GOOD = "good"
"""The verdict on what worked."""


class Verdicts:
    """Answers by key. Safe between processes: a file appears whole or not at all."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(platformdirs.user_cache_dir("stigmergy")) / "gpu"

    def get(self, key: str, *, younger_than_s: float | None = None) -> str | None:
        """Return what was found, or None; also where it was found too long ago."""
        try:
            if younger_than_s is not None:
                age_s = time.time() - (self._folder / key).stat().st_mtime
                if not 0 <= age_s < younger_than_s:
                    return None
            return (self._folder / key).read_text() or None
        except (OSError, UnicodeDecodeError):
            return None

    def put(self, key: str, verdict: str) -> None:
        """Remember what was found, if the folder can be written."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "w") as file:
                file.write(verdict)
            Path(name).replace(self._folder / key)
        except OSError:
            return


def verdict_key(kind: str, parts: Sequence[str]) -> str:
    """Return the name of a question: what it asks, and a digest of all that decides the answer."""
    digest = sha256()
    for part in parts:
        content = part.encode()
        digest.update(len(content).to_bytes(8, "little") + content)
    return f"{kind}-{digest.hexdigest()}"
