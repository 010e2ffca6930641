"""What every request passes before any route sees it: host, origin, token, rate, body, key.

Denies by default: a path that is not public needs a token. Bodies are read here, whole and within
limits, so no route waits for a slow sender. Answers to writes with an `Idempotency-Key` are kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stigmergy.server.auth import Principal, TokenTable
from stigmergy.server.bridge import Bridge
from stigmergy.server.idempotency import Answer, AnswerBook, Conflict, Fresh
from stigmergy.server.origins import Origins
from stigmergy.server.problems import Problem, problem_of, problem_response
from stigmergy.server.rates import RateTable

__all__ = ["BodyLimits", "Guard", "GuardRules"]

_LOG: Final = logging.getLogger("stigmergy.server")
_PUBLIC: Final = frozenset({"/", "/favicon.ico", "/healthz", "/openapi.json"})
_PUBLIC_PREFIXES: Final = ("/static/", "/preview/")
"""A preview asks for a ticket of its own: an iframe sends no token."""
_CHANGE_NOTHING: Final = frozenset({"/api/v1/replay"})
"""Writes that change what is shown, and not the board."""
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_METHODS: Final = "GET, POST, PUT, DELETE"
_HEADERS: Final = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID"
_LONGEST_KEY: Final = 200
_DISCARDED_BYTES: Final = 16 * 1024**2
_DISCARD_S: Final = 1.0
_NOT_KEPT: Final = frozenset({401, 403, 408, 429, 499})
"""These say nothing about what the request asks for."""
_SAFE_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_REPLAYED: Final = "Idempotency-Replayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """What is read of requests."""

    request_bytes: int = 8 * 1024**2
    blob_bytes: int = 64 * 1024**2
    together_bytes: int = 256 * 1024**2
    """All bodies that are in memory at a time."""
    read_s: float = 30.0
    """A body that has not arrived by then is given up."""

    def of(self, path: str) -> int:
        """The limit for a path."""
        return self.blob_bytes if path == "/api/v1/blobs" else self.request_bytes


@dataclass(slots=True, kw_only=True)
class GuardRules:
    """What the guard goes by."""

    origins: Origins
    tokens: TokenTable
    rates: RateTable
    limits: BodyLimits
    answers: AnswerBook
    bridge: Bridge
    read_only: bool = False
    held_bytes: int = field(default=0, init=False)


class Guard:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp, rules: GuardRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reply, began = _Reply(send), time.monotonic()
        try:
            await self._admit(scope, receive, reply)
        except Exception as error:  # the edge: every client gets an answer
            problem = problem_of(error)
            if problem.kind == "unforeseen":
                _LOG.exception("%s %s", scope["method"], scope["path"].encode("unicode_escape"))
            if reply.begun:
                raise
            await problem_response(problem)(scope, receive, reply)
        finally:
            _log_request(scope, reply, took_s=time.monotonic() - began)

    async def _admit(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        rules, headers, path = self._rules, Headers(scope=scope), str(scope["path"])
        if "content-length" in headers and "transfer-encoding" in headers:
            # A proxy in front may see the end of this request elsewhere than we do.
            text = "a body has a Content-Length or a Transfer-Encoding, and not both"
            close = {"Connection": "close"}
            raise Problem(status=400, kind="invalid", detail=text, headers=close)
        host = _single(headers, "host")
        if not rules.origins.is_ours(host):
            text = f"this server does not go by the name {host[:100]!r}"
            raise Problem(status=421, kind="wrong-host", detail=text)
        public = path in _PUBLIC or path.startswith(_PUBLIC_PREFIXES)
        if not (public and scope["method"] in ("GET", "HEAD")):
            if self._check_origin(scope, headers, host, reply):
                await _preflight(reply)
                return
            scope.setdefault("state", {})["principal"] = self._authorise(headers)
        await self._with_body(scope, receive, reply, headers)

    def _check_origin(self, scope: Scope, headers: Headers, host: str, reply: _Reply) -> bool:
        """See that a page may call; whether it is only asking that."""
        if "origin" not in headers:
            return False
        origin, rules = _single(headers, "origin"), self._rules
        if not rules.origins.may_call(origin, scheme=scope["scheme"], host=host):
            text = f"pages of {origin[:100]!r} may not call this server; see --allow-origin"
            raise Problem(status=403, kind="wrong-origin", detail=text)
        if rules.origins.is_allowed(origin):
            reply.extra["Access-Control-Allow-Origin"] = origin
            reply.extra["Access-Control-Expose-Headers"] = f"Retry-After, {_REPLAYED}"
            reply.extra["Vary"] = "Origin"
        return scope["method"] == "OPTIONS" and "access-control-request-method" in headers

    def _authorise(self, headers: Headers) -> Principal:
        scheme, _, token = _single(headers, "authorization").partition(" ")
        found = self._rules.tokens.find(token.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            raise Problem(
                status=401,
                kind="unauthorised",
                detail="send a good token as `Authorization: Bearer TOKEN`",
                headers={"WWW-Authenticate": 'Bearer realm="stigmergy"'},
            )
        if wait_s := self._rules.rates.take(found.name, time.monotonic()):
            rate = self._rules.rates.rate
            text = f"more than {rate.per_s:g} requests a second with this token"
            raise Problem(
                status=429, kind="too-many-requests", detail=text, retry_after_s=round(wait_s, 3)
            )
        return found

    async def _with_body(
        self, scope: Scope, receive: Receive, reply: _Reply, headers: Headers
    ) -> None:
        method = scope["method"]
        if method not in _WRITES:
            await self._app(scope, receive, reply)
            return
        if self._rules.read_only and scope["path"] not in _CHANGE_NOTHING:
            text = "this server was started with --read-only"
            raise Problem(status=403, kind="read-only", detail=text)
        limit = self._rules.limits.of(scope["path"])
        body = _Body(self._rules, limit)
        try:
            await body.read(receive, headers)
            replayed = _after(body.content, receive)
            if "idempotency-key" in headers:
                await self._once(scope, replayed, reply, headers, bytes(body.content))
            else:
                await self._app(scope, replayed, reply)
        finally:
            body.let_go()

    async def _once(
        self, scope: Scope, receive: Receive, reply: _Reply, headers: Headers, body: bytes
    ) -> None:
        rules, state = self._rules, scope["state"]
        given = _single(headers, "idempotency-key")
        if not 0 < len(given) <= _LONGEST_KEY:
            text = f"an Idempotency-Key has 1 to {_LONGEST_KEY} characters"
            raise Problem(status=422, kind="invalid", detail=text)
        principal: Principal = state["principal"]
        key = f"{principal.name} {scope['method']} {scope['path']} {given}"
        digest = hashlib.sha256(scope["query_string"] + b"\0" + body).digest()
        begin = partial(rules.answers.begin, key, digest, now=time.time())
        match await rules.bridge.call(begin):
            case Answer() as answer:
                await _send(reply, answer)
                return
            case Conflict(under_way=True):
                raise Problem(
                    status=409,
                    kind="under-way",
                    detail="the request with this Idempotency-Key is being carried out",
                    retry_after_s=1.0,
                )
            case Conflict():
                raise Problem(
                    status=422,
                    kind="key-taken",
                    detail="this Idempotency-Key was sent with another request before",
                )
            case Fresh() as fresh:
                state["again"], state["key"] = fresh.again, key
        try:
            answer = await reply.keeping(partial(self._app, scope, receive, reply))
        except Exception:
            await rules.bridge.call(partial(rules.answers.reopen, key))
            raise
        if answer.status >= 500:
            settle = partial(rules.answers.reopen, key)
        elif answer.status in _NOT_KEPT:
            settle = partial(rules.answers.forget, key)
        else:
            settle = partial(rules.answers.finish, key, answer)
        await rules.bridge.call(settle)
        await _send(reply, answer, first=True)


def _log_request(scope: Scope, reply: _Reply, *, took_s: float) -> None:
    """One line about a request that has been answered; of a stream, when it has ended."""
    if not _LOG.isEnabledFor(logging.INFO):
        return
    principal: Principal | None = scope.get("state", {}).get("principal")
    path = str(scope["path"])
    if path.startswith("/preview/"):
        path = "/preview/…"  # the ticket in it is a secret
    facts: dict[str, object] = {
        "method": scope["method"],
        "path": path,
        "status": reply.status,
        "took_ms": round(took_s * 1000, 1),
        "token": None if principal is None else principal.name,
    }
    _LOG.info(
        "%s %s %s",
        facts["method"],
        path.encode("unicode_escape").decode(),
        reply.status,
        extra=facts,
    )


class _Body:
    """The body of a request, counted among all that are in memory."""

    def __init__(self, rules: GuardRules, limit: int) -> None:
        self._rules = rules
        self._limit = limit
        self._more = True
        self.content = bytearray()

    async def read(self, receive: Receive, headers: Headers) -> None:
        """Read all of it."""
        told = headers.get("content-length", "0")
        try:
            if told.isascii() and told.isdigit() and (len(told) > 15 or int(told) > self._limit):
                raise self._too_large()
            async with asyncio.timeout(self._rules.limits.read_s):
                while await self._read_more(receive):
                    pass
        except Problem as problem:
            if problem.status == 413 and self._more:
                await _discard(receive)
            raise
        except TimeoutError:
            raise Problem(
                status=408,
                kind="too-slow",
                detail=f"the body did not arrive within {self._rules.limits.read_s:g} s",
                headers={"Connection": "close"},
            ) from None

    async def _read_more(self, receive: Receive) -> bool:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(status=499, kind="broken-off", detail="the request broke off")
        chunk = message.get("body", b"")
        self._more = bool(message.get("more_body", False))
        self.content += chunk
        self._rules.held_bytes += len(chunk)
        if len(self.content) > self._limit:
            raise self._too_large()
        if self._rules.held_bytes > self._rules.limits.together_bytes:
            text = "too many large requests at a time"
            raise Problem(status=503, kind="busy", detail=text, retry_after_s=1.0)
        return self._more

    def let_go(self) -> None:
        """It is in memory no longer."""
        self._rules.held_bytes -= len(self.content)
        self.content = bytearray()

    def _too_large(self) -> Problem:
        return Problem(
            status=413,
            kind="too-large",
            detail=f"a body here has at most {self._limit:,} bytes; large payloads go to "
            "/api/v1/blobs",
            headers={"Connection": "close"},
        )


async def _discard(receive: Receive) -> None:
    """Take what else comes for a moment: who is cut off while sending hears no answer."""
    left = _DISCARDED_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


class _Reply:
    """Sends on, with the headers that every answer has; may keep the answer back to record it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._kept: list[Message] | None = None
        self.begun = False
        self.status: int | None = None
        """As sent; None when nothing was."""
        self.extra: dict[str, str] = {}

    async def __call__(self, message: Message) -> None:
        if self._kept is not None:
            self._kept.append(message)
            return
        if message["type"] == "http.response.start":
            self.begun = True
            self.status = int(message["status"])
            headers = MutableHeaders(scope=message)
            for name, value in {**_SAFE_HEADERS, **self.extra}.items():
                headers.setdefault(name, value)
        await self._send(message)

    async def keeping(self, work: Callable[[], Awaitable[None]]) -> Answer:
        """Do the work; the answer that it gave, which is not sent yet."""
        kept = self._kept = []
        try:
            await work()
        finally:
            self._kept = None
        start = kept[0]
        headers = Headers(raw=start.get("headers", []))
        body = b"".join(message.get("body", b"") for message in kept[1:])
        return Answer(start["status"], headers.get("content-type", ""), body)


