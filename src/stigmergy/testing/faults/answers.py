"""A connection to the database that breaks at every message: not sent, or sent and not answered.

The second is what makes networks hard: the work was done, and whoever asked cannot know. Between
the board and its server stands a proxy that breaks the connection at the chosen message; the verb
has to come to the same end as if nothing had happened, once.
"""

from __future__ import annotations

import logging
import re
import select
import socket
import threading
from contextlib import suppress
from typing import Final, Literal, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from stigmergy.board import TaskBoard
from stigmergy.errors import StigmergyError, TransientError
from stigmergy.testing.faults.checker import Violation
from stigmergy.testing.faults.steps import Snapshot, seen
from stigmergy.testing.faults.table import Row, Setting
from stigmergy.testing.faults.verbs import VERBS, open_at, prepare

__all__ = ["Proxy", "lost_answers"]

Way = Literal["not sent", "not answered"]

_SHORT: Final = ("complete and claim", "fail")
_MOST: Final = 200
_CHUNK: Final = 2**20
_PATIENCE_S: Final = 1.0
"""A server that did not answer by then waits for more."""


def lost_answers(setting: Setting) -> Row:
    """Every verb, every message, both ways."""
    violations: list[Violation] = []
    breaks = told = 0
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # it tells of what is broken here
    with Proxy(setting.server) as proxy:
        for verb in _SHORT if setting.short else [name for name in VERBS if name != "open"]:
            case = _Case(setting, proxy, verb)
            for way in ("not sent", "not answered"):
                case.run(way)
            violations += case.violations
            breaks += case.breaks
            told += case.told
    if not breaks:
        raise StigmergyError("no connection was broken: it proves nothing")
    notes = f"{breaks - told} went on by themselves, {told} said that it is to be tried again"
    return Row(injected=breaks, violations=violations, notes=notes)


class _Case:
    """One verb."""

    def __init__(self, setting: Setting, proxy: Proxy, verb: str) -> None:
        self._setting = setting
        self._proxy = proxy
        self._verb = verb
        self.violations: list[Violation] = []
        self.breaks = 0
        self.told = 0
        url = self._ready("done")
        self._before = self._look(url)
        with open_at(url) as board:
            self._answer = repr(VERBS[verb].bind(board)())
        self._after = self._look(url)

    def run(self, way: Way) -> None:
        """Break the connection at each message in turn."""
        for at in range(1, _MOST):
            url = self._ready(f"{way} {at}")
            with open_at(self._proxy.stand_before(url)) as board:
                if not self._break(board, url, way, at):
                    return
        raise StigmergyError(f"{self._verb}: more than {_MOST} messages")

    def _break(self, board: TaskBoard, url: str, way: Way, at: int) -> bool:
        act = VERBS[self._verb].bind(board)
        self._proxy.break_at(at, way)
        permitted = [self._after]
        answer = self._answer
        try:
            answer = repr(act())
        except TransientError:
            permitted.append(self._before)
            self.told += 1
        except StigmergyError as error:
            self._object(way, at, f"{type(error).__name__}: {error}")
        if not self._proxy.has_broken():
            return False
        self.breaks += 1
        if answer != self._answer:
            self._object(way, at, f"it answered {answer}, not {self._answer}")
        if self._look(url) not in permitted:
            self._object(way, at, "the board is not as it would be had nothing happened")
        return True

    def _ready(self, name: str) -> str:
        words = re.sub(r"\W+", "_", f"{self._verb} {name}".lower())
        url = self._setting.another(words)
        prepare(url=url, verb=self._verb)
        return url

    def _look(self, url: str) -> Snapshot:
        with open_at(url) as board:
            return seen(board)

    def _object(self, way: Way, at: int, what: str) -> None:
        where = f"{self._verb}, message {at} {way}"
        self.violations.append(
            Violation(rule="lost answer", harm="other", task_id=where, what=what)
        )


class Proxy:
    """Carries bytes between clients and a server, and breaks one connection when it is told to."""

    def __init__(self, url: str) -> None:
        query = dict(parse_qsl(urlsplit(url).query))
        self._target = f"{query['host']}/.s.PGSQL.{query['port']}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wake, self._woken = socket.socketpair()
        self._mutex = threading.Lock()
        self._left = 0
        self._way: Way = "not sent"
        self._broken = False
        self._peers: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._serve, name="proxy")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wake.send(b"x")
        self._thread.join()
        for each in (self._wake, self._woken, self._listener, *self._peers):
            each.close()

    def stand_before(self, url: str) -> str:
        """The URL of the same board by way of this proxy."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        query |= {"host": "127.0.0.1", "port": str(self._listener.getsockname()[1])}
        return urlunsplit(
            parts._replace(query=urlencode({**query, "sslmode": "disable"}, safe="/"))
        )

    def break_at(self, message: int, way: Way) -> None:
        """Break a connection at this message from now on, of whichever it is."""
        with self._mutex:
            self._left, self._way, self._broken = message, way, False

    def has_broken(self) -> bool:
        """Whether it did; it will not any more."""
        with self._mutex:
            self._left = 0
            return self._broken

    def _serve(self) -> None:
        while True:
            waiting = [self._listener, self._woken, *self._peers]
            for source in select.select(waiting, [], [])[0]:
                if source is self._woken:
                    return
                if source is self._listener:
                    self._accept()
                elif source in self._peers:  # not closed meanwhile
                    self._carry(source)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._target)
        self._peers |= {client: server, server: client}
        self._clients.add(client)

    def _carry(self, source: socket.socket) -> None:
        target = self._peers[source]
        try:
            data = source.recv(_CHUNK)
            way = self._due() if source in self._clients and data else None
            if way != "not sent" and data:
                target.sendall(data)
            if way == "not answered":
                select.select([target], [], [], _PATIENCE_S)  # it is done, and nobody hears of it
        except OSError:
            data, way = b"", None
        if not data or way is not None:
            self._close(source)

    def _due(self) -> Way | None:
        with self._mutex:
            if self._left == 0:
                return None
            self._left -= 1
            self._broken = self._left == 0
            return self._way if self._broken else None

    def _close(self, source: socket.socket) -> None:
        target = self._peers.pop(source)
        del self._peers[target]
        self._clients -= {source, target}
        for each in (source, target):
            with suppress(OSError):
                each.close()
