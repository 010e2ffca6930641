"""What a run is told by a person: how many agents, what was asked, and how both are shown."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from stigmergy.board import Event, Task, TaskStatus
from stigmergy.board.approvals import waits_for_person
from stigmergy.cli import figures
from stigmergy.cli.frame import frame
from stigmergy.coding.asking import ask_to_land, ask_to_plan, landing_approval_id, waiting_for
from stigmergy.coding.context import Pulse
from stigmergy.coding.crew import Crew
from stigmergy.coding.plan.source import PlannerState
from stigmergy.coding.plan.workitem import WorkItem, key_fault
from stigmergy.coding.planning import kept_state
from stigmergy.coding.tasks import rounds, tasks_of_items, work_to_land
from stigmergy.coding.work.handoff import Handoff, HandoffMetrics
from stigmergy.monitor import RunView, SwarmView
from stigmergy.swarm import Nursery

ITEMS = [WorkItem(key=key, title=f"Do {key}", scope=(f"{key}.txt",)) for key in ("A", "B")]
WITHIN_S = 60.0


class Hand:
    """Works on tasks that the test hands out one by one."""

    def __init__(self, name: str, log: list[str], task: threading.Semaphore) -> None:
        self._name, self._log, self._task = name, log, task

    def work(self, wanted: Callable[[], bool]) -> None:
        while wanted():
            self._log.append(self._name)
            self._task.acquire()


@pytest.fixture
def hands() -> Iterator[tuple[Crew, list[str], dict[str, threading.Semaphore]]]:
    log: list[str] = []
    tasks = {f"agent-{number}": threading.Semaphore(0) for number in range(1, 6)}
    with Nursery() as nursery:
        crew = Crew(nursery, lambda name: Hand(name, log, tasks[name]), Pulse())
        yield crew, log, tasks
        crew.follow(0)
        for task in tasks.values():
            task.release(100)


def until(holds: Callable[[], bool]) -> None:
    """Within a time that is far more than enough."""
    ended = threading.Event()
    for _ in range(int(WITHIN_S / 0.01)):
        if holds():
            return
        ended.wait(0.01)
    raise AssertionError("it did not come to that")


def test_a_crew_grows_and_shrinks_between_tasks(
    hands: tuple[Crew, list[str], dict[str, threading.Semaphore]],
) -> None:
    crew, log, tasks = hands
    crew.follow(2)
    crew.follow(2)
    until(lambda: sorted(log) == ["agent-1", "agent-2"])
    crew.follow(1)
    tasks["agent-2"].release()  # it ends its task, and leaves
    tasks["agent-1"].release()  # it ends its task, and takes another
    until(lambda: log.count("agent-1") == 2)
    assert log.count("agent-2") == 1
    crew.follow(3)
    until(lambda: log.count("agent-3") == 1)
    until(lambda: log.count("agent-2") == 2)


def test_who_is_wanted_again_before_it_has_left_stays(
    hands: tuple[Crew, list[str], dict[str, threading.Semaphore]],
) -> None:
    crew, log, tasks = hands
    crew.follow(2)
    until(lambda: sorted(log) == ["agent-1", "agent-2"])
    crew.follow(1)
    crew.follow(2)
    assert len(log) == 2, "nobody was started in the place of one that is at work"
    tasks["agent-2"].release()
    until(lambda: log.count("agent-2") == 2)


# Approvals ---------------------------------------------------------------------------------------


def landing() -> tuple[Task, Task]:
    work, land = tasks_of_items(ITEMS[:1], run_id="run", max_attempts=3)
    done = replace(work, status=TaskStatus.COMPLETED, result={"base": "b" * 40, "commit": "c" * 40})
    return land, done


def test_an_approval_of_a_landing_has_what_a_person_judges_by() -> None:
    land, work = landing()
    counted = HandoffMetrics(files_changed=2, lines_added=7, lines_removed=1)
    handoff = Handoff(status="complete", summary="did it", changes=("a", "b"), metrics=counted)
    asked = ask_to_land(land, work, handoff, ref="refs/x")
    assert asked.task_id == "A.approval1"
    assert asked.description == "Land A (2 files, +7 -1): Do A"
    assert waits_for_person(asked)
    assert waiting_for(asked) == "A"
    assert asked.payload["branch"] == "refs/x"
    assert asked.payload["commit"] == "c" * 40
    unknown = ask_to_land(land, work, Handoff(status="complete"), ref="r")
    assert unknown.description.startswith("Land A (unknown files)")


def test_an_approval_is_no_work_of_its_item_and_each_round_has_its_own() -> None:
    land, _ = landing()
    waiting = replace(land, depends_on=(*land.depends_on, "A.approval1"))
    assert (work_to_land(waiting), rounds(waiting)) == ("A", 0)
    mended = replace(waiting, depends_on=(*waiting.depends_on, "A.fix1"))
    assert (work_to_land(mended), rounds(mended)) == ("A.fix1", 1)
    assert landing_approval_id(mended) == "A.approval2"


def test_no_item_can_have_the_name_of_an_approval() -> None:
    assert key_fault("A.approval1") is not None
    assert key_fault("A.approvals") is None


def test_all_work_of_a_plan_depends_on_its_approval() -> None:
    tasks = tasks_of_items(ITEMS, run_id="run", max_attempts=3)
    asked, *held = ask_to_plan(ITEMS, tasks, number=2, run_id="run")
    assert asked.task_id == "plan.approval2"
    assert asked.description == "Work on a plan of 2 items: Do A; Do B"
    assert {task.task_id: task.depends_on for task in held} == {
        "A": ("plan.approval2",),
        "A.land": ("A",),
        "B": ("plan.approval2",),
        "B.land": ("B",),
    }
    assert waiting_for(asked) == "the plan"


def test_only_what_the_planner_wrote_is_what_it_knows_again() -> None:
    def event(seq: int, kind: str, **data: object) -> Event:
        return Event(seq=seq, at=float(seq), kind=kind, task_id="", agent_id="", data=data)

    state = PlannerState().model_dump(mode="json")
    written = event(1, "planning", state=state)
    # An agent in its sandbox may put any name into a line of its progress.
    forged = event(2, "progress", state="what no planner can read")
    assert kept_state([written, forged]) == PlannerState()
    assert kept_state([forged]) is None


# The view ----------------------------------------------------------------------------------------


def told(*events: tuple[str, str, dict[str, object]]) -> tuple[RunView, list[str]]:
    view = SwarmView()
    lines = view.take(
        Event(seq=n, at=float(n), kind=kind, task_id=task, agent_id="ann", data=data)
        for n, (kind, task, data) in enumerate(events, 1)
    )
    return view.run, lines


ASKED = (
    "posted",
    "A.approval1",
    {"task_type": "approval", "title": "Land A", "requires": ["person"]},
)
LAND = ("posted", "A.land", {"task_type": "land"})


def test_a_person_is_no_agent_and_an_answer_is_told() -> None:
    view, lines = told(
        LAND,
        ASKED,
        ("claimed", "A.approval1", {"attempt": 1}),
        ("completed", "A.approval1", {"approved": True, "reason": "fine"}),
    )
    assert lines == [
        "A.approval1 waits for a person: Land A",
        "A.approval1 approved by ann: fine",
    ]
    assert view.agents == {}
    assert view.approvals == {}
    assert view.items["A"].state == "waiting"


def test_what_waits_for_a_person_waits_again_after_a_retry() -> None:
    view, lines = told(
        LAND,
        ASKED,
        ("failed", "A.approval1", {"approved": False, "status": "failed"}),
        ("failed", "A.land", {"status": "failed", "error": "refused"}),
        ("retried", "A.approval1", {}),
        ("retried", "A.land", {}),
    )
    assert lines[1] == "A.approval1 refused by ann"
    assert lines[-1] == "A is begun anew"
    assert view.approvals == {"A.approval1": "Land A"}
    assert (view.items["A"].state, view.items["A"].error) == ("waiting", None)


def test_pauses_and_wishes_are_the_latest() -> None:
    view, _ = told(
        ("paused", "", {"task_type": "*"}),
        ("paused", "", {"task_type": "*"}),
        ("paused", "", {"task_type": "land"}),
        ("agents_wanted", "", {"count": 3}),
        ("resumed", "", {"task_type": "land"}),
        ("resumed", "", {"task_type": "never"}),
    )
    assert view.paused == {"*"}
    assert view.agents_wanted == 3
    assert figures.idle_agents(view) == 3


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 8), (200, 60)])
def test_the_live_table_says_that_it_is_paused_and_what_waits(width: int, height: int) -> None:
    view, _ = told(ASKED, LAND, ("paused", "", {"task_type": "*"}))
    console = Console(width=width, height=height, record=True, file=io.StringIO())
    console.print(frame(view, now=9.0, width=width, height=height))
    text = console.export_text()
    assert "PAUSED" in text
    assert "A.approval1" in text
    assert len(text.splitlines()) <= height
    view.ended_at = 9.0
    assert figures.calls_for_you(view) == []
