"""Runs whose agents hang: what the monitor says of it, and does where it is asked to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from stigmergy.monitor import SwarmView, Thresholds
from stigmergy.testing.runs import Ran, item, run_items

MakeRepository = Callable[[Mapping[str, str | bytes]], Path]

STUCK_S = 5.0
"""Longer than an attempt that goes on is silent, on a busy machine too."""
HANGS_ONCE = (
    'grep -q \'"attempt":1,\' "$STIG_WORKSPACE/task.json" && sleep 600; echo done > "$STIG_PATH"'
)


def journal_of(ran: Ran) -> SwarmView:
    view = SwarmView(Thresholds(silent_s=STUCK_S))
    view.take(ran.events())
    return view


def test_a_hanging_agent_is_ended_and_its_task_tried_again(
    make_repository: MakeRepository,
) -> None:
    ran = run_items(
        make_repository({"README": "start\n"}),
        [item("F01", "a.txt"), item("F02", "b.txt")],
        agents=2,
        agent_command=HANGS_ONCE,
        agent_shell=True,
        gate="none",
        stuck_action="retry",
        stuck_after_s=STUCK_S,
    )
    assert ran.outcome.exit_code == 0, ran.text
    ended = ran.events("stuck_ended")
    assert {event.task_id for event in ended} == {"F01", "F02"}
    for event in ended:
        assert event.data["alert"] == "silent"
        assert f"has said nothing of {event.task_id} for" in event.data["reason"]
        assert event.agent_id.endswith(("agent-1", "agent-2"))
    failed = [event for event in ran.events("failed") if event.task_id == "F01"]
    assert [event.data["status"] for event in failed] == ["pending"]
    assert failed[0].data["error"].startswith("stuck: ")
    assert "F01: attempt 1 failed, tried again: stuck: " in ran.text
    view = journal_of(ran)
    assert (view.tasks.retries, view.run.landed) == (2, 2)
    assert all(agent.failed == 1 for agent in view.agents.rows.values() if not agent.is_lander)


def test_without_the_setting_a_silent_agent_is_let_be(make_repository: MakeRepository) -> None:
    ran = run_items(
        make_repository({"README": "start\n"}),
        [item("F01", "a.txt")],
        agents=1,
        agent_command='sleep 3; echo done > "$STIG_PATH"',
        agent_shell=True,
        gate="none",
        stuck_after_s=1.0,
    )
    assert ran.outcome.exit_code == 0, ran.text
    assert ran.events("stuck_ended") == []
    assert ran.events("failed") == []
