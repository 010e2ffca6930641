"""Each panel of the dashboard, with a real run behind it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.needs_chromium


def git(repository, *args):
    return subprocess.run(
        ["git", *args], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()


def claims(site):
    """Each task taken and who took it, in order; any of the run's agents may take any item."""
    with site.client() as client:
        events = client.get("/api/v1/events", params={"limit": 1000}).json()["events"]
    return [(event["task_id"], event["agent_id"]) for event in events if event["kind"] == "claimed"]


def test_the_head_tells_the_run_its_state_and_that_its_model_is_replayed(
    visit, run_site, built_run
) -> None:
    page = visit(run_site)

    expect(page.locator(".run-id")).to_have_text(built_run.directory.run_id)
    expect(page.locator(".pill")).to_have_text("ended")
    expect(page.locator(".label-chip")).to_contain_text("recording")
    assert "[" in page.title()


def test_the_token_does_not_stay_in_the_address(visit, run_site) -> None:
    page = visit(run_site)

    assert "token" not in page.url
    assert page.evaluate("sessionStorage.getItem('stig.token')")


def test_every_agent_is_a_tile_that_leads_to_its_conversation(visit, run_site) -> None:
    taken = claims(run_site)
    agent = dict(taken)["F16"]
    page = visit(run_site)
    tiles = page.get_by_role("list", name="Agents", exact=True).get_by_role("button")
    expect(tiles).to_have_count(len({by for _, by in taken}))

    tiles.filter(has_text=agent.rpartition("/")[2]).click()

    expect(page).to_have_url(re.compile(r"#/log\?agent="))
    expect(page.get_by_label("Agent", exact=True)).to_have_value(agent)
    expect(page.locator(".log-entry[data-kind=said]").first).to_be_visible()


def test_a_landing_opens_its_diff_with_every_kind_of_line(visit, run_site, built_run) -> None:
    page = visit(run_site)
    landings = page.get_by_role("list", name="Landings and returns").get_by_role("button")
    landed = landings.filter(has=page.locator("[data-state=landed]"))
    expect(landed).to_have_count(5)

    landed.first.click()

    dialog = page.get_by_role("dialog")
    tip = git(built_run.repository, "rev-parse", "--short=12", "main")
    expect(dialog).to_contain_text(tip)
    for kind in ("meta", "hunk", "add"):
        expect(dialog.locator(f".diff-line.{kind}").first).to_be_visible()
    wanted = git(built_run.repository, "show", "--format=", "main").splitlines()
    added = [line for line in wanted if line.startswith("+") and not line.startswith("+++")]
    assert dialog.locator(".diff-line.add").count() == len(added)


def test_the_numbers_are_those_of_the_run_and_unknown_is_said(visit, run_site) -> None:
    page = visit(run_site)

    expect(page.locator('[data-cell="landings"] .cell-value')).to_have_text("5")
    expect(page.locator('[data-cell="gate"] .cell-value')).to_have_text("green")
    # The recording does not say how many tokens it took.
    expect(page.locator('[data-cell="tokens"] .cell-value')).to_have_text("unknown")


def test_the_charts_come_from_the_journal_and_survive_a_reload(visit, run_site) -> None:
    page = visit(run_site)
    line = page.get_by_role("img", name=re.compile("^Landed:")).locator("path.line")
    expect(line).to_have_attribute("d", re.compile(r"^M.*L"))
    expect(page.locator(".chart-box", has_text="Landed")).to_contain_text("5 landed")
    drawn = line.get_attribute("d")

    page.reload()

    expect(line).to_have_attribute("d", drawn)


def test_the_task_list_finds_filters_and_opens_a_task(visit, run_site) -> None:
    page = visit(run_site, "tasks")
    rows = page.get_by_role("list", name="Tasks").get_by_role("listitem")
    expect(rows.first).to_be_visible()

    page.get_by_role("searchbox", name="Find a task").fill("F16.land")

    expect(rows).to_have_count(1)
    rows.get_by_role("button").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="F16.land")).to_be_visible()
    expect(dialog.locator(".history li", has_text="completed")).to_be_visible()
    expect(dialog.locator(".facts")).to_contain_text("F16")


def test_the_graph_draws_every_item_right_of_what_it_needs(visit, run_site) -> None:
    page = visit(run_site, "graph")
    nodes = page.locator(".graph-node")
    expect(nodes).to_have_count(5)

    def left(key):
        return page.get_by_role("button", name=re.compile(f"^{key},")).bounding_box()["x"]

    assert left("F16") > max(left("F01"), left("F02"), left("F07"))
    expect(page.locator(".graph-link")).to_have_count(3)


