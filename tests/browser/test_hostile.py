"""Names and texts from agents and models are shown, and never act."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from stigmergy.board import Task

pytestmark = pytest.mark.needs_chromium

HOSTILE = {
    "markup": "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>",
    "attribute": '" onmouseover="document.title=\'owned\'" x="',
    "direction": "safe\u202egnp.exe\u2066 \u200f",
    "control": "a\u0000b\u001b[31mred\u0007\u009b2J",
    "long": "W" * 10_000,
    "prototype": "__proto__",
    "address": "javascript:document.title='owned'",
}


def fill(board, text) -> None:
    """Put a text wherever an agent may put one."""
    board.post(Task(task_type="job", description=text, task_id="t-1", max_attempts=1))
    # The board refuses some of these in names, which is its own affair.
    agent = text if text.isprintable() and len(text) <= 200 else "a-1"
    task = board.start(board.claim(agent))
    board.record(
        "progress",
        task_id="t-1",
        agent_id=agent,
        data={"kind": "tool", "name": text[:900], "brief": text},
    )
    board.record("progress", task_id="t-1", agent_id=agent, data={"kind": "text", "text": text})
    board.record("note", data={"text": text})
    board.fail(task, text, retry=False)
    board.post(Task(task_type="approval", description=text, task_id="ask", requires=("person",)))


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_text_is_shown_as_text_in_every_view(visit, live_site, kind) -> None:
    fill(live_site.board, HOSTILE[kind])
    page = visit(live_site.server)

    for view in ("", "tasks", "graph", "log", "memory"):
        page.evaluate("view => { location.hash = `#/${view}` }", view)
        expect(page.locator("nav a[aria-current]")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        if view == "tasks":
            page.locator(".task-row[data-state=failed]").click()
            expect(page.get_by_role("dialog").locator(".history li").first).to_be_visible()
            page.keyboard.press("Escape")
        if view == "log":
            expect(page.locator(".log-entry").first).to_be_attached()

    assert "owned" not in page.title()
    assert page.locator("main img, main script, dialog img").count() == 0
    shown = page.locator("body").inner_text()
    assert not set("\u202e\u2066\u200f\u0000\u001b\u0007\u009b") & set(shown)


def test_a_direction_mark_is_shown_by_its_number(visit, live_site) -> None:
    fill(live_site.board, HOSTILE["direction"])

    page = visit(live_site.server, "tasks")

    expect(page.locator(".task-row").filter(has_text="\\u202e").first).to_be_visible()
