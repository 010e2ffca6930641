"""Reads and writes of the swarm's memory, as the journal tells them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from stigmergy.board import Event, JsonObject
from stigmergy.monitor.reading import names, text

__all__ = ["MemoryUse"]

LATEST: Final = 50


@dataclass(slots=True)
class MemoryUse:
    """How many entries, and the latest fifty uses. A count is None until the first."""

    reads: int | None = None
    writes: int | None = None
    latest: deque[JsonObject] = field(default_factory=lambda: deque[JsonObject](maxlen=LATEST))

    def take(self, event: Event) -> None:
        """Go on by one event."""
        match event.kind:
            case "memory_read":
                keys = names(event, "keys")
                self.reads = (self.reads or 0) + len(keys)
                self._note(event, ", ".join(keys))
            case "memory_written":
                self.writes = (self.writes or 0) + 1
                self._note(event, text(event, "key"))
            case _:
                pass

    def _note(self, event: Event, key: str) -> None:
        self.latest.append(
            {
                "id": str(event.seq),
                "at": event.at,
                "namespace": text(event, "namespace"),
                "key": key[:500],
                "kind": "read" if event.kind == "memory_read" else "write",
                "by": event.agent_id,
                "task_id": event.task_id,
            }
        )

    def document(self) -> JsonObject:
        """As JSON values."""
        return {"reads": self.reads, "writes": self.writes, "latest": list(self.latest)}
