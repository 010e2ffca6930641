"""A newcomer's first run: started with `--serve`, watched, paused and resumed in the browser."""

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
def served_run(make_repository, tmp_path):
    """`stig run --serve` with agents that take a moment for each item; its address."""
    items = [
        {"id": f"F0{n}", "description": f"Write {n}", "files": [f"f{n}.txt"]} for n in range(ITEMS)
    ]
    repository = make_repository({"FEATURES.json": json.dumps({"features": items})})
    words = ["run", "--repo", str(repository), "--features", str(repository / "FEATURES.json")]
    words += ["--gate", "none", "--agents", "1", "--plain", "--serve", "--agent-shell"]
    words += ["--agent-command", 'sleep 0.7; echo "$STIG_DESCRIPTION" > "$STIG_PATH"']
    process = subprocess.Popen(
        [sys.executable, "-c", "from stigmergy.cli import main; main()", *words],
        env={**os.environ, "STIG_TOKEN": TOKEN, "XDG_STATE_HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            lines = iter(process.stderr.readline, "")
            url = next(filter(None, (re.search(r"http://\S+?:\d+", line) for line in lines)))
            yield process, url.group()
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)


def test_a_run_is_seen_to_move_is_paused_and_goes_on(open_page, served_run) -> None:
    process, url = served_run
    page = open_page(f"{url}/#token={TOKEN}")
    landed = page.locator('[data-cell="landings"] .cell-value')
    expect(page.locator(".pill")).to_have_text("running")
    expect(page.locator(".tile[data-state=working]").first).to_be_visible()
    expect(landed).not_to_have_text("0")

    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".pill")).to_have_text("paused")
    expect(page.locator(".tile[data-state=working]")).to_have_count(0)
    assert process.poll() is None
    assert int(landed.inner_text()) < ITEMS

    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".pill")).not_to_have_text("paused")
    assert process.wait(40) == 0  # all items landed, as the exit code says
    # The server has ended with the run; who watched knows how it ended, and that nothing comes.
    expect(page.locator(".pill")).to_have_text("ended")
    expect(page.locator(".link-state")).to_have_text("no longer served")
