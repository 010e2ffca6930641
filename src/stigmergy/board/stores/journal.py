"""The write-ahead journal of a folder board: one line a transaction, each with a CRC32.

A line is on disk (`fdatasync`) before anything else happens, so the journal is what was promised
and the task files are its mirror. Its first line names the generation: from time to time the
journal begins anew with a snapshot of the tasks, and the events of the old one move to an archive
beside it, so opening a board costs its size and not its age. Blanks may follow the last line: room
for the next ones. All of this is called under the board's lock.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final, cast

from stigmergy.board.folders import make_folder, sync_folder
from stigmergy.board.store import Rule
from stigmergy.board.task import (
    Event,
    Json,
    JsonObject,
    Task,
    task_from_json,
    task_from_trusted_json,
    task_to_json,
)
from stigmergy.errors import CorruptError

__all__ = ["Journal", "Reading", "Record"]

_PREFIX: Final = b'{"crc32":"'
_BODY_AT: Final = len(_PREFIX) + 8 + len(b'",')
_SNAPSHOT_TASKS: Final = 200
"""Tasks in one line of a snapshot: a damaged line costs no more than those."""
_ROOM: Final = b" " * 64 * 1024
"""Written ahead of the lines: a file that keeps its length is synced in half the time of one that
grows. Spaces, so that what reads JSON lines reads this too."""
_FILLERS: Final = b" \0"
"""What may follow the last line: room, and after a power cut what was never written."""
_PIECE_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one transaction did."""

    seq: int
    """Of its first event, or of the next one if it has none."""
    at: float
    tasks: tuple[Task, ...] = ()
    """As it left them."""
    removed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    """Those of `removed` whose files the board itself deletes."""
    aside: tuple[str, ...] = ()
    """Files that it put into quarantine as `<name>.<seq>`."""
    events: tuple[Event, ...] = ()
    history: tuple[Event, ...] = ()
    """Events of another board, with their own `seq` and time; they come before `events`."""
    rules: tuple[tuple[str, Rule | None], ...] = ()
    """As it left them; None dropped one."""
    generation: int = 0
    """Above 0 only in the first line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Lines of a journal, in order."""

    records: list[tuple[int, Record]]
    """Each with the offset of its end."""
    damaged: list[tuple[int, int]]
    """Begin and end of lines that cannot be read, though others follow."""
    torn_at: int | None
    """Where an unreadable last line begins."""


