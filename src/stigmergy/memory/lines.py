"""The lines of an export, read: everything checked, marked and cleaned before anything is written.

Whoever can write such a file can write anything into it. So what it says of where an entry comes
from stays a claim: the entry is marked here, by this program, as imported from a place that whoever
imports it names; tags and origins in the file that would say so themselves are stripped, and that
is told. Pure.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stigmergy.board.task import Json
from stigmergy.errors import UsageError
from stigmergy.memory.entry import (
    MAX_HOPS,
    MAX_TAGS,
    SHARED_FROM,
    Entry,
    Kind,
    Origin,
    check_key,
    check_namespace,
    check_origin,
    check_tags,
    check_value,
    is_reserved,
)
from stigmergy.memory.exporting import FORMAT, HEADER
from stigmergy.memory.secretwords import looks_secret, redact_json
from stigmergy.memory.vectors import MAX_DIMS, Vector
from stigmergy.memory.writing import Draft

__all__ = ["Content", "Item", "read_lines"]

MAX_LINE_BYTES: Final = 8 * 1024**2
MAX_ENTRIES: Final = 500_000
_MAX_HISTORY: Final = 1000
_LATEST: Final = 253_402_300_800.0
"""The year 10000: no time is later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An entry of a file, ready to be written."""

    draft: Draft
    history: tuple[Draft, ...]
    """Earlier versions, the oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A file's entries, checked, marked and cleaned."""

    source: str
    items: tuple[Item, ...]
    notes: tuple[str, ...]


