"""What is worth an alert, from when on, and until when."""

from __future__ import annotations

from pathlib import Path

import pytest

from stigmergy.board import Event
from stigmergy.monitor import Alert, SwarmView, Thresholds
from stigmergy.monitor.actions import Attention, decide
from stigmergy.monitor.alerts import KINDS

AGENT = "r/agent-1"


class Story:
    """A journal by hand, and the alerts that stand at a time."""

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self.view = SwarmView(thresholds)
        self.seen: set[str] = set()

    def tell(
        self, at: float, event_kind: str, task_id: str = "", agent_id: str = "", **data: object
    ) -> Story:
        seq = self.view.seq + 1
        self.view.take(
            [Event(seq=seq, at=at, kind=event_kind, task_id=task_id, agent_id=agent_id, data=data)]
        )
        return self

    def run(self, at: float = 0.0, **facts: object) -> Story:
        return self.tell(at, "run_started", run_id="r", **facts)

    def post(self, at: float, name: str, task_type: str = "code", **data: object) -> Story:
        return self.tell(at, "posted", name, task_type=task_type, **data)

    def claim(self, at: float, name: str, agent: str = AGENT) -> Story:
        return self.tell(at, "claimed", name, agent, attempt=1)

    def progress(self, at: float, task_id: str, agent: str = AGENT, **data: object) -> Story:
        return self.tell(at, "progress", task_id, agent, **data)

    def alerts(self, now: float) -> dict[str, Alert]:
        self.view.tick(now)
        return self.view.alerts

    def kinds(self, now: float) -> set[str]:
        return {alert.kind for alert in self.alerts(now).values()}


def working() -> Story:
    return Story().post(0.0, "a").claim(0.0, "a")


def test_an_attempt_of_which_nothing_is_heard_is_silent() -> None:
    story = working()
    assert story.kinds(299.0) == set()
    alert = story.alerts(300.0)["silent:a"]
    assert (alert.subject, alert.agent_id, alert.since) == ("a", AGENT, 300.0)
    assert alert.text == "r/agent-1 has said nothing of a for 5 min"
    assert "stig logs a" in alert.action
    assert story.view.agents.rows[AGENT].state == "stuck"
    story.progress(310.0, "a", kind="text", text="still here")
    assert story.kinds(311.0) == set()
    assert story.view.agents.rows[AGENT].state == "working"


@pytest.mark.parametrize("kind", ["reported", "model_call", "progress"])
def test_any_word_of_an_attempt_ends_its_silence(kind: str) -> None:
    agent = "" if kind == "model_call" else AGENT
    story = working().tell(200.0, kind, "a", agent)
    assert story.kinds(400.0) == set()
    assert story.kinds(500.0) == {"silent"}


def test_what_another_agent_says_does_not_end_it() -> None:
    assert working().progress(200.0, "a", "r/zombie").kinds(301.0) == {"silent"}


def test_a_finished_attempt_is_not_silent() -> None:
    assert working().tell(1.0, "completed", "a", AGENT, status="completed").kinds(1e6) == set()


def test_work_that_waits_for_the_gate_is_not_silent() -> None:
    story = Story().post(0.0, "a.land", "land").claim(0.0, "a.land", "r/queue")
    assert story.kinds(5000.0) == set()


def test_the_same_tool_call_again_and_again_is_repeating() -> None:
    story = working()
    for number in range(4):
        story.progress(number, "a", kind="tool", name="bash", brief="pytest")
        story.progress(number, "a", kind="done", name="bash", ok=False)
    assert story.kinds(4.0) == set()
    story.progress(5.0, "a", kind="tool", name="bash", brief="pytest")
    alert = story.alerts(5.0)["repeating:a"]
    assert "5 times in a row in a: bash pytest" in alert.text
    story.progress(6.0, "a", kind="tool", name="bash", brief="ls")
    assert story.kinds(6.0) == set()


def test_an_attempt_beyond_its_limit_is_overtime() -> None:
    story = Story().run(task_timeout_s=100.0).post(0.0, "a").claim(0.0, "a")
    assert story.kinds(100.0) == set()
    assert story.alerts(101.0)["overtime:a"].since == 100.0
    mine = Story(Thresholds(overtime_s=10.0)).post(0.0, "a").claim(0.0, "a")
    assert mine.kinds(11.0) == {"overtime"}


