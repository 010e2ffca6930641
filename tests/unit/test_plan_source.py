"""Sources of items: when they give some, when they wait, and how they end."""

from __future__ import annotations

import pytest

from stigmergy.coding.plan.policy import Ceilings, ItemOutcome, Progress, backoff_s
from stigmergy.coding.plan.request import (
    PlanningError,
    PlanningStoppedError,
    PlanOutcome,
    PlanRequest,
    PlanUsage,
)
from stigmergy.coding.plan.scratchpad import Scratchpad
from stigmergy.coding.plan.source import (
    End,
    ListSource,
    ObjectiveSource,
    PlannerState,
    Sprint,
)
from stigmergy.coding.plan.view import RepoView
from stigmergy.coding.plan.workitem import WorkItem
from stigmergy.errors import BudgetExceededError, TransientError

LANDED = ItemOutcome(status="landed")
FAILED = ItemOutcome(status="failed")


def items(*keys: str) -> tuple[WorkItem, ...]:
    return tuple(WorkItem(key=key, title=key) for key in keys)


def outcome(*keys: str, done: bool = False) -> PlanOutcome:
    return PlanOutcome(
        items=items(*keys),
        done=done,
        reason="because",
        scratchpad=Scratchpad(state=f"planned {keys}"),
        notes=(),
        session=b"[]",
        usage=PlanUsage(requests=1, prompt_tokens=None, completion_tokens=None),
    )


class ScriptedPlanner:
    """Answers as told, and keeps what it was asked."""

    def __init__(self, *answers: PlanOutcome | Exception) -> None:
        self._answers = iter(answers)
        self.requests: list[PlanRequest] = []

    def plan(self, request: PlanRequest) -> PlanOutcome:
        self.requests.append(request)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def view_at(commit: str) -> RepoView:
    return RepoView(commit=commit, paths=("a.py",), documents={})


def source(planner: ScriptedPlanner, **ceilings: int) -> ObjectiveSource:
    return ObjectiveSource(planner, "build", view_at=view_at, ceilings=Ceilings(**ceilings))


def progress(*open_: str, landed: tuple[str, ...] = (), failed: tuple[str, ...] = ()) -> Progress:
    ended = dict.fromkeys(landed, LANDED) | dict.fromkeys(failed, FAILED)
    return Progress(tip="c" * 40, ended=ended, open=frozenset(open_))


def keys(sprint: Sprint) -> list[str]:
    return [made.key for made in sprint.items]


def test_a_list_is_given_once_and_ends() -> None:
    listed = ListSource(items("A", "B"))
    first = listed.next_items(progress())
    assert (keys(first), first.end) == (["A", "B"], End.DONE)
    assert keys(listed.next_items(progress("A", landed=("B",)))) == []


def test_after_a_crash_only_what_is_missing_is_given() -> None:
    assert keys(ListSource(items("A", "B")).next_items(progress("A"))) == ["B"]


def test_a_planner_is_asked_again_after_enough_items_ended() -> None:
    planner = ScriptedPlanner(outcome("A", "B", "C", "D"), outcome("E"))
    objective = source(planner, outcomes_per_replan=3)
    assert keys(objective.next_items(progress())) == ["A", "B", "C", "D"]
    assert objective.next_items(progress("C", "D", landed=("A", "B"))) == Sprint()
    assert len(planner.requests) == 1
    assert keys(objective.next_items(progress("D", landed=("A", "B"), failed=("C",)))) == ["E"]
    asked = planner.requests[1]
    assert (asked.sprint, asked.session, asked.told) == (2, b"[]", frozenset())
    assert asked.scratchpad.state == "planned ('A', 'B', 'C', 'D')"
    assert asked.failed == {"C"}
    assert objective.state.told == {"A", "B", "C"}


def test_a_planner_is_asked_again_when_nothing_is_open() -> None:
    planner = ScriptedPlanner(outcome("A"), outcome(done=True))
    objective = source(planner)
    objective.next_items(progress())
    end = objective.next_items(progress(landed=("A",)))
    assert (end.end, end.reason) == (End.DONE, "because")


def test_done_waits_for_open_items_and_is_believed_when_they_land() -> None:
    planner = ScriptedPlanner(outcome("A", "B", done=True))
    objective = source(planner)
    assert objective.next_items(progress()).end is None
    assert objective.next_items(progress("A", landed=("B",))) == Sprint()
    assert objective.next_items(progress(landed=("A", "B"))).end is End.DONE
    assert len(planner.requests) == 1


