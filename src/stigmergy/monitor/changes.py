"""A snapshot of the view, and how a delta changes it: what a reader in any language does.

`apply` is what the dashboard does in JavaScript; it decides nothing, and puts keyed rows in place.
"""

from __future__ import annotations

from typing import Final, cast

from stigmergy.board import JsonObject
from stigmergy.monitor.series import MOST_POINTS

__all__ = ["LIMITS", "LISTS", "TABLES", "apply"]

TABLES: Final = ("agents", "tasks", "items", "votes", "alerts")
"""Parts that are rows under a key."""
LISTS: Final[dict[str, str]] = {"landings": "id", "returns": "id", "activity": "seq"}
"""Parts that are a list of the latest, and what tells its entries apart."""
LIMITS: Final[dict[str, int]] = {
    "landings": 500,
    "returns": 200,
    "activity": 200,
    "points": MOST_POINTS,
}


def apply(snapshot: JsonObject, delta: JsonObject) -> JsonObject:
    """The snapshot after the delta; neither is changed.

    An entry that the snapshot has already is not appended again, so that a delta which was made
    before the snapshot does no harm.
    """
    after: JsonObject = dict(snapshot)
    for name in ("seq", "at", "now"):
        after[name] = delta[name]
    for table, rows in _parts(delta, "set").items():
        after[table] = {**after[table], **cast("JsonObject", rows)}
    for table, keys in _parts(delta, "del").items():
        gone = set(cast("list[str]", keys))
        after[table] = {key: row for key, row in after[table].items() if key not in gone}
    for name, value in _parts(delta, "replace").items():
        after[name] = {**after[name], **value} if name == "metrics" else value
    for name, entries in _parts(delta, "append").items():
        if name == "points":
            series = after["series"]
            points = _appended(series["points"], entries, key="at", most=LIMITS[name])
            after["series"] = {**series, "points": points}
        else:
            after[name] = _appended(after[name], entries, key=LISTS[name], most=LIMITS[name])
    return after


def _parts(delta: JsonObject, name: str) -> JsonObject:
    return cast("JsonObject", delta.get(name, {}))


def _appended(
    old: list[JsonObject], new: list[JsonObject], *, key: str, most: int
) -> list[JsonObject]:
    had = {entry[key] for entry in old[-most:]}
    return [*old, *(entry for entry in new if entry[key] not in had)][-most:]
