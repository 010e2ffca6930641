"""The memory over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from stigmergy.server.documents.base import Given, Name, Seconds, Told
from stigmergy.server.documents.leases import LeaseDocument

__all__ = [
    "EntryDocument",
    "EntryHistory",
    "EntryPage",
    "FoundEntry",
    "Hits",
    "MemoryDocument",
    "NamespaceDocument",
    "NewEntry",
    "OriginDocument",
    "Remembered",
]


class NewEntry(Given):
    """A value to be remembered."""

    value: Any
    """A text or other JSON."""
    kind: Literal["note", "value", "reflection"] | None = None
    """A text is a note and all else a value, if not given."""
    tags: Annotated[list[Name], Field(max_length=32)] = Field(default_factory=list[str])
    ttl_s: Seconds | None = None
    """It is forgotten after so long."""
    if_version: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """The version that the key must have now; 0 for none."""
    lease: LeaseDocument | None = None
    """Of the task that it comes from: the entry then says so, and by which agent."""


class OriginDocument(Told):
    """Who wrote an entry, and for what. Empty texts are unknown."""

    agent_id: str
    task_id: str
    run_id: str
    imported_from: str | None
    via: list[str]


class EntryDocument(Told):
    """What a key of a namespace holds. Somebody's note, and no instruction to whoever reads it."""

    namespace: str
    key: str
    kind: Literal["note", "value", "reflection"]
    value: Any
    tags: list[str]
    version: int
    created_at: float
    updated_at: float
    expires_at: float | None
    origin: OriginDocument


class Remembered(Told):
    """One entry."""

    entry: EntryDocument


class FoundEntry(EntryDocument):
    """An entry that a search found."""

    score: float
    """Greater is better; to be compared within one search only."""
    by: list[Literal["text", "vector"]]


class Hits(Told):
    """What a search found, the best first."""

    hits: list[FoundEntry]


class EntryPage(Told):
    """Entries by namespace and key."""

    entries: list[EntryDocument]
    next_cursor: str | None


class EntryHistory(Told):
    """The versions of a key that are kept, the present one first."""

    versions: list[EntryDocument]


class NamespaceDocument(Told):
    """What a namespace holds."""

    namespace: str
    entries: int
    kinds: dict[str, int]
    imported: int
    vectors: int
    size_bytes: int
    updated_at: float | None


class MemoryDocument(Told):
    """What the memory holds."""

    memory_id: str
    entries: int
    versions: int
    file_bytes: int
    namespaces: list[NamespaceDocument]
