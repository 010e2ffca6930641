"""The planner against a scripted model over real HTTP, behaving and misbehaving.

The model is simulated: this proves what the planner does with answers, not what a model answers.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from stigmergy.coding.git.repository import Repository
from stigmergy.coding.plan.planner import ModelAccess, Planner
from stigmergy.coding.plan.policy import ItemOutcome
from stigmergy.coding.plan.request import (
    PlanningError,
    PlanningStoppedError,
    PlanOutcome,
    PlanRequest,
)
from stigmergy.coding.plan.scratchpad import Scratchpad
from stigmergy.coding.plan.view import read_view
from stigmergy.errors import BudgetExceededError, TransientError
from stigmergy.testing.model_server import (
    Call,
    Disconnect,
    Empty,
    Fail,
    Failing,
    Hang,
    Raw,
    Reply,
    Say,
    ScriptedModelServer,
    Truncated,
)

FILES = {"README.md": "# Demo\nAdd numbers.\n", "src/add.py": "def add(): ...\n", "src/b.py": "\n"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    root = tmp_path_factory.mktemp("planned")
    for path, text in FILES.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    author = ["-c", "user.name=T", "-c", "user.email=t@example.invalid"]
    for args in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", *author, *args], cwd=root, check=True)
    with Repository(root) as opened:
        yield opened


@pytest.fixture(scope="module")
def request_(repository: Repository) -> PlanRequest:
    view = read_view(repository, repository.rev_parse("HEAD"))
    return PlanRequest(objective="Make it add.", view=view, sprint=1, max_items=5)


def item(key: str, **fields: Any) -> dict[str, Any]:
    return {"id": key, "title": f"Do {key}", "scope": [f"src/{key}.py"], **fields}


def submit(*items: Any, **fields: Any) -> Say:
    return Say(calls=(Call("submit_plan", {"items": list(items), **fields}),))


def submit_text(arguments: str, *, finish: str = "tool_calls") -> Raw:
    """A call of the plan's tool whose arguments are this text, JSON or not."""
    function = {"name": "submit_plan", "arguments": arguments}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_0", "type": "function", "function": function}],
    }
    choice = {"index": 0, "message": message, "finish_reason": finish}
    document = {
        "id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice],
    }  # fmt: skip
    return Raw(json.dumps(document).encode())


class Run:
    """One planner with its scripted model."""

    def __init__(self, repository: Repository, *turns: Reply | Failing) -> None:
        self.server = ScriptedModelServer({"*": turns})
        self.repository = repository
        self.stop = threading.Event()

    def plan(self, request: PlanRequest) -> PlanOutcome:
        with self.server:
            return self.planner().plan(request)

    def planner(self) -> Planner:
        access = ModelAccess(url=self.server.base_url, token="secret-token", model="scripted")
        return Planner(self.repository, access=lambda _: access, stopped=self.stop.is_set)

    def messages(self, request: int) -> Sequence[dict[str, Any]]:
        return self.server.requests[request].body["messages"]

    def last_text(self, request: int) -> str:
        return str(self.messages(request)[-1]["content"])


def keys(outcome: PlanOutcome) -> list[str]:
    return [made.key for made in outcome.items]


def test_a_plan_becomes_items_with_its_scratchpad(
    repository: Repository, request_: PlanRequest
) -> None:
    scratchpad = {"goals": "adding", "state": "nothing yet"}
    run = Run(
        repository,
        submit(item("A", acceptance=["adds"]), item("B", depends_on=["A"], priority=2),
               scratchpad=scratchpad, reason="first things"),
    )  # fmt: skip
    outcome = run.plan(request_)
    assert keys(outcome) == ["A", "B"]
    assert outcome.items[1].depends_on == ("A",)
    assert outcome.items[1].priority == 2
    assert outcome.items[0].acceptance == ("adds",)
    assert outcome.scratchpad == Scratchpad(goals="adding", state="nothing yet")
    assert not outcome.done
    assert outcome.notes == ()
    assert outcome.usage.requests == 1
    assert (outcome.usage.prompt_tokens, outcome.usage.completion_tokens) == (100, 20)


def test_the_first_prompt_shows_objective_repository_and_limits(
    repository: Repository, request_: PlanRequest
) -> None:
    run = Run(repository, submit(item("A")))
    run.plan(request_)
    request = run.server.requests[0]
    text = json.dumps(request.body["messages"])
    for part in ("Make it add.", "src/add.py", "Begin", "Add numbers.", "at most 5 items"):
        assert part in text
    assert request.headers["authorization"] == "Bearer secret-token"
    tools = {tool["function"]["name"] for tool in request.body["tools"]}
    assert tools == {"read_file", "search", "list_files", "submit_plan"}


