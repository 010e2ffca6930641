"""The parts of the server by themselves: lines of claims, the journal's tail, rates, answers."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stigmergy import Task, TaskBoard
from stigmergy.board import Event
from stigmergy.errors import TransientError
from stigmergy.server.bridge import Bridge
from stigmergy.server.desk import ClaimDesk, Order
from stigmergy.server.idempotency import Answer, AnswerBook, Conflict, Fresh
from stigmergy.server.origins import Origins
from stigmergy.server.rates import Rate, RateTable
from stigmergy.server.streams import EventStream, journal_chunks
from stigmergy.server.tail import JournalTail, Subscription, line_of
from stigmergy.server.wire import TimedProtocol
from stigmergy.testing.serving import served


class CountingBoard(TaskBoard):
    claims = 0

    def claim_many(self, *args: Any, **kwargs: Any) -> list[Task]:
        self.claims += 1
        return super().claim_many(*args, **kwargs)


def with_desk(
    work: Callable[[CountingBoard, ClaimDesk], Coroutine[Any, Any, None]],
) -> None:
    async def run() -> None:
        with CountingBoard("memory:") as board:
            bridge = Bridge()
            tail = JournalTail(board, asyncio.get_running_loop())
            desk = ClaimDesk(board, bridge)
            tail.listen(desk.take)
            tail.start()
            desk.open()
            try:
                await work(board, desk)
            finally:
                await desk.close()
                await asyncio.to_thread(tail.close)
                bridge.close()

    asyncio.run(run())


async def until(holds: Callable[[], bool]) -> None:
    """Within a time that is far more than enough."""
    for _ in range(3000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


def test_a_thousand_waiting_claims_cost_a_few_claims_of_the_board() -> None:
    async def work(board: CountingBoard, desk: ClaimDesk) -> None:
        waiting = [
            asyncio.create_task(desk.claim(Order(agent_id=f"w{n}"), wait_s=30)) for n in range(1000)
        ]
        await until(lambda: desk.waiting == 1000)
        board.claims = 0
        await asyncio.to_thread(board.post_many, [Task(task_type="job") for _ in range(10)])
        done: set[Any] = set()
        while len(done) < 10:
            done, _ = await asyncio.wait(waiting, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
        assert board.claims < 60
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert desk.waiting == 0
        assert board.progress().in_progress == 10

    with_desk(work)


def test_who_waits_longest_is_served_first_and_each_gets_what_it_can_do() -> None:
    async def work(board: CountingBoard, desk: ClaimDesk) -> None:
        orders = [
            Order(agent_id="first"),
            Order(agent_id="gpu", capabilities=frozenset({"gpu"})),
            Order(agent_id="second"),
        ]
        waiting = []
        for order in orders:
            waiting.append(asyncio.create_task(desk.claim(order, wait_s=30)))
            await until(lambda: desk.waiting == len(waiting))
        post = partial(board.post, Task(task_type="job", requires=("gpu",)))
        await asyncio.to_thread(post)
        assert [task.claimed_by for task in await waiting[1]] == ["gpu"]
        await asyncio.to_thread(board.post, Task(task_type="job"))
        assert [task.claimed_by for task in await waiting[0]] == ["first"]
        await asyncio.to_thread(board.post, Task(task_type="job"))
        assert [task.claimed_by for task in await waiting[2]] == ["second"]

    with_desk(work)


def test_what_is_claimed_for_one_who_left_goes_to_the_next() -> None:
    async def work(board: CountingBoard, desk: ClaimDesk) -> None:
        for _ in range(30):
            leaving = asyncio.create_task(desk.claim(Order(agent_id="leaving"), wait_s=30))
            await asyncio.sleep(0)
            posting = asyncio.create_task(asyncio.to_thread(board.post, Task(task_type="job")))
            await asyncio.sleep(0.001)
            leaving.cancel()
            await posting
            gone = await asyncio.gather(leaving, return_exceptions=True)
            if not isinstance(gone[0], list):
                staying = await desk.claim(Order(agent_id="staying"), wait_s=10)
                assert [task.claimed_by for task in staying] == ["staying"]

    with_desk(work)


def test_a_reader_that_does_not_keep_up_is_dropped_and_costs_no_more() -> None:
    subscription = Subscription()
    lines = [line_of(Event(seq=n, at=0.0, kind="k")) for n in range(1, 1001)]
    size = sum(len(line.sse) for line in lines)
    for _ in range(10):
        subscription.give(lines, size)
    assert not subscription.dropped
    subscription.give(lines, size)
    assert subscription.dropped
    assert subscription.take() == []


def test_the_bridge_refuses_what_would_wait_too_long() -> None:
    async def run() -> None:
        bridge = Bridge(threads=1, most_waiting=2)
        release = threading.Event()
        calls = [asyncio.create_task(bridge.call(release.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(TransientError, match="2 calls wait"):
            await bridge.call(lambda: None)
        release.set()
        await asyncio.gather(*calls)
        assert await bridge.call(lambda: 7) == 7
        bridge.close()

    asyncio.run(run())


def test_a_bucket_fills_evenly() -> None:
    table = RateTable(Rate(per_s=10, burst=5))
    assert [table.take("a", 0.0) for _ in range(5)] == [0.0] * 5
    assert table.take("a", 0.0) == pytest.approx(0.1)
    assert table.take("b", 0.0) == 0.0
    assert table.take("a", 0.1) == 0.0
    assert table.take("a", 0.05) > 0.0  # a clock that goes back gives nothing


def test_answers_are_kept_by_key_and_a_dead_server_s_are_done_again(tmp_path: Path) -> None:
    first = AnswerBook(tmp_path / "a.db", server="one")
    assert first.begin("k", b"x", now=0.0) == Fresh(again=False)
    assert first.begin("k", b"x", now=0.0) == Conflict(under_way=True)
    assert first.begin("k", b"y", now=0.0) == Conflict(under_way=False)
    first.close()
    second = AnswerBook(tmp_path / "a.db", server="two")
    assert second.begin("k", b"x", now=1.0) == Fresh(again=True)
    second.finish("k", Answer(200, "application/json", b"{}"))
    assert second.begin("k", b"x", now=2.0) == Answer(200, "application/json", b"{}")
    assert second.begin("k", b"y", now=2.0) == Conflict(under_way=False)
    assert second.begin("k", b"y", now=100_000.0) == Fresh(again=False)  # a day later
    second.reopen("k")
    assert second.begin("k", b"y", now=100_001.0) == Fresh(again=True)
    assert second.secret("s", b"1") == second.secret("s", b"2") == b"1"
    second.close()


def test_answers_are_bounded_by_bytes_the_oldest_go_first(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"

    def fill(book: AnswerBook, numbers: range) -> None:
        for n in numbers:
            assert book.begin(f"k{n}", b"r", now=float(n)) == Fresh(again=False)
            book.finish(f"k{n}", Answer(200, "text/plain", b"x" * 1_000))

    def kept(book: AnswerBook) -> list[int]:
        found = [n for n in range(30) if isinstance(book.begin(f"k{n}", b"r", now=30.0), Answer)]
        for n in set(range(30)) - set(found):
            book.forget(f"k{n}")
        return found

    book = AnswerBook(path, server="one", most_bytes=8_000)
    fill(book, range(9))
    assert kept(book) == [3, 4, 5, 6, 7, 8]
    fill(book, range(9, 11))
    book.close()
    again = AnswerBook(path, server="two", most_bytes=8_000)
    fill(again, range(11, 12))
    assert kept(again) == [6, 7, 8, 9, 10, 11]
    again.close()


@pytest.mark.parametrize(
    ("host", "given", "ours"),
    [
        ("127.0.0.1", "127.0.0.1:80", True),
        ("127.0.0.1", "localhost:80", True),
        ("127.0.0.1", "[::1]:80", True),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "build.example:80", True),
        ("127.0.0.1", "build.example", True),
        ("127.0.0.1", "localhost:81", False),
        ("127.0.0.1", "10.0.0.1:80", False),
        ("0.0.0.0", "10.0.0.1:80", True),
        ("0.0.0.0", "evil.example:80", False),
        ("0.0.0.0", "[fe80::1]:80", True),
        ("build.local", "build.local:80", True),
        ("127.0.0.1", "localhost:", False),
        ("127.0.0.1", "[::1", False),
        ("127.0.0.1", "localhost:\uff18\uff10", False),
    ],
)
def test_only_our_names_are_ours(host: str, given: str, ours: bool) -> None:
    names = frozenset({"build.example"})
    assert Origins(host=host, port=80, names=names).is_ours(given) is ours


def test_a_reader_that_is_ahead_of_the_tail_gets_nothing_twice() -> None:
    async def run() -> None:
        with TaskBoard("memory:") as board:
            bridge = Bridge()
            tail = JournalTail(board, asyncio.get_running_loop())  # stands at 0
            board.post_many(Task(task_type="job") for _ in range(5))
            context = SimpleNamespace(board=board, bridge=bridge, tail=tail)
            chunks = journal_chunks(context, 3, None)
            assert await anext(chunks) == b"retry: 1000\n\n"
            assert tail.streams == 1, "it counts though it has not come to the journal's end"
            reading = asyncio.ensure_future(anext(chunks))
            await asyncio.sleep(0.05)
            tail.start()
            seen = re.findall(rb"id: (\d+)", await asyncio.wait_for(reading, 10))
            assert seen == [b"4", b"5"]
            await chunks.aclose()
            assert tail.streams == 0
            await asyncio.to_thread(tail.close)
            bridge.close()

    asyncio.run(run())


def test_a_stream_that_ends_while_the_server_closes_ends_once() -> None:
    sent: list[Any] = []

    async def work() -> None:
        closing = asyncio.Event()

        async def chunks() -> Any:
            yield b"data: last\n\n"
            closing.set()

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            await asyncio.Event().wait()

        await EventStream(chunks(), closing)({}, receive, send)

    asyncio.run(work())
    assert [message.get("more_body") for message in sent] == [None, True, False]


def test_no_answer_waits_for_its_head_to_be_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[int] = []
    connect = TimedProtocol.connection_made

    def made(protocol: TimedProtocol, transport: asyncio.Transport) -> None:
        peer = transport.get_extra_info("socket")
        options.append(peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        connect(protocol, transport)

    monkeypatch.setattr(TimedProtocol, "connection_made", made)
    with (
        TaskBoard(tmp_path / "b.db") as board,
        served(board, tmp_path / "server") as server,
        server.client() as client,
    ):
        assert client.get("/api/v1/progress").is_success
    assert options
    assert all(options)
