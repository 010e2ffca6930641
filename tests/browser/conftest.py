"""One Chromium for all tests here, and a real run that has been through it all.

Playwright's own loop must not outlive a module, or nothing else in this process could use asyncio;
so the browser is a process of the session, and each module connects to it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from stigmergy.board import TaskBoard
from stigmergy.cli.journal import open_board
from stigmergy.coding.preflight import Source
from stigmergy.coding.rundir import RunDirectory
from stigmergy.server.auth import Scope
from stigmergy.server.context import ServedRun
from stigmergy.server.serving import ServeOptions
from stigmergy.testing.runs import prepare_source, start_run
from stigmergy.testing.serving import ServedBoard, served

CHROMIUM = "/usr/bin/chromium"
SPREADSHEET = Path(__file__).parents[2] / "examples" / "spreadsheet"
FEATURES = ("F01", "F02", "F05", "F07", "F16")
PAGE = """\
<!doctype html><title>Built</title><link rel="stylesheet" href="page.css">
<h1>Built by a swarm</h1><p id="said">not yet</p><script src="page.js"></script>
"""
SCRIPT = """\
document.getElementById("said").textContent = `script ran, origin ${origin}`;
"""


@pytest.fixture(scope="session")
def chromium(hermetic_environment: None) -> Iterator[str]:
    """Where the browser of all tests listens."""
    folder = Path(tempfile.mkdtemp(prefix="stig-chromium-"))
    argv = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder / 'profile'}",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "about:blank",
    ]
    log = (folder / "log").open("wb")
    with log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{_port(folder / 'profile' / 'DevToolsActivePort', process)}"
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        if file.exists() and (text := file.read_text().splitlines()):
            return int(text[0])
        time.sleep(0.05)
    raise RuntimeError("chromium did not start")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """The browser, for a module."""
    with sync_playwright() as playwright:
        connected = playwright.chromium.connect_over_cdp(chromium)
        expect.set_options(timeout=60_000)  # reached only by what does not come
        yield connected
        connected.close()


@dataclass
class Faults:
    """What went wrong in a page without a test asking for it."""

    said: list[str] = field(default_factory=list)
    expected: list[str] = field(
        # A test's server may end before its pages do.
        default_factory=lambda: [
            "ERR_CONNECTION_REFUSED",
            "ERR_CONNECTION_RESET",
            "ERR_CONNECTION_CLOSED",
            "ERR_EMPTY_RESPONSE",
            "ERR_INCOMPLETE_CHUNKED_ENCODING",
        ]
    )
    """Parts of what may be said."""

    def hear(self, message: ConsoleMessage) -> None:
        """Note an error that the browser tells."""
        if message.type == "error":
            self.said.append(f"{message.text} {message.location.get('url', '')}")

    def unexpected(self) -> list[str]:
        return [text for text in self.said if not any(part in text for part in self.expected)]


OpenPage = Callable[..., Page]


@pytest.fixture
def faults() -> Faults:
    """Errors and refusals of policy in the pages of this test: there must be none."""
    return Faults()


@pytest.fixture
def open_page(browser: Browser, faults: Faults) -> Iterator[OpenPage]:
    """Open a page in a context of its own."""
    contexts: list[BrowserContext] = []
    before = _sockets()

    def open_it(url: str, *, width: int = 1280, height: int = 800, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: faults.said.append(f"error: {error}"))
        page.on("console", faults.hear)
        page.goto(url)
        return page

    yield open_it
    for context in contexts:
        context.close()
    # A server in this process hears a moment later that the browser hung up.
    until = time.monotonic() + 30
    while _sockets() - before and time.monotonic() < until:
        time.sleep(0.02)
    assert faults.unexpected() == []


def _sockets() -> set[str]:
    found: set[str] = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return {name for name in found if name.startswith("socket:")}


@dataclass(frozen=True)
class BuiltRun:
    """A run that has ended, in its repository."""

    repository: Path
    directory: RunDirectory


@pytest.fixture(scope="session")
def built_run(hermetic_environment: None) -> Iterator[BuiltRun]:
    """Five items of the spreadsheet: real agents, gate and merges; the model's words recorded."""
    folder = Path(tempfile.mkdtemp(prefix="stig-built-"))
    repository = folder / "sheet"
    shutil.copytree(SPREADSHEET / "seed", repository, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(SPREADSHEET / "SPEC.md", repository)
    (repository / "index.html").write_text(PAGE)
    (repository / "page.js").write_text(SCRIPT)
    (repository / "page.css").write_text("h1 { color: rgb(1, 2, 3) }\n")
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "--all"],
        ["commit", "--quiet", "-m", "Start"],
    ):
        subprocess.run(["git", *command], cwd=repository, check=True)
    wanted = json.loads((SPREADSHEET / "FEATURES.json").read_text())
    wanted["features"] = [one for one in wanted["features"] if one["id"] in FEATURES]
    features = folder / "FEATURES.json"
    features.write_text(json.dumps(wanted))
    prepared = prepare_source(
        repository,
        Source(kind="features", text=str(features)),
        model=f"replay:{SPREADSHEET / 'recording.jsonl'}",
        agents=3,
        gate="python3 -m unittest discover -s tests -t .",
    )
    ran = start_run(prepared)
    assert ran.outcome.exit_code == 0, ran.text
    yield BuiltRun(repository, ran.directory)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def serve_run() -> Callable[..., AbstractContextManager[ServedBoard]]:
    """Serve a run's board, as `stig run --serve` does."""
    return serving_run


@pytest.fixture
def visit(open_page: OpenPage) -> Callable[..., Page]:
    """Open the dashboard of a server with a token, at a view."""

    def open_it(
        server: ServedBoard, view: str = "", *, scope: Scope = Scope.ADMIN, **options: Any
    ) -> Page:
        page = open_page(f"{server.url}/#token={server.tokens[scope]}", **options)
        expect(page.locator(".link-state")).to_have_attribute("data-state", "live")
        if view:
            page.goto(f"{server.url}/#/{view}")
        return page

    return open_it


@contextmanager
def serving_run(run: BuiltRun, folder: Path, **options: Any) -> Iterator[ServedBoard]:
    """The run's board served, as `stig run --serve` does."""
    told = ServedRun(directory=run.directory, spec=run.directory.read_spec())
    with open_board(run.directory) as board:
        # Its watch on the file is opened at the first wait, which must not be in a test.
        board.wait(after=board.last_seq(), timeout_s=0.0)
        with served(board, folder, ServeOptions(run=told, **options)) as server:
            with server.client() as client:  # starts git, which must not be in a test either
                assert client.get("/api/v1/preview").status_code == 200
            yield server


@pytest.fixture(scope="module")
def run_site(
    built_run: BuiltRun, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedBoard]:
    """The built run, served for a module."""
    with serving_run(built_run, tmp_path_factory.mktemp("server")) as server:
        yield server


@dataclass(frozen=True)
class LiveSite:
    """A board that a test works on, and its server."""

    board: TaskBoard
    server: ServedBoard


@pytest.fixture
def live_site(tmp_path: Path) -> Iterator[LiveSite]:
    """An empty board, served."""
    with (
        TaskBoard(f"sqlite:///{tmp_path / 'board.db'}") as board,
        served(board, tmp_path, ServeOptions(memory=tmp_path / "memory.db")) as server,
    ):
        yield LiveSite(board, server)
