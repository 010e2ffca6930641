"""A newcomer's first run: started with `--serve`, watched and steered to its end in the browser."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.needs_chromium
TOKEN = "stig_live_run_test_token"
ITEMS = 6


@pytest.fixture
def serve(make_repository, tmp_path):
    """Start `stig run --serve` with items that a shell command does; its process and address."""
    started = []

    def start(command, *options, items=ITEMS):
        features = [
            {"id": f"F0{n}", "description": f"Write {n}", "files": [f"f{n}.txt"]}
            for n in range(items)
        ]
        repository = make_repository({"FEATURES.json": json.dumps({"features": features})})
        words = ["run", "--repo", str(repository), "--features", f"{repository}/FEATURES.json"]
        words += ["--gate", "none", "--plain", "--serve", *options]
        words += ["--agent-shell", "--agent-command", command]
        process = subprocess.Popen(
            [sys.executable, "-c", "from stigmergy.cli import main; main()", *words],
            env={
                **os.environ,
                "STIG_TOKEN": TOKEN,
                "STIG_MAX_ATTEMPTS": "1",
                "XDG_STATE_HOME": str(tmp_path),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        lines = iter(process.stderr.readline, "")
        url = next(filter(None, (re.search(r"http://\S+?:\d+", line) for line in lines)))
        return process, url.group(), repository

    yield start
    for process in started:
        with process:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def test_a_run_is_seen_to_move_is_paused_and_goes_on(open_page, serve, tmp_path) -> None:
    go = tmp_path / "go"
    # All but the first item are held back until the run was seen to be paused.
    held = f'[ "$STIG_PATH" = f0.txt ] || until [ -e {go} ]; do sleep 0.05; done'
    command = f'{held}; echo "$STIG_DESCRIPTION" > "$STIG_PATH"'
    process, url, _ = serve(command, "--agents", "1", "--confine", "none")
    page = open_page(f"{url}/#token={TOKEN}")
    landed = page.locator('[data-cell="landings"] .cell-value')
    expect(page.locator(".pill")).to_have_text("running")
    expect(page.locator(".tile[data-state=working]").first).to_be_visible()
    expect(landed).not_to_have_text("0")

    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".pill")).to_have_text("paused")
    go.touch()
    expect(page.locator(".tile[data-state=working]")).to_have_count(0)
    assert process.poll() is None
    assert int(landed.inner_text()) < ITEMS

    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".pill")).not_to_have_text("paused")
    assert process.wait(90) == 0  # all items landed, as the exit code says
    # The server has ended with the run; who watched knows how it ended, and that nothing comes.
    expect(page.locator(".pill")).to_have_text("ended")
    expect(page.locator(".link-state")).to_have_text("no longer served")


def test_a_failed_item_is_tried_again_and_landings_are_looked_at_and_approved(
    open_page, serve
) -> None:
    unless_ill = (
        '[ "$STIG_PATH" != f0.txt ] || [ -e cure ] && echo "$STIG_DESCRIPTION" > "$STIG_PATH"'
    )
    process, url, repository = serve(unless_ill, "--approve", "landings", items=2)
    page = open_page(f"{url}/#token={TOKEN}")
    expect(page.get_by_role("img", name="1 for you")).to_be_visible()

    page.get_by_role("link", name="Tasks").click()
    rows = page.get_by_role("list", name="Tasks").get_by_role("button")
    rows.filter(has=page.get_by_text("F00", exact=True)).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".task-state")).to_contain_text("failed")
    (repository / "cure").touch()
    for words in (["add", "cure"], ["commit", "--quiet", "-m", "what the agents were missing"]):
        subprocess.run(["git", *words], cwd=repository, check=True)
    dialog.get_by_role("button", name="Try again").click()
    expect(dialog.locator(".task-state")).to_contain_text("completed")
    dialog.get_by_role("button", name="Close").click()

    page.get_by_role("link", name="Memory & votes").click()
    for number in range(2):
        vote = page.locator(".vote", has_text=f"Land F0{number}")
        vote.get_by_role("button", name="Look").click()
        expect(dialog.locator(".diff-line.add")).to_have_text(f"+Write {number}")
        dialog.get_by_role("button", name="Approve").click()
        dialog.get_by_label("Your name").fill("Ada")
        dialog.get_by_role("button", name="Approve", exact=True).click()
        expect(vote).to_contain_text("approved by Ada")

    assert process.wait(90) == 0
    expect(page.locator(".link-state")).to_have_text("no longer served")
    expect(page.get_by_role("button", name="Pause")).to_be_disabled()
    expect(page.locator("#why-denied")).to_contain_text("The run has ended")