def test_a_coding_task_completed_without_a_commit_is_told_until_it_was_judged() -> None:
    story = working().tell(1.0, "completed", "a", AGENT, status="completed", commits=0)
    alert = story.alerts(2.0)["empty_diff:a"]
    assert alert.text == "r/agent-1 completed a without a commit"
    story.post(3.0, "a.land", "land", depends_on=["a"]).claim(3.0, "a.land", "r/queue")
    story.tell(4.0, "released", "a.land", "r/queue", returned="no-commit")
    assert story.kinds(5.0) == set()
    assert story.view.metrics(5.0)["empty_results"] == 1


@pytest.mark.parametrize("commits", [1, None])
def test_with_a_commit_or_where_nobody_counted_it_is_not(commits: int | None) -> None:
    story = working().tell(1.0, "completed", "a", AGENT, status="completed", commits=commits)
    assert story.kinds(2.0) == set()


def finished(*, model: str | None = "m", **call: object) -> Story:
    story = Story().run(model=model).post(0.0, "a").claim(0.0, "a")
    if call:
        story.tell(1.0, "model_call", "a", **call)
    return story.tell(2.0, "completed", "a", AGENT, status="completed", commits=1)


def test_a_result_without_tokens_and_tools_is_suspicious() -> None:
    story = finished()
    assert story.kinds(3.0) == {"suspicious_result"}
    assert story.view.metrics(3.0)["suspicious_results"] == 1
    assert finished(prompt_tokens=5, completion_tokens=0).kinds(3.0) == {"suspicious_result"}


def test_a_result_with_tokens_or_with_unknown_tokens_is_not() -> None:
    assert finished(prompt_tokens=5, completion_tokens=3).kinds(3.0) == set()
    assert finished(prompt_tokens=None, completion_tokens=None).kinds(3.0) == set()


def test_where_no_model_works_no_tokens_are_missed() -> None:
    assert finished(model=None).kinds(3.0) == set()


def test_a_task_whose_lease_runs_out_again_and_again_is_expiring() -> None:
    story = Story().post(0.0, "a")
    for number in range(2):
        story.claim(number, "a").tell(number + 0.5, "expired", "a", AGENT, status="pending")
    assert "ran out 2 times" in story.alerts(3.0)["expiring:a"].text
    assert story.view.agents.rows[AGENT].state == "gone"
    story.tell(4.0, "cancelled", "a", status="cancelled")
    assert "expiring" not in story.kinds(5.0)


def test_ready_tasks_that_nobody_takes_need_agents() -> None:
    story = Story().post(0.0, "a", "x").post(0.0, "b", "x", depends_on=["a"])
    assert story.kinds(59.0) == set()
    alert = story.alerts(60.0)["no_agents:board"]
    assert alert.severity == "critical"
    assert alert.text.startswith("1 tasks are ready")
    story.tell(61.0, "paused", task_type="x")
    assert story.kinds(200.0) == set()
    story.tell(201.0, "resumed", task_type="x").claim(202.0, "a")
    assert "no_agents" not in story.kinds(900.0)


def test_what_waits_for_a_person_needs_the_person_and_no_agents() -> None:
    story = Story().post(0.0, "ship", "approval", requires=["person"], title="Ship it?")
    assert story.kinds(59.0) == set()
    alert = story.alerts(70.0)["person:ship"]
    assert (alert.text, alert.action) == (
        "ship has waited for a person for 70 s: Ship it?",
        "approve or refuse ship",
    )
    assert story.kinds(70.0) == {"person"}


def test_a_target_that_stays_red_is_told() -> None:
    story = Story().run().tell(10.0, "swept", green=False).tell(300.0, "swept", green=False)
    assert story.kinds(609.0) == set()
    assert story.alerts(610.0)["gate_red:target"].severity == "critical"
    story.tell(700.0, "swept", green=True)
    assert story.kinds(700.0) == set()


