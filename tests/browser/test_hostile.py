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


def test_no_script_in_the_page_could_make_markup_if_it_tried(visit, live_site, faults) -> None:
    faults.expected.append("TrustedHTML")
    page = visit(live_site.server)

    tried = page.evaluate(
        """() => {
          try { document.querySelector("main")["inner" + "HTML"] = "<b>x</b>"; return "made"; }
          catch (error) { return error.name; }
        }"""
    )

    assert tried == "TypeError"


def test_an_alert_tells_its_reason_and_what_to_do_as_text(visit, live_site) -> None:
    """The alert is put into the page's store: which ones there are the monitor's tests hold."""
    page = visit(live_site.server)
    page.evaluate(
        """text => document.querySelector("stig-dashboard").store.delta({ seq: 1, set: { alerts: {
          "silent/a": { id: "silent/a", kind: "silent", subject: "a", text, action: "Cancel it.",
                        since: Date.now() / 1000 - 65, severity: "critical" } } } })""",
        HOSTILE["markup"],
    )

    alert = page.get_by_role("region", name="Alerts").get_by_role("listitem")
    expect(alert).to_contain_text("<img src=x")
    expect(alert).to_contain_text("Cancel it.")
    expect(alert).to_have_attribute("data-severity", "critical")
    expect(page.locator("stig-dashboard > .spoken[role=status]")).to_contain_text("Alert: <img")
    page.evaluate(
        """document.querySelector("stig-dashboard").store.delta(
          { seq: 2, del: { alerts: ["silent/a"] } })"""
    )
    expect(page.get_by_role("region", name="Alerts")).to_have_count(0)