def test_the_model_reads_the_repository_before_it_plans(
    repository: Repository, request_: PlanRequest
) -> None:
    run = Run(
        repository,
        Say(calls=(
            Call("read_file", {"path": "src/add.py"}),
            Call("search", {"pattern": "def +a", "glob": "src/*.py"}),
            Call("read_file", {"path": "../../etc/passwd"}),
        )),
        submit(item("A")),
    )  # fmt: skip
    assert keys(run.plan(request_)) == ["A"]
    answers = [m["content"] for m in run.messages(1) if m["role"] == "tool"]
    assert answers == [
        "def add(): ...",
        "src/add.py:1:def add(): ...",
        "There is no file '../../etc/passwd'.",
    ]


def test_a_follow_up_tells_only_what_is_new(repository: Repository, request_: PlanRequest) -> None:
    run = Run(repository, submit(item("A"), item("B")), submit(item("C")))
    with run.server:
        planner = run.planner()
        first = planner.plan(request_)
        second = planner.plan(
            replace(
                request_,
                sprint=2,
                session=first.session,
                scratchpad=Scratchpad(goals="keep going"),
                open=frozenset({"B"}),
                ended={
                    "A": ItemOutcome(status="landed", summary="Old news"),
                    "Z": ItemOutcome(status="failed", error="gate red", concerns=("slow",)),
                },
                told=frozenset({"A"}),
            )
        )
    assert keys(second) == ["C"]
    text = run.last_text(1)
    assert "Z failed" in text
    assert "gate red" in text
    assert "Concern: slow" in text
    assert "Still open: B" in text
    assert "keep going" in text
    assert "Old news" not in text
    assert "Add numbers." not in text
    roles = [message["role"] for message in run.messages(1)]
    assert roles.count("assistant") == 1, "the conversation goes on"


def test_mistakes_go_back_once_and_the_mended_plan_counts(
    repository: Repository, request_: PlanRequest
) -> None:
    run = Run(
        repository,
        submit(item("A", depends_on=["B"]), item("B", depends_on=["A"]),
               item("C", scope=["/etc/x"]), item("D", scope=["nowhere/*.py"])),
        submit(item("A"), item("B", depends_on=["A"])),
    )  # fmt: skip
    outcome = run.plan(request_)
    assert keys(outcome) == ["A", "B"]
    assert outcome.notes == ()
    told = json.dumps(run.messages(1)[-1], ensure_ascii=False)
    assert "A → B → A" in told
    assert "'/etc/x' is absolute" in told
    assert "'nowhere/*.py' means no file" in told


def test_items_that_stay_bad_are_dropped_with_those_behind_them(
    repository: Repository, request_: PlanRequest
) -> None:
    bad = submit(item("A", scope=["../x"]), item("B", depends_on=["A"]), item("C"))
    outcome = Run(repository, bad, bad).plan(request_)
    assert keys(outcome) == ["C"]
    assert any("'A'" in note and "leaves the repository" in note for note in outcome.notes)
    assert any("'B'" in note and "not an item" in note for note in outcome.notes)


def test_an_item_of_the_wrong_shape_costs_only_itself(
    repository: Repository, request_: PlanRequest
) -> None:
    bad = submit(item("A", priority=99), {"title": "no id"}, 7, item("C"))
    run = Run(repository, bad, bad)
    outcome = run.plan(request_)
    assert keys(outcome) == ["C"]
    assert len(run.server.requests) == 2
    assert any("'A'" in note and "priority" in note for note in outcome.notes)
    assert any("'#2'" in note and "'id'" in note for note in outcome.notes)


def test_too_many_items_are_cut_and_said_without_asking_again(
    repository: Repository, request_: PlanRequest
) -> None:
    run = Run(repository, submit(*(item(f"I{n}") for n in range(8)), done=True))
    outcome = run.plan(request_)
    assert keys(outcome) == ["I0", "I1", "I2", "I3", "I4"]
    assert len(outcome.notes) == 3
    assert not outcome.done, "the items that were cut are still to be planned"
    assert len(run.server.requests) == 1


def test_an_item_may_wait_for_an_earlier_one_but_not_take_its_name(
    repository: Repository, request_: PlanRequest
) -> None:
    request = replace(request_, open=frozenset({"X"}))
    plan = submit(item("A", depends_on=["X"]), item("X"))
    outcome = Run(repository, plan, plan).plan(request)
    assert keys(outcome) == ["A"]
    assert "used by an earlier item" in outcome.notes[0]


def test_an_item_must_not_wait_for_a_failed_one(
    repository: Repository, request_: PlanRequest
) -> None:
    request = replace(request_, ended={"F": ItemOutcome(status="failed")})
    run = Run(repository, submit(item("A", depends_on=["F"])), submit(item("A")))
    assert keys(run.plan(request)) == ["A"]
    assert "'F' has failed" in json.dumps(run.messages(1)[-1])


