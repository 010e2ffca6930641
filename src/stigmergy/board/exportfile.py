"""An export of a board as it is read: checked to its last byte before anything comes of it.

It is read twice and never held whole: once to see that it is an export and all of one, and once
more, checked again, to put it onto a board. So a file that was cut off, changed or never was an
export leaves no trace there, however large it is.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Final, Protocol, cast

from stigmergy.board.blobs import is_reference, reference_name
from stigmergy.board.rules import Rules
from stigmergy.board.store import Rule
from stigmergy.board.task import Event, Json, JsonObject, Task, encode_json, task_from_json
from stigmergy.errors import CorruptError, UsageError

__all__ = [
    "FORMAT",
    "HEADER",
    "KINDS",
    "Blob",
    "Content",
    "ExportFile",
    "Exported",
    "Record",
    "ending",
    "is_export",
    "read_export",
    "references",
]

FORMAT: Final = 1
HEADER: Final = "stigmergy_board"
KINDS: Final = ("rule", "task", "event", "blob")
"""Of lines, in their order."""
_HIGHEST_SEQ: Final = 2**53


@dataclass(frozen=True, slots=True)
class Blob:
    """A payload or result that was too large for a row."""

    name: str
    text: str


Record = Rule | Task | Event | Blob
"""What a line between the first and the last one holds."""


class Exported(Protocol):
    """What a board held."""

    def records(self) -> Iterator[Record]:
        """Rules, tasks in posting order, events by their `seq`, large values."""
        ...

    def text_of(self, name: str) -> str:
        """The text of a large value that a task refers to."""
        ...


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

    def records(self) -> Iterator[Record]:
        """See `Exported.records`."""
        yield from self.rules
        yield from self.tasks
        yield from self.events
        yield from (Blob(name, text) for name, text in self.blobs.items())

    def text_of(self, name: str) -> str:
        """See `Exported.text_of`."""
        return self.blobs[name]


class ExportFile:
    """An export in a file.

    Args:
        file: at its beginning; it can seek.
        where: what it is called in errors.

    Raises:
        CorruptError: it is none, or not all of one; the text names the line.
    """

    def __init__(self, file: IO[bytes], *, where: str) -> None:
        self._file = file
        self._where = where
        self._begins = file.tell()
        self._blobs: dict[str, int] = {}
        """Where the lines of large values begin."""
        reader = _Reader(where)
        place = self._begins
        for line in file:
            record = reader.take(line)
            if isinstance(record, Blob):
                self._blobs[record.name] = place
            place += len(line)
        reader.finish()
        self.tasks = reader.counts["task"]
        self.events = reader.counts["event"]

    def records(self) -> Iterator[Record]:
        """See `Exported.records`; raises as the file's opening does, if it was changed since."""
        self._file.seek(self._begins)
        reader = _Reader(self._where)
        while line := self._file.readline():
            if (record := reader.take(line)) is not None:
                yield record
        reader.finish()

    def text_of(self, name: str) -> str:
        """See `Exported.text_of`."""
        place = self._file.tell()
        self._file.seek(self._blobs[name])
        line = self._file.readline()
        self._file.seek(place)
        blob = _Reader(self._where, line=2).take(line)
        if not isinstance(blob, Blob) or blob.name != name:
            raise CorruptError(f"{self._where} was changed while it was read", where=self._where)
        return blob.text


def ending(counts: Mapping[str, int], digest: str) -> JsonObject:
    """What the closing line says."""
    return {f"{kind}s": number for kind, number in counts.items()} | {"sha256": digest}


def references(tasks: Iterable[Task], rules: Iterable[Rule]) -> dict[str, JsonObject]:
    """What stands for a file, by the file's name."""
    values = [value for task in tasks for value in (task.payload, task.result)]
    values += [schedule.task.payload for schedule in Rules.of(rules).schedules]
    return {reference_name(value): value for value in values if value and is_reference(value)}


