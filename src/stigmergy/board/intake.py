"""What the board takes: tasks are checked before they are posted, results before they are kept.

Pure. Every refusal names the task and says what to do instead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Final

from stigmergy.board import lifecycle
from stigmergy.board.blobs import BlobFolder, is_reference, is_well_named
from stigmergy.board.task import (
    Json,
    JsonObject,
    Task,
    check_task_id,
    encode_json,
    parsed_fields,
)
from stigmergy.errors import CorruptError, UsageError

__all__ = [
    "Intake",
    "Limits",
    "check_agent_id",
    "check_batch",
    "check_event",
    "check_names",
    "check_seconds",
    "is_posted_already",
    "tidy_text",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the board takes."""

    payload_bytes: int = 1024**2
    """A larger payload becomes a file beside the board, where the board has a place for files."""
    result_bytes: int = 1024**2
    """Likewise."""
    file_bytes: int = 256 * 1024**2
    """No payload or result is larger: keep the data elsewhere and post where it is."""
    description_bytes: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class Intake:
    """Judges what comes in; large values go to the folder of blobs, if there is one."""

    limits: Limits
    blobs: BlobFolder | None = None

    def check_result(self, held_id: str, result: Json) -> JsonObject:
        """The result as it can be stored.

        Raises:
            UsageError: it is no object, not JSON, or too large.
        """
        what = f"the result of task {held_id!r}"
        if not isinstance(result, Mapping):
            raise UsageError(f"{what} is {type(result).__name__}: an object (dict) is expected")
        return self.fit(what, encode_json(result, what=what), self.limits.result_bytes)

    def check_progress(self, held_id: str, progress: Json) -> JsonObject:
        """The report as it can be stored.

        Raises:
            UsageError: it is no object, not JSON, or larger than a description may be.
        """
        what = f"the progress of task {held_id!r}"
        if not isinstance(progress, Mapping):
            raise UsageError(f"{what} is {type(progress).__name__}: an object (dict) is expected")
        text = encode_json(progress, what=what)
        _check_size(what, text, self.limits.description_bytes)
        return json.loads(text)

    def fit(self, what: str, text: str, limit: int) -> JsonObject:
        """The value of a JSON text, or a reference to a file with it.

        Raises:
            UsageError: it is too large.
        """
        if self.blobs is not None and len(text) * 4 > limit and len(text.encode()) > limit:
            _check_size(what, text, self.limits.file_bytes)
            return self.blobs.put(text)
        _check_size(what, text, limit)
        value: JsonObject = json.loads(text)
        if is_reference(value) and not is_well_named(value):
            raise UsageError(f"{what}: '$blob' is the board's own key; call it otherwise")
        return value


def check_batch(tasks: Iterable[Task], intake: Intake) -> dict[str, Task]:
    """The tasks by id, each as the board may store it.

    Raises:
        UsageError: one is malformed or too large, two have one id, or they form a cycle.
    """
    batch: dict[str, Task] = {}
    for task in tasks:
        if task.task_id in batch:
            raise UsageError(f"two of the posted tasks have the id {task.task_id!r}")
        batch[task.task_id] = _checked(task, intake)
    cycle = lifecycle.find_cycle(
        batch, lambda name: batch[name].depends_on if name in batch else ()
    )
    if cycle:
        raise UsageError(f"the dependencies form a cycle: {' -> '.join(cycle)}")
    return batch


def check_event(
    kind: str, *, task_id: str, agent_id: str, data: JsonObject, limits: Limits
) -> None:
    """Refuse an event that cannot be stored.

    Raises:
        UsageError: it is not JSON, or too large.
    """
    what = f"the data of event {kind!r}"
    _check_size(what, encode_json(data, what=what), limits.payload_bytes)
    encode_json([kind, task_id, agent_id], what=f"event {kind!r}")


@lru_cache(maxsize=1024)
def check_agent_id(agent_id: str) -> str:
    """The name, if an agent can be known by it.

    Raises:
        UsageError: it is empty or cannot be stored.
    """
    if not agent_id:
        raise UsageError("an agent needs a name to claim")
    encode_json(agent_id, what=f"the agent name {agent_id!r}")
    return agent_id


def check_names(names: Iterable[str], *, what: str) -> tuple[str, ...]:
    """The names, each once, in their order; one string is not several.

    Raises:
        UsageError: a string stands where a collection of strings belongs.
    """
    if isinstance(names, str):
        raise UsageError(f"{what} is the string {names!r}: write [{names!r}]")
    return tuple(dict.fromkeys(str(name) for name in names))


def check_seconds(seconds: float, *, what: str) -> float:
    """The duration, if it is positive and finite.

    Raises:
        UsageError: it is not.
    """
    if not 0 < seconds < math.inf:
        raise UsageError(f"{what} is {seconds}: take a positive, finite number of seconds")
    return seconds


def tidy_text(text: str, limits: Limits) -> str:
    """An explanation as it can be stored: not too long, undecodable bytes shown as escapes."""
    return text[: limits.description_bytes].encode(errors="backslashreplace").decode()


def is_posted_already(standing: Task | None, task: Task) -> bool:
    """Whether `task` stands on the board as it was posted, so posting it again changes nothing.

    Raises:
        UsageError: another task has its id.
    """
    if standing is None:
        return False
    same = all(getattr(standing, name) == getattr(task, name) for name in _IDENTIFYING)
    # A task may have been given further dependencies since; they come after its own.
    if not same or standing.depends_on[: len(task.depends_on)] != task.depends_on:
        raise UsageError(f"the id {task.task_id!r} is taken by another task on this board")
    return True


_IDENTIFYING: Final = (
    "task_type",
    "description",
    "payload",
    "requires",
    "parent_id",
    "unique_key",
    "limit_key",
    "priority",
)
_POSTED_FIELDS: Final = (
    "task_type",
    "description",
    "payload",
    "task_id",
    "requires",
    "depends_on",
    "parent_id",
    "unique_key",
    "limit_key",
    "priority",
    "max_attempts",
    "not_before",
    "created_at",
)
"""What the poster of a task says; the rest is the board's."""
_AS_NEW: Final[Mapping[str, object]] = {
    field.name: field.default for field in fields(Task) if field.name not in _POSTED_FIELDS
}
"""What the rest is in a new task."""


def _checked(task: Task, intake: Intake) -> Task:
    """The task as the board may store it, or an error that names it."""
    check_task_id(task.task_id)
    for field in ("requires", "depends_on"):
        if names := getattr(task, field):
            check_names(names, what=f"{field} of task {task.task_id!r}")
    try:
        told = parsed_fields(task, where="post")
    except CorruptError as error:
        raise UsageError(str(error)) from None
    if any(name in _AS_NEW and value != _AS_NEW[name] for name, value in told.items()):
        raise UsageError(
            f"task {task.task_id!r} is {task.status.value} or carries traces of work: "
            "a task is posted as new"
        )
    name = f"task {task.task_id!r}"
    _check_size(f"the description of {name}", task.description, intake.limits.description_bytes)
    what = f"the payload of {name}"
    payload = encode_json(task.payload, what=what)
    # As JSON has it, tuples being lists: or the task would differ from itself once stored.
    told["payload"] = intake.fit(what, payload, intake.limits.payload_bytes)
    return replace(task, **told)


def _check_size(what: str, text: str, limit: int) -> None:
    # A character is at most four bytes, so most texts need no encoding to be judged.
    if len(text) * 4 > limit and (size := len(text.encode())) > limit:
        raise UsageError(
            f"{what} has {size:,} bytes; the board takes {limit:,}. Store it elsewhere and post "
            "where it is"
        )
