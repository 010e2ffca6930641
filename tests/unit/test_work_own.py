"""The own agent's loop, against a scripted model over real HTTP and a real checkout."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from stigmergy.coding.work.inside import own
from stigmergy.coding.work.inside.commits import Checkout, identity
from stigmergy.coding.work.inside.conversation import LEFT_OUT
from stigmergy.coding.work.inside.outcome import Counted, Outcome
from stigmergy.coding.work.inside.progress import Progress
from stigmergy.testing.model_server import Call, Failing, Raw, Reply, Say, ScriptedModelServer

LOOK = Call("list_files", {})


def finish(status: str = "complete", **more: Any) -> Say:
    return Say(calls=(Call("finish", {"status": status, "summary": "did it", **more}),))


class Bench:
    """A place where an own agent works, and what it left."""

    def __init__(self, repo: Path) -> None:
        self.repo = repo
        self.counted = Counted()
        self.requests: list[list[dict[str, Any]]] = []
        self.told: list[dict[str, Any]] = []

    def work(self, script: Sequence[Reply | Failing], **agent: Any) -> Outcome:
        stream = StringIO()
        with ScriptedModelServer({"T1": script}) as server:
            env = {"PATH": os.environ["PATH"], **identity("A", "a@example.invalid")}
            env["OPENAI_BASE_URL"] = server.base_url
            outcome = own.work(
                {
                    "description": "-",
                    "system_prompt": "You work.",
                    "user_prompt": "Task T1",
                    "agent": {"kind": "own", "model": "scripted", **agent},
                },
                checkout=Checkout(str(self.repo), "HEAD", env),
                env=env,
                progress=Progress(stream),
                counted=self.counted,
            )
            self.requests = [list(seen.body["messages"]) for seen in server.requests]
        self.told = [json.loads(line) for line in stream.getvalue().splitlines()]
        return outcome

    def results(self) -> list[str]:
        """The tool results in the last request."""
        return [m["content"] for m in self.requests[-1] if m["role"] == "tool"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return Bench(tmp_path)


def test_it_works_with_tools_until_it_finishes(bench: Bench) -> None:
    write = Call("write_file", {"path": "a.txt", "content": "x"})
    outcome = bench.work([Say("I see.", (LOOK,)), Say(calls=(write, LOOK)), finish()])
    assert (outcome.status, outcome.summary, outcome.error) == ("complete", "did it", None)
    assert (bench.repo / "a.txt").read_text() == "x"
    assert bench.results() == ["the repository is empty", "created a.txt (1 lines)", "a.txt"]


def test_the_model_is_told_its_work_and_its_task(bench: Bench) -> None:
    bench.work([finish()])
    assert [m["content"] for m in bench.requests[0]] == ["You work.", "Task T1"]


def test_steps_calls_and_tokens_are_counted(bench: Bench) -> None:
    bench.work([Say(calls=(LOOK, LOOK)), finish()])
    counted = bench.counted
    assert (counted.steps, counted.tool_calls) == (2, 3)
    assert (counted.prompt_tokens, counted.completion_tokens) == (200, 40)


def test_one_unknown_number_of_tokens_makes_the_sum_unknown(bench: Bench) -> None:
    bench.work([Say(calls=(LOOK,), usage=None), finish()])
    assert (bench.counted.prompt_tokens, bench.counted.completion_tokens) == (None, None)


def test_what_it_says_of_its_work_is_handed_over(bench: Bench) -> None:
    outcome = bench.work([finish("partial", concerns=["slow"], suggestions=["a cache"])])
    assert (outcome.status, outcome.concerns, outcome.suggestions) == (
        "partial", ("slow",), ("a cache",),
    )  # fmt: skip


def test_blocked_gives_its_reason_as_the_error(bench: Bench) -> None:
    outcome = bench.work([finish("blocked")])
    assert (outcome.status, outcome.error, outcome.salvage) == ("blocked", "did it", False)


def test_the_step_limit_ends_it_and_keeps_what_is_there(bench: Bench) -> None:
    outcome = bench.work([Say("once", (LOOK,)), Say(calls=(LOOK,))], max_steps=2)
    assert outcome.error == "step limit: 2 model calls"
    assert outcome.salvage
    assert outcome.summary == "once"
    assert len(bench.requests) == 2


def test_the_token_limit_ends_it(bench: Bench) -> None:
    outcome = bench.work([Say(calls=(LOOK,))], max_tokens=200)
    assert outcome.error == "token limit: 240 of 200 tokens"
    assert outcome.salvage


def test_an_answer_without_a_tool_is_reminded_once(bench: Bench) -> None:
    outcome = bench.work([Say("Done!"), finish()])
    assert outcome.status == "complete"
    assert "called no tool" in bench.requests[-1][-1]["content"]


def test_a_second_answer_without_a_tool_is_a_failure(bench: Bench) -> None:
    outcome = bench.work([Say("Done!"), Say("Really.")])
    assert (outcome.status, outcome.error) == ("failed", "stopped without finishing")
    assert outcome.summary == "Really."


def test_only_silence_in_a_row_is_a_failure(bench: Bench) -> None:
    outcome = bench.work([Say("Hm."), Say(calls=(LOOK,)), Say("Well."), finish()])
    assert outcome.status == "complete"


def test_repeating_itself_gets_a_notice_and_then_the_end(bench: Bench) -> None:
    outcome = bench.work([Say(calls=(LOOK,))])
    assert (outcome.status, outcome.error) == ("failed", "repeats itself")
    assert not outcome.salvage
    noticed = ["3 times in a row" in bench.results()[2], "4 times" in bench.results()[3]]
    assert noticed == [True, True]
    assert len(bench.requests) == 5


def test_three_malformed_calls_are_the_end(bench: Bench) -> None:
    outcome = bench.work([Say(calls=(Call("browse", {"url": "x"}),))])
    assert (outcome.status, outcome.error) == ("failed", "3 malformed tool calls in a row")
    assert "there is no tool 'browse'" in bench.results()[0]


def test_a_good_call_forgives_the_malformed_ones(bench: Bench) -> None:
    bad = Say(calls=(Call("browse", {}),))
    outcome = bench.work([bad, bad, Say(calls=(LOOK,)), bad, bad, finish()])
    assert outcome.status == "complete"


def test_arguments_that_are_no_json_are_said_to_the_model(bench: Bench) -> None:
    function = {"name": "write_file", "arguments": '{"path": "a", "content": "x'}
    message = {"role": "assistant", "tool_calls": [{"id": "c", "function": function}]}
    cut = {"choices": [{"message": message, "finish_reason": "length"}]}
    outcome = bench.work([Raw(json.dumps(cut).encode()), finish()])
    assert outcome.status == "complete"
    assert "cut off at its token limit" in bench.results()[0]
    assert not (bench.repo / "a").exists()


def test_a_finish_that_does_not_fit_is_not_the_end(bench: Bench) -> None:
    outcome = bench.work([Say(calls=(Call("finish", {"status": "great"}),)), finish()])
    assert outcome.status == "complete"
    assert bench.counted.steps == 2


def test_what_comes_after_a_finish_is_not_done(bench: Bench) -> None:
    after = Call("write_file", {"path": "late.txt", "content": "x"})
    bench.work([Say(calls=(*finish().calls, after))])
    assert not (bench.repo / "late.txt").exists()


def test_every_call_is_answered_even_when_there_are_too_many(bench: Bench) -> None:
    calls = tuple(Call("search", {"pattern": str(n)}) for n in range(40))
    bench.work([Say(calls=calls), finish()])
    assert len(bench.results()) == 40
    assert bench.results()[32].startswith("not done")


def test_a_failing_tool_is_told_and_not_fatal(bench: Bench) -> None:
    outcome = bench.work([Say(calls=(Call("read_file", {"path": "none"}),)), finish()])
    assert outcome.status == "complete"
    assert bench.results() == ["error: there is no file none"]
    assert {"kind": "done", "name": "read_file", "ok": False}.items() <= bench.told[3].items()


def test_long_results_are_cut_in_the_middle(bench: Bench) -> None:
    (bench.repo / "wide").write_text(("a" * 290 + "\n") * 200)
    bench.work([Say(calls=(Call("search", {"pattern": "a"}),)), finish()])
    (result,) = bench.results()
    assert "characters left out" in result
    assert 50_000 < len(result) < 50_100


def test_a_long_conversation_makes_room_and_keeps_its_turns(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "_CONVERSATION_CHARS", 8_000)
    for n in range(8):
        (bench.repo / str(n)).write_text(str(n) * 1_500)
    reads = [Say(calls=(Call("read_file", {"path": str(n)}),)) for n in range(8)]
    assert bench.work([*reads, finish()]).status == "complete"
    assert bench.results()[0] == LEFT_OUT
    assert "7777" in bench.results()[-1]
    assert bench.counted.steps == 9


def test_without_an_address_of_a_model_it_fails_with_a_reason(tmp_path: Path) -> None:
    outcome = own.work(
        {"description": "-", "agent": {"kind": "own"}},
        checkout=Checkout(str(tmp_path), "HEAD", {}),
        env={},
        progress=Progress(StringIO()),
        counted=Counted(),
    )
    assert (outcome.status, "OPENAI_BASE_URL" in (outcome.error or "")) == ("failed", True)
