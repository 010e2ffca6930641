"""What an agent's model said and which tools it used: one task of the agent at a time.

Where the run kept the conversation (the gateway did, when the agent asked its model there), it
is that. Otherwise it is what the agent told the journal while it worked; a plain command tells its
output and nothing of a model, and then that is said.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stigmergy.board import Event, JsonObject, TaskBoard
from stigmergy.models import read_conversation

__all__ = ["MOST_ENTRIES", "Spell", "SpellBook", "conversation"]

MOST_ENTRIES: Final = 500
_MOST_SPELLS: Final = 200
"""Tasks of one agent that can be chosen."""
_BATCH: Final = 5_000
_LEFT: Final = frozenset({"completed", "failed", "released", "expired", "cancelled"})
_BEGINS: Final = 2.0
"""Seconds: the gateway's clock and the board's are the same, their writes are not at once."""


@dataclass(frozen=True, slots=True)
class Spell:
    """The time in which an agent held a task."""

    task_id: str
    begins: float
    ends: float | None
    """None: it still does."""

    def holds(self, at: float) -> bool:
        """Whether it was then."""
        return self.begins - _BEGINS <= at and (self.ends is None or at <= self.ends + _BEGINS)


class SpellBook:
    """Who held which task when, as the journal tells it; each event is read once. Thread-safe."""

    def __init__(self, board: TaskBoard) -> None:
        self._board = board
        self._lock = threading.Lock()
        self._after = 0
        self._spells: dict[str, deque[Spell]] = {}

    def of(self, agent_id: str) -> list[Spell]:
        """The latest tasks that the agent held, in order."""
        with self._lock:
            while batch := self._board.events(after=self._after, limit=_BATCH):
                self._after = batch[-1].seq
                for event in batch:
                    self._take(event)
            return list(self._spells.get(agent_id, ()))

    def _take(self, event: Event) -> None:
        if event.kind == "claimed":
            spells = self._spells.setdefault(event.agent_id, deque(maxlen=_MOST_SPELLS))
            spells.append(Spell(event.task_id, event.at, None))
        elif event.kind in _LEFT and event.agent_id in self._spells:
            spells = self._spells[event.agent_id]
            for at, spell in enumerate(spells):
                if spell.task_id == event.task_id and spell.ends is None:
                    spells[at] = Spell(spell.task_id, spell.begins, event.at)


def conversation(
    board: TaskBoard,
    book: SpellBook,
    agent_id: str,
    *,
    task_id: str | None,
    after: int,
    folder: Path | None,
    until: float | None = None,
) -> JsonObject:
    """The agent's conversation about a task, from entry `after` on; its latest task if None.

    `folder` is where the run keeps conversations; None where nothing does. With `until` nothing
    later is told, for a replay.
    """
    spells = [s for s in book.of(agent_id) if until is None or s.begins <= until]
    chosen = [s for s in spells if task_id is None or s.task_id == task_id]
    document: JsonObject = {
        "agent_id": agent_id,
        "task_id": chosen[-1].task_id if chosen else None,
        "tasks": [{"task_id": s.task_id, "begins": s.begins, "ends": s.ends} for s in spells],
        "source": "unknown",
        "entries": [],
        "next": after,
        "more": False,
    }
    if not chosen:
        return document
    source, entries = _entries(board, agent_id, chosen[-1].task_id, spells, folder)
    if until is not None:
        entries = [entry for entry in entries if _at(entry) <= until]
    page = entries[after : after + MOST_ENTRIES]
    return document | {
        "source": source if entries else "unknown",
        "entries": page,
        "next": after + len(page),
        "more": after + len(page) < len(entries),
    }


def _entries(
    board: TaskBoard, agent_id: str, task_id: str, spells: Sequence[Spell], folder: Path | None
) -> tuple[str, list[JsonObject]]:
    mine = [spell for spell in spells if spell.task_id == task_id]
    if folder is not None:
        kept = [
            entry
            for entry in read_conversation(folder / f"{task_id}.jsonl")
            if any(spell.holds(_at(entry)) for spell in mine)
        ]
        if kept:
            return "conversation", kept
    history = [event for event in board.history(task_id) if event.agent_id == agent_id]
    return "journal", list(_told(history))


def _told(events: Sequence[Event]) -> Iterator[JsonObject]:
    for event in events:
        data = event.data
        match event.kind, data.get("kind"):
            case "progress", "text" | "output" | "notice":
                yield {"at": event.at, "kind": data["kind"], "text": str(data.get("text", ""))}
            case "progress", "tool":
                name, brief = str(data.get("name", "")), str(data.get("brief", ""))
                yield {"at": event.at, "kind": "tool", "name": name, "text": brief}
            case "progress", "done":
                yield {
                    "at": event.at,
                    "kind": "done",
                    "name": str(data.get("name", "")),
                    "ok": bool(data.get("ok")),
                    "duration_ms": data.get("duration_ms"),
                }
            case "progress", "commit":
                yield {"at": event.at, "kind": "commit", "text": str(data.get("message", ""))}
            case (("claimed" | "completed" | "failed" | "released" | "expired" | "cancelled"), _):
                yield {"at": event.at, "kind": "event", "text": _happened(event)}
            case _:
                pass


def _happened(event: Event) -> str:
    why = event.data.get("error") or event.data.get("reason") or event.data.get("summary") or ""
    return f"{event.kind} {event.task_id}{': ' if why else ''}{why}"


def _at(entry: JsonObject) -> float:
    at = entry.get("at")
    return float(at) if isinstance(at, int | float) else 0.0
