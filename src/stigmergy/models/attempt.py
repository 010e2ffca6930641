"""One request to one provider, and what came of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from stigmergy.addresses import is_loopback
from stigmergy.errors import StigmergyError
from stigmergy.models.chat import ChatRequest, TokenUsage, token_usage
from stigmergy.models.config import ProviderConfig
from stigmergy.models.providers import Provider
from stigmergy.models.redaction import Redactor
from stigmergy.models.retrying import Failure, parse_retry_after
from stigmergy.models.streams import EventReader

__all__ = ["AttemptFailedError", "Connection"]

Json = dict[str, Any]
_CONNECT_TIMEOUT_S = 10.0
_MAX_ERROR_BYTES = 4096


class AttemptFailedError(StigmergyError):
    """The provider gave no answer, or half of one."""

    def __init__(self, failure: Failure, *, nothing_spent: bool) -> None:
        super().__init__(failure.detail)
        self.failure = failure
        self.nothing_spent = nothing_spent
        """Sure that it bills nothing: it was never reached, or it answered with an error."""


class Connection:
    """A provider and the HTTP client that talks to it. For use in one event loop."""

    def __init__(
        self,
        provider: Provider,
        *,
        redactor: Redactor,
        max_response_bytes: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config = provider.config
        self._redactor = redactor
        self._max_response_bytes = max_response_bytes
        self._now = now
        headers = dict(provider.config.headers)
        if provider.key is not None:
            headers["Authorization"] = f"Bearer {provider.key.get_secret_value()}"
        # No compression: the bound on an answer's size is then the bound on what is read.
        headers |= {
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": "stigmergy",
        }
        self._client = httpx.AsyncClient(
            headers=headers,
            # A proxy set in the environment stands between here and the world, not loopback.
            trust_env=not is_loopback(urlsplit(provider.config.base_url).hostname),
            follow_redirects=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
        )

    @property
    def config(self) -> ProviderConfig:
        """The provider's."""
        return self._config

    async def aclose(self) -> None:
        """Close the client. Idempotent."""
        await self._client.aclose()

    async def send(
        self, request: ChatRequest, *, max_tokens: int | None
    ) -> AsyncGenerator[tuple[Json | None, TokenUsage | None]]:
        """The documents of the answer, each with the usage it tells, if it does.

        A document is None where the agent did not ask for the chunk that tells the usage.

        Raises:
            AttemptFailedError: at any point.
        """
        async with self._exchange(request, max_tokens) as pieces:
            if request.stream:
                async for document in self._chunks(pieces):
                    usage = token_usage(document)
                    hidden = usage is not None and not document["choices"]
                    yield (None if hidden and not request.wants_usage else document), usage
            else:
                document = self._document(await _read(pieces, self._max_response_bytes))
                _check_completion(document)
                yield document, token_usage(document)

    @asynccontextmanager
    async def _exchange(
        self, request: ChatRequest, max_tokens: int | None
    ) -> AsyncGenerator[AsyncGenerator[bytes]]:
        """The body of a response with status 200; every error of the transport translated."""
        config = self._config
        silence_s = config.idle_timeout_s if request.stream else config.timeout_s
        connect_s = min(_CONNECT_TIMEOUT_S, config.timeout_s)
        sending = self._client.build_request(
            "POST",
            f"{config.base_url}/chat/completions",
            # httpx' own JSON is UTF-8, which cannot hold a lone surrogate.
            content=json.dumps(self._body(request, max_tokens)).encode("ascii"),
            timeout=httpx.Timeout(silence_s, connect=connect_s, pool=None),
        )
        deadline = asyncio.get_running_loop().time() + config.timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._client.send(sending, stream=True)
            try:
                pieces = _pieces(response, deadline)
                if response.status_code != 200:
                    raise await self._status_failure(response, pieces)
                yield pieces
            finally:
                await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _failed("connect", _words(error), nothing_spent=True) from None
        except httpx.TimeoutException:
            raise _failed("timeout", f"silent for {silence_s:g} s") from None
        except TimeoutError:
            raise _failed("timeout", f"no whole answer in {config.timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise _failed("broken", _words(error)) from None

    def _body(self, request: ChatRequest, max_tokens: int | None) -> Json:
        config = self._config
        body = dict(request.fields)
        body["model"] = config.upstream_name(request.model)
        for name in ("max_tokens", "max_completion_tokens"):
            body.pop(name, None)
        if max_tokens is not None:
            body[config.max_tokens_field] = max_tokens
        if request.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    async def _status_failure(
        self, response: httpx.Response, pieces: AsyncGenerator[bytes]
    ) -> AttemptFailedError:
        status = response.status_code
        try:
            said = await _read(pieces, _MAX_ERROR_BYTES)
        except (AttemptFailedError, httpx.HTTPError, TimeoutError):
            said = b""
        # What is said of a key that is not accepted may show a part of the key.
        words = "its key was not accepted" if status in {401, 403} else _error_words(said)
        return AttemptFailedError(
            Failure(
                "status",
                self._redactor.text(f"HTTP {status}: {words}" if words else f"HTTP {status}"),
                status=status,
                retry_after_s=parse_retry_after(
                    response.headers.get("retry-after"), now=self._now()
                ),
            ),
            nothing_spent=True,
        )

    async def _chunks(self, pieces: AsyncGenerator[bytes]) -> AsyncGenerator[Json]:
        reader, size, finished = EventReader(), 0, False
        async for piece in pieces:
            size += len(piece)
            if size > self._max_response_bytes:
                raise _failed(
                    "malformed", f"the answer is longer than {self._max_response_bytes} bytes"
                )
            for event in reader.feed(piece):
                if event == b"[DONE]":
                    if not finished:
                        raise _failed("malformed", "the stream ended without a finish_reason")
                    return
                document = self._document(event)
                finished = finished or _check_chunk(document)
                yield document
        if not finished:
            raise _failed("broken", "the stream ended in the middle")

    def _document(self, data: bytes) -> Json:
        try:
            document = self._redactor.json(json.loads(data))
        except (ValueError, RecursionError):
            raise _failed("malformed", "the answer is not whole JSON") from None
        if not isinstance(document, dict):
            raise _failed("malformed", "the answer is not a JSON object")
        return cast("Json", document)


async def _pieces(response: httpx.Response, deadline: float) -> AsyncGenerator[bytes]:
    """The body as it comes. Only the waiting is timed, not what is done with a piece meanwhile."""
    body = response.aiter_raw()
    while True:
        async with asyncio.timeout_at(deadline):
            piece = await anext(body, None)
        if piece is None:
            return
        yield piece


async def _read(pieces: AsyncGenerator[bytes], limit: int) -> bytes:
    data = bytearray()
    async for piece in pieces:
        data += piece
        if len(data) > limit:
            raise _failed("malformed", f"the answer is longer than {limit} bytes")
    return bytes(data)


def _check_completion(document: Json) -> None:
    choices = document.get("choices")
    first = cast("list[Any]", choices)[0] if isinstance(choices, list) and choices else None
    message = cast("Json", first).get("message") if isinstance(first, dict) else None
    if not isinstance(message, dict):
        raise _failed("malformed", "the answer has no choice with a message")


def _check_chunk(document: Json) -> bool:
    """Whether the chunk ends its first choice."""
    choices = document.setdefault("choices", [])
    if "error" in document or not isinstance(choices, list):
        raise _failed("broken", "the stream ended with an error")
    parts = [cast("Json", part) for part in cast("list[Any]", choices) if isinstance(part, dict)]
    return any(part.get("finish_reason") for part in parts)


def _error_words(body: bytes) -> str:
    """The message in an error's body, short, or nothing if there is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    error = cast("Json", document).get("error") if isinstance(document, dict) else None
    message = cast("Json", error).get("message") if isinstance(error, dict) else error
    return message[:500] if isinstance(message, str) else ""


def _words(error: Exception) -> str:
    # The text of httpx' errors holds the address at most; some have none.
    return str(error) or type(error).__name__


def _failed(kind: Any, detail: str, *, nothing_spent: bool = False) -> AttemptFailedError:
    return AttemptFailedError(Failure(kind, detail), nothing_spent=nothing_spent)
