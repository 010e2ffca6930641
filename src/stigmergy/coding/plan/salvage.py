"""Reading a plan out of what a model wrote, whole or cut off. Pure; never raises.

A reply that hit the model's token limit ends in the middle of its JSON. The items that stand in it
whole are good work and are kept; the one that was cut is dropped, never completed by guess.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final, cast

__all__ = ["Salvaged", "salvage"]

Json = Any
JsonObject = dict[str, Json]

_START = re.compile(r"[{\[]")
_SPACE = re.compile(r"[ \t\r\n]*")
_FIELDS: Final = frozenset({"scratchpad", "items", "tasks", "done", "reason"})
_MAX_STARTS: Final = 50
"""Opening braces that are tried: prose before the plan may hold some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvaged:
    """What could be read of a reply."""

    found: bool
    """There was a plan in it, or the beginning of one."""
    whole: bool = False
    """The plan was not cut off."""
    scratchpad: Json = None
    items: tuple[Json, ...] = ()
    """As the model wrote them, not checked."""
    done: bool = False
    """Never taken from a reply that was cut off."""
    reason: str = ""


def salvage(text: str) -> Salvaged:
    """The plan in `text`: a JSON object, or a bare list of items, prose around it ignored."""
    at = 0
    for _ in range(_MAX_STARTS):
        start = _START.search(text, at)
        if start is None:
            break
        read = _object_at if start.group() == "{" else _list_at
        plan, at = read(text, start.start())
        if plan is not None:
            return plan
    return Salvaged(found=False)


def _object_at(text: str, start: int) -> tuple[Salvaged | None, int]:
    """The plan that starts here, or None and where to look on.

    What has begun like a JSON object is read as one to its end, or to where it was cut: what
    stands inside it is never taken for a plan of its own.
    """
    fields: JsonObject = {}
    at = _skip(text, start + 1)
    begun = False
    while not text.startswith("}", at):
        key, after = _value(text, at)
        colon = _skip(text, after)
        if not isinstance(key, str) or not text.startswith(":", colon):
            return _cut(fields, len(text) if begun else start + 1)
        begun = True
        at = _skip(text, colon + 1)
        if key in ("items", "tasks") and text.startswith("[", at):
            fields["items"], after, closed = _elements(text, at)
        else:
            value, after = _value(text, at)
            closed = after > at
            if closed:
                fields[key] = value
        at = _skip(text, after)
        if not closed or not text.startswith((",", "}"), at):
            return _cut(fields, len(text))
        if text.startswith(",", at):
            at = _skip(text, at + 1)
    return (_salvaged(fields, whole=True) if fields.keys() & _FIELDS else None), at + 1


def _list_at(text: str, start: int) -> tuple[Salvaged | None, int]:
    """The bare list of items that starts here, or None and where to look on."""
    if not text.startswith("{", _skip(text, start + 1)):
        return None, start + 1
    items, at, whole = _elements(text, start)
    if items and all(isinstance(item, dict) and "id" in item for item in items):
        return Salvaged(found=True, whole=whole, items=tuple(items)), at
    return None, at if whole else len(text)


def _cut(fields: JsonObject, at: int) -> tuple[Salvaged | None, int]:
    return (_salvaged(fields, whole=False) if fields.keys() & _FIELDS else None), at


def _salvaged(fields: JsonObject, *, whole: bool) -> Salvaged:
    reason = fields.get("reason")
    items = fields.get("items")
    return Salvaged(
        found=True,
        whole=whole,
        scratchpad=fields.get("scratchpad"),
        items=tuple(cast("list[Json]", items)) if isinstance(items, list) else (),
        done=whole and fields.get("done") is True,
        reason=reason if isinstance(reason, str) else "",
    )


def _elements(text: str, start: int) -> tuple[list[Json], int, bool]:
    """The whole elements of the list that starts here, where it ends, and whether it does."""
    items: list[Json] = []
    at = _skip(text, start + 1)
    while not text.startswith("]", at):
        value, after = _value(text, at)
        if after == at:
            return items, at, False
        items.append(value)
        at = _skip(text, after)
        if text.startswith(",", at):
            at = _skip(text, at + 1)
        elif not text.startswith("]", at):
            return items, at, False
    return items, at + 1, True


def _value(text: str, at: int) -> tuple[Json, int]:
    """The JSON value that starts here and what follows it; `at` itself when none stands whole."""
    try:
        value, after = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None, at
    if text[at] not in '{["' and after == len(text):
        return None, at  # 12 may have been going to be 120
    return value, after


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


_DECODER = json.JSONDecoder()