class Journal:
    """The journal of the folder `home`, and the archive of its older events."""

    def __init__(self, home: Path) -> None:
        self.path = home / "journal.jsonl"
        self.generation = 0
        self.end = 0
        """What was read or written so far, in bytes."""
        self.next_seq = 1
        self._archive = home / "events"
        self._fd = -1
        self._room_end = 0
        """How long the file was when it was last looked at."""
        self._made_room = False
        self._starts: list[tuple[int, int]] = []
        """Of each record with events: the seq of its first one, and where its line begins."""

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def is_current(self) -> bool:
        """Whether the file read so far is still the journal, and no shorter than it was."""
        if self._fd < 0:
            return False
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return False
        self._room_end = now.st_size
        return now.st_ino == os.fstat(self._fd).st_ino and now.st_size >= self.end

    def reopen(self) -> Reading:
        """Read from the beginning; of a journal that is not there, nothing."""
        self.close()
        self.generation, self.end, self.next_seq, self._starts = 0, 0, 1, []
        self._room_end, self._made_room = 0, False
        if not self.path.exists():
            return Reading(records=[], damaged=[], torn_at=None)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        return self._take_in(_read_all(self._fd, 0).rstrip(_FILLERS))

    def read_new(self) -> Reading:
        """Read what was appended since. A torn end is reported, and left as it is."""
        return self._take_in(_read_to_room(self._fd, self.end))

    def _take_in(self, content: bytes) -> Reading:
        start = self.end
        reading = Reading(records=[], damaged=[], torn_at=None)
        torn_at: int | None = None
        for line in content.splitlines(keepends=True):
            begin, start = start, start + len(line)
            record = _decode(line, where=f"{self.path}, byte {begin}")
            if record is None:
                torn_at = begin if start == self.end + len(content) else None
                if torn_at is None:
                    reading.damaged.append((begin, start))
                continue
            reading.records.append((start, record))
            self._note(record, begin)
        self.end = start if torn_at is None else torn_at
        return replace(reading, torn_at=torn_at)

    def cut(self) -> None:
        """Cut off what follows the end: a line that no transaction finished."""
        os.ftruncate(self._fd, self.end)
        self._room_end = self.end

    def append(self, record: Record) -> None:
        """Add a record; it is durable when this returns, and not there when this raises.

        Raises:
            OSError: the disk is full or broken.
        """
        line = _encode(record)
        begin = self.end
        try:
            self._make_room(begin, len(line))
            _write_all(self._fd, line, begin)
            os.fdatasync(self._fd)
        except OSError:
            self.cut()
            raise
        self.end = begin + len(line)
        self._note(record, begin)

    def _make_room(self, begin: int, size: int) -> None:
        if begin + size > self._room_end:
            self._made_room = True
            with suppress(OSError):  # the disk is full: perhaps the line still has a place
                os.pwrite(self._fd, _ROOM, begin)

    def trim(self) -> None:
        """Cut off the room, if it is of this process's making; others make their own when needed.

        Raises:
            OSError: the disk is broken.
        """
        if self._made_room and self.is_current():
            os.ftruncate(self._fd, self.end + len(_read_to_room(self._fd, self.end)))

    def begin_anew(self, tasks: Iterable[Task], rules: Iterable[Rule], *, at: float) -> None:
        """Begin the next generation with a snapshot; the events so far go to the archive.

        A crash at any point leaves either the old journal or the new one, whole.

        Raises:
            OSError: the disk is full or broken; the old journal stands.
        """
        if self._starts:
            self._archive_events()
        snapshot = list(tasks)
        head = Record(
            seq=self.next_seq,
            at=at,
            generation=self.generation + 1,
            rules=tuple((rule.name, rule) for rule in rules),
        )
        lines = [_encode(head)]
        for first in range(0, len(snapshot), _SNAPSHOT_TASKS):
            chunk = tuple(snapshot[first : first + _SNAPSHOT_TASKS])
            lines.append(_encode(Record(seq=self.next_seq, at=at, tasks=chunk)))
        _replace_file(self.path, lines)
        self.close()
        self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self.generation += 1
        self.end = self._room_end = sum(map(len, lines))
        self._made_room = False
        self._starts = []

    def keep_damaged(self, folder: Path) -> None:
        """Keep a copy of a damaged journal before it begins anew."""
        if self.path.exists():
            folder.mkdir(exist_ok=True)
            copy = folder / f"{self.path.name}.{time.time_ns()}"
            _replace_file(copy, [self.path.read_bytes()])

    def events(self, *, after: int, limit: int, task_id: str | None) -> list[Event]:
        """As `Store.events`."""
        if limit <= 0:
            return []
        wanted = (
            event
            for record in self._records_with_events(after, task_id)
            for event in (*record.history, *record.events)
            if event.seq > after and (task_id is None or event.task_id == task_id)
        )
        return list(islice(wanted, limit))

    def _note(self, record: Record, begin: int) -> None:
        if record.generation:
            self.generation = record.generation
        if record.history:
            self._starts.append((record.history[0].seq, begin))
        elif record.events:
            self._starts.append((record.seq, begin))
        self.next_seq = max(self.next_seq, record.seq + len(record.events))

    def _records_with_events(self, after: int, task_id: str | None) -> Iterator[Record]:
        # Most lines say nothing of the one task, and looking for its name is cheaper than parsing.
        needle = b"" if task_id is None else task_id.encode()
        here = self._starts[0][0] if self._starts else self.next_seq
        if after + 1 < here:
            for path in self._archived(after, here):
                with path.open("rb") as file:
                    lines = _whole(file, path)
                    yield from _decoded((line for line in lines if needle in line), path)
        place = max(0, bisect_right(self._starts, (after + 1, self.end)) - 1)
        for _, begin in self._starts[place:]:
            if needle in (line := self._line(begin)):
                yield from _decoded([line], self.path)

    def _line(self, begin: int) -> bytes:
        pieces: list[bytes] = []
        while piece := os.pread(self._fd, 16384, begin + sum(map(len, pieces))):
            head, newline, _ = piece.partition(b"\n")
            pieces.append(head + newline)
            if newline:
                break
        return b"".join(pieces)

    def _archived(self, after: int, before: int) -> list[Path]:
        """The archive's files that may have events above `after`; their names are first seqs.

        One that begins at `before` is what a crash left of beginning anew: the journal has it all.
        """
        if not self._archive.is_dir():
            return []
        paths = sorted(p for p in self._archive.glob("*.jsonl") if int(p.stem) < before)
        firsts = [int(path.stem) for path in paths]
        return paths[max(0, bisect_right(firsts, after + 1) - 1) :]

    def _archive_events(self) -> None:
        make_folder(self._archive)
        lines = (_decoded([self._line(begin)], self.path) for _, begin in self._starts)
        bare = (part for records in lines for record in records for part in _bare(record))
        _replace_file(
            self._archive / f"{self._starts[0][0]:016d}.jsonl", [_encode(r) for r in bare]
        )

    def count_events(self, *, before: float) -> int:
        """Events older than that time, the latest of all aside."""
        return sum(
            event.at < before and event.seq < self.next_seq - 1
            for record in self._records_with_events(0, None)
            for event in (*record.history, *record.events)
        )

    def forget_events(self, *, before: float) -> None:
        """Drop archived events older than that time; the latest of all stays.

        Raises:
            OSError: the disk is full or broken; some may be gone.
        """
        for path in self._archived(0, self.next_seq):
            with path.open("rb") as file:
                records = list(_decoded(file, path))
            kept = [part for record in records if (part := self._younger(record, before))]
            if not kept:
                path.unlink()
            elif kept != records:
                _replace_file(path, [_encode(record) for record in kept])

    def _younger(self, record: Record, before: float) -> Record | None:
        def stays(event: Event) -> bool:
            return event.at >= before or event.seq >= self.next_seq - 1

        kept = replace(record, history=tuple(filter(stays, record.history)))
        if not any(map(stays, record.events)):
            kept = replace(kept, events=())
        return kept if kept.history or kept.events else None


