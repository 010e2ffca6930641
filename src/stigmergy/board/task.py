"""What stands on the board: tasks, leases and events, as values, and their JSON form.

Everything here is frozen and pure. A task read from outside (a file somebody edited, a row, a
request) goes through `task_from_json`, which names the task and the field of every fault; nothing
else builds a task from untrusted data.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, cast

from stigmergy.errors import CorruptError, UsageError

__all__ = [
    "MAX_PRIORITY",
    "MIN_PRIORITY",
    "Event",
    "Json",
    "JsonObject",
    "Lease",
    "Task",
    "TaskStatus",
    "TaskType",
    "check_fields",
    "check_task_id",
    "encode_json",
    "new_task_id",
    "parsed_fields",
    "task_from_json",
    "task_from_trusted_json",
    "task_to_json",
]

Json = Any
"""A value that JSON can hold. Any stands at this edge alone."""
JsonObject = dict[str, Json]

MIN_PRIORITY: Final = 1
"""The most urgent."""
MAX_PRIORITY: Final = 10

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class TaskStatus(StrEnum):
    """Where a task stands; `lifecycle.py` has the table of what may follow what."""

    PENDING = "pending"
    CLAIMED = "claimed"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Nothing follows but a deliberate retry."""
        return self in _FINAL

    @property
    def is_leased(self) -> bool:
        """An agent holds it."""
        return self in _LEASED


_FINAL = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})
_LEASED = frozenset({TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS})


class TaskType(StrEnum):
    """The task types that Stigmergy's own agents know. Any other string is as good."""

    CODE = "code"
    FIX = "fix"
    REVIEW = "review"
    LAND = "land"
    PLAN = "plan"
    APPROVAL = "approval"
    WASM = "wasm"
    CODE_ANALYSIS = "code_analysis"
    PARALLEL_SEARCH = "parallel_search"
    GENERIC = "generic"


