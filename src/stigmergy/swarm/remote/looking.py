"""The reading half of a served board, as `BoardView` is of one that is here."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Mapping
from dataclasses import fields
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

from stigmergy.board import Event, JsonObject, Progress, Rules, Task, TaskStatus
from stigmergy.board.blobs import is_reference, reference_name
from stigmergy.board.figures import Figures
from stigmergy.board.store import Rule
from stigmergy.errors import CorruptError, NotFoundError
from stigmergy.swarm.remote.answers import NoRouteError
from stigmergy.swarm.remote.following import event_of, follow
from stigmergy.swarm.remote.wire import Wire

__all__ = ["RemoteView"]

_PAGE: Final = 1_000
_EVENTS: Final = 5_000
_HIGHEST_SEQ: Final = 2**63 - 1


class RemoteView:
    """A served board to look at, over a wire that is its own. Thread-safe; close it at the end."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    @property
    def url(self) -> str:
        """The server's address."""
        return self._wire.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections. Idempotent."""
        self._wire.close()

    def get(self, task_id: str) -> Task | None:
        """See `TaskBoard.get`."""
        try:
            return self._wire.task(self._wire.read(f"/tasks/{quote(task_id, safe='')}")["task"])
        except NotFoundError:
            return None

    def list_all(
        self,
        *,
        statuses: Iterable[TaskStatus] | None = None,
        task_types: Iterable[str] | None = None,
        parent_id: str | None = None,
        claimed_by: str | None = None,
        limit: int | None = None,
    ) -> list[Task]:
        """See `TaskBoard.list_all`."""
        query: list[tuple[str, str]] = []
        for name, values in (("status", statuses), ("task_type", task_types)):
            if values is None:
                continue
            given = [(name, str(value)) for value in values]
            if not given:
                return []
            query += given
        for name, value in (("parent_id", parent_id), ("claimed_by", claimed_by)):
            if value is not None:
                query.append((name, value))
        found: list[Task] = []
        cursor: str | None = None
        while limit is None or len(found) < limit:
            size = _PAGE if limit is None else min(_PAGE, limit - len(found))
            page = [*query, ("limit", str(size))]
            told = self._wire.read("/tasks", [*page, *([("cursor", cursor)] if cursor else [])])
            found.extend(self._wire.task(document) for document in told["tasks"])
            cursor = told["next_cursor"]
            if cursor is None:
                break
        return found

    def progress(self, parent_id: str | None = None) -> Progress:
        """See `TaskBoard.progress`."""
        told = self._wire.read("/progress", [] if parent_id is None else [("parent_id", parent_id)])
        return Progress(**{each.name: int(told[each.name]) for each in fields(Progress)})

    def figures(self, *, now: float) -> Figures:
        """See `TaskBoard.figures`; as it stands at the server's time, whatever `now` is."""
        del now
        return _figures(_there(self._wire, "/figures"))

    def rules(self) -> Rules:
        """See `TaskBoard.rules`."""
        told = _there(self._wire, "/rules")["rules"]
        return Rules.of(
            Rule(name=each["name"], body=each["body"], due_at=each["due_at"]) for each in told
        )

    def load(self, value: JsonObject | None) -> JsonObject:
        """See `TaskBoard.load`."""
        if value is None or not is_reference(value):
            return value or {}
        return self._wire.read(f"/blobs/{reference_name(value)}")

    # The journal -----------------------------------------------------------------------------

    def events(self, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """See `TaskBoard.events`; may be fewer than `limit` though there are more, but not none."""
        query = [("after", str(after)), ("limit", str(min(limit, _EVENTS)))]
        return [event_of(each) for each in self._wire.read("/events", query)["events"]]

    def history(self, task_id: str) -> list[Event]:
        """See `TaskBoard.history`."""
        found: list[Event] = []
        path = f"/tasks/{quote(task_id, safe='')}/history"
        more = True
        while more:
            try:
                told = self._wire.read(path, [("after", str(found[-1].seq if found else 0))])
            except NotFoundError:
                break  # never there, or dropped meanwhile
            found += [event_of(each) for each in told["events"]]
            more = bool(told.get("more"))  # an older server tells all at once
        return found

    def last_seq(self) -> int:
        """See `TaskBoard.last_seq`."""
        query = [("after", str(_HIGHEST_SEQ)), ("limit", "1")]
        return int(self._wire.read("/events", query)["last_seq"])

    def watch(
        self, *, after: int = 0, stop: threading.Event, idle_s: float = 0.25
    ) -> Generator[Event]:
        """See `TaskBoard.watch`. The server tells of events by itself."""
        return follow(self._wire, after=after, stop=stop, idle_s=idle_s)


def _there(wire: Wire, path: str) -> JsonObject:
    """What is at an address that older servers do not have."""
    try:
        return wire.read(path)
    except NotFoundError:
        raise NoRouteError(
            f"{wire.url} is of an older version, which does not tell this: update it"
        ) from None


def _figures(told: Mapping[str, Any]) -> Figures:
    try:
        return Figures(
            by_type={
                kind: {TaskStatus(status): int(number) for status, number in counts.items()}
                for kind, counts in told["by_type"].items()
            },
            oldest_ready_s=told["oldest_ready_s"],
            held=int(told["held"]),
            overdue=int(told["overdue"]),
            throughput=told["throughput"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        where = "/figures"
        raise CorruptError(f"the server told figures that are none: {error}", where=where) from None