async def _send(reply: _Reply, answer: Answer, *, first: bool = False) -> None:
    headers = [
        (b"content-type", answer.media_type.encode("latin-1")),
        (b"content-length", str(len(answer.body)).encode()),
    ]
    if not first:
        headers.append((_REPLAYED.lower().encode(), b"true"))
    await reply({"type": "http.response.start", "status": answer.status, "headers": headers})
    await reply({"type": "http.response.body", "body": answer.body, "more_body": False})


async def _preflight(reply: _Reply) -> None:
    reply.extra["Access-Control-Allow-Methods"] = _METHODS
    reply.extra["Access-Control-Allow-Headers"] = _HEADERS
    reply.extra["Access-Control-Max-Age"] = "600"
    await reply({"type": "http.response.start", "status": 204, "headers": []})
    await reply({"type": "http.response.body", "body": b"", "more_body": False})


def _after(body: bytearray, receive: Receive) -> Receive:
    """`receive` for a route: first the body that was read, then what the client does."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return replay


def _single(headers: Headers, name: str) -> str:
    """The header's one value; '' if there is none.

    Raises:
        Problem: it is there twice, and servers behind each other may take it differently.
    """
    values = headers.getlist(name)
    if len(values) > 1:
        raise Problem(status=400, kind="invalid", detail=f"the header {name} is there twice")
    return values[0] if values else ""