@pytest.mark.parametrize(
    ("facts", "subject", "text"),
    [
        ({"budget_usd": 1.0}, "usd", "$0.90 of $1.00 are spent (90%); at the limit the run stops"),
        (
            {"budget_tokens": 1000},
            "tokens",
            "900 of 1,000 tokens are spent (90%); at the limit the run stops",
        ),
    ],
)
def test_a_budget_that_is_nearly_spent_is_told(
    facts: dict[str, object], subject: str, text: str
) -> None:
    story = Story().run(model="m", **facts)
    call = {"prompt_tokens": 700, "completion_tokens": 50, "cost_usd": 0.75}
    story.tell(1.0, "model_call", "plan", **call)
    assert story.kinds(2.0) == set()
    story.tell(3.0, "model_call", "plan", prompt_tokens=100, completion_tokens=50, cost_usd=0.15)
    alert = story.alerts(4.0)[f"budget:{subject}"]
    assert (alert.text, alert.severity, alert.since) == (text, "warning", 4.0)
    assert story.alerts(9.0)[alert.alert_id].since == 4.0, "it stands since it was first seen"
    story.tell(10.0, "model_call", "plan", prompt_tokens=100, completion_tokens=0, cost_usd=0.1)
    assert story.alerts(11.0)[alert.alert_id].severity == "critical"


def test_many_failures_among_the_latest_attempts_are_told() -> None:
    story = Story(Thresholds(failed_of=4))
    for number in range(4):
        name = f"t{number}"
        story.post(number, name, "x").claim(number, name)
        if number % 2:
            story.tell(number, "completed", name, AGENT, status="completed")
        elif number < 3:
            assert story.kinds(number) == set()
            story.tell(number, "failed", name, AGENT, status="failed", error="no")
    assert story.alerts(9.0)["failing:attempts"].text == "2 of the latest 4 attempts failed"


def test_what_failed_because_of_another_task_is_no_failed_attempt() -> None:
    story = Story(Thresholds(failed_of=1)).post(0.0, "a", "x")
    story.tell(1.0, "failed", "a", status="failed", error="it depends on b")
    assert story.kinds(2.0) == set()


def test_a_run_whose_process_is_gone_is_told_by_who_knows() -> None:
    story = Story().run(agents=4).post(0.0, "a").claim(0.0, "a")
    story.view.crashed = True
    assert story.kinds(1.0) == {"crashed"}
    assert story.view.state == "crashed"
    agent = story.view.agents.rows[AGENT]
    assert agent.state == "gone"
    assert story.view.metrics(1.0)["agents_working"] == 0
    story.run(2.0)  # it was resumed
    assert story.kinds(3.0) == set()
    assert agent.state == "working"


def test_a_run_that_has_ended_needs_nothing() -> None:
    story = Story().run(budget_tokens=1).post(0.0, "a", "x")
    story.tell(1.0, "swept", green=False)
    story.tell(1.0, "model_call", "plan", prompt_tokens=5, completion_tokens=0)
    assert story.kinds(5000.0) == {"no_agents", "gate_red", "budget"}
    story.tell(5001.0, "run_ended", exit_code=1, verdict="red")
    assert story.kinds(6000.0) == set()


def test_a_machine_acts_only_on_what_is_stuck_and_only_if_asked_to() -> None:
    story = working()
    story.tell(0.0, "swept", green=False)
    for _ in range(5):
        story.progress(1.0, "a", kind="tool", name="bash", brief="ls")
    alerts = list(story.alerts(2000.0).values())
    assert {alert.kind for alert in alerts} == {"silent", "repeating", "gate_red"}
    assert decide(alerts, "none") == []
    (end,) = decide(alerts, "retry")
    assert (end.task_id, end.agent_id, end.alert) == ("a", AGENT, "silent")
    assert end.reason == "r/agent-1 has said nothing of a for 33 min"


def test_who_was_stopped_itself_calls_nobody_silent_until_it_has_listened_for_so_long() -> None:
    attention = Attention(60.0)
    assert not any(attention.look(float(second)) for second in range(60))
    assert attention.look(60.0)
    assert attention.look(89.0), "a look that is a little late is no break"
    assert not attention.look(5000.0)
    assert not any(attention.look(5000.0 + second) for second in range(60))
    assert attention.look(5060.0)
    hasty = Attention(1.0)
    assert [hasty.look(now) for now in (0.0, 1.1, 2.2, 9.0, 10.1)] == [
        False,
        True,
        True,
        False,
        True,
    ]
    alerts = list(working().alerts(2000.0).values())
    assert decide(alerts, "retry", has_listened=False) == []
    assert [end.alert for end in decide(alerts, "retry", has_listened=True)] == ["silent"]


def test_every_kind_of_alert_is_tested_here() -> None:
    source = Path(__file__).read_text()
    assert [kind for kind in KINDS if f"{kind}:" not in source and f'"{kind}"' not in source] == []
