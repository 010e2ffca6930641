"""What was read of an export, written in one transaction; conflicts go as the policy says."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace
from typing import Final, Literal, assert_never, get_args

from stigmergy.board import JsonObject
from stigmergy.errors import UsageError
from stigmergy.memory.entry import Entry, check_key, is_reserved
from stigmergy.memory.lines import Content, Item
from stigmergy.memory.writing import Draft, find, put, put_history

__all__ = ["POLICIES", "Conflict", "Imported", "Policy", "write_entries"]

Policy = Literal["keep", "replace", "both"]
POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A key that holds something else here."""

    namespace: str
    key: str
    done: str
    """What became of it: `kept`, `replaced`, or `both: the new one is KEY`."""

    def to_json(self) -> JsonObject:
        """With all fields."""
        return {"namespace": self.namespace, "key": self.key, "done": self.done}


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did."""

    source: str
    added: int
    same: int
    """Entries that were here already, word for word."""
    expired: int
    """Entries whose time had passed; they were left out."""
    conflicts: tuple[Conflict, ...]
    notes: tuple[str, ...]
    """What was stripped or taken out, and why."""

    def to_json(self) -> JsonObject:
        """With all fields."""
        return {
            "source": self.source,
            "added": self.added,
            "same": self.same,
            "expired": self.expired,
            "conflicts": [conflict.to_json() for conflict in self.conflicts],
            "notes": list(self.notes),
        }


def write_entries(
    db: sqlite3.Connection,
    content: Content,
    *,
    policy: Policy,
    now: float,
    history_limit: int,
) -> Imported:
    """Write what was read, within one transaction of the caller."""
    added = same = expired = 0
    conflicts: list[Conflict] = []
    for item in content.items:
        entry = item.draft.entry
        if entry.expires_at is not None and entry.expires_at <= now:
            expired += 1
            continue
        held = find(db, entry.namespace, entry.key)
        if held is None or (held[0].expires_at is not None and held[0].expires_at <= now):
            _add(db, item, now=now, history_limit=history_limit)
            added += 1
        elif _says_the_same(held[0], entry):
            same += 1
        else:
            done = _settle(db, item, policy, now=now, history_limit=history_limit)
            conflicts.append(Conflict(namespace=entry.namespace, key=entry.key, done=done))
    return Imported(
        source=content.source,
        added=added,
        same=same,
        expired=expired,
        conflicts=tuple(conflicts),
        notes=content.notes,
    )


def _settle(
    db: sqlite3.Connection, item: Item, policy: Policy, *, now: float, history_limit: int
) -> str:
    match policy:
        case "keep":
            return "kept"
        case "replace":
            put(db, item.draft, now=now, history_limit=history_limit)
            return "replaced"
        case "both":
            key = _free_key(db, item.draft.entry)
            moved = Item(draft=_renamed(item.draft, key), history=item.history)
            _add(db, moved, now=now, history_limit=history_limit)
            return f"both: the new one is {key}"
        case _:
            assert_never(policy)


def _add(db: sqlite3.Connection, item: Item, *, now: float, history_limit: int) -> None:
    entry = put(db, item.draft, now=now, history_limit=history_limit)
    found = find(db, entry.namespace, entry.key)
    assert found is not None, "it was written just now"
    for earlier in item.history[-history_limit:] if history_limit else ():
        put_history(db, earlier.entry, earlier.value, found[1])


def _free_key(db: sqlite3.Connection, entry: Entry) -> str:
    for number in range(2, 10_000):
        key = check_key(f"{entry.key[:190]}@{number}")
        if find(db, entry.namespace, key) is None:
            return key
    raise UsageError(f"{entry.namespace}/{entry.key} has too many versions side by side")


def _renamed(draft: Draft, key: str) -> Draft:
    return replace(draft, entry=replace(draft.entry, key=key))


def _says_the_same(held: Entry, coming: Entry) -> bool:
    return (held.kind, _own(held), json.dumps(held.value, sort_keys=True)) == (
        coming.kind,
        _own(coming),
        json.dumps(coming.value, sort_keys=True),
    )


def _own(entry: Entry) -> list[str]:
    return [tag for tag in entry.tags if not is_reserved(tag)]
