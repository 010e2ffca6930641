"""Whole runs with agents that talk to a model: scripted over real HTTP, or recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from stigmergy.coding.preflight import Source
from stigmergy.errors import UsageError
from stigmergy.testing.model_server import Call, Fail, Failing, Say, ScriptedModelServer
from stigmergy.testing.ports import closed_port
from stigmergy.testing.runs import (
    item,
    prepare_items,
    prepare_source,
    resume_run,
    run_items,
    start_run,
)

MakeRepository = Callable[[Mapping[str, str | bytes]], Path]

GATE = "sh gate.sh"
START = {"gate.sh": "! grep -rn BAD --include=*.txt .\n", "README": "start\n"}
SPREADSHEET = Path(__file__).parents[2] / "examples" / "spreadsheet"


@pytest.fixture
def repository(make_repository: MakeRepository) -> Path:
    return make_repository(START)


def does(path: str, text: str) -> tuple[Say, ...]:
    return (
        Say(calls=(Call("write_file", {"path": path, "content": text}),)),
        Say(calls=(Call("finish", {"status": "complete", "summary": f"wrote {path}"}),)),
    )


def test_a_model_that_does_not_answer_is_said_before_anything_starts(repository: Path) -> None:
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}/v1"

        with pytest.raises(UsageError, match=f"cannot be reached at {url} .*is the server running"):
            prepare_items(repository, [item("F01", "a.txt")], model=f"{url}#m", gate=GATE)

    assert not (repository / ".stigmergy").exists()


def test_a_run_outlasts_a_provider_that_fails_now_and_then(repository: Path) -> None:
    hiccup = Failing(Fail(500), Fail(429, retry_after="0"), does("a.txt", "x\n")[0])
    with ScriptedModelServer({"F01": [hiccup, does("a.txt", "x\n")[1]]}) as server:
        ran = run_items(repository, [item("F01", "a.txt")], model=f"{server.base_url}#m", gate=GATE)

    assert ran.outcome.exit_code == 0
    assert ran.report["model_calls"] == 2
    assert len(server.requests) == 4
    assert ran.events("failed") == []


def test_what_is_recorded_can_be_replayed_and_says_so(
    repository: Path, make_repository: MakeRepository, tmp_path: Path
) -> None:
    items = [item("F01", "a.txt"), item("F02", "b.txt")]
    recording = tmp_path / "run.jsonl"
    script = {"F01": does("a.txt", "one\n"), "F02": does("b.txt", "two\n")}
    with ScriptedModelServer(script) as server:
        live = run_items(
            repository, items, model=f"{server.base_url}#m", record=recording, gate=GATE
        )
    assert live.outcome.exit_code == 0
    assert live.report["label"] == ""

    copy = make_repository(START)
    replayed = run_items(copy, items, model=f"replay:{recording}", gate=GATE)

    assert replayed.outcome.exit_code == 0
    assert (copy / "a.txt").read_text() + (copy / "b.txt").read_text() == "one\ntwo\n"
    assert replayed.report["label"].startswith("replay: the model's words come from a recording")
    assert replayed.report["replayed_calls"] == replayed.report["model_calls"] == 4


def test_a_turn_that_was_not_recorded_fails_with_task_turn_and_file(
    repository: Path, tmp_path: Path
) -> None:
    recording = tmp_path / "half.jsonl"
    arguments = json.dumps({"path": "a.txt", "content": "x\n"})
    call = {"id": "c0", "type": "function"}
    call["function"] = {"name": "write_file", "arguments": arguments}
    answer: dict[str, object] = {
        "message": {"role": "assistant", "content": "", "tool_calls": [call]}
    }
    answer["finish_reason"] = "tool_calls"
    turn = {"task": "F01", "turn": 0, "model": "m", "response": answer}
    recording.write_text(json.dumps(turn) + "\n")

    ran = run_items(
        repository,
        [item("F01", "a.txt")],
        model=f"replay:{recording}",
        gate=GATE,
        max_attempts=1,
    )

    assert ran.outcome.exit_code == 1
    failure = ran.report["failures"]["F01"]
    assert f"turn 1 of task 'F01' is not in the recording {recording}" in failure


def test_an_objective_is_planned_done_and_landed(repository: Path) -> None:
    plan = [
        {"id": "A1", "title": "Write a", "scope": ["a.txt"]},
        {"id": "A2", "title": "Write b", "scope": ["b.txt"], "depends_on": ["A1"]},
    ]
    script = {
        # The word stands in the objective, so these are the planner's turns.
        "zebra": [
            Say(calls=(Call("submit_plan", {"items": plan}),)),
            Say(calls=(Call("submit_plan", {"items": [], "done": True}),)),
        ],
        "A1": does("a.txt", "one\n"),
        "A2": does("b.txt", "two\n"),
    }
    with ScriptedModelServer(script) as server:
        prepared = prepare_source(
            repository,
            Source(kind="objective", text="write the two files of zebra"),
            model=f"{server.base_url}#m",
            gate=GATE,
        )
        ran = start_run(prepared)

    assert ran.outcome.exit_code == 0, ran.text
    assert [landing["key"] for landing in ran.report["landings"]] == ["A1", "A2"]
    assert (repository / "b.txt").read_text() == "two\n"


# --- the demonstration ---


def test_the_demonstration_ends_green_with_each_planted_fault_caught(tmp_path: Path) -> None:
    folder = tmp_path / "sheet"
    prepare = [sys.executable, str(SPREADSHEET / "demo.py"), "--prepare-only", "--dir", folder]
    subprocess.run(prepare, check=True, capture_output=True)
    prepared = prepare_source(
        folder,
        Source(kind="features", text=str(folder / "FEATURES.json")),
        agents=8,
        model=f"replay:{SPREADSHEET / 'recording.jsonl'}",
        gate="python3 -m unittest discover -s tests -t .",
    )

    ran = start_run(prepared)

    assert ran.outcome.exit_code == 0, ran.text
    assert ran.report["landed"] == ran.report["items"] == 20
    assert ran.report["target_green"] is True
    returned = {(back["key"], back["kind"], back["fix"]) for back in ran.report["returned"]}
    assert ("F07", "no-commit", "F07.fix1") in returned
    assert ("F14", "gate-red", "F14.fix1") in returned
    # Where one of the two lands before the other starts, its edit finds nothing, and is red.
    [third] = returned - {("F07", "no-commit", "F07.fix1"), ("F14", "gate-red", "F14.fix1")}
    assert third[0] in ("F10", "F11")
    assert third[1] in ("conflict", "gate-red")
    assert "spreadsheet demonstration, recorded answers" in ran.report["label"]
    show = [sys.executable, "-m", "sheet", "show", "budget.csv"]
    shown = subprocess.run(
        show, cwd=folder, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""}
    )
    assert shown.returncode == 0
    assert "within the limit" in shown.stdout
    with pytest.raises(UsageError, match="has ended"):
        resume_run(folder)
