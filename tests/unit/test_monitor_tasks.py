"""The tasks of a board as its journal tells them."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from stigmergy import Task, TaskBoard
from stigmergy.board import Event, JsonObject
from stigmergy.monitor import SwarmView, apply
from stigmergy.monitor import tasks as task_book


@pytest.fixture
def board() -> Generator[TaskBoard]:
    with TaskBoard("memory:") as opened:
        yield opened


class Screen:
    """Somebody who gets changes only."""

    def __init__(self, board: TaskBoard) -> None:
        self._board = board
        self.view = SwarmView()
        self.shown = self.view.snapshot(0.0)

    def look(self) -> JsonObject:
        self.view.take(self._board.events(after=self.view.seq, limit=10**6))
        if (delta := self.view.changes(0.0)) is not None:
            self.shown = apply(self.shown, delta)
        assert self.shown == self.view.snapshot(0.0)
        return self.shown


def post(board: TaskBoard, name: str, *needed: str) -> None:
    board.post(Task(task_type="x", task_id=name, description=f"Do {name}\nwell", depends_on=needed))


def test_what_waits_for_a_completed_task_is_told_ready(board: TaskBoard) -> None:
    screen = Screen(board)
    post(board, "a")
    post(board, "b", "a")
    assert screen.look()["tasks"]["b"]["waits"] is True
    assert screen.shown["metrics"]["tasks_waiting"] == 1
    task = board.claim("ann")
    assert task is not None
    board.complete(task, {})
    assert screen.look()["tasks"]["b"]["waits"] is False
    assert screen.shown["metrics"]["tasks_waiting"] == 0


def test_a_row_says_what_the_one_who_posted_it_said(board: TaskBoard) -> None:
    board.post(
        Task(task_type="x", task_id="a", description="Do a\nwell", priority=2, max_attempts=7)
    )
    row = Screen(board).look()["tasks"]["a"]
    said = {name: row[name] for name in ("type", "title", "priority", "max_attempts", "status")}
    assert said == {
        "type": "x",
        "title": "Do a",
        "priority": 2,
        "max_attempts": 7,
        "status": "pending",
    }


def test_of_many_tasks_those_that_are_held_and_the_oldest_are_shown(
    board: TaskBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_book, "SHOWN", 3)
    monkeypatch.setattr(task_book, "FINISHED", 1)
    screen = Screen(board)
    for number in range(6):
        post(board, f"t{number}")
    assert screen.look()["tasks"].keys() == {"t0", "t1", "t2"}
    assert screen.shown["tasks_total"] == 6
    board.cancel("t0")
    assert screen.look()["tasks"].keys() == {"t0", "t1", "t2", "t3"}
    board.cancel("t1")
    assert screen.look()["tasks"].keys() == {"t1", "t2", "t3", "t4"}
    board.retry("t0")  # it was forgotten, and comes back with all that is known of it
    assert screen.look()["tasks"].keys() == {"t1", "t2", "t3", "t4"}
    board.cancel("t2")
    board.cancel("t3")
    shown = screen.look()
    assert shown["tasks"].keys() == {"t3", "t4", "t5", "t0"}
    assert shown["tasks"]["t0"]["title"] == "Do t0"
    assert (shown["metrics"]["tasks_cancelled"], shown["tasks_total"]) == (3, 6)


def test_what_a_person_takes_from_its_agent_by_hand_is_at_work_no_more(tmp_path: Path) -> None:
    with TaskBoard(tmp_path / "tasks") as board:
        screen = Screen(board)
        post(board, "a")
        assert board.claim("ann") is not None
        assert screen.look()["agents"]["ann"]["task_id"] == "a"
        file = tmp_path / "tasks" / "a.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "completed"}))
        assert board.list_all()[0].status.value == "completed"
        shown = screen.look()
    assert shown["tasks"]["a"]["status"] == "completed"
    assert (shown["agents"]["ann"]["task_id"], shown["agents"]["ann"]["state"]) == (None, "idle")
    screen.view.tick(1e12)
    assert screen.view.alerts == {}


def test_a_task_removed_by_hand_is_gone(tmp_path: Path) -> None:
    with TaskBoard(tmp_path / "tasks") as board:
        screen = Screen(board)
        post(board, "a")
        post(board, "b")
        assert screen.look()["tasks"].keys() == {"a", "b"}
        (tmp_path / "tasks" / "a.json").unlink()
        assert [task.task_id for task in board.list_all()] == ["b"]
        shown = screen.look()
    assert shown["tasks"].keys() == {"b"}
    assert (shown["tasks_total"], shown["metrics"]["tasks_pending"]) == (1, 1)


def test_a_journal_that_lost_its_beginning_still_makes_sense() -> None:
    view = SwarmView()
    view.take(
        [
            Event(seq=7, at=5.0, kind="started", task_id="a", agent_id="ann"),
            Event(seq=8, at=6.0, kind="completed", task_id="a", agent_id="ann", data={"status": 3}),
            Event(seq=9, at=7.0, kind="claimed", task_id="b", agent_id="ann", data={"attempt": 2}),
        ]
    )
    shown = view.snapshot(8.0)
    assert {name: row["status"] for name, row in shown["tasks"].items()} == {
        "a": "completed",
        "b": "claimed",
    }
    assert shown["tasks"]["b"]["priority"] is None


@pytest.mark.parametrize("junk", [None, "x", -1, 1e400, [], [1], {}, {"a": [1]}, True])
def test_data_of_any_kind_ends_no_fold(junk: object) -> None:
    names = (
        *("status", "attempt", "depends_on", "wait_for", "task_type", "title", "items", "commit"),
        *("green", "duration_s", "task_ids", "count", "cost_usd", "prompt_tokens", "kind", "name"),
        *("exit_code", "gate", "agents", "budget_usd", "budget_tokens", "priority", "requires"),
        *(
            "returned",
            "parent_id",
            "max_attempts",
            "was",
            "commits",
            "entries",
            "text",
            "batch_size",
        ),
    )
    kinds = (
        *("posted", "claimed", "started", "reported", "progress", "model_call", "completed"),
        *("failed", "expired", "released", "cancelled", "retried", "replaced", "edited"),
        *("prioritized", "removed", "paused", "resumed", "run_started", "items_planned"),
        *("gate_started", "gate_ended", "swept", "note", "target", "planning", "agents_wanted"),
        *("memory_read", "memory_written", "pruned", "clock_set", "run_ended", "unheard_of"),
    )
    view = SwarmView()
    for seq, kind in enumerate(kinds, start=1):
        data: JsonObject = dict.fromkeys(names, junk)
        for task_id in ("a", "a.land", ""):
            view.take(
                [Event(seq=0, at=float(seq), kind=kind, task_id=task_id, agent_id="x", data=data)]
            )
            view.changes(float(seq))
    view.snapshot(100.0)
