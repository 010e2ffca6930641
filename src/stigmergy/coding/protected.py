"""Paths that no agent may change, because this program itself reads them from the user's folder.

`.stigmergy/` holds the state of runs, and `stigmergy.toml` the settings of the next one: work that
lands in them would decide how later work is confined and judged. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from stigmergy.config import CONFIG_FILE

__all__ = ["STATE_FOLDER", "protected"]

STATE_FOLDER: Final = ".stigmergy"


def protected(paths: Iterable[str]) -> tuple[str, ...]:
    """Those of the paths, relative to the repository, that are out of bounds.

    Letter case does not count: some file systems do not keep it apart.
    """
    return tuple(path for path in paths if _is_protected(path.casefold()))


def _is_protected(path: str) -> bool:
    parts = path.split("/")
    return parts[0] == CONFIG_FILE or STATE_FOLDER in parts
