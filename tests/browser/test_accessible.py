"""Who has no mouse, no eyes for colours, or a phone can use it as well."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from stigmergy.board import Task

pytestmark = pytest.mark.needs_chromium
VIEWS = ["", "tasks", "graph", "log", "preview", "memory"]


def show(page, view) -> None:
    page.evaluate("view => { location.hash = `#/${view}` }", view)
    expect(page.locator(f'nav a[data-view="{view}"]')).to_have_attribute("aria-current", "page")
    if view == "log":
        expect(page.locator(".log-entry").first).to_be_attached()


def serious(page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_has_a_serious_fault(visit, run_site, scheme) -> None:
    page = visit(run_site, color_scheme=scheme)
    faults = []
    for view in VIEWS:
        show(page, view)
        faults += [f"{view or 'overview'}: {fault}" for fault in serious(page)]
    show(page, "tasks")
    page.locator(".virtual-row .task-row").first.click()
    expect(page.get_by_role("dialog").locator(".history li").first).to_be_visible()
    faults += [f"sheet: {fault}" for fault in serious(page)]

    assert faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_states_and_alerts_that_stand_have_no_serious_fault(visit, live_site, scheme) -> None:
    board = live_site.board
    board.post(Task(task_type="job", description="one", task_id="one", max_attempts=1))
    board.fail(board.start(board.claim("a-1")), "broke", retry=False)
    board.post(Task(task_type="job", description="two", task_id="two"))
    board.start(board.claim("a-2"))
    board.post(
        Task(task_type="approval", description="May I?", task_id="ask", requires=("person",))
    )
    page = visit(live_site.server, color_scheme=scheme)
    expect(page.locator(".tile")).to_have_count(2)
    page.evaluate(
        """severities => document.querySelector("stig-dashboard").store.delta({ seq: 0, set: {
          alerts: Object.fromEntries(severities.map((severity) => [severity, {
            id: severity, kind: "silent", subject: "a-2", text: "a-2 is silent",
            action: "Cancel it.", since: Date.now() / 1000, severity }])) } })""",
        ["warning", "critical"],
    )
    expect(page.locator(".alert")).to_have_count(2)
    faults = serious(page)
    show(page, "memory")
    expect(page.locator(".vote")).to_have_count(1)
    faults += serious(page)
    page.get_by_role("button", name="Task", exact=True).click()
    faults += serious(page)

    assert faults == []


def test_the_keyboard_reaches_skips_moves_opens_and_comes_back(visit, run_site) -> None:
    page = visit(run_site)
    page.locator("body").press("Tab")
    expect(page.get_by_role("link", name="Skip to the swarm")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

    chip = page.get_by_role("button", name=re.compile(r"^\d+ in all$"))
    page.keyboard.press("Tab")
    expect(chip).to_be_focused()
    while not page.evaluate("document.activeElement.matches('.tile')"):
        page.keyboard.press("Tab")
    first = page.evaluate("document.activeElement.closest('[data-key]').dataset.key")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.closest('[data-key]').dataset.key") != first
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.closest('[data-key]').dataset.key") == first
    assert (
        page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    )  # visible

    while not page.evaluate("document.activeElement.matches('.feed-row')"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".diff-line").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert page.evaluate("document.activeElement.matches('.feed-row')")


def test_one_row_of_a_list_takes_the_tab_key(visit, run_site) -> None:
    page = visit(run_site, "tasks")
    expect(page.locator(".virtual-row").first).to_be_visible()

    assert page.locator(".virtual-row [tabindex='0']").count() == 1
    sizes = page.locator(".virtual-row").evaluate_all("rows => rows.map(r => r.ariaSetSize)")
    assert set(sizes) == {str(len(sizes))} or int(sizes[0]) > len(sizes)


def test_a_narrow_phone_needs_no_sideways_scroll(visit, run_site) -> None:
    page = visit(run_site, width=360, height=740, is_mobile=True, has_touch=True)

    for view in VIEWS:
        show(page, view)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view
    show(page, "tasks")
    page.locator(".virtual-row .task-row").first.tap()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert dialog.bounding_box()["width"] <= 360


def test_the_colours_follow_the_system_and_can_be_chosen(visit, run_site) -> None:
    page = visit(run_site, color_scheme="dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(ground)

    page.get_by_role("button", name="Colours: auto").click()
    light = page.evaluate(ground)
    page.get_by_role("button", name="Colours: light").click()

    assert light != dark
    assert page.evaluate(ground) == dark
    page.reload()
    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()


def test_what_happens_is_told_aloud_but_not_in_a_chatter(visit, live_site) -> None:
    page = visit(live_site.server)
    page.evaluate(
        """() => {
          window.told = [];
          const region = document.querySelector("stig-dashboard > .spoken[role=status]");
          new MutationObserver(() => told.push(region.textContent)).observe(
            region, { childList: true, characterData: true, subtree: true });
        }"""
    )

    for number in range(200):
        live_site.board.post(
            Task(task_type="job", description="d", task_id=f"t-{number}", max_attempts=1)
        )
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".spoken[role=status]")).to_have_text("The swarm is paused")

    assert len(page.evaluate("told")) <= 2
