"""The pure parts of the program in the sandbox: texts, conversation, guards, commands, result."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmergy.coding.work.handoff import MAX_HANDOFF_BYTES, parse_handoff
from stigmergy.coding.work.inside.command import BadCommandError, Values, expand
from stigmergy.coding.work.inside.commits import Facts
from stigmergy.coding.work.inside.conversation import LEFT_OUT, Message, fit, size, tool_result
from stigmergy.coding.work.inside.guards import GettingNowhereError, Guards
from stigmergy.coding.work.inside.outcome import Counted, Outcome, document, encoded, interrupted
from stigmergy.coding.work.inside.process import Tail
from stigmergy.coding.work.inside.progress import Progress
from stigmergy.coding.work.inside.text import clip, clip_middle, first_line

# --- texts ---


@given(st.text(), st.integers(1, 50))
def test_a_clipped_text_is_its_start(text: str, limit: int) -> None:
    cut = clip(text, limit)
    assert len(cut) <= limit
    assert cut == text or text.startswith(cut[:-1])


@given(st.text(max_size=300), st.integers(2, 100))
def test_a_text_cut_in_the_middle_keeps_both_ends(text: str, limit: int) -> None:
    cut = clip_middle(text, limit)
    half = limit // 2
    assert cut == text if len(text) <= limit else cut.startswith(text[:half])
    assert len(text) <= limit or cut.endswith(text[-half:])


def test_the_first_line_is_the_first_with_something_on_it() -> None:
    assert first_line("\n  \n  a title \nmore", 50) == "a title"
    assert first_line("", 50) == ""


@given(st.lists(st.binary(max_size=40)), st.integers(0, 30), st.integers(0, 30))
def test_a_tail_keeps_the_first_and_the_last_bytes(
    pieces: list[bytes], head: int, tail: int
) -> None:
    kept = Tail(head, tail)
    for piece in pieces:
        kept.add(piece)
    whole = b"".join(pieces)
    if len(whole) <= head + tail:
        assert kept.text() == whole.decode(errors="replace")
    else:
        last = whole[len(whole) - tail :].decode(errors="replace")
        assert kept.text().startswith(whole[:head].decode(errors="replace"))
        assert kept.text().endswith(f"{len(whole) - head - tail:,} bytes left out …]\n{last}")


# --- the conversation ---


def conversation(results: list[str]) -> list[Message]:
    messages: list[Message] = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    for at, result in enumerate(results):
        function = {"name": "run", "arguments": "{}"}
        calls = [{"id": str(at), "type": "function", "function": function}]
        messages.append({"role": "assistant", "content": "", "tool_calls": calls})
        messages.append(tool_result(str(at), result))
    return messages


def test_a_conversation_within_its_budget_stays_as_it_is() -> None:
    messages = conversation(["x" * 100] * 10)
    assert fit(messages, budget=size(messages)) == messages


def test_old_results_make_room_first_and_the_newest_stay() -> None:
    messages = conversation([str(n) * 1_000 for n in range(8)])
    contents = [m["content"] for m in fit(messages, budget=7_000) if m["role"] == "tool"]
    assert contents[:4] == [LEFT_OUT] * 4
    assert contents[4:] == [str(n) * 1_000 for n in range(4, 8)]


def test_making_room_makes_enough_for_several_steps() -> None:
    fitted = fit(conversation(["x" * 1_000] * 20), budget=19_000)
    assert size(fitted) < 0.7 * 19_000


@given(st.lists(st.integers(0, 3_000), max_size=15), st.integers(0, 20_000))
def test_making_room_drops_no_message(sizes: list[int], budget: int) -> None:
    messages = conversation(["x" * n for n in sizes])
    fitted = fit(messages, budget=budget)
    assert [(m["role"], m.get("tool_call_id")) for m in fitted] == [
        (m["role"], m.get("tool_call_id")) for m in messages
    ]
    assert size(fitted) <= size(messages)


# --- guards ---


def test_the_same_call_is_noticed_at_the_third_time_and_ended_at_the_fifth() -> None:
    guards = Guards()
    notices = [guards.called("run", {"argv": ["a"]}) for _ in range(4)]
    assert [notice is not None for notice in notices] == [False, False, True, True]
    with pytest.raises(GettingNowhereError, match="repeats itself"):
        guards.called("run", {"argv": ["a"]})


def test_another_call_between_them_starts_the_count_anew() -> None:
    guards = Guards()
    for _ in range(10):
        guards.called("run", {"argv": ["test"]})
        guards.called("edit_file", {"path": "a", "old": "b", "new": "c"})


def test_the_order_of_arguments_makes_no_other_call() -> None:
    guards = Guards()
    for _ in range(2):
        guards.called("edit_file", {"path": "a", "old": "b"})
    assert guards.called("edit_file", {"old": "b", "path": "a"}) is not None


def test_only_what_comes_in_a_row_ends_it() -> None:
    guards = Guards()
    for _ in range(5):
        guards.malformed()
        guards.malformed()
        guards.called("list_files", {"glob": str(_)})
        guards.silent()
        guards.spoke()


# --- commands ---

VALUES = Values(path="src/a b.py", task="/w/task.json", description="do {task}; rm", prompt="p")


def test_values_stay_within_their_argument() -> None:
    argv = expand(["tool", "--in={path}", "{description}", "{other}", "{task}"], VALUES)
    assert argv == ["tool", "--in=src/a b.py", "do {task}; rm", "{other}", "/w/task.json"]


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        ("{path}", {"path": "--force"}, "./--force"),
        ("{description}", {"description": "--yolo"}, " --yolo"),
        ("{prompt}{path}", {"prompt": "", "path": "-x"}, "./-x"),
        ("--say={description}", {"description": "-x"}, "--say=-x"),
        ("{description}", {"description": "a\0b"}, "ab"),
    ],
)
def test_a_task_gives_a_program_no_options(
    template: str, values: dict[str, str], expected: str
) -> None:
    assert expand(["tool", template], VALUES._replace(**values)) == ["tool", expected]


def test_a_task_names_no_program() -> None:
    with pytest.raises(BadCommandError):
        expand(["{path}", "x"], VALUES)


# --- the result ---

FACTS = Facts(commits=2, paths=("a", "b"), lines_added=3, lines_removed=1)
NOTHING = Facts(commits=0, paths=(), lines_added=0, lines_removed=0)


def result(outcome: Outcome, facts: Facts | None) -> dict[str, Any]:
    return dict(document(outcome, facts, Counted(), duration_ms=5))


@pytest.mark.parametrize(
    ("outcome", "facts", "status"),
    [
        (Outcome("complete"), NOTHING, "complete"),
        (interrupted("step limit"), FACTS, "partial"),
        (interrupted("step limit"), NOTHING, "failed"),
        (interrupted("step limit"), None, "failed"),
        (Outcome("failed", error="x"), FACTS, "failed"),
        (Outcome("blocked"), FACTS, "blocked"),
    ],
)
def test_only_what_was_cut_off_is_partial_for_its_commits(
    outcome: Outcome, facts: Facts | None, status: str
) -> None:
    assert result(outcome, facts)["status"] == status


@pytest.mark.parametrize("character", ["x", "\x01", "\ud800", "𝄞", '"', "\n"])
def test_the_largest_result_is_a_handoff(character: str) -> None:
    long = character * 100_000
    outcome = Outcome("partial", long, long, (long,) * 300, (long,) * 300)
    facts = Facts(9, (*(character * 20 for _ in range(20_000)), long), 1, 1)
    data = encoded(result(outcome, facts))
    assert len(data) < MAX_HANDOFF_BYTES
    assert parse_handoff(data, task_id="T1").commits == 9


# --- progress ---


def test_progress_is_one_line_of_ascii_whatever_it_says() -> None:
    stream = StringIO()
    Progress(stream).tell("text", text="é\n\ud800" * 3_000)
    (line,) = stream.getvalue().splitlines()
    assert line.isascii()
    assert len(json.loads(line)["text"]) == 1_000


def test_a_flood_of_output_is_cut_with_a_notice() -> None:
    stream = StringIO()
    progress = Progress(stream)
    for n in range(5_000):
        progress.output(str(n))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 2_001
    assert lines[-1]["kind"] == "notice"


def test_nobody_listening_is_no_failure() -> None:
    stream = StringIO()
    progress = Progress(stream)
    stream.close()
    progress.tell("step", step=1)
    progress.tell("step", step=2)