Time = Annotated[float, Field(ge=0, lt=_LATEST, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


_T = TypeVar("_T", bound=_Part)


class _OriginPart(_Part):
    agent_id: str = ""
    task_id: str = ""
    run_id: str = ""
    imported_from: str | None = None
    via: list[str] = Field(default_factory=list[str])


class _VersionPart(_Part):
    kind: Kind
    value: Any
    tags: list[str] = Field(default_factory=list[str])
    version: int = Field(default=1, ge=1, lt=2**53)
    updated_at: Time
    expires_at: Time | None = None
    origin: _OriginPart = Field(default_factory=_OriginPart)


class _EntryPart(_VersionPart):
    namespace: str
    key: str
    created_at: Time
    vector: str | None = None
    history: list[_VersionPart] = Field(default_factory=list[_VersionPart], max_length=_MAX_HISTORY)


class _HeaderPart(_Part):
    stigmergy_memory: int
    memory: str = ""
    exported_at: float | None = None
    namespaces: list[str] = Field(default_factory=list[str])


class _EndPart(_Part):
    end: int


def read_lines(
    lines: Iterable[bytes], *, source: str, namespace: str | None, own_id: str
) -> Content:
    """The entries in a file's lines. Pure; everything is checked.

    Args:
        lines: of the file.
        source: what to call the place that they come from.
        namespace: put all into this one.
        own_id: of the memory that they are for.

    Raises:
        UsageError: a line is not what it should be; the text names it by its number.
    """
    reader = _Reader(source=source, namespace=namespace, own_id=own_id)
    number = 0
    for number, line in enumerate(lines, start=1):
        reader.take(number, line)
    reader.finish(number)
    notes = [
        told if count == 1 else f"{told} ({count:,} times)" for told, count in reader.told.items()
    ]
    return Content(source=source, items=tuple(reader.items), notes=tuple(notes))


@dataclass(slots=True, kw_only=True)
class _Reader:
    source: str
    namespace: str | None
    own_id: str
    items: list[Item] = field(default_factory=list[Item])
    told: dict[str, int] = field(default_factory=dict[str, int])
    began: bool = False
    ended: bool = False

    def take(self, number: int, line: bytes) -> None:
        """Go on by a line."""
        if not line.strip():
            return
        data = self._decoded(number, line)
        if not self.began:
            self._begin(number, data)
        elif self.ended:
            _refuse(number, "nothing may follow the closing line")
        elif isinstance(data, dict) and data.keys() == {"end"}:
            self._end(number, data)
        else:
            self._entry(number, data)

    def finish(self, number: int) -> None:
        """See that the file was whole."""
        if not self.began:
            raise UsageError(f"{self.source} is empty: it is no export of a memory")
        if not self.ended:
            raise UsageError(
                f"{self.source} was cut off after line {number}: its closing line is missing. "
                "Nothing was imported"
            )

    def _decoded(self, number: int, line: bytes) -> Json:
        if len(line) > MAX_LINE_BYTES:
            _refuse(number, f"{len(line):,} bytes are too many; {MAX_LINE_BYTES:,} are allowed")
        try:
            return json.loads(line.decode(), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            if not self.began:
                self._no_export()
            _refuse(number, f"it is not JSON: {error}")

    def _no_export(self) -> NoReturn:
        raise UsageError(
            f"line 1: {self.source} is no export of a memory, whose first line has {HEADER!r}"
        )

    def _begin(self, number: int, data: Json) -> None:
        if not isinstance(data, dict) or HEADER not in data:
            self._no_export()
        header = _parsed(_HeaderPart, number, data)
        if header.stigmergy_memory != FORMAT:
            _refuse(
                number,
                f"it is of version {header.stigmergy_memory}; this version of stigmergy reads "
                f"{FORMAT}",
            )
        if header.memory == self.own_id:
            self._tell(
                "the file says that it comes from this very memory, which nothing proves; its "
                "entries count as imported"
            )
        self.began = True

    def _end(self, number: int, data: Json) -> None:
        end = _parsed(_EndPart, number, data).end
        if end != len(self.items):
            _refuse(number, f"it says {end} entries, and there are {len(self.items)} before it")
        self.ended = True

    def _entry(self, number: int, data: Json) -> None:
        if len(self.items) >= MAX_ENTRIES:
            _refuse(number, f"there are more than {MAX_ENTRIES:,} entries; export by namespace")
        part = _parsed(_EntryPart, number, data)
        try:
            self.items.append(self._item(part))
        except UsageError as error:
            _refuse(number, str(error))

    def _item(self, part: _EntryPart) -> Item:
        numbers = [version.version for version in part.history] + [part.version]
        if numbers != sorted(set(numbers)):
            raise UsageError("the versions of its history are not in order")
        vector = None if part.vector is None else _vector(part.vector)
        return Item(
            draft=replace(self._draft(part, part), vector=vector),
            history=tuple(self._draft(part, version) for version in part.history),
        )

    def _draft(self, part: _EntryPart, version: _VersionPart) -> Draft:
        what = f"{part.namespace[:120]}/{part.key[:220]}"
        check_value(version.value, version.kind, what=what)
        value = redact_json(version.value)
        if value != version.value:
            self._tell("what looks like a secret was taken out")
        entry = Entry(
            namespace=self.namespace or check_namespace(part.namespace),
            key=check_key(part.key),
            kind=version.kind,
            value=value,
            tags=self._tags(version),
            version=version.version,
            created_at=part.created_at,
            updated_at=version.updated_at,
            expires_at=version.expires_at,
            origin=self._origin(version.origin),
        )
        if any(map(looks_secret, (entry.namespace, entry.key, *entry.tags))):
            raise UsageError("a name in it looks like a secret")
        return Draft(entry=entry, value=check_value(value, entry.kind, what=what))

    def _tags(self, version: _VersionPart) -> tuple[str, ...]:
        own = [tag for tag in version.tags if not is_reserved(tag)]
        for tag in sorted(set(version.tags) - set(own)):
            self._tell(f"the tag {tag[:120]!r} was stripped: only this import says where from")
        tags = check_tags(own)
        if len(tags) == MAX_TAGS:
            raise UsageError(f"it has {MAX_TAGS} tags, and one more says where it comes from")
        return tuple(sorted({*tags, _shared_from(self.source)}))

    def _origin(self, part: _OriginPart) -> Origin:
        """What the line claims, under a mark that it cannot set."""
        hops = [hop for hop in (part.imported_from, *part.via) if hop is not None]
        if part.imported_from is not None:
            self._tell("who had imported an entry before stays as a claim (`via`)")
        if len(hops) > MAX_HOPS:
            self._tell(f"only the nearest {MAX_HOPS} places on its way are kept")
        return check_origin(
            Origin(
                agent_id=part.agent_id,
                task_id=part.task_id,
                run_id=part.run_id,
                imported_from=self.source,
                via=tuple(hops[:MAX_HOPS]),
            )
        )

    def _tell(self, what: str) -> None:
        self.told[what] = self.told.get(what, 0) + 1


def _shared_from(source: str) -> str:
    name = re.sub(r"[^\w.-]+", "-", source)[-80:].strip("-.") or "elsewhere"
    return f"{SHARED_FROM}{name}"


def _vector(text: str) -> Vector:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError("its vector is not base64") from None
    if len(data) % 4 or not 4 <= len(data) <= 4 * MAX_DIMS:
        raise UsageError(f"its vector is none: 1 to {MAX_DIMS} numbers of 4 bytes are wanted")
    numbers = memoryview(data).cast("f")
    if not all(map(math.isfinite, numbers)) or abs(math.hypot(*numbers) - 1) > 1e-3:
        raise UsageError("its vector is not of unit length")
    return Vector(len(numbers), data)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _parsed(kind: type[_T], number: int, data: Json) -> _T:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"])) or "the line"
        _refuse(number, f"{place}: {fault['msg']}")


def _refuse(number: int, why: str) -> NoReturn:
    raise UsageError(f"line {number}: {why}. Nothing was imported")
