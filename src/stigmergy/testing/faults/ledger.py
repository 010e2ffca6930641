"""What processes say outside the board: the effects of their work, and what was promised to them.

One line a fact, written with one call to the end of a file, so a killed writer loses at most the
line it was in. The checker compares these files with the board.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

__all__ = ["Entry", "Ledger", "read_ledger"]

Kind = Literal["posted", "claimed", "renewed", "effect", "completed", "refused", "trouble"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A fact that a process wrote down.

    `posted`, `claimed`, `renewed` and `completed`: the board acknowledged it. `effect`: the work
    was done. `refused`: the board said that the lease is lost. `trouble`: that it cannot now.
    """

    kind: Kind
    agent_id: str
    at: float
    """On the system's monotonic clock, which all processes of a machine share."""
    task_id: str = ""
    fence: int = 0
    data: dict[str, Any] = field(default_factory=dict[str, Any])


class Ledger:
    """Appends entries to a file. Any number of processes may share it."""

    def __init__(self, path: str | Path, *, agent_id: str) -> None:
        self._agent_id = agent_id
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def write(self, kind: Kind, task_id: str = "", fence: int = 0, **data: object) -> None:
        """Add an entry."""
        entry = Entry(
            kind=kind,
            agent_id=self._agent_id,
            at=time.monotonic(),
            task_id=task_id,
            fence=fence,
            data=data,
        )
        # A line begins with a newline too: half a line of a killed process spoils no other.
        os.write(self._fd, f"\n{json.dumps(asdict(entry))}\n".encode())


def read_ledger(path: Path) -> list[Entry]:
    """The entries of a file, in order; lines that were cut off are left out."""
    entries: list[Entry] = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            entries.append(Entry(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return entries
