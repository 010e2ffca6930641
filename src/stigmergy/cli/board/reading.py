"""What is typed or piped into a command: JSON, lengths of time, moments, lines."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Final, cast

from stigmergy.board import JsonObject, Lease
from stigmergy.errors import UsageError

__all__ = ["decode", "held", "lines_of", "moment", "object_of", "seconds", "source", "text_of"]

_STDIN: Final = "-"
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)\s*", re.ASCII)


def object_of(value: str | None, *, what: str) -> JsonObject:
    """The object in `{"a": 1}`, in `@FILE` or, for `-`, on stdin; an empty one if not given.

    Raises:
        UsageError: it cannot be read, or is no JSON object; `what` names the option.
    """
    if value is None:
        return {}
    if value == _STDIN or value.startswith("@"):
        name = value.removeprefix("@")
        with source(name) as stream:
            return decode(stream.read(), where=f"{what}: {_called(name)}")
    return decode(value.encode(), where=what)


def text_of(value: str, *, what: str) -> str:
    """The text itself or, for `-`, what stdin holds; bytes that are no text become escapes."""
    if value != _STDIN:
        return value
    with source(value) as stream:
        text = stream.read().decode(errors="backslashreplace").strip()
    if not text:
        raise UsageError(f"{what}: stdin is empty")
    return text


def decode(text: bytes, *, where: str) -> JsonObject:
    """The JSON object in a text.

    Raises:
        UsageError: it is none; `where` says what was read.
    """
    try:
        value: object = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(f"{where} is {_kind(value)}: an object ({{…}}) is expected")
    return cast("JsonObject", value)


def lines_of(name: str) -> Generator[tuple[str, bytes]]:
    """The lines of a file (`-` for stdin) that say something, each with `FILE:NUMBER`."""
    with source(name) as stream:
        for number, line in enumerate(cast("Iterable[bytes]", stream), start=1):
            if line.strip():
                yield f"{_called(name)}:{number}", line


@contextmanager
def source(name: str) -> Generator[IO[bytes]]:
    """A file to read, or stdin for `-`.

    Raises:
        UsageError: it cannot be read.
    """
    if name == _STDIN:
        yield sys.stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - what its reader raises is not of the file
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror or error}") from None
    with file:
        yield file


def seconds(text: str, *, what: str) -> float:
    """The length of time in `90`, `90s`, `10m`, `1h30m`, `2d` or `1w`.

    Raises:
        UsageError: it is none; `what` names the option.
    """
    parts = _PART.findall(text)
    is_read = not _PART.sub("", text)
    # A number without a unit is seconds, but only where it stands alone.
    if not parts or not is_read or (len(parts) > 1 and any(not unit for _, unit in parts)):
        raise UsageError(f"{what} is {text!r}: write a length of time as 90s, 10m, 1h30m or 30d")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def moment(text: str, *, what: str) -> float:
    """The seconds since the epoch of `2026-12-24T18:00`; local time unless it names a zone.

    Raises:
        UsageError: it is no moment; `what` names the option.
    """
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(
            f"{what} is {text!r}: write a moment as 2026-12-24T18:00 (local time), or with a zone "
            "as 2026-12-24T18:00+01:00"
        ) from None


def held(task_id: str, *, agent: str, fence: int) -> Lease:
    """The lease that `claim` told. The board looks at the agent and the fence alone."""
    return Lease(task_id=task_id, agent_id=agent, attempt=0, fence=fence, deadline=0.0)


def _called(name: str) -> str:
    return "stdin" if name == _STDIN else name


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case list():
            return "a list"
        case str():
            return "a string"
        case _:
            return "a number"
