"""`/metrics` as Prometheus reads it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from stigmergy import Task, TaskBoard
from stigmergy.monitor import METRICS, SwarmView
from stigmergy.monitor.prometheus import exposition

HOSTILE = 'a"b\\c\nd{e="f"} 1\n# TYPE evil counter'


def families(view: SwarmView) -> dict[str, dict[tuple[str, ...], float]]:
    read = text_string_to_metric_families(exposition(view, 4e9).decode())
    return {
        family.name: {tuple(s.labels.values()): s.value for s in family.samples} for family in read
    }


def view_of(board: TaskBoard) -> SwarmView:
    view = SwarmView()
    view.take(board.events())
    return view


def test_every_figure_is_told_with_its_type_and_meaning() -> None:
    view = SwarmView()
    with TaskBoard("memory:") as board:
        board.record("run_started", data={"run_id": "r", "budget_usd": 2.0, "budget_tokens": 100})
        board.post(Task(task_type="code", task_id="a"))
        assert board.claim("ann")
        data = {"prompt_tokens": 5, "completion_tokens": 1, "cost_usd": 0.5}
        board.record("model_call", task_id="a", data=data)
        tool = {"kind": "tool", "name": "bash"}
        board.record("progress", task_id="a", agent_id="ann", data=tool)
        board.record("gate_started", data={"task_ids": []})
        board.record("gate_ended", data={"green": True, "duration_s": 2.0})
        board.record("swept", data={"green": True})
        landed = {"commit": "c" * 40, "gate_s": 1.0}
        board.record("posted", task_id="a.land", data={"task_type": "land"})
        board.record("completed", task_id="a.land", data=landed)
        board.record("memory_read", data={"namespace": "n", "keys": ["k"]})
        board.record("memory_written")
        view.take(board.events())
    found = families(view)
    for metric in METRICS:
        family = metric.series.partition("{")[0]
        assert f"stigmergy_{family}" in found, metric.name
    assert found["stigmergy_tasks"]["claimed",] == 1
    assert found["stigmergy_tokens"] == {("prompt",): 5, ("completion",): 1}
    assert found["stigmergy_cost_dollars"] == {(): 0.5}
    assert found["stigmergy_budget_dollars_used_ratio"] == {(): 0.25}


def test_what_is_not_known_is_left_out() -> None:
    found = families(SwarmView())
    for name in ("landings", "cost_dollars", "tokens", "target_green", "gate_longest_seconds"):
        assert f"stigmergy_{name}" not in found
    assert found["stigmergy_tasks"]["pending",] == 0


def test_names_of_all_kinds_stay_one_label_and_make_no_series() -> None:
    with TaskBoard("memory:") as board:
        board.record("run_started", data={"run_id": HOSTILE, "label": HOSTILE})
        before = len(families(view_of(board)))
        board.post_many(Task(task_type=f"type{n}", task_id=f"t{n}") for n in range(50))
        for number in range(50):
            board.claim(f"agent {number} {HOSTILE}")
        found = families(view_of(board))
    assert len(found) == before
    assert "evil" not in found
    assert HOSTILE in next(iter(found["stigmergy_run_info"]))
    assert sum(len(samples) for samples in found.values()) < 100