def _encode(record: Record) -> bytes:
    body: JsonObject = {"seq": record.seq, "at": record.at}
    if record.generation:
        body["generation"] = record.generation
    if record.tasks:
        body["tasks"] = [task_to_json(task) for task in record.tasks]
    if record.removed:
        body["removed"] = list(record.removed)
    if record.deleted:
        body["deleted"] = list(record.deleted)
    if record.aside:
        body["aside"] = list(record.aside)
    if record.rules:
        body["rules"] = {
            name: None if rule is None else [rule.body, rule.gates, rule.due_at]
            for name, rule in record.rules
        }
    if record.history:
        body["history"] = [
            [e.seq, e.at, e.kind, e.task_id, e.agent_id, e.data] for e in record.history
        ]
    if record.events:
        body["events"] = [[e.kind, e.task_id, e.agent_id, e.data] for e in record.events]
    # ASCII, so that any name found in a folder can be written down.
    text = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    rest = text[1:] + b"\n"
    return _PREFIX + b"%08x" % zlib.crc32(rest) + b'",' + rest


def _decode(line: bytes, *, where: str) -> Record | None:
    """The record in a line, or None where the line is damaged.

    Raises:
        CorruptError: the line is whole, but this version of the program cannot read it.
    """
    if not _is_whole(line):
        return None
    body = cast("JsonObject", json.loads(line))
    try:
        seq, at = int(body["seq"]), float(body["at"])
        return Record(
            seq=seq,
            at=at,
            generation=int(body.get("generation", 0)),
            tasks=tuple(_task(task, where) for task in body.get("tasks", ())),
            removed=tuple(body.get("removed", ())),
            deleted=tuple(body.get("deleted", ())),
            aside=tuple(body.get("aside", ())),
            rules=tuple((name, _rule(name, told)) for name, told in body.get("rules", {}).items()),
            history=tuple(
                Event(seq=seq, at=at, kind=kind, task_id=task, agent_id=agent, data=data)
                for seq, at, kind, task, agent, data in body.get("history", ())
            ),
            events=tuple(
                Event(seq=seq + place, at=at, kind=kind, task_id=task, agent_id=agent, data=data)
                for place, (kind, task, agent, data) in enumerate(body.get("events", ()))
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"{where}: no journal record: {error}", where=where) from error


def _task(told: Json, where: str) -> Task:
    try:
        return task_from_trusted_json(told)
    except (KeyError, TypeError, ValueError):  # of another version: judge it, field by field
        return task_from_json(told, where=where)


def _rule(name: str, told: Json) -> Rule | None:
    if told is None:
        return None
    body, gates, due_at = told
    return Rule(name=name, body=body, gates=bool(gates), due_at=due_at)


def _bare(record: Record) -> Iterator[Record]:
    """Its events alone; a long history in parts, so that reading on from within it is cheap."""
    for first in range(0, len(record.history), _SNAPSHOT_TASKS):
        part = record.history[first : first + _SNAPSHOT_TASKS]
        yield Record(seq=part[-1].seq + 1, at=record.at, history=part)
    if record.events:
        yield Record(seq=record.seq, at=record.at, events=record.events)


def _is_whole(line: bytes) -> bool:
    if not line.startswith(_PREFIX) or not line.endswith(b"\n"):
        return False
    return line[len(_PREFIX) : _BODY_AT] == b'%08x",' % zlib.crc32(line[_BODY_AT:])


def _whole(lines: Iterable[bytes], path: Path) -> Iterator[bytes]:
    """The lines of an archive, which nobody looked at since it was written.

    Raises:
        CorruptError: one is damaged.
    """
    for number, line in enumerate(lines, start=1):
        if not _is_whole(line):
            raise CorruptError(
                f"line {number} of {path}, older events of the board, is damaged. The tasks are "
                "not in it; move it away to go on without these events",
                where=str(path),
            )
        yield line


def _decoded(lines: Iterable[bytes], path: Path) -> Iterator[Record]:
    """The records in lines; a damaged one was reported when the journal was read."""
    for line in lines:
        if (record := _decode(line, where=str(path))) is not None:
            yield record


def _read_all(fd: int, start: int) -> bytes:
    size = os.fstat(fd).st_size - start
    pieces: list[bytes] = []
    while size > 0 and (piece := os.pread(fd, size, start)):
        pieces.append(piece)
        start += len(piece)
        size -= len(piece)
    return b"".join(pieces)


def _read_to_room(fd: int, start: int) -> bytes:
    """The lines from there on. What follows the room is nothing, as long as the power stays on."""
    pieces: list[bytes] = []
    while piece := os.pread(fd, _PIECE_BYTES, start):
        pieces.append(piece)
        start += len(piece)
        if piece[-1:] in (b" ", b"\0"):
            break
    return b"".join(pieces).rstrip(_FILLERS)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written


def _replace_file(path: Path, lines: Iterable[bytes]) -> None:
    """Write a file durably and in one step."""
    draft = path.with_name(f"{path.name}.new")
    with draft.open("wb") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)
