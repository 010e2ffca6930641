"""A whole board as JSON lines, and back: lossless between any two stores.

A header, the tasks in posting order, the events of the journal in theirs, and a closing line with
counts and a digest of every byte before it. Reading is pure and checks everything first, so a file
that was cut off, changed or never was an export leaves no trace on a board.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, cast

from stigmergy.board.store import Query, Store
from stigmergy.board.task import (
    Event,
    Json,
    JsonObject,
    Task,
    encode_json,
    new_task_id,
    task_from_json,
    task_to_json,
)
from stigmergy.errors import CorruptError, UsageError

__all__ = ["FORMAT", "Content", "export_board", "import_board", "is_export", "read_export"]

FORMAT: Final = 1
_HEADER: Final = "stigmergy_board"
_PAGE: Final = 1000
_TRIES: Final = 3
"""Looks at a busy board before it is held for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a board holds."""

    tasks: list[Task] = field(default_factory=list[Task])
    """In posting order."""
    events: list[Event] = field(default_factory=list[Event])
    """By their `seq`, which may have gaps."""


# Out -----------------------------------------------------------------------------------------


def export_board(store: Store, write: Callable[[bytes], object], *, now: float) -> tuple[int, int]:
    """Write the board as it stands at one moment; how many tasks and events that were.

    Others may go on with the board. One that is never quiet is held for a moment, which its
    journal then tells.
    """
    tasks, last = _snapshot(store)
    digest = hashlib.sha256()

    def put(record: JsonObject) -> None:
        line = f"{encode_json(record, what='the board')}\n".encode()
        digest.update(line)
        write(line)

    put({_HEADER: FORMAT, "exported_at": now})
    for task in tasks:
        put({"task": task_to_json(task)})
    events = 0
    for event in _events_up_to(store, last):
        put({"event": _event_to_json(event)})
        events += 1
    put({"end": {"tasks": len(tasks), "events": events, "sha256": digest.hexdigest()}})
    return len(tasks), events


def _snapshot(store: Store) -> tuple[list[Task], int]:
    """All tasks, and the `seq` of the last event that led to them."""
    for _ in range(_TRIES):
        last = _last_seq(store)
        tasks = store.select(Query())
        if not store.events(after=last, limit=1):
            return tasks, last
    last, mark = _last_seq(store), new_task_id()
    with store.transaction() as tx:
        tasks = tx.select(Query())
        tx.append("exported", data={"mark": mark})
    for event in _events_after(store, last):
        if event.kind == "exported" and event.data.get("mark") == mark:
            return tasks, event.seq
    raise CorruptError(f"the journal of {store.url} lost what was written", where=store.url)


def _events_up_to(store: Store, last: int) -> Iterator[Event]:
    for event in _events_after(store, 0):
        if event.seq > last:
            return
        yield event


def _events_after(store: Store, after: int) -> Iterator[Event]:
    while batch := store.events(after=after, limit=_PAGE):
        yield from batch
        after = batch[-1].seq


def _last_seq(store: Store) -> int:
    last = 0
    while batch := store.events(after=last, limit=_PAGE):
        last = batch[-1].seq
    return last


def _event_to_json(event: Event) -> JsonObject:
    return {
        "seq": event.seq,
        "at": event.at,
        "kind": event.kind,
        "task_id": event.task_id,
        "agent_id": event.agent_id,
        "data": event.data,
    }


# In ------------------------------------------------------------------------------------------


def import_board(store: Store, content: Content) -> None:
    """Put all of it onto an empty board, or nothing.

    Raises:
        UsageError: the board is not empty.
    """
    used = bool(store.events(after=0, limit=1))
    with store.transaction() as tx:
        if used or tx.select(Query()):
            raise UsageError(f"the board {store.url} is in use: import goes onto an empty board")
        for task in content.tasks:
            tx.put(task)
        for event in content.events:
            tx.restore(event)


def read_export(lines: Iterable[bytes], *, where: str) -> Content:
    """What an export holds, checked to its last byte.

    Raises:
        CorruptError: it is none, or not all of one; the text names the line.
    """
    reader = _Reader(where)
    for line in lines:
        reader.take(line)
    return reader.finish()


def is_export(line: bytes) -> bool:
    """Whether a file whose first line this is was written by `export_board`."""
    return line.startswith(f'{{"{_HEADER}":'.encode())


class _Reader:
    """Takes an export line by line."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._line = 0
        self._digest = hashlib.sha256()
        self._content = Content()
        self._names: set[str] = set()
        self._is_over = False

    def take(self, line: bytes) -> None:
        """Go on by one line."""
        self._line += 1
        if self._is_over:
            raise self._fault("something follows the closing line")
        kind, value = self._parse(line)
        if self._line == 1:
            self._take_header(kind, value)
        else:
            match kind:
                case "task":
                    self._take_task(value)
                case "event":
                    self._take_event(value)
                case "end":
                    self._take_end(value)
                case _:
                    raise self._fault(f"no line of an export begins with {kind!r}")
        self._digest.update(line)

    def finish(self) -> Content:
        """The whole of it, if it is whole."""
        if not self._is_over:
            raise self._fault(
                "it ends without its closing line: it was cut off"
                if self._line
                else "it is empty: not an export of a board"
            )
        return self._content

    def _fault(self, what: str) -> CorruptError:
        where = f"{self._where}:{self._line}"
        return CorruptError(f"{where}: {what}. Nothing was imported", where=where)

    def _parse(self, line: bytes) -> tuple[str, Json]:
        """The line's first key and its value."""
        try:
            record: object = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            if self._line == 1:
                raise self._fault("not an export of a board") from None
            what = "it was cut off here" if not line.endswith(b"\n") else f"not JSON: {error}"
            raise self._fault(what) from None
        if not isinstance(record, dict) or not record:
            raise self._fault("not an export of a board: a line is no JSON object")
        return next(iter(cast("JsonObject", record).items()))

    def _take_header(self, kind: str, value: Json) -> None:
        if kind != _HEADER:
            raise self._fault("not an export of a board")
        if value != FORMAT:
            raise self._fault(
                f"it has format {value!r}, and this version of stigmergy knows {FORMAT}"
            )

    def _take_task(self, value: Json) -> None:
        if self._content.events:
            raise self._fault("a task after the events")
        try:
            task = task_from_json(value, where=f"{self._where}:{self._line}")
        except CorruptError as error:
            raise CorruptError(f"{error}. Nothing was imported", where=error.where) from None
        if task.task_id in self._names:
            raise self._fault(f"a second task {task.task_id!r}")
        self._names.add(task.task_id)
        self._content.tasks.append(task)

    def _take_event(self, value: Json) -> None:
        event = _event_from_json(value)
        if event is None:
            raise self._fault("no event of a journal")
        if self._content.events and event.seq <= self._content.events[-1].seq:
            raise self._fault(f"event {event.seq} follows event {self._content.events[-1].seq}")
        self._content.events.append(event)

    def _take_end(self, value: Json) -> None:
        counted = {
            "tasks": len(self._content.tasks),
            "events": len(self._content.events),
            "sha256": self._digest.hexdigest(),
        }
        if value != counted:
            raise self._fault(
                "its lines are not those that were exported: some are changed or lost"
            )
        self._is_over = True


def _is_number(value: float) -> bool:
    return not isinstance(value, bool) and math.isfinite(value)


def _event_from_json(value: Json) -> Event | None:
    match value:
        case {
            "seq": int(seq),
            "at": int() | float() as at,
            "kind": str(kind),
            "task_id": str(task_id),
            "agent_id": str(agent_id),
            "data": dict(),
        } if kind and _is_number(seq) and seq > 0 and _is_number(at):
            data = cast("JsonObject", value["data"])
        case _:
            return None
    try:
        encode_json([kind, task_id, agent_id, data], what="an event")
    except UsageError:
        return None  # NaN, or half a character
    return Event(seq=seq, at=float(at), kind=kind, task_id=task_id, agent_id=agent_id, data=data)
