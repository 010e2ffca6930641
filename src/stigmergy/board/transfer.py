"""A whole board as JSON lines, and back: lossless between any two stores.

A header, the rules, the tasks in posting order, the events of the journal in theirs, the payloads
and results that were too large for a row, and a closing line with counts and a digest of every
byte before it. Reading is pure and checks everything first, so a file that was cut off, changed or
never was an export leaves no trace on a board.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, cast

from stigmergy.board.blobs import BlobFolder, is_reference, reference_name
from stigmergy.board.rules import Rules
from stigmergy.board.store import Query, Rule, Store
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
_KINDS: Final = ("rule", "task", "event", "blob")
"""Of lines, in their order."""
_HIGHEST_SEQ: Final = 2**53
_TRIES: Final = 3
"""Looks at a busy board before it is held for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a board holds."""

    rules: list[Rule] = field(default_factory=list[Rule])
    tasks: list[Task] = field(default_factory=list[Task])
    """In posting order."""
    events: list[Event] = field(default_factory=list[Event])
    """By their `seq`, which may have gaps."""
    blobs: dict[str, str] = field(default_factory=dict[str, str])
    """The texts of large payloads and results, by the names of their files."""


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
    writer.put(_HEADER, FORMAT, exported_at=now)
    for rule in rules:
        writer.put("rule", _rule_to_json(rule))
    for task in tasks:
        writer.put("task", task_to_json(task))
    for event in _events_up_to(store, last):
        writer.put("event", _event_to_json(event))
    for reference in _references(tasks, rules).values():
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
        self.counts: dict[str, int] = dict.fromkeys(_KINDS, 0)

    def put(self, kind: str, value: Json, **more: Json) -> None:
        """Write a line."""
        line = f"{encode_json({kind: value, **more}, what='the board')}\n".encode()
        self._digest.update(line)
        self._write(line)
        if kind in self.counts:
            self.counts[kind] += 1

    def close(self) -> None:
        """Write the closing line."""
        self.put("end", _ending(self.counts, self._digest.hexdigest()))


def _ending(counts: Mapping[str, int], digest: str) -> JsonObject:
    return {f"{kind}s": number for kind, number in counts.items()} | {"sha256": digest}


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


def _references(tasks: Iterable[Task], rules: Iterable[Rule]) -> dict[str, JsonObject]:
    """What stands for a file, by the file's name."""
    values = [value for task in tasks for value in (task.payload, task.result)]
    values += [schedule.task.payload for schedule in Rules.of(rules).schedules]
    return {reference_name(value): value for value in values if value and is_reference(value)}


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


def import_board(store: Store, content: Content) -> None:
    """Put all of it onto an empty board, or nothing. Idempotent as far as it was interrupted.

    Raises:
        UsageError: the board is not empty.
    """
    tasks = content.tasks
    if store.blobs is not None:
        # Before the rows that refer to them; what a crash leaves behind is swept in time.
        folder = BlobFolder(store.blobs)
        for text in content.blobs.values():
            folder.put(text)
    elif content.blobs:
        tasks = [_with_values(task, content.blobs) for task in tasks]
    used = bool(store.last_seq())
    with store.transaction() as tx:
        if used or tx.select(Query(limit=1)):
            raise UsageError(f"the board {store.url} is in use: import goes onto an empty board")
        for rule in content.rules:
            tx.put_rule(rule)
        for task in tasks:
            tx.put(task)
        tx.restore(content.events)


def _with_values(task: Task, blobs: Mapping[str, str]) -> Task:
    """The task with large values in it, for a board that has no place for files."""

    def value_of(value: JsonObject | None) -> JsonObject | None:
        return json.loads(blobs[reference_name(value)]) if value and is_reference(value) else value

    return replace(task, payload=value_of(task.payload) or {}, result=value_of(task.result))


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
        self._counts: dict[str, int] = dict.fromkeys(_KINDS, 0)
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
                case "rule":
                    self._take_rule(value)
                case "task":
                    self._take_task(value)
                case "event":
                    self._take_event(value)
                case "blob":
                    self._take_blob(value)
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

    def _in_order(self, kind: str) -> None:
        """Count a line, and see that it is where its kind belongs."""
        place = _KINDS.index(kind)
        if later := [name for name in _KINDS[place + 1 :] if self._counts[name]]:
            raise self._fault(f"a {kind} after the {later[0]}s")
        self._counts[kind] += 1

    def _take_rule(self, value: Json) -> None:
        self._in_order("rule")
        rule = _rule_from_json(value)
        if rule is None:
            raise self._fault("no rule of a board")
        try:
            Rules.of([rule])
        except CorruptError as error:
            raise self._fault(str(error)) from None
        self._content.rules.append(rule)

    def _take_task(self, value: Json) -> None:
        self._in_order("task")
        try:
            task = task_from_json(value, where=f"{self._where}:{self._line}")
        except CorruptError as error:
            raise CorruptError(f"{error}. Nothing was imported", where=error.where) from None
        if task.task_id in self._names:
            raise self._fault(f"a second task {task.task_id!r}")
        self._names.add(task.task_id)
        self._content.tasks.append(task)

    def _take_event(self, value: Json) -> None:
        self._in_order("event")
        event = _event_from_json(value)
        if event is None:
            raise self._fault("no event of a journal")
        if self._content.events and event.seq <= self._content.events[-1].seq:
            raise self._fault(f"event {event.seq} follows event {self._content.events[-1].seq}")
        self._content.events.append(event)

    def _take_blob(self, value: Json) -> None:
        self._in_order("blob")
        match value:
            case {"name": str(name), "text": str(text)}:
                pass
            case _:
                raise self._fault("no large value")
        if f"sha256-{hashlib.sha256(text.encode(errors='replace')).hexdigest()}" != name:
            raise self._fault(f"the large value {name!r} is another one: its SHA-256 differs")
        self._content.blobs[name] = text

    def _take_end(self, value: Json) -> None:
        if value != _ending(self._counts, self._digest.hexdigest()):
            raise self._fault(
                "its lines are not those that were exported: some changed or are lost"
            )
        try:
            needed = _references(self._content.tasks, self._content.rules).keys()
        except CorruptError as error:
            raise self._fault(str(error)) from None
        if missing := sorted(needed - self._content.blobs.keys()):
            raise self._fault(f"the large value {missing[0]!r} is not in it")
        self._is_over = True


def _rule_from_json(value: Json) -> Rule | None:
    match value:
        case {"name": str(name), "body": dict(), "gates": bool(gates), "due_at": due_at} if name:
            body = cast("JsonObject", value["body"])
        case _:
            return None
    if due_at is not None and not (isinstance(due_at, int | float) and _is_number(due_at)):
        return None
    try:
        encode_json([name, body], what="a rule")
    except UsageError:
        return None
    return Rule(name=name, body=body, gates=gates, due_at=due_at)


def _is_number(value: float) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _event_from_json(value: Json) -> Event | None:
    match value:
        case {
            "seq": int(seq),
            "at": int() | float() as at,
            "kind": str(kind),
            "task_id": str(task_id),
            "agent_id": str(agent_id),
            "data": dict(),
        } if kind and _is_number(seq) and 0 < seq <= _HIGHEST_SEQ and _is_number(at):
            data = cast("JsonObject", value["data"])
        case _:
            return None
    try:
        encode_json([kind, task_id, agent_id, data], what="an event")
    except UsageError:
        return None  # NaN, or half a character
    return Event(seq=seq, at=float(at), kind=kind, task_id=task_id, agent_id=agent_id, data=data)
