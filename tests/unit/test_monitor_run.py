"""A run as its journal tells it: the board writes the events, the fold reads them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from stigmergy import TaskBoard, TaskType
from stigmergy.coding.outcome import EXIT_BUDGET, EXIT_FAILED, EXIT_OK, EXIT_STOPPED, judge
from stigmergy.coding.plan.workitem import WorkItem
from stigmergy.coding.tasks import Rework, fix_task, tasks_of_items
from stigmergy.monitor import RunView, SwarmView

LANDED = {"commit": "a" * 40, "batch_size": 1, "gate_s": 1.5, "proof": "identical"}


@pytest.fixture
def board():
    with TaskBoard("memory:") as opened:
        opened.record("run_started", data={"run_id": "r1", "label": "replay: demo"})
        items = [WorkItem(key="F01", title="One"), WorkItem(key="F02", title="Two")]
        opened.post_many(tasks_of_items(items, run_id="r1", max_attempts=2))
        yield opened


def view_of(board: TaskBoard) -> RunView:
    view = SwarmView()
    view.take(board.events())
    return view.run


def claim(board: TaskBoard, task_type: str, agent: str = "r1/agent-1"):
    task = board.claim(agent, task_types=[task_type])
    assert task is not None
    return task


def code(board: TaskBoard, agent: str = "r1/agent-1") -> None:
    board.complete(claim(board, TaskType.CODE, agent), {})


def test_an_item_goes_from_waiting_to_landed(board: TaskBoard) -> None:
    states = [view_of(board).items["F01"].state]
    work = claim(board, TaskType.CODE)
    states.append(view_of(board).items["F01"].state)
    board.complete(work, {})
    states.append(view_of(board).items["F01"].state)
    land = claim(board, TaskType.LAND, "r1/queue")
    states.append(view_of(board).items["F01"].state)
    board.complete(land, {}, note=LANDED)
    view = view_of(board)
    assert [*states, view.items["F01"].state] == [
        "waiting", "coding", "queued", "landing", "landed",
    ]  # fmt: skip
    assert [landing.key for landing in view.landings] == ["F01"]
    assert (view.landed, view.failed, view.target_green) == (1, 0, True)


def test_work_that_comes_back_is_counted_with_its_reason(board: TaskBoard) -> None:
    work = claim(board, TaskType.CODE)
    board.complete(work, {})
    land = claim(board, TaskType.LAND, "r1/queue")
    fix = fix_task(land, work, Rework(kind="conflict", detail="in a.py"), max_attempts=1)
    note = {"returned": "conflict", "detail": "in a.py", "fix": fix.task_id}
    board.release(land, wait_for=[fix.task_id], post=[fix], note=note)
    view = view_of(board)
    assert (view.items["F01"].state, view.items["F01"].returns) == ("waiting", 1)
    assert [(back.key, back.kind, back.fix) for back in view.returns] == [
        ("F01", "conflict", "F01.fix1")
    ]
    claim(board, TaskType.FIX)
    assert view_of(board).items["F01"].state == "fixing"


def test_a_part_that_landed_counts_as_a_landing_but_not_as_the_item(board: TaskBoard) -> None:
    code(board)
    land = claim(board, TaskType.LAND, "r1/queue")
    board.release(land, note={**LANDED, "returned": "partial", "detail": "half"})
    view = view_of(board)
    assert (len(view.landings), view.landed) == (1, 0)
    assert view.returns[0].kind == "partial"


def test_an_agent_shows_what_it_does_and_is_idle_afterwards(board: TaskBoard) -> None:
    task = claim(board, TaskType.CODE)
    board.record(
        "progress",
        task_id="F01",
        agent_id="r1/agent-1",
        data={"kind": "tool", "name": "write_file", "brief": "sheet/refs.py"},
    )
    agent = view_of(board).agents["r1/agent-1"]
    assert (agent.task_id, agent.doing) == ("F01", "write_file sheet/refs.py")
    board.fail(task, "crashed")
    view = view_of(board)
    assert view.agents["r1/agent-1"].task_id is None
    assert view.items["F01"].state == "waiting"


def test_a_given_up_item_fails_with_what_waits_for_it() -> None:
    with TaskBoard("memory:") as board:
        items = [
            WorkItem(key="F01", title="1"),
            WorkItem(key="F02", title="2", depends_on=("F01",)),
        ]
        board.post_many(tasks_of_items(items, run_id="r", max_attempts=1))
        board.fail(claim(board, TaskType.CODE), "blocked", retry=False)
        view = view_of(board)
        assert {item.key: item.state for item in view.items.values()} == {
            "F01": "failed",
            "F02": "failed",
        }
        assert view.items["F01"].error == "blocked"
        assert view.items["F02"].error == (
            "it depends on 'F01.land', which failed because of 'F01': blocked"
        )
        told = [line for line in SwarmView().take(board.events()) if "failed" in line]
        assert told == ["F01 failed: blocked", f"F02 failed: {view.items['F02'].error}"]


def test_a_line_tells_the_reason_and_not_that_one_follows(board: TaskBoard) -> None:
    task = claim(board, TaskType.CODE)
    board.fail(task, "the command ended with 1:\nno idea how\nat all")
    line = SwarmView().take(board.events())[-1]
    assert line.endswith("tried again: the command ended with 1: no idea how")


def test_unknown_tokens_and_costs_stay_unknown(board: TaskBoard) -> None:
    call = {"replayed": True, "prompt_tokens": None, "completion_tokens": None, "cost_usd": None}
    board.record("model_call", task_id="F01", data=call)
    view = view_of(board)
    assert (view.model_calls, view.replayed_calls) == (1, 1)
    assert (view.calls_without_usage, view.calls_without_price) == (1, 1)
    board.record("model_call", data={**call, "prompt_tokens": 5, "cost_usd": float(Decimal("0.1"))})
    view = view_of(board)
    assert (view.prompt_tokens, view.cost_usd, view.calls_without_usage) == (5, 0.1, 1)


def test_gate_runs_are_counted_and_timed(board: TaskBoard) -> None:
    board.record("gate_started", data={"task_ids": ["F01.land", "F02.land"]})
    assert view_of(board).gating == ("F01.land", "F02.land")
    board.record("gate_ended", data={"green": False, "duration_s": 2.0, "reason": "1 failed"})
    view = view_of(board)
    assert (view.gating, view.gate_runs, view.gate_red, view.gate_s) == ((), 1, 1, 2.0)


def test_a_gate_that_was_stopped_is_neither_green_nor_red(board: TaskBoard) -> None:
    board.record("gate_started", data={"task_ids": ["F01.land"]})
    board.record("gate_ended", data={"green": None, "duration_s": 0.1, "reason": None})
    view = view_of(board)
    assert (view.gating, view.gate_runs, view.gate_red) == ((), 0, 0)


def test_the_fold_in_pieces_is_the_fold_at_once(board: TaskBoard) -> None:
    code(board)
    board.complete(claim(board, TaskType.LAND, "q"), {}, note=LANDED)
    pieces = SwarmView()
    for event in board.events():
        pieces.take([event])
    assert pieces.run == view_of(board)


class TestJudge:
    def test_all_landed_and_green_is_the_only_success(self, board: TaskBoard) -> None:
        for _ in range(2):
            code(board)
            board.complete(claim(board, TaskType.LAND, "q"), {}, note=LANDED)
        view = view_of(board)

        def exit_code(*, finished=True, gated=True, green=True, out_of_budget=False) -> int:
            return judge(
                view, finished=finished, gated=gated, green=green, out_of_budget=out_of_budget
            ).exit_code

        assert exit_code() == EXIT_OK
        assert exit_code(gated=False, green=None) == EXIT_OK
        assert exit_code(green=False) == EXIT_FAILED
        assert exit_code(green=None) == EXIT_FAILED
        assert exit_code(finished=False) == EXIT_STOPPED
        assert exit_code(finished=False, out_of_budget=True) == EXIT_BUDGET

    def test_an_item_that_did_not_land_is_a_failure(self, board: TaskBoard) -> None:
        outcome = judge(view_of(board), finished=True, gated=True, green=True, out_of_budget=False)
        assert outcome.exit_code == EXIT_FAILED
        assert "0 of 2" in outcome.verdict

    def test_a_run_that_made_nothing_is_a_failure(self) -> None:
        empty = judge(RunView(), finished=True, gated=False, green=None, out_of_budget=False)
        assert empty.exit_code == EXIT_FAILED
