"""Streamed answers: reading server-sent events, and a message taken apart or put together. Pure."""

from __future__ import annotations

from typing import Any, cast

__all__ = ["EventReader", "Transcript", "as_chunks"]

Json = dict[str, Any]


class EventReader:
    """Bytes in, the `data` of each event out. Comments and other fields are dropped.

    Lines end with LF or CRLF only: JSON may hold U+2028 and its like, which `splitlines` breaks.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The events that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        events: list[bytes] = []
        for line in (each.removesuffix(b"\r") for each in lines):
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data = []
        return events


class Transcript:
    """The first choice of an answer, whole, from its one document or from its chunks."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.usage: Json | None = None
        self._message: Json = {"role": "assistant", "content": None}
        self._calls: dict[int, Json] = {}

    def feed(self, document: Json) -> None:
        """Take in a chat.completion or a chat.completion.chunk."""
        usage = document.get("usage")
        if isinstance(usage, dict):
            self.usage = cast("Json", usage)
        for choice in _objects(document.get("choices")):
            if choice.get("index", 0) != 0:
                continue
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            whole = choice.get("message")
            if isinstance(whole, dict):
                self._message = dict(cast("Json", whole))
            delta = choice.get("delta")
            if isinstance(delta, dict):
                self._feed_delta(cast("Json", delta))

    def message(self) -> Json:
        """The assistant's message so far."""
        calls = [self._calls[index] for index in sorted(self._calls)]
        return {**self._message, "tool_calls": calls} if calls else dict(self._message)

    def _feed_delta(self, delta: Json) -> None:
        for name, value in delta.items():
            if name == "tool_calls":
                for call in _objects(value):
                    self._feed_call(call)
            elif name != "role" and isinstance(value, str):
                # content, refusal, and the reasoning fields of several vendors
                self._message[name] = (self._message.get(name) or "") + value

    def _feed_call(self, part: Json) -> None:
        index = part.get("index", 0)
        if not isinstance(index, int):
            return
        call = self._calls.setdefault(
            index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        )
        if isinstance(part.get("id"), str) and part["id"]:
            call["id"] = part["id"]
        function = part.get("function")
        if isinstance(function, dict):
            for name, value in cast("Json", function).items():
                if isinstance(value, str):
                    call["function"][name] = call["function"].get(name, "") + value


def as_chunks(completion: Json, *, with_usage: bool) -> list[Json]:
    """The chunks in which a server would stream `completion` (with one choice).

    The message goes out in one piece, tool calls included; then the finish reason; then usage.
    """
    frame = {key: completion[key] for key in ("id", "created", "model")}
    frame["object"] = "chat.completion.chunk"
    choice: Json = completion["choices"][0]
    delta: Json = dict(choice["message"])
    if delta.get("tool_calls"):
        calls = _objects(delta["tool_calls"])
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    chunks: list[Json] = [
        {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {
            **frame,
            "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}],
        },
    ]
    if with_usage:
        chunks.append({**frame, "choices": [], "usage": completion.get("usage")})
    return chunks


def _objects(value: Any) -> list[Json]:
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return [item for item in items if isinstance(item, dict)]