def test_a_conversation_shows_words_tools_and_results_and_is_searched(visit, run_site) -> None:
    agent = dict(claims(run_site))["F16"]
    page = visit(run_site, "log")
    page.get_by_label("Agent", exact=True).select_option(value=agent)
    page.get_by_label("Task", exact=True).select_option("F16")
    for kind in ("prompt", "said", "result"):
        expect(page.locator(f".log-entry[data-kind={kind}]").first).to_be_attached()
    expect(page.locator(".log-facts").filter(has_text="replayed").first).to_be_attached()

    page.get_by_label("Search", exact=True).fill("write_file")

    expect(page.locator("mark").first).to_have_text("write_file")
    shown = page.locator(".log-entry:not([hidden])")
    assert 0 < shown.count() < page.locator(".log-entry").count()
    expect(page.locator(".log-found")).to_contain_text(" of ")


def test_the_preview_shows_the_built_page_without_an_origin(visit, run_site, built_run) -> None:
    page = visit(run_site, "preview")
    expect(page.locator("iframe")).to_have_count(0)  # only when asked for

    page.get_by_role("button", name="Show the project as it stands").click()

    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Built by a swarm")).to_be_visible()
    expect(frame.locator("#said")).to_have_text("script ran, origin null")
    colour = frame.locator("h1").evaluate("e => getComputedStyle(e).color")
    assert colour == "rgb(1, 2, 3)"
    assert page.locator("iframe").get_attribute("sandbox") == "allow-scripts"
    expect(page.locator(".preview-note")).to_contain_text(
        git(built_run.repository, "rev-parse", "main")[:10]
    )


def test_a_previewed_page_can_reach_neither_the_api_nor_the_dashboard(
    visit, run_site, faults
) -> None:
    page = visit(run_site, "preview")
    page.get_by_role("button", name="Show the project as it stands").click()
    frame = page.frame_locator("iframe")
    expect(frame.locator("#said")).to_contain_text("script ran")
    faults.expected += ["violates the following Content Security Policy", "Refused to connect"]

    tried = frame.locator("#said").evaluate(
        """async () => {
          const tries = { api: () => fetch("/healthz"), top: () => parent.document.title,
                          store: () => sessionStorage.length };
          const found = {};
          for (const [name, act] of Object.entries(tries)) {
            try { await act(); found[name] = "reached"; }
            catch (error) { found[name] = error.name; }
          }
          return found;
        }"""
    )

    assert set(tried) == {"api", "top", "store"}
    assert "reached" not in tried.values(), tried


def test_a_replay_is_marked_wherever_it_is_shown_and_can_be_moved(
    open_page, built_run, tmp_path
) -> None:
    program = "from stigmergy.cli import main; main()"
    token = "stig_replay_test_token"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "replay", "--speed", "2", "--repo", built_run.repository],
        env={**os.environ, "STIG_TOKEN": token, "XDG_STATE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            page = open_page(f"{process.stdout.readline().strip()}/#token={token}")
            for view in ("", "tasks", "graph", "log", "preview", "memory"):
                page.evaluate("view => { location.hash = `#/${view}` }", view)
                expect(page.locator(".label-chip")).to_contain_text("REPLAY")
                expect(page.get_by_role("region", name="Replay")).to_be_visible()
            assert page.title().startswith("[REPLAY")
            expect(page.get_by_role("button", name="Pause")).to_be_disabled()

            page.evaluate("location.hash = '#/'")
            place = page.get_by_role("slider", name="Place in the replay")
            place.fill("1000")
            place.dispatch_event("change")
            expect(page.locator(".pill")).to_have_text("ended")
            expect(page.locator('[data-cell="landings"] .cell-value')).to_have_text("5")

            page.get_by_role("button", name="Stand still").click()
            place.fill("0")
            place.dispatch_event("change")
            expect(page.locator('[data-cell="landings"] .cell-value')).not_to_have_text("5")
            expect(page.locator(".link-state")).to_have_text("replay stands still")
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0


def test_the_page_says_what_its_policy_is(run_site) -> None:
    with run_site.client() as client:
        policy = client.get("/").headers["content-security-policy"]

    assert "require-trusted-types-for 'script'" in policy
    assert "'unsafe-inline'" not in policy
    assert "default-src 'none'" in policy
