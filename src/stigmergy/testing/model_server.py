"""A scripted model behind a real OpenAI-compatible HTTP server on loopback.

What it answers is keyed by task and turn, never by the order of calls, so it can serve many
agents at once. It can also misbehave in the ways providers do. A run against it proves
scheduling, recovery and accounting; it says nothing about what a model would do.

    script = {"F07": [Say("thinking"), Failing(Fail(429, retry_after="2"), Say("done"))]}
    with ScriptedModelServer(script) as server:
        ...  # base_url=server.base_url
"""

from __future__ import annotations

import json
import re
import select
import socket
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, assert_never, cast

__all__ = [
    "BreakOff",
    "Call",
    "Disconnect",
    "Empty",
    "Fail",
    "Failing",
    "Hang",
    "Held",
    "Raw",
    "Reply",
    "Say",
    "ScriptedModelServer",
    "SeenRequest",
    "Truncated",
]

Json = dict[str, Any]
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that the model makes."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Say:
    """An answer. Streamed in as many pieces as `text` has words, if a stream is asked for."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    usage: tuple[int, int] | None = (100, 20)
    """Prompt and completion tokens; None leaves usage out of the answer."""


@dataclass(frozen=True, slots=True)
class Fail:
    """An error status."""

    status: int
    retry_after: str | None = None
    message: str = "scripted failure"


@dataclass(frozen=True, slots=True)
class Raw:
    """Status 200 with this body."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing, until the client goes away."""


@dataclass(frozen=True, slots=True)
class Empty:
    """Status 200 and no body."""


@dataclass(frozen=True, slots=True)
class Truncated:
    """Status 200 and the first half of an answer."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The connection is closed without a word."""


@dataclass(frozen=True, slots=True)
class BreakOff:
    """A stream that ends after its first piece, or stays silent after it."""

    silent: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """An answer that is given after `release()` was called."""

    then: Say = Say("held")


Reply = Say | Fail | Raw | Hang | Empty | Truncated | Disconnect | BreakOff | Held


