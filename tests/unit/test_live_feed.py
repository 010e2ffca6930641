"""The feed: one fold, the same bytes for all, nobody waited for, snapshot and deltas that fit."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from stigmergy.board import Task, TaskBoard
from stigmergy.errors import CorruptError, StigmergyError, TransientError
from stigmergy.monitor import SwarmView
from stigmergy.server.live import Feed, JournalSource, Playhead, ReplaySource
from stigmergy.server.live import feed as feed_module
from stigmergy.server.live.subscription import MOST_WAITING


@pytest.fixture
def board():
    with TaskBoard("memory://") as opened:
        yield opened


def make_feed(board, **options) -> Feed:
    return Feed(JournalSource(board, clock=time.time), SwarmView, interval_s=0.01, **options)


def post(board, name) -> None:
    board.post(Task(task_type="job", description=f"do {name}", task_id=name))


def parsed(message: bytes) -> tuple[str, dict]:
    lines = message.decode().split("\n")
    event = next(line[7:] for line in lines if line.startswith("event: "))
    return event, json.loads(next(line[6:] for line in lines if line.startswith("data: ")))


def applied(document: dict, delta: dict) -> dict:
    """What a reader knows after a delta."""
    for table, rows in delta.get("set", {}).items():
        document[table].update(rows)
    for table, names in delta.get("del", {}).items():
        for name in names:
            document[table].pop(name, None)
    for entries in ("landings", "returns", "activity"):
        document[entries] += delta.get("append", {}).get(entries, [])
    return document | {"seq": delta.get("seq", document["seq"])}


async def read_until(reader, seq: int) -> tuple[list[bytes], dict]:
    messages, document = [], {}
    async for message in reader.messages(idle_s=30.0):
        assert message is not None, "nothing came"
        messages.append(message)
        event, data = parsed(message)
        document = data if event == "snapshot" else applied(document, data)
        if document["seq"] >= seq:
            return messages, document
    raise AssertionError("the stream ended")


def test_a_newcomer_gets_a_snapshot_and_then_all_that_changes(board) -> None:
    async def watch() -> dict:
        reader = feed.subscribe(asyncio.get_running_loop())
        await asyncio.to_thread(post, board, "after")
        _, document = await read_until(reader, board.last_seq())
        return document

    post(board, "before")
    with make_feed(board) as feed:
        assert feed.wait_caught_up(timeout_s=30)
        document = asyncio.run(watch())

    assert set(document["tasks"]) == {"before", "after"}


def test_whoever_comes_whenever_ends_with_the_same(board) -> None:
    """Snapshot and deltas fit together without a gap, in whatever moment one subscribes."""

    async def watch() -> list[dict]:
        loop = asyncio.get_running_loop()
        writer = threading.Thread(target=write)
        writer.start()
        readers = []
        for _ in range(25):
            readers.append(await asyncio.to_thread(feed.subscribe, loop))
            await asyncio.sleep(0.005)
        await asyncio.to_thread(writer.join)
        found = [await read_until(reader, board.last_seq()) for reader in readers]
        return [document for _, document in found]

    def write() -> None:
        for number in range(150):
            post(board, f"t-{number}")
            task = board.claim("a")
            board.complete(board.start(task), {})

    with make_feed(board) as feed:
        documents = asyncio.run(watch())

    for document in documents:
        assert len(document["tasks"]) == 150
        assert {row["status"] for row in document["tasks"].values()} == {"completed"}
        told = [line["seq"] for line in document["activity"]]
        assert told == sorted(set(told))  # none missed, none twice
        assert told[-1] == documents[0]["activity"][-1]["seq"]


def test_all_readers_get_the_very_same_bytes(board) -> None:
    async def watch() -> tuple[list[bytes], list[bytes]]:
        loop = asyncio.get_running_loop()
        readers = [feed.subscribe(loop), feed.subscribe(loop)]
        await asyncio.to_thread(post, board, "one")
        return tuple([(await read_until(reader, 1))[0][1:] for reader in readers])

    with make_feed(board) as feed:
        feed.wait_caught_up(timeout_s=30)
        first, second = asyncio.run(watch())

    assert first == second
    assert first[0] is second[0]


def test_a_slow_reader_is_dropped_and_the_others_go_on(board) -> None:
    async def watch() -> bool:
        loop = asyncio.get_running_loop()
        slow, quick = feed.subscribe(loop), feed.subscribe(loop)
        seen = 0
        async for message in quick.messages(idle_s=30.0):
            assert message is not None
            seen += 1
            if slow.dropped:
                break
            await asyncio.to_thread(post, board, f"t-{seen}")
        assert [m async for m in slow.messages(idle_s=1.0)] == []  # it is told to come back
        return seen >= MOST_WAITING

    with make_feed(board) as feed:
        assert asyncio.run(watch())
        assert feed.readers == 1


def test_nothing_is_said_when_nothing_changed(board) -> None:
    async def watch() -> list[bytes | None]:
        reader = feed.subscribe(asyncio.get_running_loop())
        found: list[bytes | None] = []
        async for message in reader.messages(idle_s=0.2):
            found.append(message)
            if message is None:
                return found
        return found

    post(board, "one")
    with make_feed(board) as feed:
        feed.wait_caught_up(timeout_s=30)
        found = asyncio.run(watch())

    # A step of the series may end meanwhile; that is time going by, and nothing else is told.
    for message in found[1:-1]:
        _, delta = parsed(message)
        assert set(delta) <= {"seq", "at", "now", "append"}
        assert set(delta["append"]) == {"points"}


def test_when_the_feed_ends_so_do_its_streams(board) -> None:
    async def watch() -> int:
        reader = feed.subscribe(asyncio.get_running_loop())
        closing = asyncio.create_task(asyncio.to_thread(feed.close))
        messages = [m async for m in reader.messages(idle_s=30.0)]
        await closing
        late = feed.subscribe(asyncio.get_running_loop())
        assert len([m async for m in late.messages(idle_s=30.0)]) == 1
        return len(messages)

    with make_feed(board) as feed:
        assert asyncio.run(watch()) == 1


def test_a_finished_feed_has_told_all_and_waited_for_its_readers(board) -> None:
    async def watch() -> tuple[dict, bool]:
        reader = feed.subscribe(asyncio.get_running_loop())
        post(board, "last")
        finishing = asyncio.create_task(asyncio.to_thread(feed.finish, timeout_s=20.0))
        document: dict = {}
        async for message in reader.messages(idle_s=30.0):
            event, data = parsed(message)
            document = data if event == "snapshot" else applied(document, data)
        waited = not finishing.done()
        feed.leave(reader)
        await finishing
        return document, waited

    with make_feed(board) as feed:
        document, waited = asyncio.run(watch())
    assert list(document["tasks"]) == ["last"]
    assert waited


class TroubledAtFirst(JournalSource):
    """A journal that cannot be read the first three times."""

    refusals = 3
    trouble: StigmergyError

    def next(self, *, timeout_s):
        if self.refusals:
            self.refusals -= 1
            raise self.trouble
        return super().next(timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("trouble", "said"), [(TransientError("busy"), 0), (CorruptError("damaged", where="b.db"), 1)]
)
def test_a_board_that_cannot_be_read_is_asked_again(
    board, monkeypatch, caplog, trouble, said
) -> None:
    monkeypatch.setattr(feed_module, "_MENDED_S", 0.01)
    post(board, "one")
    source = TroubledAtFirst(board, clock=time.time)
    source.trouble = trouble

    with Feed(source, SwarmView, interval_s=0.01) as feed:
        assert feed.wait_caught_up(timeout_s=30)
        assert "one" in json.loads(feed.snapshot())["tasks"]
    assert len(caplog.records) == said


# --- replays ---


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.001  # so that waits end
        return self.now


def journal(board):
    for number in range(5):
        post(board, f"t-{number}")
    return board.events()


def spaced(events, step_s):
    """The same events, so far apart."""
    return [replace(event, at=100.0 + number * step_s) for number, event in enumerate(events)]


def test_a_replay_keeps_the_runs_own_pace_times_its_speed(board) -> None:
    clock = Clock()
    source = ReplaySource(spaced(journal(board), 10.0), speed=10.0, clock=clock)

    assert [e.task_id for e in source.next(timeout_s=0).events] == ["t-0"]
    clock.now += 1.0
    assert [e.task_id for e in source.next(timeout_s=0).events] == ["t-1"]
    clock.now += 2.0
    assert [e.task_id for e in source.next(timeout_s=0).events] == ["t-2", "t-3"]


def test_a_replay_stands_still_hurries_and_goes_back(board) -> None:
    clock = Clock()
    source = ReplaySource(spaced(journal(board), 10.0), speed=1.0, clock=clock)
    source.next(timeout_s=0)

    source.change(paused=True)
    clock.now += 100.0
    assert source.next(timeout_s=0).events == ()

    source.change(paused=False, speed=1000.0)
    clock.now += 1.0
    assert len(source.next(timeout_s=0).events) == 4

    source.change(at=115.0)
    moment = source.next(timeout_s=0)
    assert moment.rewound
    assert [e.task_id for e in moment.events] == ["t-0", "t-1"]


def test_a_replay_is_labelled_in_snapshot_and_deltas(board) -> None:
    board.record("run_started", data={"run_id": "r-1", "label": "simulated"})
    events = board.events()
    source = ReplaySource(events, speed=1.0, clock=time.monotonic)

    with Feed(source, SwarmView, interval_s=0.01) as feed:
        feed.wait_caught_up(timeout_s=30)
        document = json.loads(feed.snapshot())

    assert document["run"]["label"] == "REPLAY · simulated"
    assert document["feed"]["live"] is False
    assert document["feed"]["replay"]["speed"] == 1.0


def test_going_back_shows_everybody_the_earlier_state(board) -> None:
    events = spaced(journal(board), 10.0)

    async def watch() -> list[int]:
        reader = feed.subscribe(asyncio.get_running_loop())
        counts = []
        async for message in reader.messages(idle_s=30.0):
            assert message is not None
            event, data = parsed(message)
            if event == "snapshot":
                counts.append(len(data["tasks"]))
                if len(counts) == 2:
                    return counts
                source.change(at=105.0, paused=True)
        return counts

    source = ReplaySource(events, speed=10_000.0, clock=time.monotonic)
    with Feed(source, SwarmView, interval_s=0.01) as feed:
        feed.wait_caught_up(timeout_s=30)
        assert asyncio.run(watch()) == [5, 1]


def test_a_clock_that_was_set_back_does_not_stop_a_replay(board) -> None:
    events = spaced(journal(board), 10.0)
    events[2] = replace(events[2], at=5.0)
    clock = Clock()
    source = ReplaySource(events, speed=10_000.0, clock=clock)
    clock.now += 1.0

    assert [e.task_id for e in source.next(timeout_s=0).events] == [f"t-{n}" for n in range(5)]


def test_a_playhead_never_leaves_its_run() -> None:
    head = Playhead.start(begins=10.0, ends=20.0, speed=5.0, now=0.0)

    places = [head.place(now) for now in (-5.0, 0.0, 1.0, 3.0, 1e9)]

    assert places == [10.0, 10.0, 15.0, 20.0, 20.0]
    assert head.changed(1.0, at=1e9).place(2.0) == 20.0
    assert head.changed(1.0, at=-1e9, paused=True).place(1e9) == 10.0
    assert all(a <= b for a, b in pairwise(places))