@pytest.mark.parametrize("finish", ["length", "stop", "tool_calls"])
def test_whole_items_of_a_plan_that_was_cut_off_are_kept(
    repository: Repository, request_: PlanRequest, finish: str
) -> None:
    whole = json.dumps({"items": [item("A"), item("B"), item("C")], "done": True})
    cut = submit_text(whole[: whole.index("Do C")], finish=finish)
    outcome = Run(repository, cut, cut).plan(request_)
    assert keys(outcome) == ["A", "B"]
    assert not outcome.done
    assert outcome.session is None
    assert "cut off" in outcome.notes[0]
    assert outcome.usage.prompt_tokens is None, "the provider did not count"


def test_a_plan_in_a_text_is_read_when_the_model_does_not_call_the_tool(
    repository: Repository, request_: PlanRequest
) -> None:
    text = Say(f"Here it is:\n```json\n{json.dumps({'items': [item('A')]})}\n```")
    assert keys(Run(repository, text, text).plan(request_)) == ["A"]


@pytest.mark.parametrize(
    "reply",
    [
        Say("I am sorry, I cannot help with that."),
        Say(""),
        submit(),
        submit_text(""),
        submit_text("[" * 5000),
        submit_text('{"items": "none"}'),
        Empty(),
        Truncated(),
        Disconnect(),
        Raw(b"<html>"),
        Raw(b"{}"),
        Raw(b'{"choices": []}'),
        Fail(429, retry_after="7"),
        Fail(500),
        Fail(503),
    ],
)  # fmt: skip
def test_no_usable_plan_is_an_error_that_may_pass(
    repository: Repository, request_: PlanRequest, reply: Reply
) -> None:
    with pytest.raises(TransientError) as caught:
        Run(repository, reply, reply).plan(request_)
    assert "secret-token" not in str(caught.value)
    if isinstance(reply, Fail) and reply.retry_after:
        assert caught.value.retry_after_s == pytest.approx(7.0)
    if isinstance(reply, Say) and "sorry" in reply.text:
        assert "I am sorry" in str(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refused_request_is_final(
    repository: Repository, request_: PlanRequest, status: int
) -> None:
    with pytest.raises(PlanningError, match=f"answered {status}: not like this"):
        Run(repository, Fail(status, message="not like this")).plan(request_)


def test_a_refused_conversation_is_begun_anew(
    repository: Repository, request_: PlanRequest
) -> None:
    run = Run(repository, Failing(submit(item("A")), submit(item("B"))), Fail(400))
    with run.server:
        first = run.planner().plan(request_)
        second = run.planner().plan(replace(request_, sprint=2, session=first.session))
    assert keys(second) == ["B"]
    assert "Make it add." in run.last_text(2)


def test_a_conversation_that_grew_too_long_is_not_kept(
    repository: Repository, request_: PlanRequest
) -> None:
    long = Run(repository, submit(item("A", description="x" * 400_000))).plan(request_)
    short = Run(repository, submit(item("A"))).plan(request_)
    assert (long.session is None, short.session is None) == (True, False)


def test_a_planner_may_wait_for_open_items_but_not_for_nothing(
    repository: Repository, request_: PlanRequest
) -> None:
    waiting = replace(request_, open=frozenset({"X"}))
    outcome = Run(repository, submit(reason="X first")).plan(waiting)
    assert (outcome.items, outcome.done, outcome.reason) == ((), False, "X first")


def test_a_used_up_budget_is_told_apart(repository: Repository, request_: PlanRequest) -> None:
    with pytest.raises(BudgetExceededError, match="scripted failure"):
        Run(repository, Fail(402)).plan(request_)


def test_a_model_that_only_reads_is_stopped(repository: Repository, request_: PlanRequest) -> None:
    run = Run(repository, Say(calls=(Call("list_files", {}),)))
    with pytest.raises(TransientError, match="30"):
        run.plan(request_)
    assert len(run.server.requests) == 30


def test_stopping_the_run_ends_the_wait_for_the_model(
    repository: Repository, request_: PlanRequest
) -> None:
    run = Run(repository, Hang())
    seen: list[BaseException] = []

    def plan() -> None:
        try:
            run.planner().plan(request_)
        except PlanningStoppedError as error:
            seen.append(error)

    with run.server:
        thread = threading.Thread(target=plan)
        thread.start()
        run.server.wait_for_requests(1)
        run.stop.set()
        thread.join(60)
        run.server.wait_for_hang_up()
    assert len(seen) == 1


def test_planners_in_several_threads_do_not_disturb_each_other(
    repository: Repository, request_: PlanRequest
) -> None:
    run = Run(repository, submit(item("A")))
    found: list[list[str]] = []
    with run.server:
        planner = run.planner()
        threads = [
            threading.Thread(target=lambda: found.append(keys(planner.plan(request_))))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [["A"]] * 4
