"""A server that goes and comes back; a token that is wrong; a reader that is let in."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from stigmergy.board import Task, TaskBoard
from stigmergy.server.auth import Scope
from stigmergy.testing.serving import ServerProcess

pytestmark = pytest.mark.needs_chromium
LOST = ["ERR_CONNECTION_RESET"]


def test_a_server_that_was_killed_is_found_again_with_all_that_happened_meanwhile(
    visit, tmp_path, faults
) -> None:
    faults.expected += LOST
    url = f"sqlite:///{tmp_path / 'board.db'}"
    with TaskBoard(url) as board:
        board.post(Task(task_type="job", description="before", task_id="before"))
        with ServerProcess(url, tmp_path) as process:
            page = visit(process.board, "tasks")
            rows = page.get_by_role("list", name="Tasks").get_by_role("listitem")
            expect(rows).to_have_count(1)

            process.kill()
            expect(page.locator(".link-state")).to_have_text("reconnecting …")
            expect(rows).to_have_count(1)  # what was known stays in sight
            board.post(Task(task_type="job", description="meanwhile", task_id="meanwhile"))
            process.start()

            expect(page.locator(".link-state")).to_have_text("live", timeout=20_000)
            expect(rows).to_have_count(2)
            board.post(Task(task_type="job", description="after", task_id="after"))
            expect(rows).to_have_count(3)


def test_a_wrong_token_is_told_and_a_good_one_lets_in(open_page, live_site, faults) -> None:
    faults.expected.append("401")
    page = open_page(f"{live_site.server.url}/#token=stig_wrong_wrong_wrong")

    dialog = page.get_by_role("dialog", name="Token")
    expect(dialog).to_contain_text("knows no such token")
    expect(page.locator('[data-cell="landings"] .cell-value')).to_have_text("unknown")
    dialog.get_by_label("Token").fill(live_site.server.tokens[Scope.ADMIN])
    dialog.get_by_role("button", name="Use it").click()

    expect(page.locator(".link-state")).to_have_text("live")


def test_who_has_no_token_is_asked_for_it(open_page, live_site, faults) -> None:
    faults.expected.append("401")

    page = open_page(live_site.server.url)

    dialog = page.get_by_role("dialog", name="Token")
    expect(dialog).to_contain_text("says where its tokens are when it starts")
    expect(dialog.get_by_label("Token")).to_be_focused()