def new_task_id() -> str:
    """A random id of 16 hexadecimal digits."""
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on a task until `deadline`, and to report on it.

    `fence` grows with every claim of the task, so a report by an earlier holder is told from one
    by the present holder whatever the clocks say. Time decides liveness only.
    """

    task_id: str
    agent_id: str
    attempt: int
    fence: int
    deadline: float
    """Seconds since the epoch on the store's clock."""

    @property
    def idempotency_key(self) -> str:
        """Names this execution to the systems it touches: `task_id:fence`."""
        return f"{self.task_id}:{self.fence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One piece of work. A value: the board's copy changes only through the board.

    Times are seconds since the epoch on the store's clock; 0.0 in `created_at` asks the board to
    set it when the task is posted.
    """

    task_type: str
    description: str = ""
    payload: JsonObject = field(default_factory=dict[str, Json])
    task_id: str = field(default_factory=new_task_id)
    requires: tuple[str, ...] = ()
    """Capabilities that an agent needs, all of them."""
    depends_on: tuple[str, ...] = ()
    waiting_on: tuple[str, ...] = ()
    """Those of `depends_on` that are not completed yet. Kept by the board."""
    parent_id: str | None = None
    unique_key: str | None = None
    """No two unfinished tasks of a board have the same one."""
    limit_key: str | None = None
    """What limits by key count together: a customer, a host, an account."""
    priority: int = 5
    """1 is the most urgent, 10 the least."""
    lag_s: float = 0.0
    """How far fair sharing between parents puts it back in claim order. Set by the board."""
    status: TaskStatus = TaskStatus.PENDING
    attempts: int = 0
    """Claims that ended without a completion or a voluntary release, and the present one."""
    max_attempts: int = 3
    not_before: float = 0.0
    created_at: float = 0.0
    claimed_by: str | None = None
    """Who holds it; of a finished task, who finished it."""
    claimed_at: float | None = None
    lease_until: float | None = None
    fence: int = 0
    progress: JsonObject | None = None
    """What its present holder last reported of the work."""
    finished_at: float | None = None
    result: JsonObject | None = None
    error: str | None = None

    @property
    def lease(self) -> Lease | None:
        """The present holder's lease, or None when nobody holds it."""
        if not self.status.is_leased or self.claimed_by is None or self.lease_until is None:
            return None
        return Lease(
            task_id=self.task_id,
            agent_id=self.claimed_by,
            attempt=self.attempts,
            fence=self.fence,
            deadline=self.lease_until,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the journal: what happened, to which task, by whom."""

    seq: int
    """Grows by at least one from event to event of a board; 0 before it is stored."""
    at: float
    kind: str
    """`posted`, `claimed`, `completed` …, or a word of a capability: `landed`, `gate`."""
    task_id: str = ""
    agent_id: str = ""
    data: JsonObject = field(default_factory=dict[str, Json])


def check_task_id(task_id: object) -> str:
    """The id, if it can be a file name and a part of a git ref name.

    Raises:
        UsageError: it cannot.
    """
    if (
        not isinstance(task_id, str)
        or not _TASK_ID.fullmatch(task_id)
        or ".." in task_id
        or task_id.endswith((".", ".lock"))
    ):
        raise UsageError(
            f"task id {_brief(task_id)} cannot be used: take 1 to 128 of A-Z a-z 0-9 . _ - , "
            "beginning with a letter or digit, without '..' and not ending in '.' or '.lock'"
        )
    return task_id


def encode_json(value: Json, *, what: str) -> str:
    """Compact JSON.

    Raises:
        UsageError: `value` has something that JSON cannot hold (NaN and lone surrogates
            included); `what` names it.
    """
    try:
        text = _ENCODER.encode(value)
        if not text.isascii():
            text.encode()
        return text
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{what} cannot be stored as JSON: {error}") from None


def task_to_json(task: Task) -> JsonObject:
    """A JSON object with every field, in the order of the class."""
    return {name: getattr(task, name) for name in _FIELDS} | {
        "requires": list(task.requires),
        "depends_on": list(task.depends_on),
        "waiting_on": list(task.waiting_on),
        "status": str(task.status),
    }


def task_from_json(data: object, *, where: str) -> Task:
    """The task in a decoded JSON object. Missing fields take their defaults, unknown ones fail.

    Args:
        data: what `json.loads` gave.
        where: names the source in errors, e.g. the file.

    Raises:
        CorruptError: it is no task; the text names the task, the field and what was expected.
    """
    if not isinstance(data, Mapping):
        raise CorruptError(f"{where}: expected a JSON object, found {_brief(data)}", where=where)
    record = {str(key): value for key, value in cast("Mapping[object, object]", data).items()}
    name = _brief(record.get("task_id", "?"))
    if unknown := sorted(record.keys() - _PARSERS.keys()):
        raise CorruptError(
            f"{where}: task {name} has unknown fields: {', '.join(unknown)}", where=where
        )
    for required in ("task_id", "task_type"):
        if required not in record:
            raise CorruptError(f"{where}: task {name} has no {required!r}", where=where)
    values: dict[str, Any] = {}
    for key, value in record.items():
        try:
            values[key] = _PARSERS[key](value)
        except ValueError as error:
            raise _misfit(where, name, key, value, error) from None
    task = Task(**values)
    _check_lease_fields(task, where=where)
    return task


def check_fields(task: Task, *, like: Task | None, where: str) -> None:
    """See that a task can be read back from its JSON form.

    Args:
        task: built by the program.
        like: one of which that is known; what both have in common is not looked at again.
        where: names the source in errors.

    Raises:
        CorruptError: it cannot.
    """
    for name, parse in _PARSERS.items():
        value = getattr(task, name)
        if like is not None and value == getattr(like, name):
            continue
        try:
            parse(value)
        except ValueError as error:
            raise _misfit(where, _brief(task.task_id), name, value, error) from None
    _check_lease_fields(task, where=where)


def parsed_fields(task: Task, *, where: str) -> JsonObject:
    """The fields of a task in which it differs from a new one, each as `task_from_json` has it.

    Raises:
        CorruptError: one cannot be read; the text names the task, the field and what was expected.
    """
    values: JsonObject = {}
    for name, parse in _PARSERS.items():
        value = getattr(task, name)
        if value is _DEFAULTS.get(name, values):
            continue
        try:
            values[name] = parse(value)
        except ValueError as error:
            raise _misfit(where, _brief(task.task_id), name, value, error) from None
    return values


def _misfit(where: str, task: str, name: str, value: object, error: ValueError) -> CorruptError:
    return CorruptError(
        f"{where}: task {task}: field {name!r} is {_brief(value)}, expected {error}", where=where
    )


def _check_lease_fields(task: Task, *, where: str) -> None:
    if task.status.is_leased and task.lease is None:
        raise CorruptError(
            f"{where}: task {_brief(task.task_id)} is {task.status.value} but has no claimed_by "
            "and lease_until",
            where=where,
        )


def task_from_trusted_json(data: JsonObject) -> Task:
    """As `task_from_json`, but unchecked: this program wrote it, and a checksum vouches for it.

    Raises:
        KeyError, TypeError, ValueError: another version of the program wrote it.
    """
    values = dict(data)
    for name in ("requires", "depends_on", "waiting_on"):
        values[name] = tuple(data[name])
    values["status"] = TaskStatus(data["status"])
    return Task(**values)


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("text without lone surrogates") from None
    return value


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        raise ValueError("a list of strings")
    return tuple(dict.fromkeys(_string(item) for item in cast("Iterable[object]", value)))


def _object(value: object) -> JsonObject:
    if not isinstance(value, dict):
        raise ValueError("an object")
    record = {_string(key): item for key, item in cast("dict[object, Json]", value).items()}
    try:
        encode_json(record, what="it")
    except UsageError as error:
        raise ValueError(f"an object of JSON values; {error}") from None
    return record


def _integer(low: int, high: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return parse


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("a number of seconds")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise ValueError("a number of seconds")
    return seconds


def _status(value: object) -> TaskStatus:
    try:
        return TaskStatus(_string(value))
    except ValueError:
        raise ValueError(f"one of {', '.join(TaskStatus)}") from None


def _identifier(value: object) -> str:
    try:
        return check_task_id(value)
    except UsageError:
        raise ValueError("a task id") from None


def _identifiers(value: object) -> tuple[str, ...]:
    return tuple(_identifier(item) for item in _names(value))


def _type_name(value: object) -> str:
    if not (text := _string(value)) or len(text) > 100:
        raise ValueError("a name of 1 to 100 characters")
    return str(text)


def _key(value: object) -> str:
    if not (text := _string(value)) or len(text) > 200:
        raise ValueError("a key of 1 to 200 characters")
    return text


def _optional(parse: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: None if value is None else parse(value)


_COUNT = _integer(0, 2**53)
_PARSERS: Final[Mapping[str, Callable[[object], Any]]] = {
    "task_type": _type_name,
    "description": _string,
    "payload": _object,
    "task_id": _identifier,
    "requires": lambda value: tuple(sorted(_names(value))),
    "depends_on": _identifiers,
    "waiting_on": _identifiers,
    "parent_id": _optional(_identifier),
    "unique_key": _optional(_key),
    "limit_key": _optional(_key),
    "priority": _integer(MIN_PRIORITY, MAX_PRIORITY),
    "lag_s": _seconds,
    "status": _status,
    "attempts": _COUNT,
    "max_attempts": _integer(1, 2**53),
    "not_before": _seconds,
    "created_at": _seconds,
    "claimed_by": _optional(_string),
    "claimed_at": _optional(_seconds),
    "lease_until": _optional(_seconds),
    "fence": _COUNT,
    "progress": _optional(_object),
    "finished_at": _optional(_seconds),
    "result": _optional(_object),
    "error": _optional(_string),
}
_FIELDS: Final = tuple(f.name for f in fields(Task))
_DEFAULTS: Final = {f.name: f.default for f in fields(Task) if f.default is not MISSING}