@dataclass(frozen=True, slots=True, init=False)
class Failing:
    """Replies to the first, second … request of one turn; the last one stays."""

    replies: tuple[Reply, ...]

    def __init__(self, *replies: Reply) -> None:
        object.__setattr__(self, "replies", replies)


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as it arrived. Header names are in lower case."""

    task: str
    turn: int
    headers: Mapping[str, str]
    body: Mapping[str, Any]


class ScriptedModelServer:
    """Serves the script while its `with` block lasts.

    Args:
        script: for each task its turns. A request belongs to the first task of the script whose
            id stands in its messages as a word, else to `*`; its turn is the number of assistant
            messages in it. The last turn of a script answers later turns too.
    """

    def __init__(self, script: Mapping[str, Sequence[Reply | Failing]]) -> None:
        self._script = script
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._seen: list[SeenRequest] = []
        self._hung_up = 0
        self._asked: Counter[tuple[str, int]] = Counter()
        self._released = threading.Event()
        self._closing = threading.Event()
        self._http = _Server(self)
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(_POLL_S,), name="scripted-model"
        )

    @property
    def base_url(self) -> str:
        """With /v1."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def requests(self) -> list[SeenRequest]:
        """All that arrived so far, in order."""
        with self._lock:
            return list(self._seen)

    def release(self) -> None:
        """Let every `Held` answer go, now and from now on."""
        self._released.set()

    def wait_for_requests(self, count: int, *, timeout_s: float = 60.0) -> None:
        """Wait until `count` requests arrived.

        Raises:
            TimeoutError: they did not.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._seen) >= count, timeout_s):
                raise TimeoutError(f"{len(self._seen)} of {count} requests arrived")

    def wait_for_hang_up(self, *, timeout_s: float = 60.0) -> None:
        """Wait until a client has gone away from an answer that was not finished.

        Raises:
            TimeoutError: none did.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._hung_up > 0, timeout_s):
                raise TimeoutError("no client went away")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._released.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def reply_to(self, headers: Mapping[str, str], body: Json) -> Reply:
        """The scripted reply; notes the request down."""
        messages: list[Json] = body.get("messages", [])
        task = self._task_in(messages)
        turn = sum(message.get("role") == "assistant" for message in messages)
        with self._changed:
            self._seen.append(SeenRequest(task, turn, headers, body))
            self._changed.notify_all()
            asked = self._asked[task, turn]
            self._asked[task, turn] += 1
        turns = self._script.get(task)
        if not turns:
            return Fail(404, message=f"no script for {task!r}")
        reply = turns[min(turn, len(turns) - 1)]
        if isinstance(reply, Failing):
            return reply.replies[min(asked, len(reply.replies) - 1)]
        return reply

    def models(self) -> Json:
        """One model; every name is served."""
        return {"object": "list", "data": [{"id": "scripted", "object": "model"}]}

    def stay_silent(self, connection: socket.socket) -> None:
        """Until the client goes away or the server closes."""
        while not self._closing.is_set():
            readable, _, _ = select.select([connection], [], [], _POLL_S)
            if readable and not connection.recv(1, socket.MSG_PEEK):
                with self._changed:
                    self._hung_up += 1
                    self._changed.notify_all()
                return

    def wait_for_release(self) -> None:
        """Until `release` or the end."""
        self._released.wait()

    def _task_in(self, messages: list[Json]) -> str:
        text = json.dumps(messages, ensure_ascii=False)
        for task in self._script:
            if re.search(rf"(?<![\w.-]){re.escape(task)}(?![\w-])", text):
                return task
        return "*"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True
    request_queue_size = 256

    def __init__(self, script: ScriptedModelServer) -> None:
        self.script = script
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in the middle are what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride] - always made by _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""

    def do_GET(self) -> None:
        """`/v1/models`."""
        self._send(200, json.dumps(self.server.script.models()).encode())

    def do_POST(self) -> None:
        """`/v1/chat/completions`."""
        body: Json = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.script.reply_to(headers, body)
        self._perform(reply, body, stream=bool(body.get("stream")))

    def _perform(self, reply: Reply, body: Json, *, stream: bool) -> None:
        match reply:
            case Say():
                self._say(reply, body, stream=stream)
            case Held(then):
                self.server.script.wait_for_release()
                self._say(then, body, stream=stream)
            case Fail(status, retry_after, message):
                error = {"error": {"message": message, "type": "scripted", "code": None}}
                headers = {"retry-after": retry_after} if retry_after is not None else {}
                self._send(status, json.dumps(error).encode(), headers)
            case Raw(data):
                self._send(200, data)
            case Empty():
                self._send(200, b"")
            case Truncated():
                whole = json.dumps(_completion(Say("never whole"), body)).encode()
                self._send(200, whole[: len(whole) // 2])
            case Hang():
                self.server.script.stay_silent(self.connection)
                self.close_connection = True
            case Disconnect():
                self.close_connection = True
            case BreakOff(silent):
                self._start_stream()
                self._event(_chunks(Say("first second"), body)[0])
                if silent:
                    self.server.script.stay_silent(self.connection)
                self.close_connection = True
            case _:
                assert_never(reply)

    def _say(self, say: Say, body: Json, *, stream: bool) -> None:
        if not stream:
            self._send(200, json.dumps(_completion(say, body)).encode())
            return
        self._start_stream()
        for chunk in _chunks(say, body):
            self._event(chunk)
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _start_stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(b": a comment, as some providers send them\n\n")

    def _event(self, chunk: Json) -> None:
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.flush()

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _completion(say: Say, body: Json) -> Json:
    message: Json = {"role": "assistant", "content": say.text or None}
    if say.calls:
        message["tool_calls"] = _tool_calls(say)
    finish = "tool_calls" if say.calls else "stop"
    document: Json = {
        **_frame(body, "chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    if say.usage is not None:
        document["usage"] = _usage(say.usage)
    return document


def _chunks(say: Say, body: Json) -> list[Json]:
    words = re.findall(r"\S+\s*", say.text) or [""]
    deltas: list[Json] = [{"content": word} for word in words]
    deltas[0]["role"] = "assistant"
    for index, call in enumerate(_tool_calls(say)):
        arguments: str = call["function"]["arguments"]
        half = len(arguments) // 2
        call["function"]["arguments"] = arguments[:half]
        deltas.append({"tool_calls": [{"index": index, **call}]})
        rest = {"index": index, "function": {"arguments": arguments[half:]}}
        deltas.append({"tool_calls": [rest]})
    frame = _frame(body, "chat.completion.chunk")
    finish = "tool_calls" if say.calls else "stop"
    choices: list[Json] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    chunks: list[Json] = [{**frame, "choices": [choice]} for choice in choices]
    options = cast("Json", body.get("stream_options") or {})
    if options.get("include_usage") and say.usage is not None:
        chunks.append({**frame, "choices": [], "usage": _usage(say.usage)})
    return chunks


def _tool_calls(say: Say) -> list[Json]:
    return [
        {
            "id": f"call_{index}",
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments))},
        }
        for index, call in enumerate(say.calls)
    ]


def _frame(body: Json, kind: str) -> Json:
    return {"id": "scripted", "object": kind, "created": 0, "model": body.get("model", "")}


def _usage(usage: tuple[int, int]) -> Json:
    prompt, completion = usage
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
