"""A client of an OpenAI-compatible chat completions endpoint, on the standard library.

What may go well the next time (a busy server, a lost connection, half an answer) is tried again;
a hard budget and a recording that has no such turn are final at once.
"""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from .conversation import Message
from .progress import Progress
from .text import clip

__all__ = ["Call", "Chat", "ChatFailedError", "DeadlineError", "Reply", "parse_reply"]

Json = dict[str, Any]

FINAL_CODES = frozenset({"budget_exceeded", "replay_miss"})
_ATTEMPTS = 8
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
_REQUEST_S = 600.0
_MAX_BYTES = 16 * 1024**2


class ChatFailedError(Exception):
    """The model cannot be asked any more; the text is the provider's reason."""


class DeadlineError(Exception):
    """The task's time ran out while the model was asked."""


class _TryAgainError(Exception):
    def __init__(self, reason: str, *, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call, as the model wrote it."""

    call_id: str
    name: str
    arguments: Json | None
    """None: not a JSON object."""
    written: str
    """The arguments as they were written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer of the model."""

    text: str
    calls: tuple[Call, ...]
    cut_off: bool
    """It reached the limit of a completion's tokens."""
    prompt_tokens: int | None
    completion_tokens: int | None

    def as_message(self) -> Message:
        """The answer as it goes back into the conversation."""
        message: Message = {"role": "assistant", "content": self.text}
        if self.calls:
            message["tool_calls"] = [_call_message(call) for call in self.calls]
        return message


class Chat:
    """Asks one model. Used by one thread.

    Args:
        base_url: with `/v1`.
        first_wait_s: before the second attempt; it doubles with each.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        model: str,
        progress: Progress,
        temperature: float | None = None,
        first_wait_s: float = _FIRST_WAIT_S,
    ) -> None:
        self._url = urlsplit(base_url.rstrip("/") + "/chat/completions")
        if self._url.scheme not in {"http", "https"} or not self._url.hostname:
            raise ChatFailedError(f"OPENAI_BASE_URL is {base_url!r}; it should be http://host/v1")
        self._key = key
        self._fixed: Json = {"model": model}
        if temperature is not None:
            self._fixed["temperature"] = temperature
        self._progress = progress
        self._first_wait_s = first_wait_s

    def ask(self, messages: Sequence[Message], tools: Sequence[Json], *, deadline: float) -> Reply:
        """The model's answer; `deadline` is of `time.monotonic`.

        Raises:
            ChatFailedError: it is refused for good, or was in vain too often.
            DeadlineError: the deadline came first.
        """
        body = json.dumps({**self._fixed, "messages": list(messages), "tools": list(tools)})
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return parse_reply(self._post(body.encode(), deadline))
            except _TryAgainError as error:
                if attempt == _ATTEMPTS:
                    raise ChatFailedError(f"{error} (tried {attempt} times)") from None
                self._wait(attempt, error, deadline)
        raise AssertionError("unreachable")

    def _wait(self, attempt: int, error: _TryAgainError, deadline: float) -> None:
        wait_s = min(_LONGEST_WAIT_S, self._first_wait_s * 2.0 ** (attempt - 1))
        # Many agents were refused at the same moment; they should not come back at the same.
        wait_s *= 0.5 + random.random()  # noqa: S311 - not a secret
        if error.wait_s is not None:
            wait_s = error.wait_s
        if time.monotonic() + wait_s >= deadline:
            raise DeadlineError(f"waiting for the model: {error}")
        self._progress.tell("retry", attempt=attempt, wait_s=round(wait_s, 2), reason=str(error))
        time.sleep(wait_s)

    def _post(self, body: bytes, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineError("before the model was asked")
        connection = self._connect(min(left, _REQUEST_S))
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "Connection": "close",
        }
        try:
            connection.request("POST", self._url.path, body, headers)
            response = connection.getresponse()
            data = _read(response, min(deadline, time.monotonic() + _REQUEST_S))
        except TimeoutError:
            if time.monotonic() >= deadline:
                raise DeadlineError("while the model was asked") from None
            raise _TryAgainError("the model did not answer in time") from None
        except (OSError, http.client.HTTPException) as error:
            text = f"the connection failed: {type(error).__name__}: {error}"
            raise _TryAgainError(text) from None
        finally:
            connection.close()
        if response.status != 200:
            raise _refusal(response.status, data, response.headers.get("Retry-After"))
        return data

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        assert self._url.hostname is not None
        kind: Callable[..., http.client.HTTPConnection] = (
            http.client.HTTPSConnection
            if self._url.scheme == "https"
            else http.client.HTTPConnection
        )
        return kind(self._url.hostname, self._url.port, timeout=timeout_s)


def parse_reply(data: bytes) -> Reply:
    """The answer in the body of a completion.

    Raises:
        _TryAgainError: it is not a completion; providers send halves of them now and then.
    """
    try:
        document: Json = json.loads(data)
        choice = document["choices"][0]
        message = choice["message"]
        calls = tuple(_call(at, call) for at, call in enumerate(message.get("tool_calls") or ()))
        text = message.get("content")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise _TryAgainError("the model's answer was not a completion") from None
    usage = _object(document.get("usage")) or {}
    return Reply(
        text=text if isinstance(text, str) else "",
        calls=calls,
        cut_off=choice.get("finish_reason") == "length",
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def _call(at: int, call: Mapping[str, Any]) -> Call:
    function = call["function"]
    written = function.get("arguments") or "{}"
    # Some servers send the arguments as an object.
    written = written if isinstance(written, str) else json.dumps(written)
    try:
        arguments = _object(json.loads(written))
    except (ValueError, RecursionError):
        arguments = None
    return Call(
        call_id=str(call.get("id") or f"call_{at}"),
        name=str(function["name"]),
        arguments=arguments,
        written=written,
    )


def _call_message(call: Call) -> Message:
    # Arguments that are not JSON would have the whole next request refused by some servers.
    arguments = call.written if call.arguments is not None else "{}"
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.call_id, "type": "function", "function": function}


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The body; a server that sends a byte now and then cannot hold us past the deadline."""
    data = bytearray()
    while chunk := response.read1(65_536):
        data += chunk
        if len(data) > _MAX_BYTES:
            raise ChatFailedError(f"the model's answer is larger than {_MAX_BYTES:,} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError
    if response.length:  # read1 ends silently where the connection was lost
        raise http.client.IncompleteRead(bytes(data[-80:]), response.length)
    return bytes(data)


def _refusal(status: int, data: bytes, retry_after: str | None) -> Exception:
    code, said = _reason(data)
    text = f"{code or f'status {status}'}: {said}"
    if code in FINAL_CODES:
        return ChatFailedError(text)
    if status in {408, 409, 425, 429} or status >= 500:
        return _TryAgainError(text, wait_s=_seconds(retry_after))
    return ChatFailedError(text)


def _reason(data: bytes) -> tuple[str | None, str]:
    try:
        error = json.loads(data)["error"]
        code = error.get("code")
        return code if isinstance(code, str) else None, clip(str(error["message"]), 2_000)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None, clip(data.decode(errors="replace").strip(), 500) or "no reason was given"


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds; a date is left to our own backoff."""
    try:
        return max(0.0, min(float(retry_after or ""), 3_600.0))
    except ValueError:
        return None


def _object(value: object) -> Json | None:
    return cast("Json", value) if isinstance(value, dict) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
