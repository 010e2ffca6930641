"""Chat completions as they go over the wire: requests in, errors and token counts out.

What an agent sends is checked here before anything is done with it: only fields that are known
to be harmless go on to a provider, since others can spend money that no budget sees.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

from stigmergy.errors import StigmergyError

__all__ = [
    "ChatError",
    "ChatRequest",
    "TokenUsage",
    "error_document",
    "parse_request",
    "token_usage",
]

Json = dict[str, Any]

# Fields of OpenAI's chat completions that cost nothing beyond the tokens they ask for. Not here
# on purpose: service_tier (a dearer queue), web_search_options (billed by the search), store,
# audio and modalities.
_FIELDS = frozenset(
    {
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    }
)
_MAX_CHOICES = 16


class ChatError(StigmergyError):
    """A call that ended without an answer, as the agent is told about it."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        retry_after_s: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s
        self.details: Mapping[str, Any] = details or {}


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens as the provider counted them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """Of the prompt, read from the provider's cache."""

    @property
    def total(self) -> int:
        """Prompt and completion."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call of an agent."""

    task: str
    turn: int
    """The number of assistant messages already in it."""
    model: str
    stream: bool
    wants_usage: bool
    """Whether a stream is to end with a chunk that holds the usage."""
    fields: Mapping[str, Any]
    """The rest of the body, as sent: messages, tools, temperature …"""
    max_tokens: int | None
    """The most tokens of one completion that were asked for."""
    choices: int
    prompt_bytes: int
    """Of messages and tools, as JSON in UTF-8."""


def parse_request(
    body: bytes, *, task: str, extra_fields: frozenset[str] = frozenset()
) -> ChatRequest:
    """The request in `body`.

    Raises:
        ChatError: it is not one (400); the message names the field.
    """
    data = _json_object(body)
    unknown = data.keys() - _FIELDS - extra_fields
    if unknown:
        raise _bad(
            f"the field {min(unknown)!r} is not passed on to providers: leave it out, or "
            "have it allowed under `extra_fields` of a provider"
        )
    messages = _messages(data.get("messages"))
    _check_tools(data.get("tools"))
    rest = {key: data[key] for key in data.keys() - {"model", "stream", "stream_options"}}
    return ChatRequest(
        task=task,
        turn=sum(message.get("role") == "assistant" for message in messages),
        model=_text(data.get("model", "default"), "model"),
        stream=_boolean(data.get("stream"), "stream"),
        wants_usage=_object(data.get("stream_options")).get("include_usage") is True,
        fields=rest,
        max_tokens=_max_tokens(data),
        choices=_count(data.get("n"), "n", most=_MAX_CHOICES) or 1,
        prompt_bytes=_prompt_bytes(data),
    )


def token_usage(document: Any) -> TokenUsage | None:
    """The usage in an answer or a chunk, or None: it is absent or makes no sense."""
    usage = _object(_object(document).get("usage"))
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not (_is_count(prompt) and _is_count(completion)):
        return None
    cached = _object(usage.get("prompt_tokens_details")).get("cached_tokens")
    return TokenUsage(prompt, completion, min(cached, prompt) if _is_count(cached) else 0)


def error_document(error: ChatError) -> Json:
    """The body of an error, in OpenAI's form."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {
        "error": {
            "message": str(error),
            "type": kind,
            "param": None,
            "code": error.code,
            **error.details,
        }
    }


def _json_object(body: bytes) -> Json:
    try:
        data = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise _bad("the body is not JSON") from None
    if not isinstance(data, dict):
        raise _bad("the body must be a JSON object")
    return cast("Json", data)


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _check_tools(value: Any) -> None:
    # Others run at the provider, and some are billed by the use.
    kinds = [_object(tool).get("type") for tool in cast("list[Any]", value or [])]
    strange = [kind for kind in kinds if kind not in {"function", "custom"}]
    if strange:
        raise _bad(f"a tool of type {strange[0]!r} is not passed on: only functions are")


def _messages(value: Any) -> list[Json]:
    if not isinstance(value, list) or not value:
        raise _bad("'messages' must be a list that is not empty")
    messages = cast("list[Any]", value)
    if not all(isinstance(message, dict) for message in messages):
        raise _bad("every one of 'messages' must be an object")
    return cast("list[Json]", messages)


def _max_tokens(data: Json) -> int | None:
    values = [_count(data.get(name), name) for name in ("max_completion_tokens", "max_tokens")]
    return next((value for value in values if value is not None), None)


def _prompt_bytes(data: Json) -> int:
    prompt = {key: data[key] for key in ("messages", "tools", "functions") if key in data}
    # A lone surrogate is valid JSON and no valid text: count it, do not fail on it.
    return len(json.dumps(prompt, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise _bad(f"{name!r} must be a string that is not empty")
    return value


def _boolean(value: Any, name: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise _bad(f"{name!r} must be true or false")
    return bool(value)


def _count(value: Any, name: str, *, most: int | None = None) -> int | None:
    if value is None:
        return None
    if not _is_count(value) or value < 1 or (most is not None and value > most):
        raise _bad(f"{name!r} must be a whole number from 1 to {most or 'any'}")
    return value


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _object(value: Any) -> Json:
    return cast("Json", value) if isinstance(value, dict) else {}


def _bad(message: str) -> ChatError:
    return ChatError(message, status=400, code="invalid_request")
