"""What the memory holds, as values: entries, where they come from, reflections, and their limits.

Everything here is frozen and pure. What may be stored is decided here alone, so an entry that a
person types, an agent writes or a file brings is held to the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, cast, get_args

from stigmergy.board import JsonObject
from stigmergy.board.task import Json, encode_json
from stigmergy.errors import UsageError

__all__ = [
    "KINDS",
    "MAX_TAGS",
    "MAX_VALUE_BYTES",
    "SHARED_FROM",
    "Entry",
    "Found",
    "Kind",
    "Listing",
    "MemoryStats",
    "NamespaceStats",
    "Origin",
    "Reflection",
    "Way",
    "check_key",
    "check_kind",
    "check_namespace",
    "check_origin",
    "check_tags",
    "check_value",
    "is_reserved",
    "readable",
]

Kind = Literal["note", "value", "reflection"]
Way = Literal["text", "vector"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

MAX_VALUE_BYTES: Final = 64 * 1024
"""Of a value as JSON."""
MAX_DEPTH: Final = 32
"""Of lists and objects within each other."""
MAX_TAGS: Final = 32
MAX_NAME_CHARS: Final = 256
"""Of an agent's, a task's or a run's name."""
MAX_HOPS: Final = 8
"""Memories that an entry is said to have passed through."""
SHARED_FROM: Final = "shared_from_"
"""Tags that begin so are set by an import alone."""

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_TAG: Final = re.compile(r"\w[\w.:/@+#-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who wrote something, and for what. Empty texts are unknown."""

    agent_id: str = ""
    task_id: str = ""
    run_id: str = ""
    imported_from: str | None = None
    """Where it was imported from, as whoever imported it called that. Set by the import alone;
    all else is then a claim of that place."""
    via: tuple[str, ...] = ()
    """Where that place says it had it from, the nearest first."""

    def to_json(self) -> JsonObject:
        """With all fields."""
        return {
            "agent_id": self.agent_id,
            "task_id": self.task_id,
            "run_id": self.run_id,
            "imported_from": self.imported_from,
            "via": list(self.via),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflection:
    """What was learned from a piece of work."""

    category: str
    """What kind of work it was: `code`, `fix`, `planning` …"""
    description: str
    """What was done or tried."""
    outcome: str
    """How it ended: `landed`, `failed`, `came-back` …"""
    recommendations: tuple[str, ...] = ()
    """What whoever comes next should do, or leave."""
    tags: tuple[str, ...] = ()

    def to_value(self) -> JsonObject:
        """The value of an entry that holds it; the tags are the entry's."""
        return {
            "category": self.category,
            "description": self.description,
            "outcome": self.outcome,
            "recommendations": list(self.recommendations),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One version of what a key of a namespace holds. Times are seconds since the epoch."""

    namespace: str
    key: str
    kind: Kind
    value: Json
    """A note's text, a reflection's object, or whatever JSON a value is."""
    tags: tuple[str, ...] = ()
    """Sorted. An imported entry has `shared_from_<place>` among them."""
    version: int = 1
    """Grows with every change of the key."""
    created_at: float = 0.0
    """When the key's first version was written."""
    updated_at: float = 0.0
    expires_at: float | None = None
    """From then on it is not found."""
    origin: Origin = field(default_factory=Origin)

    @property
    def text(self) -> str:
        """What it says, in words: what a search looks at."""
        return readable(self.value)

    def to_json(self) -> JsonObject:
        """With all fields."""
        return {
            "namespace": self.namespace,
            "key": self.key,
            "kind": self.kind,
            "value": self.value,
            "tags": list(self.tags),
            "version": self.version,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "expires_at": self.expires_at,
            "origin": self.origin.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An entry that a search found."""

    entry: Entry
    score: float
    """Greater is better; to be compared within one search only."""
    by: tuple[Way, ...]
    """What found it."""

    def to_json(self) -> JsonObject:
        """The entry's fields, the score and what found it."""
        return self.entry.to_json() | {"score": self.score, "by": list(self.by)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A page of entries."""

    entries: tuple[Entry, ...]
    next: str | None
    """What `after` is to be for the next page; None on the last."""

    def to_json(self) -> JsonObject:
        """The entries and the cursor."""
        return {"entries": [entry.to_json() for entry in self.entries], "next": self.next}


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceStats:
    """What a namespace holds, expired entries left out."""

    namespace: str
    entries: int
    kinds: dict[str, int]
    imported: int
    vectors: int
    size_bytes: int
    """Of the values as JSON, without history and index."""
    updated_at: float | None

    def to_json(self) -> JsonObject:
        """With all fields."""
        return {
            "namespace": self.namespace,
            "entries": self.entries,
            "kinds": self.kinds,
            "imported": self.imported,
            "vectors": self.vectors,
            "size_bytes": self.size_bytes,
            "updated_at": self.updated_at,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStats:
    """What a memory holds."""

    memory_id: str
    path: str
    entries: int
    versions: int
    """Earlier ones that are kept."""
    file_bytes: int
    namespaces: tuple[NamespaceStats, ...]

    def to_json(self) -> JsonObject:
        """With all fields."""
        return {
            "memory_id": self.memory_id,
            "path": self.path,
            "entries": self.entries,
            "versions": self.versions,
            "file_bytes": self.file_bytes,
            "namespaces": [stats.to_json() for stats in self.namespaces],
        }


# What may be stored ----------------------------------------------------------------------------


def check_namespace(name: str) -> str:
    """The name of a namespace, as it is.

    Raises:
        UsageError: it can be none.
    """
    if not _NAMESPACE.fullmatch(name):
        raise UsageError(
            f"{name[:120]!r} cannot be a namespace: up to 100 letters, digits, '.', '_' and '-', "
            "and a letter or digit first"
        )
    return name


def check_key(key: str) -> str:
    """A key, as it is.

    Raises:
        UsageError: it can be none.
    """
    if not _KEY.fullmatch(key):
        raise UsageError(
            f"{key[:220]!r} cannot be a key: up to 200 letters, digits and any of ._:/@+- , and a "
            "letter or digit first"
        )
    return key


def check_kind(kind: str) -> Kind:
    """A kind, as it is.

    Raises:
        UsageError: there is none such.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no kind {kind[:40]!r}; there are {', '.join(KINDS)}")
    return kind


def check_tags(tags: Iterable[str], *, reserved: bool = False) -> tuple[str, ...]:
    """Tags, each once, sorted.

    Args:
        tags: the tags.
        reserved: take those that an import sets as well.

    Raises:
        UsageError: there are too many, or one can be none.
    """
    found = tuple(sorted(set(tags)))
    if len(found) > MAX_TAGS:
        raise UsageError(f"{len(found)} tags are too many: an entry may have {MAX_TAGS}")
    for tag in found:
        if not _TAG.fullmatch(tag):
            raise UsageError(
                f"{tag[:120]!r} cannot be a tag: up to 100 letters, digits and any of _.:/@+#- , "
                "and a letter or digit first"
            )
        if not reserved and is_reserved(tag):
            raise UsageError(
                f"the tag {tag!r} says that an entry was imported, which only an import can say"
            )
    return found


def is_reserved(tag: str) -> bool:
    """Whether a tag says that an entry was imported, in whatever letters."""
    return tag.casefold().startswith(SHARED_FROM)


def check_origin(origin: Origin) -> Origin:
    """Where something comes from, as it is.

    Raises:
        UsageError: a name is too long or no text for one line.
    """
    places = [] if origin.imported_from is None else [origin.imported_from]
    for name in (origin.agent_id, origin.task_id, origin.run_id, *places, *origin.via):
        if len(name) > MAX_NAME_CHARS or not (name.isprintable() or name == ""):
            raise UsageError(
                f"{name[:60]!r} cannot be the name of an agent, a task, a run or a place: up to "
                f"{MAX_NAME_CHARS} printable characters"
            )
    if len(origin.via) > MAX_HOPS:
        raise UsageError(f"an entry may have passed through {MAX_HOPS} memories at most")
    return origin


def check_value(value: Json, kind: Kind, *, what: str) -> str:
    """A value as JSON.

    Raises:
        UsageError: it is too large or too deep, or not what its kind wants; `what` names it.
    """
    _check_depth(value, what=what)
    text = encode_json(value, what=what)
    size = len(text.encode())
    if size > MAX_VALUE_BYTES:
        raise UsageError(
            f"{what} has {size:,} bytes as JSON; {MAX_VALUE_BYTES:,} are allowed. Keep the gist "
            "here and the rest in a file that it names"
        )
    if kind == "note" and not isinstance(value, str):
        raise UsageError(f"{what} is a note, so its value must be a text")
    if kind == "reflection":
        _check_reflection(value, what=what)
    return text


def _check_depth(value: Json, *, what: str) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Json] = []
        for item in level:
            if isinstance(item, dict):
                inner += cast("dict[str, Json]", item).values()
            elif isinstance(item, list | tuple):
                inner += cast("list[Json]", item)
        if not inner:
            return
        level = inner
    raise UsageError(f"{what} is nested more than {MAX_DEPTH} deep")


def _check_reflection(value: Json, *, what: str) -> None:
    fields = cast("JsonObject", value) if isinstance(value, dict) else {}
    names = {"category", "description", "outcome", "recommendations"}
    lines = fields.get("recommendations")
    is_one = (
        fields.keys() == names
        and all(isinstance(fields[name], str) for name in names - {"recommendations"})
        and isinstance(lines, list)
        and all(isinstance(line, str) for line in cast("list[Json]", lines))
    )
    if not is_one:
        raise UsageError(
            f"{what} is no reflection: it needs category, description and outcome as texts, and "
            "recommendations as a list of texts"
        )


def readable(value: Json) -> str:
    """The words in a JSON value, a line for each text, number and name of a member."""
    lines: list[str] = []
    _read(value, lines)
    return "\n".join(lines)


def _read(value: Json, lines: list[str]) -> None:
    match value:
        case str():
            lines.append(value)
        case dict():
            for name, item in cast("JsonObject", value).items():
                lines.append(name)
                _read(item, lines)
        case list():
            for item in cast("list[Json]", value):
                _read(item, lines)
        case bool() | None:
            pass
        case _:
            lines.append(str(value))
