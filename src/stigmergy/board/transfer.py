"""A whole board as JSON lines, and back: lossless between any two stores.

A header, the rules, the tasks in posting order, the events of the journal in theirs, the payloads
and results that were too large for a row, and a closing line with counts and a digest of every
byte before it. How it is read is in `exportfile`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from stigmergy.board.blobs import BlobFolder, is_reference, reference_name
from stigmergy.board.exportfile import (
    FORMAT,
    HEADER,
    KINDS,
    Blob,
    Exported,
    ending,
    references,
)
from stigmergy.board.store import Query, Rule, Store
from stigmergy.board.task import (
    Event,
    Json,
    JsonObject,
    Task,
    encode_json,
    new_task_id,
    task_to_json,
)
from stigmergy.errors import CorruptError, UsageError

__all__ = ["export_board", "import_board"]

_PAGE: Final = 1000
_RESTORED: Final = 10_000
"""Events that are put into a journal at a time."""
_TRIES: Final = 3
"""Looks at a busy board before it is held for one."""


# Out -----------------------------------------------------------------------------------------


def export_board(store: Store, write: Callable[[bytes], object], *, now: float) -> tuple[int, int]:
    """Write the board as it stands at one moment; how many tasks and events that were.

    Others may go on with the board. One that is never quiet is held for a moment, which its
    journal then tells.

    Raises:
        CorruptError: the file of a large payload or result is gone or damaged.
    """
    rules, tasks, last = _snapshot(store)
    writer = _Writer(write)
    writer.put(HEADER, FORMAT, exported_at=now)
    for rule in rules:
        writer.put("rule", _rule_to_json(rule))
    for task in tasks:
        writer.put("task", task_to_json(task))
    for event in _events_up_to(store, last):
        writer.put("event", _event_to_json(event))
    for reference in references(tasks, rules).values():
        if store.blobs is None:
            break  # nobody can have put one there
        value = BlobFolder(store.blobs).get(reference)
        text = encode_json(value, what="a blob")
        writer.put("blob", {"name": reference_name(reference), "text": text})
    writer.close()
    return writer.counts["task"], writer.counts["event"]


class _Writer:
    """Writes lines, and knows what the closing one has to say."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._digest = hashlib.sha256()
        self.counts: dict[str, int] = dict.fromkeys(KINDS, 0)

    def put(self, kind: str, value: Json, **more: Json) -> None:
        """Write a line."""
        line = f"{encode_json({kind: value, **more}, what='the board')}\n".encode()
        self._digest.update(line)
        self._write(line)
        if kind in self.counts:
            self.counts[kind] += 1

    def close(self) -> None:
        """Write the closing line."""
        self.put("end", ending(self.counts, self._digest.hexdigest()))


def _snapshot(store: Store) -> tuple[list[Rule], list[Task], int]:
    """All rules and tasks, and the `seq` of the last event that led to them."""
    store.counts(None)  # a folder looks at all its files, so that what was edited is in it
    for _ in range(_TRIES):
        last = store.last_seq()
        with store.transaction() as tx:
            rules, tasks = tx.rules(), tx.select(Query())
        if store.last_seq() == last:
            return rules, tasks, last
    last, mark = store.last_seq(), new_task_id()
    with store.transaction() as tx:
        rules, tasks = tx.rules(), tx.select(Query())
        tx.append("exported", data={"mark": mark})
    for event in _events_after(store, last):
        if event.kind == "exported" and event.data.get("mark") == mark:
            return rules, tasks, event.seq
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


def _rule_to_json(rule: Rule) -> JsonObject:
    return {"name": rule.name, "body": rule.body, "gates": rule.gates, "due_at": rule.due_at}


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


def import_board(store: Store, exported: Exported) -> None:
    """Put all of it onto an empty board, or nothing. Idempotent as far as it was interrupted.

    Raises:
        UsageError: the board is not empty.
        CorruptError: the file was changed while it was read; nothing was imported.
    """
    # Files of large values are there before the rows that refer to them are; what a crash leaves
    # behind is swept in time.
    folder = None if store.blobs is None else BlobFolder(store.blobs)
    events: list[Event] = []
    used = bool(store.last_seq())
    with store.transaction() as tx:
        if used or tx.select(Query(limit=1)):
            raise UsageError(f"the board {store.url} is in use: import goes onto an empty board")
        for record in exported.records():
            match record:
                case Rule():
                    tx.put_rule(record)
                case Task():
                    tx.put(record if folder is not None else _with_values(record, exported))
                case Event():
                    events.append(record)
                case Blob():
                    if folder is not None:
                        folder.put(record.text)
            if len(events) == _RESTORED:
                tx.restore(events)
                events.clear()
        tx.restore(events)


def _with_values(task: Task, exported: Exported) -> Task:
    """The task with large values in it, for a board that has no place for files."""

    def value_of(value: JsonObject | None) -> JsonObject | None:
        if not value or not is_reference(value):
            return value
        return json.loads(exported.text_of(reference_name(value)))

    return replace(task, payload=value_of(task.payload) or {}, result=value_of(task.result))
