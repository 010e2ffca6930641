"""The view of real runs: what git and the board say, the view says, and so does a reload of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from stigmergy.monitor import SwarmView, apply
from stigmergy.monitor.prometheus import exposition
from stigmergy.monitor.spans import spans_of
from stigmergy.testing.runs import Ran, item, run_items

MakeRepository = Callable[[Mapping[str, str | bytes]], Path]

GATE = "! grep -rn BAD --include=*.txt .\n"
# The first attempt at b.txt breaks the gate; the fix finds it there, and does not.
WORK = (
    'if [ "$STIG_PATH" = b.txt ] && [ ! -e b.txt ]; then word=BAD; else word=good; fi; '
    'echo $word > "$STIG_PATH"'
)


def run(make_repository: MakeRepository) -> Ran:
    return run_items(
        make_repository({"gate.sh": GATE, "README": "start\n"}),
        [
            item("F01", "a.txt"),
            item("F02", "b.txt"),
            item("F03", "c.txt", depends_on=["F01", "F02"]),
        ],
        agents=2,
        agent_command=WORK,
        agent_shell=True,
        gate="sh gate.sh",
    )


def test_a_view_of_a_run_agrees_with_git_and_with_the_run(make_repository: MakeRepository) -> None:
    ran = run(make_repository)
    events = ran.events()
    view = SwarmView()
    view.take(events)
    shown = view.snapshot(events[-1].at)
    log = ["git", "log", "--format=%H", "--reverse", "main", "--not", ran.report["start"]]
    commits = subprocess.run(log, cwd=ran.repository, capture_output=True, text=True, check=True)
    landed = [landing["commit"] for landing in shown["landings"]]
    # What was mended lands as its first commit and the mending; the landing is the latter.
    assert [commit for commit in commits.stdout.split() if commit in landed] == landed
    assert commits.stdout.split()[-1] == landed[-1]
    assert {key: row["state"] for key, row in shown["items"].items()} == {
        key: each.state for key, each in ran.view.items.items()
    }
    figures, report = shown["metrics"], ran.report
    for figure, told in (
        ("landings", len(report["landings"])),
        ("returns", len(report["returned"])),
        ("items_landed", report["landed"]),
        ("gate_runs", report["gate_runs"]),
        ("gate_red", report["gate_red"]),
    ):
        assert figures[figure] == told, figure
    assert figures["returns"] >= 1, "the gate sent work back"
    assert figures["calls"] is None, "no model was asked, which is not the same as never answered"
    assert shown["run"]["state"] == "ended"
    assert shown["run"]["verdict"] == ran.outcome.verdict
    assert {row["state"] for row in shown["agents"].values()} == {"gone"}
    last = shown["series"]["points"][-1:] or [{"landings": 0}]
    assert last[0]["landings"] <= figures["landings"]


def test_a_run_watched_live_shows_what_a_reload_shows(make_repository: MakeRepository) -> None:
    events = run(make_repository).events()
    live, reloaded = SwarmView(), SwarmView()
    now = events[0].at
    shown = live.snapshot(now)
    for event in events:
        live.take([event])
        now = max(now, event.at)
        if (delta := live.changes(now)) is not None:
            shown = apply(shown, json.loads(json.dumps(delta)))
    reloaded.take(events)
    later = now + 10.0
    if (delta := live.changes(later)) is not None:
        shown = apply(shown, delta)
    assert shown | {"now": later} == reloaded.snapshot(later)


def test_prometheus_reads_the_figures_of_a_run(make_repository: MakeRepository) -> None:
    ran = run(make_repository)
    view = SwarmView()
    view.take(ran.events())
    text = exposition(view, ran.events()[-1].at).decode()
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["stigmergy_landings_total",] == len(ran.report["landings"])
    assert values["stigmergy_tasks", "completed"] == view.metrics(0.0)["tasks_completed"]
    assert values["stigmergy_gate_red_total",] == ran.report["gate_red"]


def test_time_goes_to_attempts_that_the_board_saw(make_repository: MakeRepository) -> None:
    ran = run(make_repository)
    spans = spans_of(ran.events(), until=None)
    claims = [event for event in ran.events("claimed") if not event.task_id.endswith(".land")]
    assert len(spans.attempts) == len(claims)
    assert {span.outcome for span in spans.attempts} == {"completed"}
    assert len(spans.gates) >= ran.report["gate_runs"]
    total = sum(spent.time_s for spent in spans.by_task.values())
    assert total == sum(spent.time_s for spent in spans.by_agent.values())
    assert 0 < total < 2 * ran.report["duration_s"], "two agents work no more than twice the time"
