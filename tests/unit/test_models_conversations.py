"""Conversations that are kept for people: whole, bounded, without secrets, never in the way."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from stigmergy.models import Gateway, GatewayConfig, Ledger, read_conversation
from stigmergy.models.conversations import MOST_BYTES, MOST_CHARS, Conversations
from stigmergy.models.redaction import Redactor


def turn(number, **message):
    return {
        "task": "F01",
        "turn": number,
        "model": "m",
        "response": {
            "message": {"role": "assistant", **message},
            "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
            "finish_reason": "stop",
        },
    }


CALL = {"id": "c1", "type": "function", "function": {"name": "read_file", "arguments": "{}"}}


@pytest.fixture
def gateway(tmp_path):
    recording = tmp_path / "recording.jsonl"
    turns = [turn(0, content="I look.", tool_calls=[CALL]), turn(1, content="Done.")]
    recording.write_text("".join(json.dumps(one) + "\n" for one in turns))
    config = GatewayConfig(replay=recording, conversations=tmp_path / "conversations")
    with Ledger(tmp_path / "ledger.db") as ledger, Gateway(config, run="r", ledger=ledger) as open_:
        yield open_


def ask(gateway, token, messages, **fields):
    answer = httpx.post(
        f"{gateway.base_url}/chat/completions",
        json={"model": "m", "messages": messages, **fields},
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize("stream", [False, True])
def test_prompts_answers_tools_and_results_are_kept_once_each(gateway, tmp_path, stream) -> None:
    token = gateway.issue_token(task="F01")
    begun = [{"role": "system", "content": "Be good."}, {"role": "user", "content": "Do F01."}]
    ask(gateway, token, begun, stream=stream)
    said = {"role": "assistant", "content": "I look.", "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "text of the file"}
    ask(gateway, token, [*begun, said, result], stream=stream)

    kept = list(read_conversation(tmp_path / "conversations" / "F01.jsonl"))

    assert [(e["kind"], e["turn"], e.get("text")) for e in kept] == [
        ("prompt", 0, "Be good."),
        ("prompt", 0, "Do F01."),
        ("said", 0, "I look."),
        ("result", 1, "text of the file"),
        ("said", 1, "Done."),
    ]
    assert kept[2]["calls"] == [{"name": "read_file", "arguments": "{}"}]
    assert kept[2]["replayed"] is True
    assert kept[3]["name"] == "read_file"
    assert [e["at"] for e in kept] == sorted(e["at"] for e in kept)


def test_the_tokens_of_an_answer_are_kept_where_they_are_known(gateway, tmp_path) -> None:
    ask(gateway, gateway.issue_token(task="F01"), [{"role": "user", "content": "x"}])

    said = list(read_conversation(tmp_path / "conversations" / "F01.jsonl"))[-1]

    assert (said["prompt_tokens"], said["completion_tokens"]) == (10, 2)


def test_a_secret_in_a_message_is_taken_out(gateway, tmp_path) -> None:
    token = gateway.issue_token(task="F01")
    ask(gateway, token, [{"role": "user", "content": f"my token is {token}"}])

    text = (tmp_path / "conversations" / "F01.jsonl").read_text()

    assert token not in text
    assert "[redacted]" in text


@pytest.fixture
def kept(tmp_path):
    return Conversations(tmp_path / "kept", redactor=Redactor(), clock=lambda: 5.0)


def test_a_long_text_is_cut_in_its_middle(kept, gateway, tmp_path) -> None:
    token = gateway.issue_token(task="F01")
    ask(gateway, token, [{"role": "user", "content": "a" * 50_000 + "z"}])

    first = next(iter(read_conversation(tmp_path / "conversations" / "F01.jsonl")))

    assert len(first["text"]) < MOST_CHARS + 100
    assert first["text"].startswith("aaa")
    assert first["text"].endswith("z")
    assert "characters" in first["text"]


def test_a_file_stays_within_its_bound_and_says_that_there_was_more(kept, tmp_path) -> None:
    for _ in range(800):
        kept.write("t", [{"kind": "prompt", "turn": 0, "text": "x" * 8_000}])

    path = tmp_path / "kept" / "t.jsonl"
    assert path.stat().st_size <= MOST_BYTES
    entries = list(read_conversation(path))
    assert [e["kind"] for e in entries[-2:]] == ["prompt", "cut"]
    size = path.stat().st_size
    kept.write("t", [{"kind": "prompt", "turn": 1, "text": "y"}])
    assert path.stat().st_size == size


def test_a_name_that_leads_elsewhere_is_not_written(kept, tmp_path) -> None:
    for name in ("../escaped", "a/b", "", ".hidden", "x" * 200):
        kept.write(name, [{"kind": "prompt", "text": "t"}])

    assert not (tmp_path / "kept").exists()
    assert list(tmp_path.rglob("*escaped*")) == []


def test_what_cannot_be_written_does_not_stop_the_work(tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")

    Conversations(blocked, redactor=Redactor(), clock=lambda: 0.0).write("t", [{"kind": "said"}])

    assert blocked.read_text() == "no folder"


def test_damaged_lines_are_left_out(tmp_path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"kind":"said"}\n\xff\xfe\n[1]\n{"kind":"sa')

    assert list(read_conversation(path)) == [{"kind": "said"}]
    assert list(read_conversation(tmp_path / "missing")) == []


def test_only_their_owner_can_read_them(kept, tmp_path) -> None:
    kept.write("t", [{"kind": "said", "text": "\ud83d"}])

    folder: Path = tmp_path / "kept"
    assert folder.stat().st_mode & 0o077 == 0
    assert [path.name for path in folder.iterdir()] == ["t.jsonl"]
