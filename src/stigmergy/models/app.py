"""The gateway's HTTP: `POST /v1/chat/completions` and `GET /v1/models`.

Everything an agent gets, errors too, is in OpenAI's form, so any OpenAI client can be the agent.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from stigmergy.errors import BudgetExceededError
from stigmergy.models.chat import ChatError, ChatRequest, error_document, parse_request
from stigmergy.models.source import CallNotes, ModelCall, ModelSource
from stigmergy.models.tokens import TokenTable

__all__ = ["Desk", "gateway_app"]


@dataclass(frozen=True, slots=True)
class Desk:
    """What the endpoints work with."""

    source: ModelSource
    tokens: TokenTable
    on_call: Callable[[ModelCall], None]
    default_model: str | None
    extra_fields: frozenset[str]
    max_request_bytes: int
    on_ready: Callable[[], None]


def gateway_app(desk: Desk) -> Starlette:
    """The ASGI application; it closes the source when it shuts down."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        desk.on_ready()
        yield
        await desk.source.aclose()

    async def models(request: Request) -> Response:
        _authorised(request.scope, desk.tokens)
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "stigmergy"}
            for name in desk.source.models()
        ]
        return JSONResponse({"object": "list", "data": data})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", _ChatEndpoint(desk), methods=["POST"]),
            Route("/v1/models", models, methods=["GET"]),
        ],
        exception_handlers={ChatError: _on_chat_error, HTTPException: _on_http_error},
        lifespan=lifespan,
    )


class _ChatEndpoint:
    """An ASGI application rather than a function: it must see the agent hang up."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = _authorised(scope, self._desk.tokens)
        body = await _body(receive, self._desk.max_request_bytes)
        request = parse_request(body, task=task, extra_fields=self._desk.extra_fields)
        if request.model == "default" and self._desk.default_model is not None:
            request = replace(request, model=self._desk.default_model)
        await _unless_hung_up(self._serve(request, _Reply(send, stream=request.stream)), receive)

    async def _serve(self, request: ChatRequest, reply: _Reply) -> None:
        notes, began = CallNotes(), time.monotonic()
        status, code, scope = 500, "internal_error", None
        try:
            failure = await self._relay(request, notes, reply)
            status, code = (failure.status, failure.code) if failure else (200, None)
            scope = failure.details.get("scope") if failure else None
        except asyncio.CancelledError:
            status, code = 499, "client_hung_up"
            raise
        finally:
            # Before the agent can act on the answer, so that the call comes first in any journal.
            duration_ms = round((time.monotonic() - began) * 1000)
            call = _model_call(request, notes, duration_ms, status, code)
            self._desk.on_call(replace(call, budget_scope=scope))
        await reply.finish(failure)

    async def _relay(
        self, request: ChatRequest, notes: CallNotes, reply: _Reply
    ) -> ChatError | None:
        """Pass on the answer; returns why there is none, or no whole one."""
        try:
            async with aclosing(self._desk.source.answer(request, notes)) as documents:
                async for document in documents:
                    await reply.feed(document)
        except ChatError as error:
            return error
        except BudgetExceededError as error:
            # 402 and not 429: OpenAI's clients try again after a 429.
            details = {"scope": error.scope.partition("/")[0], "type": "insufficient_quota"}
            return ChatError(str(error), status=402, code="budget_exceeded", details=details)
        return None


class _Reply:
    """Documents out: one as a JSON body, or many as server-sent events."""

    def __init__(self, send: Send, *, stream: bool) -> None:
        self._send = send
        self._stream = stream
        self._document: dict[str, Any] | None = None
        self._begun = False

    async def feed(self, document: dict[str, Any]) -> None:
        """Take one document; if it is a stream, it goes out now."""
        if not self._stream:
            self._document = document
            return
        if not self._begun:
            await self._begin(200, b"text/event-stream", {"cache-control": "no-store"})
        await self._event(json.dumps(document))

    async def finish(self, failure: ChatError | None) -> None:
        """Send the rest, or say what went wrong."""
        if failure is None and self._stream and self._begun:
            await self._event("[DONE]", more=False)
        elif failure is None:
            await self._whole(200, self._document or {}, {})
        elif self._begun:
            # The status is out already; clients take an error in the stream for what it is.
            await self._event(json.dumps(error_document(failure)), more=False)
        else:
            await self._whole(failure.status, error_document(failure), _error_headers(failure))

    async def _whole(self, status: int, document: dict[str, Any], headers: dict[str, str]) -> None:
        body = json.dumps(document).encode()
        await self._begin(
            status, b"application/json", {"content-length": str(len(body)), **headers}
        )
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _begin(self, status: int, content_type: bytes, headers: dict[str, str]) -> None:
        self._begun = True
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", content_type), *raw],
            }
        )

    async def _event(self, data: str, *, more: bool = True) -> None:
        body = f"data: {data}\n\n".encode()
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def _authorised(scope: Scope, tokens: TokenTable) -> str:
    """The task that calls.

    Raises:
        ChatError: a web page is behind it (DNS rebinding), or the token is not good.
    """
    headers = Headers(scope=scope)
    _check_host(scope, headers.get("host", ""))
    scheme, _, token = headers.get("authorization", "").partition(" ")
    task = tokens.task_of(token.strip()) if scheme.lower() == "bearer" else None
    if task is None:
        raise ChatError(
            "the token is missing, wrong or revoked: send the task's as `Authorization: Bearer`",
            status=401,
            code="invalid_api_key",
        )
    return task


def _check_host(scope: Scope, host: str) -> None:
    server = scope.get("server")
    if server is None or server[1] is None:
        return  # a Unix socket: no browser gets there
    if host not in {f"{name}:{server[1]}" for name in ("127.0.0.1", "localhost")}:
        raise ChatError(
            "this gateway answers to 127.0.0.1 and localhost only", status=421, code="wrong_host"
        )


async def _body(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ChatError("the request broke off", status=400, code="invalid_request")
        body += message.get("body", b"")
        if len(body) > limit:
            raise ChatError(
                f"the request is longer than {limit} bytes", status=413, code="request_too_large"
            )
        if not message.get("more_body", False):
            return bytes(body)


async def _unless_hung_up(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do the work, but cancel it when the client goes away."""
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_hung_up(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.wait({working, watching})
    if not working.cancelled():
        working.result()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _model_call(
    request: ChatRequest, notes: CallNotes, duration_ms: int, status: int, code: str | None
) -> ModelCall:
    usage = notes.usage
    return ModelCall(
        task=request.task,
        turn=request.turn,
        model=request.model,
        provider=notes.provider,
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        cost=notes.cost,
        duration_ms=duration_ms,
        status=status,
        error=code,
        attempts=notes.attempts,
        replayed=notes.replayed,
    )


def _error_headers(error: ChatError) -> dict[str, str]:
    if error.retry_after_s is None:
        return {}
    # Whole seconds, upwards: some clients read no fractions.
    return {"retry-after": str(-int(-error.retry_after_s // 1))}


async def _on_chat_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ChatError)
    headers = {"connection": "close"} if error.status == 413 else _error_headers(error)
    return JSONResponse(error_document(error), status_code=error.status, headers=headers)


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    wrapped = ChatError(error.detail, status=error.status_code, code="not_found")
    return JSONResponse(error_document(wrapped), status_code=error.status_code)
