"""Reads and writes of the swarm's memory, as the journal tells them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from stigmergy.board import Event, JsonObject
from stigmergy.monitor.reading import amount, names, text

__all__ = ["MemoryUse"]

LATEST: Final = 50
_READS: Final = frozenset({"memory_read", "memory_searched"})
_WRITES: Final = frozenset({"memory_stored", "memory_written", "memory_deleted", "reflected"})


@dataclass(slots=True)
class MemoryUse:
    """How often, and the latest fifty. A count is None until the first."""

    reads: int | None = None
    writes: int | None = None
    latest: deque[JsonObject] = field(default_factory=lambda: deque[JsonObject](maxlen=LATEST))

    def take(self, event: Event) -> None:
        """Go on by one event."""
        if event.kind in _READS:
            entries = len(names(event, "entries")) or int(amount(event, "count") or 1)
            self.reads = (self.reads or 0) + entries
        elif event.kind in _WRITES:
            self.writes = (self.writes or 0) + 1
        else:
            return
        self.latest.append(
            {
                "id": str(event.seq),
                "at": event.at,
                "namespace": text(event, "namespace"),
                "key": text(event, "key") or text(event, "query"),
                "kind": event.kind,
                "by": event.agent_id or text(event, "by"),
            }
        )

    def document(self) -> JsonObject:
        """As JSON values."""
        return {"reads": self.reads, "writes": self.writes, "latest": list(self.latest)}
