"""Where the documents come from that `stig watch` shows: a board's journal, or a server's stream.

A feed has one thread, which ends with the `with`. What it has to tell waits in a queue, so a slow
terminal slows nobody down.
"""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Protocol, Self

import httpx

from stigmergy.board import Event, JsonObject, TaskBoard
from stigmergy.cli.board.telling import tell
from stigmergy.cli.wording import describe
from stigmergy.errors import StigmergyError, UsageError
from stigmergy.monitor import SwarmView
from stigmergy.swarm.remote.following import server_sent

__all__ = ["BoardFeed", "Feed", "HttpFeed", "LogLine", "Update"]

TICK_S: Final = 0.25
"""How often a board is looked at, and changes are told."""
_LOG_LINES: Final = 500
_LOGGED_AGENTS: Final = 1000
_RETRY_S: Final = 1.0
_LEAVE_S: Final = 0.5
_SILENCE_S: Final = 60.0
"""A stream from which nothing comes for so long, not even a sign of life, is dead."""

LogLine = tuple[float, str]
"""When, and what; outside data in it is clean."""


@dataclass(frozen=True, slots=True)
class Update:
    """A snapshot, a delta, or what is wrong with the feed; `trouble` is "" once it is well."""

    snapshot: JsonObject | None = None
    delta: JsonObject | None = None
    trouble: str | None = None


class Feed(Protocol):
    """Tells what there is to show."""

    updates: SimpleQueue[Update]

    def __enter__(self) -> Self:
        """Begin to tell."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Tell no more."""
        ...

    def log_of(self, agent_id: str) -> list[LogLine] | None:
        """The latest that an agent did and said; None where only its activity is known."""
        ...


class _Threaded(ABC):
    """A feed's thread and its queue."""

    def __init__(self, name: str) -> None:
        self.updates: SimpleQueue[Update] = SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _guarded(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (StigmergyError, httpx.HTTPError, ValueError) as error:
                self.updates.put(Update(trouble=str(error) or type(error).__name__))
                if isinstance(error, UsageError):
                    return  # the same again would be refused again
                self._stop.wait(_RETRY_S)

    @abstractmethod
    def _follow(self) -> None:
        """Tell until the stop is set; called again after an error."""


class BoardFeed(_Threaded):
    """Folds the journal of a board that this process can open.

    Args:
        board: open; used from this feed's thread as well.
        is_alive: whether somebody runs the run of this board; None for a board without one.
    """

    def __init__(self, board: TaskBoard, *, is_alive: Callable[[], bool] | None = None) -> None:
        super().__init__("feed")
        self._board = board
        self._is_alive = is_alive
        self._view = SwarmView()
        self._logs: dict[str, deque[LogLine]] = {}
        self._lock = threading.Lock()
        self._has_begun = False

    def log_of(self, agent_id: str) -> list[LogLine] | None:
        """See `Feed.log_of`."""
        with self._lock:
            return list(self._logs.get(agent_id, ()))

    def _follow(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            self._catch_up()
            self._tell(time.time())
            self._board.wait(after=self._view.seq, timeout_s=TICK_S)
            # Events that come in a stream are told together, at the next tick.
            self._stop.wait(max(0.0, TICK_S - (time.monotonic() - began)))

    def _catch_up(self) -> None:
        while not self._stop.is_set() and (events := self._board.events(after=self._view.seq)):
            self._view.take(events)
            self._log(events)

    def _tell(self, now: float) -> None:
        run = self._view.run
        if self._is_alive is not None and run.started_at is not None:
            self._view.crashed = run.ended_at is None and not self._is_alive()
        if self._has_begun:
            if (delta := self._view.changes(now)) is not None:
                self.updates.put(Update(delta=delta, trouble=""))
            return
        self._has_begun = True
        self._view.changes(now)
        self.updates.put(Update(snapshot=self._view.snapshot(now), trouble=""))

    def _log(self, events: Iterable[Event]) -> None:
        with self._lock:
            for event in events:
                if not event.agent_id:
                    continue
                log = self._logs.pop(event.agent_id, None) or deque[LogLine](maxlen=_LOG_LINES)
                self._logs[event.agent_id] = log  # the latest at the end
                # Progress that nobody wants to read has no words.
                lines = describe(event) if event.kind == "progress" else tell(event)
                log.extend((event.at, f"{event.task_id}  {line}") for line in lines)
            while len(self._logs) > _LOGGED_AGENTS:
                del self._logs[next(iter(self._logs))]


class HttpFeed(_Threaded):
    """Follows the live stream of `stig serve`, and connects again when it is lost.

    Args:
        client: knows the server's address and carries the token.
    """

    def __init__(self, client: httpx.Client) -> None:
        super().__init__("feed")
        self._client = client

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # It may be waiting for the server, and wakes when the client is closed behind the block.
        self._stop.set()
        self._thread.join(_LEAVE_S)

    def log_of(self, agent_id: str) -> list[LogLine] | None:
        """A server tells the activity of all agents alone."""
        del agent_id
        return None

    def _follow(self) -> None:
        timeout = httpx.Timeout(10.0, read=_SILENCE_S)
        with self._client.stream("GET", "/api/v1/live", timeout=timeout) as answer:
            if not answer.is_success:
                answer.read()
                raise _refusal(answer)
            for kind, data in server_sent(answer.iter_lines(), self._stop):
                document: JsonObject = json.loads(data)
                match kind:
                    case "snapshot":
                        self.updates.put(Update(snapshot=document, trouble=""))
                    case "delta":
                        self.updates.put(Update(delta=document, trouble=""))
                    case _:
                        pass
        if not self._stop.is_set():
            raise httpx.ReadError("the server ended the stream; asking again")


def _refusal(answer: httpx.Response) -> StigmergyError | httpx.HTTPError:
    said = f"the server answers {answer.status_code} {answer.reason_phrase}"
    if answer.is_client_error:
        return UsageError(f"{said}: is STIG_TOKEN, or the --token-file, right?")
    return httpx.HTTPError(said)