def read_export(lines: Iterable[bytes], *, where: str) -> Content:
    """What an export holds, checked to its last byte.

    Raises:
        CorruptError: it is none, or not all of one; the text names the line.
    """
    reader = _Reader(where)
    content = Content()
    for line in lines:
        match reader.take(line):
            case Rule() as rule:
                content.rules.append(rule)
            case Task() as task:
                content.tasks.append(task)
            case Event() as event:
                content.events.append(event)
            case Blob(name, text):
                content.blobs[name] = text
            case None:
                pass
    reader.finish()
    return content


def is_export(line: bytes) -> bool:
    """Whether a file whose first line this is was written by `export_board`."""
    return line.startswith(f'{{"{HEADER}":'.encode())


class _Reader:
    """Takes an export line by line, and keeps of it only what later lines are checked by."""

    def __init__(self, where: str, *, line: int = 0) -> None:
        self._where = where
        self._line = line
        self._digest = hashlib.sha256()
        self.counts: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._names: set[str] = set()
        self._needed: set[str] = set()
        self._blobs: set[str] = set()
        self._last_seq = 0
        self._is_over = False

    def take(self, line: bytes) -> Record | None:
        """Go on by one line; what it holds, if it is neither the first nor the last one."""
        self._line += 1
        record: Record | None = None
        if self._is_over:
            raise self._fault("something follows the closing line")
        kind, value = self._parse(line)
        if self._line == 1:
            self._take_header(kind, value)
        else:
            match kind:
                case "rule":
                    record = self._take_rule(value)
                case "task":
                    record = self._take_task(value)
                case "event":
                    record = self._take_event(value)
                case "blob":
                    record = self._take_blob(value)
                case "end":
                    self._take_end(value)
                case _:
                    raise self._fault(f"no line of an export begins with {kind!r}")
        self._digest.update(line)
        return record

    def finish(self) -> None:
        """See that it was whole."""
        if not self._is_over:
            raise self._fault(
                "it ends without its closing line: it was cut off"
                if self._line
                else "it is empty: not an export of a board"
            )

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
        if kind != HEADER:
            raise self._fault("not an export of a board")
        if value != FORMAT:
            raise self._fault(
                f"it has format {value!r}, and this version of stigmergy knows {FORMAT}"
            )

    def _in_order(self, kind: str) -> None:
        """Count a line, and see that it is where its kind belongs."""
        place = KINDS.index(kind)
        if later := [name for name in KINDS[place + 1 :] if self.counts[name]]:
            raise self._fault(f"a {kind} after the {later[0]}s")
        self.counts[kind] += 1

    def _take_rule(self, value: Json) -> Rule:
        self._in_order("rule")
        rule = _rule_from_json(value)
        if rule is None:
            raise self._fault("no rule of a board")
        try:
            self._needed |= references([], [rule]).keys()
        except CorruptError as error:
            raise self._fault(str(error)) from None
        return rule

    def _take_task(self, value: Json) -> Task:
        self._in_order("task")
        try:
            task = task_from_json(value, where=f"{self._where}:{self._line}")
        except CorruptError as error:
            raise CorruptError(f"{error}. Nothing was imported", where=error.where) from None
        if task.task_id in self._names:
            raise self._fault(f"a second task {task.task_id!r}")
        self._names.add(task.task_id)
        try:
            self._needed |= references([task], []).keys()
        except CorruptError as error:
            raise self._fault(str(error)) from None
        return task

    def _take_event(self, value: Json) -> Event:
        self._in_order("event")
        event = _event_from_json(value)
        if event is None:
            raise self._fault("no event of a journal")
        if event.seq <= self._last_seq:
            raise self._fault(f"event {event.seq} follows event {self._last_seq}")
        self._last_seq = event.seq
        return event

    def _take_blob(self, value: Json) -> Blob:
        self._in_order("blob")
        match value:
            case {"name": str(name), "text": str(text)}:
                pass
            case _:
                raise self._fault("no large value")
        if f"sha256-{hashlib.sha256(text.encode(errors='replace')).hexdigest()}" != name:
            raise self._fault(f"the large value {name!r} is another one: its SHA-256 differs")
        self._blobs.add(name)
        return Blob(name, text)

    def _take_end(self, value: Json) -> None:
        if value != ending(self.counts, self._digest.hexdigest()):
            raise self._fault(
                "its lines are not those that were exported: some changed or are lost"
            )
        if missing := sorted(self._needed - self._blobs):
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