def test_done_is_asked_again_when_an_item_failed_after_it() -> None:
    planner = ScriptedPlanner(outcome("A", done=True), outcome("A2"))
    objective = source(planner)
    objective.next_items(progress())
    assert keys(objective.next_items(progress(failed=("A",)))) == ["A2"]


@pytest.mark.parametrize(("ceilings", "asked"), [({"max_sprints": 2}, 2), ({"max_items": 2}, 2)])
def test_ceilings_end_the_planning_and_say_so(ceilings: dict[str, int], asked: int) -> None:
    planner = ScriptedPlanner(outcome("A"), outcome("B"), outcome("C"))
    objective = source(planner, **ceilings)
    objective.next_items(progress())
    objective.next_items(progress(landed=("A",)))
    end = objective.next_items(progress(landed=("A", "B")))
    assert end.end is End.CEILING
    assert "2 sprints with 2 items" in end.reason
    assert len(planner.requests) == asked


def test_a_sprint_has_no_more_items_than_are_left() -> None:
    planner = ScriptedPlanner(outcome("A", "B"), outcome("C"))
    objective = source(planner, max_items=3, items_per_sprint=2)
    objective.next_items(progress())
    objective.next_items(progress(landed=("A", "B")))
    assert [request.max_items for request in planner.requests] == [2, 1]


def test_errors_wait_longer_each_time_then_the_planner_gives_up() -> None:
    planner = ScriptedPlanner(*[TransientError("no answer")] * 10)
    objective = source(planner)
    waits = [objective.next_items(progress()).retry_after_s for _ in range(9)]
    assert waits == [2, 4, 8, 16, 30, 30, 30, 30, 30]
    end = objective.next_items(progress())
    assert end.end is End.GAVE_UP
    assert "10 times in a row; at last: no answer" in end.reason


def test_a_success_forgets_the_errors() -> None:
    planner = ScriptedPlanner(TransientError("x"), TransientError("x"), outcome("A"),
                              TransientError("x"))  # fmt: skip
    objective = source(planner)
    for _ in range(3):
        objective.next_items(progress())
    assert objective.next_items(progress(landed=("A",))).retry_after_s == 2


def test_the_provider_may_ask_for_a_longer_wait() -> None:
    objective = source(ScriptedPlanner(TransientError("busy", retry_after_s=90.0)))
    assert objective.next_items(progress()).retry_after_s == 90.0


def test_an_error_begins_a_new_conversation() -> None:
    planner = ScriptedPlanner(outcome("A"), TransientError("x"), outcome("B"))
    objective = source(planner)
    objective.next_items(progress())
    objective.next_items(progress(landed=("A",)))
    objective.next_items(progress(landed=("A",)))
    assert [request.session for request in planner.requests] == [None, b"[]", None]


def test_a_final_error_gives_up_at_once() -> None:
    end = source(ScriptedPlanner(PlanningError("no such model"))).next_items(progress())
    assert (end.end, end.reason) == (End.GAVE_UP, "no such model")


def test_a_stop_plans_nothing_and_ends_nothing() -> None:
    assert source(ScriptedPlanner(PlanningStoppedError("x"))).next_items(progress()) == Sprint()


def test_a_used_up_budget_is_for_the_run_to_handle() -> None:
    with pytest.raises(BudgetExceededError):
        source(ScriptedPlanner(BudgetExceededError("x", scope="run"))).next_items(progress())


def test_another_process_goes_on_from_the_state() -> None:
    first = source(ScriptedPlanner(outcome("A", "B")))
    first.next_items(progress())
    state = PlannerState.model_validate_json(first.state.model_dump_json())
    planner = ScriptedPlanner(outcome("C"))
    second = ObjectiveSource(planner, "build", view_at=view_at, state=state)
    second.next_items(progress(landed=("A", "B")))
    asked = planner.requests[0]
    assert (asked.sprint, asked.session) == (2, None)
    assert asked.scratchpad.state == "planned ('A', 'B')"


def test_backoff_does_not_overflow() -> None:
    assert backoff_s(100_000, Ceilings()) == 30.0


def test_the_memory_is_asked_when_a_conversation_begins_and_only_then() -> None:
    asked: list[str] = []

    def recall() -> str:
        asked.append("")
        return f"notes {len(asked)}"

    planner = ScriptedPlanner(outcome("A"), TransientError("no answer"), outcome(done=True))
    objective = ObjectiveSource(planner, "build", view_at=view_at, recall=recall)
    objective.next_items(progress())
    objective.next_items(progress(landed=("A",)))
    objective.next_items(progress(landed=("A",)))
    assert [r.memory for r in planner.requests] == ["notes 1", "notes 1", "notes 2"]
