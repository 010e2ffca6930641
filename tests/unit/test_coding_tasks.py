from __future__ import annotations

from dataclasses import replace

from stigmergy import Task, TaskBoard
from stigmergy.coding.plan.workitem import WorkItem
from stigmergy.coding.tasks import (
    Rework,
    fix_task,
    is_sweep,
    item_key,
    land_id,
    rounds,
    sweep_tasks,
    tasks_of_items,
    work_to_land,
)

RED = Rework(kind="gate-red", detail="1 failed", gate_output="boom", base="c" * 40)


def items() -> list[Task]:
    first = WorkItem(key="F01", title="First", scope=("a.py",), acceptance=("it works",))
    second = WorkItem(key="F02", title="Second", depends_on=("F01",), priority=2)
    return tasks_of_items([first, second], run_id="run", max_attempts=2)


def land(key: str) -> Task:
    return next(task for task in items() if task.task_id == land_id(key))


def work(key: str) -> Task:
    return next(task for task in items() if task.task_id == key)


def test_what_depends_on_an_item_waits_for_its_landing() -> None:
    assert work("F02").depends_on == ("F01.land",)
    assert land("F02").depends_on == ("F02",)


def test_an_item_s_tasks_are_taken_by_the_board_in_any_order() -> None:
    with TaskBoard("memory:") as board:
        board.post_many(reversed(items()))
        task = board.claim("a")
        assert task is not None
        assert task.task_id == "F01"
        assert board.claim("b") is None


def test_a_fix_carries_the_reason_and_where_to_start() -> None:
    fix = fix_task(land("F01"), work("F01"), RED, max_attempts=2)
    assert fix.task_id == "F01.fix1"
    assert item_key(fix) == "F01"
    assert fix.payload["reason"] == "gate-red"
    assert fix.payload["base"] == "c" * 40
    assert fix.payload["scope"] == ["a.py"]
    assert fix.priority < land("F01").priority


def test_the_latest_work_is_the_one_to_land_and_rounds_count_up() -> None:
    waiting = replace(land("F01"), depends_on=("F01", "F01.fix1"))
    assert (work_to_land(waiting), rounds(waiting)) == ("F01.fix1", 1)
    assert fix_task(waiting, work("F01"), RED, max_attempts=2).task_id == "F01.fix2"


def test_waiting_for_a_sweep_is_no_round_of_the_item() -> None:
    waiting = replace(land("F01"), depends_on=("F01", "sweep1.land"))
    assert (work_to_land(waiting), rounds(waiting)) == ("F01", 0)


def test_long_texts_are_cut_at_the_end_that_matters() -> None:
    long = Rework(kind="gate-red", detail="d", gate_output="x" * 10**6 + "the end")
    fix = fix_task(land("F01"), work("F01"), long, max_attempts=1)
    assert len(fix.payload["gate_output"]) <= 20_000
    assert fix.payload["gate_output"].endswith("the end")


def test_a_sweep_is_the_most_urgent_item_there_is() -> None:
    fix, landing = sweep_tasks(
        3, commit="c" * 40, detail="red", gate_output="o", run_id="run", max_attempts=1
    )
    assert (fix.task_id, landing.task_id) == ("sweep3", "sweep3.land")
    assert fix.priority == landing.priority == 1
    assert is_sweep(landing)
    assert not is_sweep(land("F01"))
