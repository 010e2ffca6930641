"""The conversation with a model: messages, and keeping them within bounds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["LEFT_OUT", "Message", "fit", "size", "tool_result"]

Message = dict[str, Any]

LEFT_OUT = "[the result of this earlier call was left out to save room; call again if you need it]"
_KEEP_LAST = 4
"""Tool results that are never left out: what the model is working on right now."""
_ROOM_AFTER = 0.6
"""Of the budget. Cutting to just below it would change the history, and lose the provider's
cache of it, at every step."""


def tool_result(call_id: str, text: str) -> Message:
    """The message that answers a tool call."""
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def size(messages: Sequence[Mapping[str, Any]]) -> int:
    """Characters of the texts and of the arguments of tool calls."""
    return sum(_size(message) for message in messages)


def fit(messages: Sequence[Message], *, budget: int) -> list[Message]:
    """The conversation, with older tool results left out if it is larger than `budget`.

    No message is dropped: every tool call keeps its answer, and the number of the turn, which
    recordings are keyed by, stays what it is. The newest results are always kept, so the outcome
    can still be larger than the budget.
    """
    excess = size(messages) - budget
    if excess <= 0:
        return list(messages)
    excess += int(budget * (1 - _ROOM_AFTER))
    results = [at for at, message in enumerate(messages) if message["role"] == "tool"]
    fitted = list(messages)
    for at in results[:-_KEEP_LAST]:
        if excess <= 0:
            break
        saved = len(str(messages[at]["content"])) - len(LEFT_OUT)
        if saved > 0:
            fitted[at] = {**messages[at], "content": LEFT_OUT}
            excess -= saved
    return fitted


def _size(message: Mapping[str, Any]) -> int:
    calls: Sequence[Mapping[str, Any]] = message.get("tool_calls") or ()
    arguments = sum(len(str(call["function"]["arguments"])) for call in calls)
    return len(str(message.get("content") or "")) + arguments
