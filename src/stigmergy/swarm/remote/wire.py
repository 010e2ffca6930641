"""The way to a server: requests that are sent again until they are answered, and its streams.

Every write carries an `Idempotency-Key` and is sent again, with the same one, until the server has
answered or patience ends: so a lost answer or a server that was killed makes nothing happen twice.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from stigmergy.addresses import is_loopback, is_remote
from stigmergy.board import JsonObject, Task
from stigmergy.board.task import encode_json, task_from_json
from stigmergy.errors import TransientError, UsageError
from stigmergy.swarm.remote.answers import answer_of

__all__ = ["PATIENCE_S", "READ_S", "Query", "Wire"]

_log = logging.getLogger(__name__)
PATIENCE_S: Final = 30.0
READ_S: Final = 30.0
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 3.0
_CONNECT_S: Final = 5.0
_TASK_FIELDS: Final = frozenset(each.name for each in fields(Task))

Query = Iterable[tuple[str, str]]


class Wire:
    """A server, as one client reaches it. Thread-safe. The arguments are those of `RemoteBoard`."""

    def __init__(
        self,
        url: str,
        *,
        token: str,
        verify: str | None,
        stop: threading.Event | None,
        patience_s: float,
    ) -> None:
        parts = urlsplit(url)
        if not is_remote(url) or not parts.netloc or parts.username or parts.query:
            raise UsageError(f"{url!r} is no server's address: write http://host:port")
        if not token.isascii() or not token.isprintable() or not token:
            raise UsageError("the token has characters that cannot stand in a header")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            _log.warning(
                "the token and all tasks go to %s unencrypted: use https, or a tunnel", parts.netloc
            )
        self.url = url.rstrip("/")
        self.patience_s = patience_s
        self._stop = stop or threading.Event()
        self._is_silent = False
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(READ_S, connect=_CONNECT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,  # a proxy of the environment would get the token
            verify=_verification(verify),
        )

    def close(self) -> None:
        """Let go of the connections. Idempotent."""
        self._http.close()

    def task(self, document: Mapping[str, Any]) -> Task:
        """A task that was told; a newer server may tell more of it."""
        known = {name: value for name, value in document.items() if name in _TASK_FIELDS}
        return task_from_json(known, where=self.url)

    def write(self, path: str, body: JsonObject, *, read_s: float = READ_S) -> JsonObject:
        """Have the server do something, once."""
        content = encode_json(body, what=f"what is sent to {path}").encode()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": secrets.token_hex(16),
        }
        return self._send("POST", path, content=content, headers=headers, read_s=read_s)

    def read(self, path: str, query: Query = ()) -> JsonObject:
        """Ask the server for something."""
        return self._send("GET", path, params=list(query))

    @contextmanager
    def lines(self, path: str, query: Query, *, silence_s: float) -> Generator[Iterable[str]]:
        """The lines of a stream, which is over when nothing came for `silence_s`.

        Raises:
            TransientError: the server does not answer.
            StigmergyError: what else it answers.
        """
        timeout = httpx.Timeout(_CONNECT_S, read=silence_s)
        try:
            with self._http.stream("GET", path, params=list(query), timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    answer_of(response)
                yield response.iter_lines()
        except httpx.TransportError as error:
            raise self._no_answer(error) from error

    def _send(
        self, method: str, path: str, *, read_s: float = READ_S, **request: Any
    ) -> JsonObject:
        until = time.monotonic() + self.patience_s
        pause_s = _FIRST_PAUSE_S
        timeout = httpx.Timeout(read_s, connect=_CONNECT_S)
        while True:
            try:
                response = self._http.request(method, path, timeout=timeout, **request)
                if self._is_silent:
                    self._is_silent = False
                    _log.warning("%s answers again", self.url)
                return answer_of(response)
            except httpx.TransportError as error:
                failure = self._no_answer(error)
                if not self._is_silent:  # once for each silence: who waits shall know for what
                    self._is_silent = True
                    _log.warning("%s; trying again", failure)
            except TransientError as error:
                failure = error
            # Shorter than it says would be in vain, but a server may say too much.
            wait_s = min(max(pause_s, failure.retry_after_s or 0.0), _LONGEST_PAUSE_S)
            if time.monotonic() + wait_s > until or self._stop.wait(wait_s):
                raise failure
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _no_answer(self, error: httpx.TransportError) -> TransientError:
        name = type(error).__name__
        return TransientError(f"{self.url} does not answer ({name}: {error})")


def _verification(authority: str | None) -> Any:
    import ssl

    if authority is None:
        return True
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"the authority's certificate {authority} cannot be used: {error}"
        ) from error
