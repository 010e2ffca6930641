"""The memory of a swarm: what agents and people want to know later, by namespace and key.

Everything written is checked, freed of what looks like a secret, and marked with where it comes
from. Everything read is somebody's note: a reader must not take it for an instruction.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from stigmergy.board.task import Json
from stigmergy.errors import UsageError
from stigmergy.memory import looking
from stigmergy.memory.database import Database
from stigmergy.memory.entry import (
    MAX_TAGS,
    Entry,
    Found,
    Kind,
    Listing,
    MemoryStats,
    NamespaceStats,
    Origin,
    Reflection,
    check_key,
    check_kind,
    check_namespace,
    check_origin,
    check_tags,
    check_value,
)
from stigmergy.memory.exporting import export_entries
from stigmergy.memory.fulltext import scope_of
from stigmergy.memory.importing import POLICIES, Imported, Policy, write_entries
from stigmergy.memory.lines import read_lines
from stigmergy.memory.search import Search
from stigmergy.memory.secretwords import looks_secret, redact_json
from stigmergy.memory.vectors import Vector, pack
from stigmergy.memory.writing import Draft, drop, drop_expired, put

__all__ = ["HISTORY_LIMIT", "Embed", "Memory"]

Embed = Callable[[str], Iterable[float]]
"""What makes a vector of a text."""

HISTORY_LIMIT: Final = 20
"""Earlier versions of a key that are kept."""
MAX_FOUND: Final = 1000
MAX_QUERY_CHARS: Final = 100_000
_LONGEST_S: Final = 100 * 366 * 24 * 3600.0
_NOWHERE: Final = Origin()


class Memory:
    """One memory in one SQLite file. Thread-safe; any number of processes may have it open.

    Args:
        path: the file.
        create: make it, with its folder, if it is not there.
        clock: the time.
        embed: makes vectors of what is stored and looked for; without it, who calls may give them.
        history_limit: earlier versions of a key to keep.

    Raises:
        NotFoundError: it is not there, and is not to be made.
        UsageError: it cannot be opened, or is of a newer version.
        CorruptError: it is no memory.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        create: bool = True,
        clock: Callable[[], float] = time.time,
        embed: Embed | None = None,
        history_limit: int = HISTORY_LIMIT,
    ) -> None:
        self._database = Database(Path(path), create=create)
        self._clock = clock
        self._embed = embed
        self._history_limit = history_limit
        self._search = Search()

    @classmethod
    def open(cls, path: Path | str, *, create: bool = True) -> Self:
        """As `Memory(path, create=create)`."""
        return cls(path, create=create)

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    @property
    def memory_id(self) -> str:
        """The memory's own name, in its exports."""
        return self._database.memory_id

    # Writing ---------------------------------------------------------------------------------

    def store(
        self,
        namespace: str,
        key: str | None,
        value: Json,
        *,
        kind: Kind | None = None,
        tags: Iterable[str] = (),
        origin: Origin = _NOWHERE,
        ttl_s: float | None = None,
        vector: Iterable[float] | None = None,
        if_version: int | None = None,
    ) -> Entry:
        """Remember a value under a key, as its next version. Storing the same again does nothing.

        Args:
            namespace: where.
            key: under which name; a new one that sorts by time for None.
            value: a text or other JSON. What looks like a secret in it becomes `[redacted]`.
            kind: what it is; a text is a note and all else a value, if not given.
            tags: words to filter by.
            origin: who stores it, and for what.
            ttl_s: it is forgotten after so long.
            vector: for searches by vectors; made by `embed` if not given.
            if_version: the version that the key must have now; 0 for none.

        Raises:
            UsageError: a name, a tag or the value is not allowed; the text says what is.
            StaleVersionError: the key has another version than `if_version`.
            TransientError: the file is busy, or the disk full.
        """
        now = self._clock()
        if origin.imported_from is not None or origin.via:
            raise UsageError("only an import can say that an entry was imported")
        if ttl_s is not None and not 0 < ttl_s <= _LONGEST_S:
            raise UsageError(f"a time to live of {ttl_s} s is none: more than 0, up to 100 years")
        clean = redact_json(json.loads(check_value(value, "value", what=_called(namespace, key))))
        entry = Entry(
            namespace=check_namespace(namespace),
            key=_new_key(now) if key is None else check_key(key),
            kind=check_kind(kind or ("note" if isinstance(value, str) else "value")),
            value=clean,
            tags=check_tags(tags),
            created_at=now,
            updated_at=now,
            expires_at=None if ttl_s is None else now + ttl_s,
            origin=check_origin(origin),
        )
        _refuse_secrets(entry)
        draft = Draft(
            entry=entry,
            value=check_value(clean, entry.kind, what=_called(namespace, entry.key)),
            vector=self._vector(entry.text, vector),
        )
        with self._database.writing() as db:
            return put(db, draft, now=now, history_limit=self._history_limit, if_version=if_version)

    def reflect(
        self,
        namespace: str,
        reflection: Reflection,
        *,
        key: str | None = None,
        origin: Origin = _NOWHERE,
        ttl_s: float | None = None,
        if_version: int | None = None,
    ) -> Entry:
        """Remember what was learned; see `store`."""
        return self.store(
            namespace,
            key,
            reflection.to_value(),
            kind="reflection",
            tags=reflection.tags[:MAX_TAGS],
            origin=origin,
            ttl_s=ttl_s,
            if_version=if_version,
        )

    def delete(self, namespace: str, key: str) -> bool:
        """Forget a key with its history; whether it was there."""
        with self._database.writing() as db:
            return drop(db, namespace, key, now=self._clock())

    def delete_namespace(self, namespace: str) -> int:
        """Forget all of a namespace; how many entries that were."""
        with self._database.writing() as db:
            return looking.drop_namespace(db, namespace)

    def purge(self) -> int:
        """Drop what has expired, which is not found anyway; how many entries that were."""
        with self._database.writing() as db:
            return drop_expired(db, now=self._clock(), limit=-1)

    # Reading ---------------------------------------------------------------------------------

    def get(self, namespace: str, key: str) -> Entry | None:
        """What a key holds; None if there is nothing, or it has expired."""
        with self._database.reading() as db:
            return looking.get(db, namespace, key, now=self._clock())

    def history(self, namespace: str, key: str) -> tuple[Entry, ...]:
        """The versions of a key that are kept, the present one first."""
        with self._database.reading() as db:
            return looking.history(db, namespace, key, now=self._clock())

    def search(
        self,
        text: str = "",
        *,
        namespaces: Sequence[str] | None = None,
        tags: Iterable[str] = (),
        kinds: Iterable[Kind] = (),
        limit: int = 10,
        vector: Iterable[float] | None = None,
    ) -> tuple[Found, ...]:
        """Entries that have words of a text, or are near a vector, the best first.

        Args:
            text: words in any form and order; nothing in it is taken for syntax. Words that every
                text has are passed over.
            namespaces: where to look; None for everywhere.
            tags: an entry must have all of them.
            kinds: an entry must be of one of them; none for any.
            limit: how many at most.
            vector: made by `embed` if not given. With a text as well, both rankings are fused.

        Raises:
            UsageError: there is neither text nor vector, or the vector is none.
            UnsupportedError: there is a vector, and numpy is missing.
        """
        with_vector = vector is not None or bool(text.strip())
        wanted = self._vector(text, vector) if with_vector else None
        if wanted is None and not text.strip():
            raise UsageError("say what to search for: the text is empty")
        _check_limit(limit)
        _check_unicode(text)
        with self._database.reading() as db:
            scope = scope_of(
                db,
                namespaces=namespaces,
                kinds=[check_kind(kind) for kind in kinds],
                tags=check_tags(tags, reserved=True),
                now=self._clock(),
            )
            if scope is None:
                return ()
            return self._search.find(db, text[:MAX_QUERY_CHARS], wanted, scope, limit=limit)

    def list(
        self,
        namespace: str | None = None,
        *,
        prefix: str = "",
        tags: Iterable[str] = (),
        kinds: Iterable[Kind] = (),
        limit: int = 50,
        after: str | None = None,
    ) -> Listing:
        """Entries by namespace and key, a page at a time.

        Args:
            namespace: of one namespace; of all for None.
            prefix: what the keys begin with.
            tags: an entry must have all of them.
            kinds: an entry must be of one of them; none for any.
            limit: of a page.
            after: `Listing.next` of the page before.
        """
        _check_limit(limit)
        with self._database.reading() as db:
            scope = scope_of(
                db,
                namespaces=None if namespace is None else [namespace],
                kinds=[check_kind(kind) for kind in kinds],
                tags=check_tags(tags, reserved=True),
                now=self._clock(),
            )
            if scope is None:
                return Listing(entries=(), next=None)
            return looking.page(db, scope, prefix=prefix, limit=limit, after=after)

    def namespaces(self) -> tuple[NamespaceStats, ...]:
        """The namespaces that hold anything, by name."""
        with self._database.reading() as db:
            return looking.namespaces(db, now=self._clock())

    def stats(self) -> MemoryStats:
        """What the memory holds."""
        with self._database.reading() as db:
            namespaces = looking.namespaces(db, now=self._clock())
            (versions,) = db.execute("SELECT count(*) FROM versions").fetchone()
        return MemoryStats(
            memory_id=self.memory_id,
            path=str(self.path),
            entries=sum(stats.entries for stats in namespaces),
            versions=versions,
            file_bytes=self._database.file_bytes(),
            namespaces=namespaces,
        )

    # In and out ------------------------------------------------------------------------------

    def export(
        self, write: Callable[[bytes], object], *, namespaces: Sequence[str] | None = None
    ) -> int:
        """Write entries as JSON lines, as they stand at one moment; how many.

        Others may go on with the memory meanwhile.

        Raises:
            NotFoundError: a namespace holds nothing.
        """
        # A connection of its own: whoever takes the lines may be slow.
        database = Database(self.path, create=False)
        try:
            with database.reading() as db:
                return export_entries(
                    db, write, memory_id=self.memory_id, namespaces=namespaces, now=self._clock()
                )
        finally:
            database.close()

    def import_(
        self,
        lines: Iterable[bytes],
        *,
        source: str,
        namespace: str | None = None,
        policy: Policy = "keep",
    ) -> Imported:
        """Take in what another memory exported: all of it, or nothing.

        Every entry is marked as imported from `source`, whatever the lines say of themselves.

        Args:
            lines: of an export.
            source: what to call the place that they come from: a file, a peer.
            namespace: put all into this one; each into its own for None.
            policy: what becomes of a key that holds something else here: `keep` it, `replace` it
                (it stays in the key's history), or hold `both`, the new one under a new key.

        Raises:
            UsageError: a line is not what it should be; the text names it by its number.
        """
        if namespace is not None:
            check_namespace(namespace)
        if policy not in POLICIES:
            raise UsageError(f"{policy[:40]!r} is no policy; there are {', '.join(POLICIES)}")
        check_origin(Origin(imported_from=source or None))
        if not source or looks_secret(source):
            raise UsageError("say where it comes from: a name that holds no secret")
        content = read_lines(lines, source=source, namespace=namespace, own_id=self.memory_id)
        with self._database.writing() as db:
            return write_entries(
                db,
                content,
                policy=policy,
                now=self._clock(),
                history_limit=self._history_limit,
            )

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _vector(self, text: str, vector: Iterable[float] | None) -> Vector | None:
        if vector is None and self._embed is not None and text.strip():
            vector = self._embed(text)
        return None if vector is None else pack(vector, what="the vector")


def _called(namespace: str, key: str | None) -> str:
    return f"{namespace[:120]}/{(key or 'the new entry')[:220]}"


def _new_key(now: float) -> str:
    """Entries are listed by their keys: so in the order in which they came, within a second too."""
    second, part = divmod(now, 1)
    at = time.strftime("%Y%m%d-%H%M%S", time.gmtime(second))
    return f"{at}-{int(part * 65_536):04x}{secrets.token_hex(4)}"


def _refuse_secrets(entry: Entry) -> None:
    origin = entry.origin
    for name in (entry.namespace, entry.key, *entry.tags, origin.agent_id, origin.task_id):
        if looks_secret(name):
            raise UsageError(
                "a name here looks like a secret: keys and tags are shown to everybody"
            )


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_FOUND:
        raise UsageError(f"a limit of {limit} is none: take 1 to {MAX_FOUND}")


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("the text to search for is not valid Unicode") from None
