"""Recordings of what models answered: JSON Lines, keyed by task and turn.

    {"recording": 1, "label": "…", "origin": "captured", "note": "…"}          (optional)
    {"task": "F07", "turn": 0, "model": "…", "response": {"message": {…}, "usage": {…} | null,
     "finish_reason": "stop"}}

A turn is the number of assistant messages that its request held, so the order of calls is
nowhere in a recording. A task that is tried again asks the same turns again: of a *captured*
recording the last answer counts, since that is the attempt whose work went on; in one *written*
by hand (or that does not say) two answers for a turn are a mistake.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

from stigmergy.errors import CorruptError, NotFoundError
from stigmergy.models.redaction import Redactor

__all__ = ["RecordedAnswer", "RecordedTurn", "Recorder", "Recording", "load_recording"]

_MAX_LINE_BYTES = 32 * 1024**2
_M = TypeVar("_M", bound=BaseModel)


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Header(_Line):
    recording: Literal[1]
    label: str = ""
    origin: Literal["captured", "written"] = "written"
    note: str = ""


class _Message(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    role: Literal["assistant"] = "assistant"
    content: JsonValue = None
    tool_calls: list[dict[str, JsonValue]] | None = None


class RecordedAnswer(_Line):
    """What the model said."""

    message: _Message
    usage: dict[str, JsonValue] | None = None
    """As the provider counted; None is unknown."""
    finish_reason: str | None


class RecordedTurn(_Line):
    """One line of a recording."""

    task: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    turn: Annotated[int, Field(ge=0, strict=True)]
    model: str
    response: RecordedAnswer


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording, loaded whole."""

    path: Path
    label: str
    origin: Literal["captured", "written"]
    note: str
    turns: Mapping[tuple[str, int], RecordedTurn]

    def turns_of(self, task: str) -> tuple[int, ...]:
        """The turns that exist of a task, in order."""
        return tuple(sorted(turn for name, turn in self.turns if name == task))

    def models(self) -> tuple[str, ...]:
        """The models that were recorded, sorted."""
        return tuple(sorted({turn.model for turn in self.turns.values()}))


def load_recording(path: Path) -> Recording:
    """The recording in the file, every line of it checked.

    Raises:
        NotFoundError: there is no such file.
        CorruptError: a line is not what it should be; the text names the file and the line.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise NotFoundError(f"there is no recording {path}") from None
    header = _Header(recording=1)
    turns: dict[tuple[str, int], RecordedTurn] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        document = _object(line, where)
        if number == 1 and "recording" in document:
            header = _checked(_Header, document, where)
            continue
        turn = _checked(RecordedTurn, document, where)
        if (turn.task, turn.turn) in turns and header.origin == "written":
            raise CorruptError(
                f"{where}: turn {turn.turn} of task {turn.task!r} is there a second time",
                where=where,
            )
        turns[turn.task, turn.turn] = turn
    return Recording(path, header.label, header.origin, header.note, turns)


class Recorder:
    """Appends turns to a file, each synced to disk before `record` returns.

    Safe for threads and processes: a line is written by one call, under a lock on the file. An
    existing recording is checked and continued, whatever its header says.

    Args:
        path: made if missing, for this user only.
        redactor: takes secrets out of everything written.
        label: for the header of a new file.

    Raises:
        CorruptError: the file exists and is no recording.
    """

    def __init__(self, path: Path, *, redactor: Redactor, label: str = "") -> None:
        self._redactor = redactor
        self._path = path
        self._thread_lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._begin(label)
        except BaseException:
            self.close()
            raise

    def record(self, task: str, turn: int, *, model: str, response: Mapping[str, Any]) -> None:
        """Append one answer: `message`, `usage` and `finish_reason`."""
        self._append({"task": task, "turn": turn, "model": model, "response": dict(response)})

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self, label: str) -> None:
        with self._locked():
            if os.fstat(self._fd).st_size == 0:
                header = _Header(recording=1, label=label, origin="captured")
                self._write(header.model_dump())
            else:
                load_recording(self._path)

    def _append(self, document: dict[str, Any]) -> None:
        with self._locked():
            self._write(self._redactor.json(document))

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        # flock holds off other processes, but not other threads with the same descriptor.
        with self._thread_lock:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _write(self, document: dict[str, Any]) -> None:
        # ASCII: what a model says may hold lone surrogates, which no other encoding can write.
        line = json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"
        if os.write(self._fd, line) != len(line):
            raise CorruptError(
                f"the disk took only a part of a line of {self._path}: is it full?",
                where=str(self._path),
            )
        os.fsync(self._fd)


def _object(line: bytes, where: str) -> dict[str, Any]:
    if len(line) > _MAX_LINE_BYTES:
        raise CorruptError(f"{where}: longer than {_MAX_LINE_BYTES} bytes", where=where)
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        raise CorruptError(f"{where}: not a line of JSON", where=where) from None
    if not isinstance(document, dict):
        raise CorruptError(f"{where}: not a JSON object", where=where)
    return cast("dict[str, Any]", document)


def _checked(kind: type[_M], document: dict[str, Any], where: str) -> _M:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise CorruptError(f"{where}: {place}: {fault['msg']}", where=where) from None
