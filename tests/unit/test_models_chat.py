"""Requests are checked before anything is done with them."""

import json

import pytest

from stigmergy.models.chat import ChatError, TokenUsage, parse_request, token_usage

USER = {"role": "user", "content": "hello"}


def parse(**fields):
    return parse_request(json.dumps({"messages": [USER], **fields}).encode(), task="F07")


def test_the_turn_is_the_number_of_assistant_messages():
    said = {"role": "assistant", "content": "hi"}
    assert parse().turn == 0
    assert parse(messages=[USER, said, USER, said, {"role": "tool", "content": "x"}]).turn == 2


@pytest.mark.parametrize(
    "field", ["service_tier", "web_search_options", "plugins", "models", "store", "audio"]
)
def test_a_field_that_may_cost_more_is_refused_by_name(field):
    with pytest.raises(ChatError, match=field) as caught:
        parse(**{field: "x"})
    assert caught.value.status == 400


def test_a_field_that_the_user_allowed_passes():
    body = json.dumps({"messages": [USER], "guided_json": {}}).encode()
    request = parse_request(body, task="F07", extra_fields=frozenset({"guided_json"}))
    assert request.fields["guided_json"] == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"{}",
        b'{"messages": []}',
        b'{"messages": ["x"]}',
        b'{"messages": [{}], "stream": 1}',
        b'{"messages": [{}], "max_tokens": -1}',
        b'{"messages": [{}], "max_tokens": true}',
        b'{"messages": [{}], "n": 1000}',
        b'{"messages": [{}], "model": 5}',
        b"[" * 100_000,
        b"\xff",
        b'{"messages": [{"content": NaN}]}',
        b'{"messages": [{}], "tools": [{"type": "openrouter:web_search"}]}',
    ],
)
def test_what_is_no_request_is_a_400(body):
    with pytest.raises(ChatError) as caught:
        parse_request(body, task="F07")
    assert caught.value.status == 400


def test_a_lone_surrogate_is_counted_not_failed_on():
    assert parse_request(b'{"messages": [{"content": "\\ud800"}]}', task="F07").prompt_bytes > 3


def test_usage_that_makes_no_sense_is_unknown():
    assert token_usage({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}) == TokenUsage(3, 4)
    for usage in (None, {}, {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": 1}):
        assert token_usage({"usage": usage}) is None
    assert token_usage({}) is None


def test_cached_tokens_are_a_part_of_the_prompt():
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 50},
    }
    assert token_usage({"usage": usage}) == TokenUsage(10, 1, cached_tokens=10)
