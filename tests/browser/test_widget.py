"""`<stig-swarm>`: one file that shows a swarm in any page."""

from __future__ import annotations

import functools
import importlib.resources
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from playwright.sync_api import expect

from stigmergy.board import Task, TaskBoard
from stigmergy.server.auth import Scope
from stigmergy.server.serving import ServeOptions
from stigmergy.testing.serving import ServedBoard, served

pytestmark = pytest.mark.needs_chromium


WIDGET = importlib.resources.files("stigmergy.server") / "static" / "js" / "stig-swarm.js"
HOST = """\
<!doctype html><title>Host</title><link rel="icon" href="data:,">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'self';
 img-src data:; connect-src http:; require-trusted-types-for 'script'; trusted-types 'none'">
<main></main><script src="stig-swarm.js"></script>
"""


@dataclass(frozen=True)
class Site:
    """A board, its server, and a page of somebody else's that may call it."""

    board: TaskBoard
    server: ServedBoard
    host: str


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "index.html").write_text(HOST)
    (folder / "stig-swarm.js").write_bytes(WIDGET.read_bytes())
    handler = functools.partial(QuietHandler, directory=str(folder))
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), handler) as host,
        TaskBoard(f"sqlite:///{tmp_path / 'board.db'}") as board,
    ):
        thread = threading.Thread(target=host.serve_forever)
        thread.start()
        origin = f"http://127.0.0.1:{host.server_port}"
        options = ServeOptions(allowed_origins=frozenset({origin}))
        try:
            with served(board, tmp_path, options) as server:
                yield Site(board, server, origin)
        finally:
            host.shutdown()
            thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def embed(open_page):
    """The host's page with the widget in it."""

    def place(site, *, attributes=True, scope=Scope.READ):
        page = open_page(site.host)
        page.evaluate(
            """([src, token, attributes]) => {
              const widget = document.createElement("stig-swarm");
              widget.setAttribute("src", src);
              if (attributes) widget.setAttribute("token", token); else widget.token = token;
              window.told = [];
              widget.addEventListener("stig-status", (event) => told.push(event.detail));
              document.querySelector("main").append(widget);
            }""",
            [site.server.url, site.server.tokens[scope], attributes],
        )
        return page

    return place


def work(board, agent="worker-1", description="dig"):
    board.post(Task(task_type="job", description=description, task_id="dig"))
    return board.start(board.claim(agent))


@pytest.mark.parametrize("attributes", [True, False], ids=["attribute", "property"])
def test_it_shows_agents_numbers_and_activity_and_follows(embed, site, attributes) -> None:
    page = embed(site, attributes=attributes)
    widget = page.locator("stig-swarm")
    expect(widget.get_by_text("Agents (0 of 0 at work)")).to_be_visible()

    task = work(site.board)
    expect(widget.get_by_text("Agents (1 of 1 at work)")).to_be_visible()
    expect(widget.get_by_role("list", name="Agents")).to_contain_text("worker-1")
    site.board.complete(task, {})

    expect(widget.locator(".stats")).to_contain_text("Tasks done1")
    expect(widget.locator(".stats")).to_contain_text("Success100 %")
    status = page.evaluate("document.querySelector('stig-swarm').getStatus()")
    assert status["state"] == "idle"
    assert status["primaryMetric"] == "1 agents"
    assert {"idle", "active"} <= {one["state"] for one in page.evaluate("told")}


def test_without_a_stream_it_asks_every_two_seconds(embed, site, faults) -> None:
    faults.expected.append("ERR_FAILED")
    page = embed(site)
    expect(page.locator("stig-swarm .state")).not_to_have_text("connecting …")
    page.clock.install()
    page.route("**/api/v1/live", lambda route: route.abort())
    page.evaluate(
        """() => {
          const real = window.fetch;
          window.asked = [];
          window.fetch = (url, ...rest) => {
            if (String(url).endsWith("/snapshot")) asked.push(performance.now());
            return real(url, ...rest);
          };
        }"""
    )
    page.evaluate(
        "document.querySelector('stig-swarm').token = document.querySelector('stig-swarm').token"
    )  # begins anew

    while len(asked := page.evaluate("asked")) < 3:
        page.clock.run_for(100)
        page.wait_for_timeout(10)  # the answers come by a clock of their own
    expect(page.locator("stig-swarm .state")).to_contain_text("asked every 2 s")
    assert all(later - earlier >= 2000 for earlier, later in pairwise(asked))


def test_a_hidden_page_asks_nothing(embed, site) -> None:
    page = embed(site)
    expect(page.locator("stig-swarm .state")).not_to_have_text("connecting …")
    asked = []
    page.on("request", lambda request: asked.append(request.url))

    page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    expect(page.locator("stig-swarm .state")).to_have_text("at rest")
    work(site.board)
    page.wait_for_timeout(300)
    assert asked == []
    expect(page.locator("stig-swarm").get_by_text("Agents (0 of 0 at work)")).to_be_visible()

    page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => false });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    expect(page.locator("stig-swarm").get_by_text("Agents (1 of 1 at work)")).to_be_visible()


def test_hostile_names_are_text_in_it(embed, site) -> None:
    work(site.board, "<img src=x onerror=window.owned=1>", "<b>bold</b>\u202e")
    page = embed(site)

    expect(page.locator("stig-swarm").get_by_role("list", name="Agents")).to_contain_text("<img")

    assert page.evaluate("window.owned") is None
    assert (
        page.evaluate("document.querySelector('stig-swarm').shadowRoot.querySelector('img,b b')")
        is None
    )


def test_it_leaves_no_name_in_the_page(embed, site) -> None:
    page = embed(site)

    assert page.evaluate("typeof StigSwarm") == "undefined"
    assert page.evaluate("Object.keys(window).filter(name => /stig/i.test(name))") == []
    page.evaluate("document.querySelector('stig-swarm').remove()")


def test_a_wrong_token_is_told(embed, site, faults) -> None:
    faults.expected.append("401")
    page = embed(site)

    page.evaluate("document.querySelector('stig-swarm').token = 'stig_wrong_wrong_wrong'")

    expect(page.locator("stig-swarm .state")).to_contain_text("no access")
    status = page.evaluate("document.querySelector('stig-swarm').getStatus()")
    assert status["state"] == "disabled"
