"""`stig watch` on a real board: what it shows, and what its keys do."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Self

import httpx
import pytest
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Input, RichLog, Static

from stigmergy.board import Task, TaskBoard, TaskStatus
from stigmergy.board.approvals import approval
from stigmergy.cli.watch import picture
from stigmergy.cli.watch.app import WatchApp
from stigmergy.cli.watch.command import reached
from stigmergy.cli.watch.feeds import BoardFeed, HttpFeed
from stigmergy.cli.watch.hands import BoardHands
from stigmergy.cli.watch.table import RowTable
from stigmergy.errors import UsageError
from stigmergy.monitor import SwarmView

WITHIN_S = 60.0
Script = Callable[[WatchApp, Pilot[None]], Awaitable[None]]


@pytest.fixture
def board(tmp_path: Path) -> Iterator[TaskBoard]:
    with TaskBoard(tmp_path / "board.db") as opened:
        yield opened


def watch(board: TaskBoard, script: Script, *, size: tuple[int, int] = (80, 24)) -> None:
    """Run the app on the board, and the script in it."""

    async def run() -> None:
        with BoardFeed(board) as feed:
            app = WatchApp(feed, BoardHands(board, by="ann"), title="board.db")
            async with app.run_test(size=size, notifications=True) as pilot:
                await until(app, pilot, lambda: app.document is not None)
                await script(app, pilot)

    asyncio.run(run())


async def until(app: WatchApp, pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    """The app looks four times a second; this waits for what it comes to see."""
    ended = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < ended, text_of(app)
        await pilot.pause(0.02)


def text_of(app: WatchApp) -> str:
    """What stands on the screen."""
    strips = app.screen._compositor.render_strips()  # pyright: ignore[reportPrivateUsage] - no public way
    return "\n".join(strip.text for strip in strips)


def shown(app: WatchApp, pilot: Pilot[None], text: str) -> Awaitable[None]:
    return until(app, pilot, lambda: text in text_of(app))


def task(task_id: str, **fields: object) -> Task:
    known: dict[str, object] = {"task_type": "work", "description": f"do {task_id}"}
    return Task(task_id=task_id, **{**known, **fields})  # type: ignore[arg-type] - test data


def standing(board: TaskBoard, task_id: str) -> Task:
    found = board.get(task_id)
    assert found is not None
    return found


# What is shown -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (160, 50), (40, 12)])
def test_agents_tasks_and_keys_are_on_the_screen(board: TaskBoard, size: tuple[int, int]) -> None:
    board.post_many([task("cat"), task("dog")])
    held = board.claim("agent-1")
    assert held is not None

    async def script(app: WatchApp, pilot: Pilot[None]) -> None:
        await shown(app, pilot, "agent-1")
        await shown(app, pilot, "2 tasks")
        screen = text_of(app)
        assert "working" in screen
        await shown(app, pilot, "p Pause")
        screen = text_of(app)
        if size[0] >= 80:
            assert "q Quit" in screen, screen.splitlines()[-1]
        assert len(screen.splitlines()) == size[1]
        board.complete(held, {})
        if size[1] >= 24:
            await shown(app, pilot, "completed")

    watch(board, script, size=size)


def test_what_comes_from_outside_is_shown_and_not_obeyed(board: TaskBoard) -> None:
    board.post(task("a", description="[red]bad[/red] \x1b[2J\u202etxt"))

    async def script(app: WatchApp, pilot: Pilot[None]) -> None:
        await shown(app, pilot, "[red]bad[/red] txt")
        assert "\x1b" not in text_of(app)

    watch(board, script)


def test_the_pane_shows_the_log_of_the_agent_under_the_cursor(board: TaskBoard) -> None:
    board.post_many([task("cat"), task("dog")])
    for name in ("agent-1", "agent-2"):
        held = board.claim(name)
        assert held is not None
        board.report(held, {"done": 1, "total": 3})

    async def script(app: WatchApp, pilot: Pilot[None]) -> None:
        await pilot.press("shift+tab")
        await shown(app, pilot, "log of agent-1")
        await shown(app, pilot, "cat  reports")
        await pilot.press("down")
        await shown(app, pilot, "log of agent-2")
        for title in ("landings", "alerts", "metrics"):
            await pilot.press("v")
            await shown(app, pilot, f"─ {title} ")
        await shown(app, pilot, "unknown")

    watch(board, script)


def test_a_filter_leaves_the_rows_that_have_the_text(board: TaskBoard) -> None:
    board.post_many([task("cat"), task("dog", description="a Dachshund")])

    async def script(app: WatchApp, pilot: Pilot[None]) -> None:
        await shown(app, pilot, "do cat")
        await pilot.press("slash", *"dachs")
        await until(app, pilot, lambda: "do cat" not in text_of(app))
        await pilot.press("enter")
        await shown(app, pilot, "with 'dachs'")
        assert "Dachshund" in text_of(app)
        await pilot.press("slash", "home", "left_square_bracket")
        await shown(app, pilot, "with '[dachs'")
        await pilot.press("escape")
        await shown(app, pilot, "do cat")

    watch(board, script)


def test_no_text_makes_markup_of_a_title(board: TaskBoard) -> None:
    board.post(task("a", description="do it"))
    hostile = "\\on red![/[-"

    async def script(app: WatchApp, pilot: Pilot[None]) -> None:
        await pilot.press("slash")
        app.query_one("#filter", Input).value = hostile
        await shown(app, pilot, f"with {hostile!r}")

    watch(board, script)


def test_off_the_top_the_cursor_stays_on_its_row_wherever_that_goes(board: TaskBoard) -> None:
    board.post_many([task(name) for name in ("a", "b", "c")])

    async def script(app: WatchApp, pilot: Pilot[None]) -> None:
        table = app.query_one("#work", RowTable)
        await until(app, pilot, lambda: table.row_count == 3)
        await pilot.press("down", "down")
        assert table.selected == "c"
        board.set_priority("c", 1)
        held = board.claim("agent-1")
        assert held is not None
        assert held.task_id == "c"
        await until(app, pilot, lambda: table.cursor_row == 0)
        assert table.selected == "c"
        board.post(approval("ask", "May it?"))
        await until(app, pilot, lambda: table.row_count == 4)
        await until(app, pilot, lambda: table.selected == "ask")

    watch(board, script)


def test_a_stream_of_events_changes_few_cells_and_leaves_the_screen_awake(
    board: TaskBoard,
) -> None:
    """Two hundred events a second: each frame changes what is different, and no more."""
    board.post_many([task(f"t{n:03}") for n in range(400)])
    gaps: list[float] = []
    usual: list[float] = []

    async def gap() -> float:
        began = time.monotonic()
        await asyncio.sleep(0.01)
        return time.monotonic() - began

    async def script(app: WatchApp, pilot: Pilot[None]) -> None:
        await until(app, pilot, lambda: "400 tasks" in text_of(app))
        stop = threading.Event()

        def agents() -> None:
            for n in range(200):  # two events each
                held = board.claim(f"agent-{n % 8}")
                assert held is not None
                board.complete(held, {})
                stop.wait(0.01)

        thread = threading.Thread(target=agents)
        usual.extend([await gap() for _ in range(50)])
        before = app.changed_cells
        thread.start()
        while thread.is_alive():
            gaps.append(await gap())
        thread.join()
        await until(app, pilot, lambda: standing(board, "t199").status is TaskStatus.COMPLETED)
        frames = max(1.0, sum(gaps) / 0.25)
        assert (app.changed_cells - before) / frames < 300 * 6, "less than the whole table a frame"

    watch(board, script)
    # Before the agents came the machine was as busy with other things.
    assert median(gaps) < 0.1 + 5 * median(usual), "keys are heard in between"


def test_while_nothing_happens_nothing_is_drawn(
    board: TaskBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str | None] = []

    def noting(refresh: Callable[..., Widget]) -> Callable[..., Widget]:
        def refreshed(self: Widget, *args: object, **options: object) -> Widget:
            drawn.append(self.id)
            return refresh(self, *args, **options)

        return refreshed

    async def script(app: WatchApp, pilot: Pilot[None]) -> None:
        await shown(app, pilot, "0 tasks")
        for kind in (RowTable, RichLog, Static):
            monkeypatch.setattr(kind, "refresh", noting(kind.refresh))
        for _ in range(20):  # until all has been drawn that was to be drawn
            drawn.clear()
            await pilot.pause(1.0)
            if not drawn:
                break
        assert drawn == []

    watch(board, script)


# Keys --------------------------------------------------------------------------------------------


def test_p_pauses_and_lets_it_go_on(board: TaskBoard) -> None:
    board.post(task("a"))

    async def script(app: WatchApp, pilot: Pilot[None]) -> None:
        await pilot.press("p")
        await shown(app, pilot, "PAUSED")
        assert board.rules().paused == ("*",)
        await pilot.press("p")
        await until(app, pilot, lambda: not board.rules().paused)

    watch(board, script)


def test_r_retries_what_failed_and_says_when_there_is_nothing_to_retry(board: TaskBoard) -> None:
    board.post(task("a"))
    held = board.claim("agent-1")
    assert held is not None

    async def script(app: WatchApp, pilot: Pilot[None]) -> None:
        await shown(app, pilot, "claimed")
        await pilot.press("r")
        await shown(app, pilot, "only what failed")
        board.fail(held, "boom", retry=False)
        await shown(app, pilot, "boom")
        await pilot.press("r")
        await until(app, pilot, lambda: standing(board, "a").status is TaskStatus.PENDING)

    watch(board, script)


def test_c_cancels_after_it_was_confirmed(board: TaskBoard) -> None:
    board.post(task("a"))

    async def script(app: WatchApp, pilot: Pilot[None]) -> None:
        await shown(app, pilot, "do a")
        await pilot.press("c")
        await shown(app, pilot, "Cancel a?")
        await pilot.press("n")
        await until(app, pilot, lambda: "Cancel a?" not in text_of(app))
        assert standing(board, "a").status is TaskStatus.PENDING
        await pilot.press("c")
        await shown(app, pilot, "Cancel a?")
        await pilot.press("y")
        await until(app, pilot, lambda: standing(board, "a").status is TaskStatus.CANCELLED)
        assert standing(board, "a").error == "cancelled by ann"

    watch(board, script)


def test_a_approves_and_x_refuses_with_a_reason(board: TaskBoard) -> None:
    board.post_many([approval("one", "May one go out?"), approval("two", "May two?")])

    async def script(app: WatchApp, pilot: Pilot[None]) -> None:
        await shown(app, pilot, "you: a yes, x no")
        await pilot.press("a")
        await shown(app, pilot, "Approve one?")
        await pilot.press("y")
        await until(app, pilot, lambda: standing(board, "one").status is TaskStatus.COMPLETED)
        assert (standing(board, "one").result or {})["by"] == "ann"
        await until(app, pilot, lambda: app.query_one("#work", RowTable).selected == "two")
        await pilot.press("x")
        await shown(app, pilot, "Refuse two: why?")
        await pilot.press(*"no", "enter")
        await until(app, pilot, lambda: standing(board, "two").status is TaskStatus.FAILED)
        assert standing(board, "two").error == "refused by ann: no"
        await until(app, pilot, lambda: "tasks failed" in text_of(app))
        await pilot.press("a")
        await shown(app, pilot, "nothing waits for you")

    watch(board, script)


def test_plus_and_minus_wish_for_agents_where_there_is_a_run(board: TaskBoard) -> None:
    async def without(app: WatchApp, pilot: Pilot[None]) -> None:
        await pilot.press("plus")
        await shown(app, pilot, "how many agents work")

    watch(board, without)
    board.record("run_started", data={"run_id": "r1", "agents": 2})

    async def within(app: WatchApp, pilot: Pilot[None]) -> None:
        await pilot.press("plus", "plus", "minus")
        await until(app, pilot, lambda: len(wishes()) == 3)
        assert wishes() == [3, 4, 3]

    def wishes() -> list[int]:
        return [e.data["count"] for e in board.events() if e.kind == "agents_wanted"]

    watch(board, within)


def test_a_verb_that_is_refused_says_why(board: TaskBoard) -> None:
    board.post_many([task("a"), task("b", depends_on=("a",))])
    board.cancel("a")

    async def script(app: WatchApp, pilot: Pilot[None]) -> None:
        table = app.query_one("#work", RowTable)
        await until(app, pilot, lambda: table.row_count == 2)
        while table.selected != "b":
            await pilot.press("down")
        await pilot.press("r")
        await shown(app, pilot, "retry that first")

    watch(board, script)


# Over HTTP ---------------------------------------------------------------------------------------


class Server:
    """Speaks the live stream of one board and takes verbs, over real HTTP."""

    def __init__(self, snapshot: dict[str, object]) -> None:
        self.asked: list[tuple[str, object]] = []
        self.streams = 0
        self.refuses = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.headers["Authorization"] != "Bearer secret":
                    self.send_error(401)
                    return
                outer.streams += 1
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                data = json.dumps(snapshot)
                self.wfile.write(f": hello\nevent: snapshot\nid: 1\ndata: {data}\n\n".encode())
                delta = {"seq": 2, "at": 1.0, "now": 1.0, "replace": {"paused": ["*"]}}
                self.wfile.write(f"event: delta\ndata: {json.dumps(delta)}\n\n".encode())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append((self.path, body))
                self.send_response(409 if outer.refuses else 200)
                self.end_headers()
                self.wfile.write(json.dumps({"title": "No", "detail": "not now"}).encode())

            def log_message(self, *args: object) -> None:
                del args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server(board: TaskBoard) -> Iterator[Server]:
    board.post(task("far", description="far away"))
    view = SwarmView()
    view.take(board.events())
    with Server(view.snapshot(1.0)) as running:
        yield running


def test_a_server_is_watched_steered_and_found_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STIG_TOKEN", "secret")
    with reached(run=None, board=f"{server.url}/", token_file=None, by="ann", repo=Path()) as found:
        feed, hands, title = found
        assert isinstance(feed, HttpFeed)

        async def run() -> None:
            app = WatchApp(feed, hands, title=title)
            async with app.run_test() as pilot:
                await shown(app, pilot, "far away")
                await shown(app, pilot, "paused")
                await shown(app, pilot, "the server ended the stream")
                await until(app, pilot, lambda: server.streams > 1)

        with feed:
            asyncio.run(run())
        hands.resume()
        hands.cancel("a/b")
        hands.refuse("x", "no")
        hands.want_agents(3)
        assert server.asked == [
            ("/api/v1/resume", {"task_type": None}),
            ("/api/v1/tasks/a%2Fb/cancel", {"reason": "cancelled by ann"}),
            ("/api/v1/tasks/x/refuse", {"by": "ann", "reason": "no"}),
            ("/api/v1/agents", {"count": 3}),
        ]
        server.refuses = True
        with pytest.raises(UsageError, match="not now"):
            hands.approve("x")


def test_a_wrong_token_is_told_once(server: Server) -> None:
    client = httpx.Client(base_url=server.url, headers={"Authorization": "Bearer wrong"})
    with client, HttpFeed(client) as feed:
        update = feed.updates.get(timeout=WITHIN_S)
        assert update.trouble is not None
        assert "401" in update.trouble
        feed._thread.join(WITHIN_S)  # pyright: ignore[reportPrivateUsage] - no public way
        assert feed.updates.empty(), "the same again would be refused again"


def test_a_token_comes_from_a_file_or_the_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STIG_TOKEN", raising=False)
    with (
        pytest.raises(UsageError, match="needs a token"),
        reached(run=None, board="http://127.0.0.1:1", token_file=None, by="a", repo=tmp_path),
    ):
        pass
    with (
        pytest.raises(UsageError, match="not both"),
        reached(run="x", board="b.db", token_file=None, by="a", repo=tmp_path),
    ):
        pass


# The picture -------------------------------------------------------------------------------------


def test_an_approval_stands_before_all_else_and_at_its_item() -> None:
    document: dict[str, object] = {
        "tasks": {},
        "items": {"F1": {"key": "F1", "state": "waiting", "landed_at": None, "title": "x"}},
        "votes": {"F1.approval1": {"id": "F1.approval1", "state": "waiting", "asked_at": 1.0}},
    }
    (row,) = picture.item_rows(document, 2.0)
    assert "you: a yes" in row.cells[3][0]


def test_a_waiting_item_names_what_it_comes_after() -> None:
    item = {"state": "waiting", "landed_at": None, "title": "x"}
    document: dict[str, object] = {
        "items": {
            "F1": {**item, "key": "F1", "state": "landed", "landed_at": 1.0, "commit": "abc"},
            "F2": {**item, "key": "F2", "depends_on": ["F1"]},
            "F3": {**item, "key": "F3", "depends_on": ["F1", "F2"]},
        },
    }
    came_to = {row.key: row.cells[3][0] for row in picture.item_rows(document, 2.0)}
    assert (came_to["F2"], came_to["F3"]) == ("", "after F2")


def test_what_is_unknown_is_told_so() -> None:
    document: dict[str, object] = {"metrics": {"calls": 3, "tokens_prompt": None, "cost_usd": None}}
    said = [text for text, _ in picture.summary(document)]
    assert said == ["unknown tokens", "cost unknown"]
