"""An objective: a model plans two sprints, agents do the items, all of it through the gateway.

The model's words are recorded; planner, gateway, sandboxes, queue and gate are real.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stigmergy.board import TaskBoard
from stigmergy.coding.preflight import Source
from stigmergy.coding.rundir import StateFolder
from stigmergy.testing.runs import prepare_source, start_run

GATE = "python3 -m unittest discover -s tests -t ."
SEED = {
    "calc/__init__.py": "",
    "tests/__init__.py": "",
    "tests/test_seed.py": (
        "import unittest\n\n\nclass Seed(unittest.TestCase):\n    def test_seed(self):\n"
        "        self.assertTrue(True)\n"
    ),
}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }


def plan(*items: dict[str, Any], done: bool = False) -> dict[str, Any]:
    return call(
        "submit_plan",
        scratchpad={"goals": "a calculator"},
        items=list(items),
        done=done,
        reason="nothing is left" if done else "",
    )


def work(module: str, text: str) -> list[dict[str, Any]]:
    return [
        call("write_file", path=f"calc/{module}.py", content=text),
        call("finish", status="complete", summary=f"Add {module}"),
    ]


def write_recording(path: Path, turns: dict[str, list[dict[str, Any]]]) -> None:
    lines: list[dict[str, Any]] = [{"recording": 1, "label": "objective", "origin": "written"}]
    for task, messages in turns.items():
        for turn, message in enumerate(messages):
            response = {"message": message, "finish_reason": "tool_calls", "usage": None}
            lines.append({"task": task, "turn": turn, "model": "recorded", "response": response})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_an_objective_is_planned_in_sprints_and_lands(make_repository: Any, tmp_path: Path) -> None:
    repository = make_repository(SEED)
    recording = tmp_path / "recording.jsonl"
    add = {"id": "add", "title": "Add add", "scope": ["calc/add.py"]}
    sub = {"id": "sub", "title": "Add sub", "scope": ["calc/sub.py"]}
    mul = {"id": "mul", "title": "Add mul", "scope": ["calc/mul.py"], "depends_on": ["add"]}
    write_recording(
        recording,
        {
            "plan-1": [plan(add, sub)],
            # A sprint goes on with the conversation of the one before: one answer is in it.
            "plan-2": [plan(done=True), plan(mul)],
            "plan-3": [plan(done=True), plan(done=True), plan(done=True)],
            "add": work("add", "def add(a, b):\n    return a + b\n"),
            "sub": work("sub", "def sub(a, b):\n    return a - b\n"),
            "mul": work("mul", "def mul(a, b):\n    return a * b\n"),
        },
    )
    prepared = prepare_source(
        repository,
        Source(kind="objective", text="Build a calculator"),
        model=f"replay:{recording}",
        gate=GATE,
        agents=2,
    )
    ran = start_run(prepared)
    assert ran.outcome.exit_code == 0, ran.text
    assert sorted(ran.view.items) == ["add", "mul", "sub"]
    assert (repository / "calc" / "mul.py").read_text().startswith("def mul")
    assert ran.view.replayed_calls == ran.view.model_calls > 0
    assert "replay" in ran.view.label


def test_a_refused_plan_is_told_to_the_planner_and_the_next_one_is_asked_about_too(
    make_repository: Any, tmp_path: Path
) -> None:
    repository = make_repository(SEED)
    recording = tmp_path / "recording.jsonl"
    add = {"id": "add", "title": "Add add", "scope": ["calc/add.py"]}
    mul = {"id": "mul", "title": "Add mul", "scope": ["calc/mul.py"]}
    write_recording(
        recording,
        {
            "plan-1": [plan(add)],
            "plan-2": [plan(mul), plan(mul)],
            "plan-3": [plan(done=True), plan(done=True), plan(done=True)],
            "mul": work("mul", "def mul(a, b):\n    return a * b\n"),
        },
    )
    prepared = prepare_source(
        repository,
        Source(kind="objective", text="Build a calculator"),
        model=f"replay:{recording}",
        gate=GATE,
        agents=2,
        approve="plan",
    )

    def answer(line: str) -> None:
        if "waits for a person" not in line:
            return
        with TaskBoard(StateFolder(repository).find(None).board_url) as board:
            if line.startswith("plan.approval1"):
                board.refuse("plan.approval1", by="ann", reason="multiply first")
            else:
                board.approve("plan.approval2", by="ann")

    ran = start_run(prepared, on_line=answer)
    assert {item.key: item.state for item in ran.view.items.values()} == {
        "add": "failed",
        "mul": "landed",
    }
    assert "multiply first" in str(ran.view.items["add"].error)
    assert (repository / "calc" / "mul.py").exists()
    assert not (repository / "calc" / "add.py").exists()
