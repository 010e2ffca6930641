"""The own agent's client of a model: what it tries again, and what is final."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import Any

import pytest

from stigmergy.coding.work.inside.chat import Chat, ChatFailedError, DeadlineError, parse_reply
from stigmergy.coding.work.inside.progress import Progress
from stigmergy.testing.model_server import (
    Disconnect,
    Empty,
    Fail,
    Failing,
    Hang,
    Raw,
    Reply,
    Say,
    ScriptedModelServer,
    Truncated,
)

MESSAGES = [{"role": "user", "content": "task T1"}]


class Asking:
    """A chat, and what it tells while it asks."""

    def __init__(self, base_url: str, **settings: Any) -> None:
        self._stream = StringIO()
        progress = Progress(self._stream)
        settings = {"model": "scripted", "first_wait_s": 0.001, **settings}
        self._chat = Chat(base_url, "token", progress=progress, **settings)

    def ask(self, *, within_s: float = 30.0) -> str:
        deadline = time.monotonic() + within_s
        return self._chat.ask(MESSAGES, [], deadline=deadline).text

    @property
    def retries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


@contextmanager
def refusing(status: int, document: object) -> Generator[tuple[str, list[int]]]:
    """A server that always refuses, and the times it was asked."""
    asked: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(int(self.headers["content-length"]))
            self.rfile.read(asked[-1])
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - http.server's

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "trouble",
    [
        Fail(429, retry_after="0"),
        Fail(429),
        Fail(503),
        Fail(500, retry_after="Wed, 21 Oct 2099 07:28:00 GMT"),
        Disconnect(),
        Empty(),
        Truncated(),
        Raw(b"[]"),
        Raw(b'{"choices": []}'),
        Raw(b'{"choices": [{"message": {"tool_calls": [{}]}}]}'),
    ],
    ids=lambda reply: f"{type(reply).__name__}{getattr(reply, 'status', '')}",
)
def test_passing_trouble_is_tried_again(trouble: Reply) -> None:
    with ScriptedModelServer({"T1": [Failing(trouble, trouble, Say("well"))]}) as server:
        asking = Asking(server.base_url)
        assert asking.ask() == "well"
    assert [told["attempt"] for told in asking.retries] == [1, 2]


def test_the_server_says_how_long_to_wait() -> None:
    script = {"T1": [Failing(Fail(429, retry_after="0.03"), Say("well"))]}
    with ScriptedModelServer(script) as server:
        asking = Asking(server.base_url, first_wait_s=60.0)
        asking.ask()
    assert [told["wait_s"] for told in asking.retries] == [0.03]


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    script = {"T1": [Fail(429, retry_after="600")]}
    with ScriptedModelServer(script) as server, pytest.raises(DeadlineError):
        Asking(server.base_url).ask(within_s=20.0)


def test_a_silent_server_cannot_hold_it_past_the_deadline() -> None:
    with ScriptedModelServer({"T1": [Hang()]}) as server, pytest.raises(DeadlineError):
        Asking(server.base_url).ask(within_s=0.2)


def test_trouble_that_stays_is_the_end() -> None:
    with ScriptedModelServer({"T1": [Fail(500, message="on fire")]}) as server:
        with pytest.raises(ChatFailedError, match=r"on fire \(tried 8 times\)"):
            Asking(server.base_url).ask()
        assert len(server.requests) == 8


@pytest.mark.parametrize(
    ("status", "code"), [(429, "budget_exceeded"), (404, "replay_miss"), (500, "replay_miss")]
)
def test_a_spent_budget_and_a_missing_recording_are_final(status: int, code: str) -> None:
    document = {"error": {"message": "no more", "code": code}}
    with (
        refusing(status, document) as (url, asked),
        pytest.raises(ChatFailedError, match=f"{code}: no more"),
    ):
        Asking(url).ask()
    assert len(asked) == 1


@pytest.mark.parametrize("document", [{"error": "flat"}, [], "text", {"error": {"code": "x"}}])
def test_a_refusal_without_a_reason_is_one_all_the_same(document: object) -> None:
    with refusing(400, document) as (url, asked), pytest.raises(ChatFailedError, match="400"):
        Asking(url).ask()
    assert len(asked) == 1


def test_nobody_listening_is_trouble_not_a_crash() -> None:
    with pytest.raises(ChatFailedError, match="connection failed"):
        Asking("http://127.0.0.1:1/v1").ask()


@pytest.mark.parametrize("url", ["", "ftp://host/v1", "host:80"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ChatFailedError, match="OPENAI_BASE_URL"):
        Asking(url)


def test_the_request_holds_the_token_and_what_was_asked_for() -> None:
    with ScriptedModelServer({"T1": [Say("well")]}) as server:
        Asking(server.base_url, temperature=0.2).ask()
        (seen,) = server.requests
    assert seen.headers["authorization"] == "Bearer token"
    assert (seen.body["model"], seen.body["temperature"]) == ("scripted", 0.2)


# --- reading an answer ---


def completion(message: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], **more}).encode()


def test_tool_calls_come_with_their_arguments() -> None:
    function = {"name": "read_file", "arguments": '{"path": "a"}'}
    reply = parse_reply(
        completion({"content": None, "tool_calls": [{"id": "1", "function": function}]})
    )
    (call,) = reply.calls
    assert (call.call_id, call.name, call.arguments) == ("1", "read_file", {"path": "a"})
    assert reply.text == ""


@pytest.mark.parametrize("written", ['{"path": ', "[]", "null", "3", "[" * 100_000])
def test_arguments_that_are_no_object_go_back_as_an_empty_one(written: str) -> None:
    function = {"name": "read_file", "arguments": written}
    reply = parse_reply(completion({"tool_calls": [{"function": function}]}))
    assert reply.calls[0].arguments is None
    (call,) = reply.as_message()["tool_calls"]
    assert call["function"]["arguments"] == "{}"
    assert call["id"] == "call_0"


@pytest.mark.parametrize(
    "usage", [None, [], {"prompt_tokens": "3"}, {"prompt_tokens": -1}, {"prompt_tokens": True}]
)
def test_usage_that_makes_no_sense_is_unknown(usage: object) -> None:
    reply = parse_reply(completion({"content": "x"}, usage=usage))
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)


def test_an_answer_cut_off_is_known_as_such() -> None:
    document = {"choices": [{"message": {"content": "x"}, "finish_reason": "length"}]}
    assert parse_reply(json.dumps(document).encode()).cut_off
