"""Make the pictures of the dashboard in `docs/images`: a real run, and the same run replayed.

    python scripts/dashboard_pictures.py

The words of the model come from the recording of the spreadsheet example; the dashboard says so.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "spreadsheet"
IMAGES = ROOT / "docs" / "images"
STIG = Path(sys.executable).with_name("stig")
TOKEN = "stig_for_the_pictures_only"
ADDRESS = re.compile(r"http://\S+?:\d+")
MIDDLE = 0.62
"""Of the run: several items have landed, some came back, some are under way."""


def main() -> int:
    """Prepare, run, replay."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        repository = Path(folder) / "sheet"
        prepare = [sys.executable, str(EXAMPLE / "demo.py"), "--prepare-only", "--dir"]
        subprocess.run([*prepare, str(repository)], check=True)
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        _live(browser, repository)
        _replayed(browser, repository)
        browser.close()
    return 0


def _live(browser: Browser, repository: Path) -> None:
    """The overview, while the run goes on."""
    words = ["run", "--repo", str(repository), "--features", str(repository / "FEATURES.json")]
    words += ["--model", f"replay:{EXAMPLE / 'recording.jsonl'}", "--agents", "8", "--plain"]
    words += ["--gate", "python3 -m unittest discover -s tests -t .", "--serve"]
    with _stig(words) as url:
        pages = [_open(browser, url, scheme) for scheme in ("light", "dark")]
        for page, scheme in zip(pages, ("light", "dark"), strict=True):
            expect(page.locator(".feed-row").nth(7)).to_be_visible(timeout=60_000)
            _take(page, f"overview-{scheme}")


def _replayed(browser: Browser, repository: Path) -> None:
    """The other views, at one moment of the run."""
    with _stig(["replay", "--repo", str(repository), "--speed", "1000"]) as url:
        page = _open(browser, url, "light")
        _go_to(page, MIDDLE)
        for view in ("graph", "tasks"):
            _show(page, view)
            _take(page, view)
        _show(page, "log")
        agents = page.get_by_label("Agent", exact=True)
        agents.select_option(index=0)
        page.wait_for_timeout(800)  # its tasks
        tasks = page.get_by_label("Task", exact=True)
        expect(tasks.locator("option").nth(1)).to_be_attached()
        tasks.select_option(index=tasks.locator("option").count() - 1)  # its first
        expect(page.locator(".log-entry[data-kind=said]").first).to_be_attached()
        page.get_by_label("Search", exact=True).fill("sheet/")
        _take(page, "conversation")
        _show(page, "")
        page.locator(".feed-row[data-state=landed]").first.click()
        expect(page.locator(".diff-line").first).to_be_visible()
        _take(page, "commit")
        phone = _open(browser, url, "dark", width=390, height=844)
        _take(phone, "phone")


def _open(browser: Browser, url: str, scheme: str, *, width: int = 1360, height: int = 850) -> Page:
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page.goto(f"{url}/#token={TOKEN}")
    expect(page.locator(".link-state")).to_have_attribute("data-state", "live", timeout=30_000)
    return page


def _show(page: Page, view: str) -> None:
    page.evaluate("view => { location.hash = `#/${view}` }", view)
    page.wait_for_timeout(600)


def _go_to(page: Page, share: float) -> None:
    page.get_by_role("button", name="Stand still").click()
    place = page.get_by_role("slider", name="Place in the replay")
    place.fill(str(round(1000 * share)))
    place.dispatch_event("change")
    page.wait_for_timeout(800)


def _take(page: Page, name: str) -> None:
    path = IMAGES / f"dashboard-{name}.png"
    page.screenshot(path=path)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KiB")


@contextmanager
def _stig(words: list[str]) -> Generator[str]:
    """A `stig` that serves; its address."""
    with subprocess.Popen(
        [str(STIG), *words],
        env={**os.environ, "STIG_TOKEN": TOKEN, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            found = next(filter(None, map(ADDRESS.search, process.stdout)))
            yield found.group()
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


if __name__ == "__main__":
    sys.exit(main())
