"""A run's events in the program's log, for whoever collects logs rather than journals.

Each record has the event's fields, so that `--log-format json` gives them as members. What agents
say in between is at `debug`, what went wrong at `warning`, all else at `info`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from stigmergy.board import Event

__all__ = ["log_events"]

_log = logging.getLogger("stigmergy.run")
_DEBUG: Final = frozenset({"progress", "reported", "started", "model_call", "items_planned"})
_WARNING: Final = frozenset({"failed", "expired", "cancelled"})
_LONGEST: Final = 500


def log_events(run_id: str, events: Iterable[Event]) -> None:
    """Log the events, as far as anybody listens."""
    for event in events:
        level = _level(event)
        if not _log.isEnabledFor(level):
            continue
        about = " ".join(filter(None, (event.kind, event.task_id, event.agent_id)))
        _log.log(level, "%s", about, extra={"run_id": run_id, **_fields(event)})


def _level(event: Event) -> int:
    if event.kind in _WARNING or event.data.get("green") is False:
        return logging.WARNING
    return logging.DEBUG if event.kind in _DEBUG else logging.INFO


def _fields(event: Event) -> dict[str, object]:
    """The event, its data cut: a log is no place for a diff."""
    data = {
        name: value[:_LONGEST] if isinstance(value, str) else value
        for name, value in event.data.items()
        if isinstance(value, str | int | float | bool)
    }
    fields: dict[str, object] = {"seq": event.seq, "event": event.kind, "data": data}
    if event.task_id:
        fields["task_id"] = event.task_id
    if event.agent_id:
        fields["agent_id"] = event.agent_id
    return fields
