"""What an agent and its model said to each other, kept for people to read: one file a task.

    {"at": 1764130000.1, "turn": 0, "kind": "prompt", "role": "system", "text": "…"}
    {"at": 1764130001.9, "turn": 0, "kind": "said", "model": "…", "text": "…", "reasoning": "…",
     "calls": [{"name": "read_file", "arguments": "{…}"}], "prompt_tokens": 812,
     "completion_tokens": 90, "finish_reason": "tool_calls", "replayed": false}
    {"at": 1764130002.0, "turn": 1, "kind": "result", "name": "read_file", "text": "…"}

The gateway writes it, so it is the same for every agent that asks its model there. It is bounded,
in each text and in each file, and secrets are taken out. It is not a recording: nothing can be
replayed from it, and what it cannot write it lets go rather than hold up the work.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final, cast

from stigmergy.models.chat import ChatRequest
from stigmergy.models.redaction import Redactor
from stigmergy.models.source import CallNotes, ModelSource
from stigmergy.models.streams import Transcript

__all__ = ["MOST_BYTES", "MOST_CHARS", "Conversations", "Told", "read_conversation"]

MOST_CHARS: Final = 8_000
"""Of any one text; the middle is left out."""
MOST_BYTES: Final = 4 * 1024**2
"""Of one task's file. Then it says that there was more, and ends."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_REASONING: Final = ("reasoning_content", "reasoning", "thinking")
Json = dict[str, Any]


class Conversations:
    """A folder with a file for each task. Used by one thread.

    Args:
        folder: made with the first line.
        redactor: takes secrets out of everything written.
        clock: seconds since the epoch.
    """

    def __init__(self, folder: Path, *, redactor: Redactor, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._redactor = redactor
        self._clock = clock

    def write(self, task: str, entries: list[Json]) -> None:
        """Append to a task's file; nothing is raised and nothing written beyond its bound."""
        if _NAME.fullmatch(task) is None:
            return
        at = self._clock()
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (self._folder / f"{task}.jsonl").open("ab") as file:
                self._append(file.write, file.tell(), at, entries)

    def _append(
        self, write: Callable[[bytes], object], size: int, at: float, entries: list[Json]
    ) -> None:
        for entry in entries:
            if size >= MOST_BYTES:
                return
            line = _line({"at": at, **self._redactor.json(entry)})
            if size + len(line) > MOST_BYTES:
                cut = _line({"at": at, "kind": "cut", "text": "more was said than is kept"})
                # Filled up with spaces, so that the file is known to be full from its size alone.
                write(cut.rjust(MOST_BYTES - size))
                return
            write(line)
            size += len(line)


class Told:
    """Another source; what is asked of it and what it answers is written down as it goes by."""

    def __init__(self, source: ModelSource, conversations: Conversations) -> None:
        self._source = source
        self._conversations = conversations

    def models(self) -> tuple[str, ...]:
        """Those of the source within."""
        return self._source.models()

    async def answer(
        self, request: ChatRequest, notes: CallNotes
    ) -> AsyncGenerator[dict[str, Any]]:
        """What the source within answers."""
        self._conversations.write(request.task, _asked(request))
        transcript = Transcript()
        written = False
        async with aclosing(self._source.answer(request, notes)) as documents:
            async for document in documents:
                transcript.feed(document)
                if transcript.finish_reason is not None and not written:
                    # Before the agent has the end of it: what comes next is asked after this.
                    written = True
                    self._conversations.write(request.task, [_said(request, notes, transcript)])
                yield document

    async def aclose(self) -> None:
        """Closes the source within."""
        await self._source.aclose()


def read_conversation(path: Path) -> Iterator[Json]:
    """The entries of a task's file; a line that is damaged or half written is left out."""
    try:
        data = path.read_bytes()
    except OSError:
        return
    for line in data.split(b"\n"):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield cast("Json", entry)


def _asked(request: ChatRequest) -> list[Json]:
    """What the agent says that the model has not been told in an earlier turn."""
    messages = cast("list[Json]", request.fields.get("messages") or [])
    spoken = [at for at, message in enumerate(messages) if message.get("role") == "assistant"]
    names = _call_names(messages[spoken[-1]]) if spoken else {}
    new = messages[spoken[-1] + 1 :] if spoken else messages
    return [_asked_entry(message, request.turn, names) for message in new]


def _asked_entry(message: Json, turn: int, names: dict[str, str]) -> Json:
    text = _clip(_content(message.get("content")))
    if message.get("role") == "tool":
        name = names.get(str(message.get("tool_call_id")), "")
        return {"turn": turn, "kind": "result", "name": name, "text": text}
    return {"turn": turn, "kind": "prompt", "role": str(message.get("role")), "text": text}


def _said(request: ChatRequest, notes: CallNotes, transcript: Transcript) -> Json:
    message = transcript.message()
    reasoning = next((message[name] for name in _REASONING if message.get(name)), "")
    usage = notes.usage
    return {
        "turn": request.turn,
        "kind": "said",
        "model": request.model,
        "text": _clip(_content(message.get("content"))),
        "reasoning": _clip(_content(reasoning)),
        "calls": [
            {"name": name[:200], "arguments": _clip(arguments)}
            for name, arguments in _calls(message)
        ],
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
        "finish_reason": transcript.finish_reason,
        "replayed": notes.replayed,
    }


def _calls(message: Json) -> Iterator[tuple[str, str]]:
    for call in _objects(message.get("tool_calls")):
        function = call.get("function")
        found = cast("Json", function) if isinstance(function, dict) else {}
        yield str(found.get("name") or ""), str(found.get("arguments") or "")


def _call_names(message: Json) -> dict[str, str]:
    """Which tool each call of a message was of, by the call's id."""
    calls = _objects(message.get("tool_calls"))
    named = zip(calls, _calls(message), strict=True)
    return {str(call.get("id")): name for call, (name, _) in named}


def _content(content: object) -> str:
    """A message's text; of content in parts, the parts that are text."""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text") or "") for part in _objects(content))


def _objects(value: object) -> list[Json]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("Json", item) for item in items if isinstance(item, dict)]


def _clip(text: str) -> str:
    if len(text) <= MOST_CHARS:
        return text
    half = MOST_CHARS // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters …]\n{text[-half:]}"


def _line(entry: Json) -> bytes:
    # ASCII: what a model says may hold lone surrogates, which no other encoding can write.
    return json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"
