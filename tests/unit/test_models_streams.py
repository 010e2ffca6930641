"""Server-sent events, and messages in pieces."""

import json

from stigmergy.models.streams import EventReader, Transcript, as_chunks


def test_events_are_found_however_the_bytes_are_cut():
    wire = b': hello\r\n\r\ndata: {"a": 1}\n\ndata:{"b": 2}\r\n\r\nevent: x\ndata: [DONE]\n\n'
    for size in range(1, len(wire)):
        reader = EventReader()
        events = [
            event
            for start in range(0, len(wire), size)
            for event in reader.feed(wire[start : start + size])
        ]
        assert events == [b'{"a": 1}', b'{"b": 2}', b"[DONE]"]


def test_a_line_separator_within_json_ends_no_line():
    text = json.dumps({"text": "one\u2028two\x85"}, ensure_ascii=False).encode()
    assert EventReader().feed(b"data: " + text + b"\n\n") == [text]


def test_a_message_taken_apart_comes_together_again():
    message = {
        "role": "assistant",
        "content": "I read it",
        "reasoning_content": "hm",
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "run", "arguments": "{}"}},
            {"id": "b", "type": "function", "function": {"name": "finish", "arguments": "{}"}},
        ],
    }
    completion = {
        "id": "1",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 1},
    }
    transcript = Transcript()
    for chunk in as_chunks(completion, with_usage=True):
        transcript.feed(chunk)
    assert transcript.message() == message
    assert transcript.finish_reason == "tool_calls"
    assert transcript.usage == {"prompt_tokens": 1}


def test_the_arguments_of_two_calls_are_not_mixed():
    transcript = Transcript()
    parts = [
        (0, {"id": "a", "function": {"name": "run", "arguments": '{"x'}}),
        (1, {"id": "b", "function": {"name": "search", "arguments": '{"y'}}),
        (0, {"function": {"arguments": '":1}'}}),
        (1, {"function": {"arguments": '":2}'}}),
    ]
    for index, part in parts:
        transcript.feed({"choices": [{"delta": {"tool_calls": [{"index": index, **part}]}}]})
    calls = [call["function"] for call in transcript.message()["tool_calls"]]
    assert calls == [
        {"name": "run", "arguments": '{"x":1}'},
        {"name": "search", "arguments": '{"y":2}'},
    ]


def test_only_the_first_choice_is_in_the_transcript():
    transcript = Transcript()
    transcript.feed({"choices": [{"index": 1, "delta": {"content": "other"}}]})
    transcript.feed({"choices": [{"index": 0, "delta": {"content": "mine"}}]})
    assert transcript.message()["content"] == "mine"
