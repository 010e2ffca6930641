"""What a person does from the dashboard reaches the board, and what is refused says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from stigmergy.board import Task, TaskBoard, TaskStatus
from stigmergy.server.auth import Scope
from stigmergy.testing.serving import served

pytestmark = pytest.mark.needs_chromium


def open_task(page, task_id):
    page.get_by_role("list", name="Tasks").get_by_role("button").filter(has_text=task_id).click()
    return page.get_by_role("dialog")


def failed_task(board, task_id="broken"):
    board.post(Task(task_type="job", description="breaks", task_id=task_id, max_attempts=1))
    claimed = board.claim("a-1")
    board.fail(board.start(claimed), "it broke", retry=False)


def test_the_swarm_is_paused_and_goes_on(visit, live_site) -> None:
    page = visit(live_site.server)

    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert live_site.board.rules().paused == ("*",)

    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert live_site.board.rules().paused == ()


def test_a_failed_task_is_tried_again(visit, live_site) -> None:
    failed_task(live_site.board)
    page = visit(live_site.server, "tasks")

    dialog = open_task(page, "broken")
    expect(dialog).to_contain_text("it broke")
    dialog.get_by_role("button", name="Try again").click()

    expect(dialog.locator(".task-state")).to_contain_text("pending")
    assert live_site.board.get("broken").status is TaskStatus.PENDING


def test_a_task_is_cancelled_after_a_question(visit, live_site) -> None:
    live_site.board.post(Task(task_type="job", description="long", task_id="long"))
    page = visit(live_site.server, "tasks")

    open_task(page, "long").get_by_role("button", name="Cancel …").click()
    assert live_site.board.get("long").status is TaskStatus.PENDING  # not before the answer
    page.get_by_role("button", name="Cancel the task").click()

    expect(page.locator(".task-state")).to_contain_text("cancelled")
    assert live_site.board.get("long").status is TaskStatus.CANCELLED


def test_a_priority_is_changed_within_its_bounds(visit, live_site) -> None:
    live_site.board.post(Task(task_type="job", description="d", task_id="t-1", priority=5))
    page = visit(live_site.server, "tasks")
    open_task(page, "t-1").get_by_role("button", name="Change priority").click()
    field = page.get_by_label("Priority", exact=True)

    field.fill("11")
    page.get_by_role("button", name="Change it").click()
    expect(page.get_by_role("alert").filter(has_text="1 to 10")).to_be_visible()
    expect(field).to_have_attribute("aria-invalid", "true")

    field.fill("2")
    page.get_by_role("button", name="Change it").click()
    expect(page.locator(".facts")).to_contain_text("Priority2")
    assert live_site.board.get("t-1").priority == 2


@pytest.mark.parametrize("yes", [True, False], ids=["approved", "refused"])
def test_what_waits_for_a_person_is_decided_with_a_name_and_a_reason(visit, live_site, yes) -> None:
    live_site.board.post(
        Task(
            task_type="approval",
            description="Delete the old index?",
            task_id="ask",
            requires=("person",),
        )
    )
    page = visit(live_site.server, "memory")
    vote = page.locator(".vote", has_text="Delete the old index?")

    verb = "Approve" if yes else "Refuse"
    vote.get_by_role("button", name=verb).click()
    form = page.get_by_role("dialog")
    form.get_by_label("Your name").fill("Ada")
    form.get_by_label("Why").fill("seen it")
    form.get_by_role("button", name=verb, exact=True).click()

    expect(vote).to_contain_text(f"{'approved' if yes else 'refused'} by Ada: seen it")
    expect(vote.get_by_role("button")).to_have_count(0)
    task = live_site.board.get("ask")
    assert task.status is (TaskStatus.COMPLETED if yes else TaskStatus.FAILED)


def test_a_task_is_posted_with_all_that_was_said(visit, live_site) -> None:
    live_site.board.post(Task(task_type="job", description="first", task_id="first"))
    page = visit(live_site.server)
    page.get_by_role("button", name="Task", exact=True).click()
    form = page.get_by_role("dialog")

    form.get_by_label("Type").fill("job")
    form.get_by_label("What is to be done").fill("the second thing")
    form.get_by_label("Priority").fill("1")
    form.get_by_label("After these tasks").fill("first")
    form.get_by_label("Payload").fill('{"n": 1}')
    form.get_by_role("button", name="Post it").click()

    expect(form).to_have_count(0)
    (posted,) = [t for t in live_site.board.list_all() if t.task_id != "first"]
    assert (posted.description, posted.priority) == ("the second thing", 1)
    assert (posted.depends_on, posted.payload) == (("first",), {"n": 1})


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("What is to be done", "", "is missing"),
        ("Payload", "[1]", "JSON object"),
        ("Payload", "{", "no JSON"),
        ("Priority", "0", "from 1 to 10"),
        ("After these tasks", "no-such-task", "no-such-task"),  # the server says this one
    ],
)
def test_a_task_that_cannot_be_is_refused_in_words_and_the_form_stays(
    visit, live_site, faults, field, value, complaint
) -> None:
    faults.expected.append("422")
    page = visit(live_site.server)
    page.get_by_role("button", name="Task", exact=True).click()
    form = page.get_by_role("dialog")
    form.get_by_label("Type").fill("job")
    form.get_by_label("What is to be done").fill("a thing")

    form.get_by_label(field).fill(value)
    form.get_by_role("button", name="Post it").click()

    expect(form.get_by_role("alert")).to_contain_text(complaint)
    assert live_site.board.list_all() == []


def test_who_may_only_look_is_told_so_and_cannot_press_anything(visit, live_site) -> None:
    failed_task(live_site.board)
    page = visit(live_site.server, "tasks", scope=Scope.READ)

    expect(page.get_by_role("button", name="Pause")).to_be_disabled()
    expect(page.locator("#why-denied")).to_contain_text("may only look")
    dialog = open_task(page, "broken")
    expect(dialog.get_by_role("button", name="Try again")).to_be_disabled()
    expect(dialog).to_contain_text("may only look")


def test_what_others_do_is_seen_at_once(visit, live_site) -> None:
    page = visit(live_site.server)
    expect(page.get_by_text("No agent has come to this board yet.")).to_be_visible()

    live_site.board.post(Task(task_type="job", description="work", task_id="w"))
    task = live_site.board.start(live_site.board.claim("worker-1"))

    tile = page.locator(".tile", has_text="worker-1")
    expect(tile).to_have_attribute("data-state", "working")
    expect(tile).to_contain_text("w")
    live_site.board.complete(task, {})
    expect(tile).to_have_attribute("data-state", "idle")


def test_an_idle_agent_whose_last_attempt_failed_is_idle_and_that_is_told(visit, live_site) -> None:
    page = visit(live_site.server)
    failed_task(live_site.board)

    tile = page.locator(".tile")
    expect(tile).to_have_attribute("data-state", "idle")
    expect(tile).to_contain_text("last failed: broken")
    live_site.board.post(Task(task_type="job", task_id="next"))
    held = live_site.board.claim("worker-1")
    expect(page.locator(".tile[data-state=working]")).not_to_contain_text("last failed")
    live_site.board.complete(held, {})


def test_a_board_without_a_memory_says_so_and_is_not_asked(visit, tmp_path: Path) -> None:
    asked: list[str] = []
    with TaskBoard(tmp_path / "b.db") as board, served(board, tmp_path / "server") as server:
        page = visit(server, "")
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{server.url}/#/memory")
        expect(page.get_by_text("This board keeps no memory")).to_be_visible()
        expect(page.get_by_role("searchbox", name="Search the memory")).to_be_hidden()
    assert not [url for url in asked if "/memory" in url.partition("#")[0]]


def test_the_memory_is_searched_and_its_values_are_text(visit, live_site) -> None:
    with live_site.server.client(Scope.WORKER) as client:
        entry = {"value": "The gate needs <b>python3</b>", "tags": ["gate"]}
        stored = client.post("/api/v1/memory/entries/lessons", json=entry)
        assert stored.status_code == 201, stored.text
    page = visit(live_site.server, "memory")
    expect(page.get_by_text("1 entries: lessons (1)")).to_be_visible()

    page.get_by_role("searchbox", name="Search the memory").fill("gate python3")
    page.get_by_role("button", name="Search", exact=True).click()

    expect(page.get_by_text("1 found.")).to_be_visible()
    hit = page.get_by_role("list", name="Search results").get_by_role("listitem")
    expect(hit).to_contain_text("The gate needs <b>python3</b>")
    expect(hit).to_contain_text("#gate")


def test_the_critical_path_is_drawn_strong_and_told(visit, live_site) -> None:
    for name, after in (("a", ()), ("b", ("a",)), ("c", ("b",)), ("aside", ())):
        live_site.board.post(
            Task(task_type="job", description=name, task_id=name, depends_on=after)
        )
    page = visit(live_site.server, "graph")

    strong = page.locator(".graph-node[data-critical=true]")
    expect(strong).to_have_count(3)
    expect(page.locator(".graph-link[data-critical=true]")).to_have_count(2)
    expect(page.get_by_role("button", name="c, pending, on the critical path")).to_be_visible()
    expect(page.locator(".graph-note")).to_contain_text("the critical path has 3")
