"""Payloads and results too large for a row, as files beside the board."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stigmergy import SwarmAgent, SwarmCoordinator
from stigmergy.board import (
    JsonObject,
    Limits,
    Query,
    Schedule,
    Store,
    Task,
    TaskBoard,
    TaskStatus,
    open_store,
)
from stigmergy.board.blobs import BlobFolder, is_reference
from stigmergy.errors import CorruptError, TransientError, UnsupportedError, UsageError
from stigmergy.testing.postgres import PostgresServer
from stigmergy.testing.stores import FakeClock

S = TaskStatus
LIMITS = Limits(payload_bytes=1000, result_bytes=1000, file_bytes=100_000)
LARGE: JsonObject = {"text": "ü" * 2000, "n": [1, {"deep": None}]}
STORES = ["files", "sqlite", pytest.param("postgres", marks=pytest.mark.needs_postgres)]
DAY_S = 86_400.0


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Any:
    """Those that have a place for files."""
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.url(board=f"blobs_{os.urandom(6).hex()}", blobs=str(tmp_path / "blobs"))
    else:
        url = str(tmp_path / {"files": "tasks", "sqlite": "b.db"}[request.param])
    opened = open_store(url, clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def board(store: Store) -> TaskBoard:
    return TaskBoard(store=store, limits=LIMITS)


def task(task_id: str, payload: JsonObject | None = None, **fields: object) -> Task:
    return Task(task_type="work", task_id=task_id, payload=payload or {}, **fields)  # type: ignore[arg-type] - test data


def claimed(board: TaskBoard) -> Task:
    got = board.claim("ann")
    assert got is not None
    return got


def folder(store: Store) -> Path:
    assert store.blobs is not None
    return store.blobs


def files(store: Store) -> list[Path]:
    return sorted(path for path in folder(store).glob("*/*") if path.is_file())


def age(path: Path, seconds: float) -> None:
    when = time.time() - seconds
    os.utime(path, (when, when))


# There and back ----------------------------------------------------------------------------------


def test_a_large_payload_and_result_are_files_and_come_back_whole(
    board: TaskBoard, store: Store
) -> None:
    board.post(task("a", LARGE))
    held = claimed(board)
    assert is_reference(held.payload)
    assert board.load(held.payload) == LARGE
    result = {"by": LARGE}
    done = board.complete(held, result)
    assert done.result is not None
    assert board.load(done.result) == result
    assert board.complete(held, result) == done, "handing it in again changes nothing"
    for path in files(store):
        assert f"sha256-{hashlib.sha256(path.read_bytes()).hexdigest()}" == path.name
    assert len(files(store)) == 2


def test_small_values_stay_on_the_board(board: TaskBoard, store: Store) -> None:
    board.post(task("a", {"n": 1}))
    assert board.load(claimed(board).payload) == {"n": 1}
    assert board.load(None) == {}
    assert not folder(store).exists()


@pytest.mark.parametrize(("size", "is_file"), [(1000, False), (1001, True)])
def test_the_limit_counts_bytes(board: TaskBoard, size: int, is_file: bool) -> None:
    payload = {"k": "ü" * 100, "p": ""}
    bare = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    payload["p"] = "x" * (size - len(bare))
    board.post(task("a", payload))
    assert is_reference(claimed(board).payload) is is_file


def test_equal_values_are_one_file(board: TaskBoard, store: Store) -> None:
    board.post_many(task(f"t{n}", LARGE) for n in range(3))
    assert len(files(store)) == 1
    board.post(task("t0", LARGE))
    assert board.progress().total == 3, "posting it again is once"


def test_what_is_larger_than_a_file_may_be_is_refused_by_name(
    board: TaskBoard, store: Store
) -> None:
    with pytest.raises(UsageError, match=r"payload of task 'a' has [0-9,]+ bytes.*100,000"):
        board.post(task("a", {"text": "x" * 100_000}))
    assert not folder(store).exists()


def test_children_results_come_back_whole(board: TaskBoard) -> None:
    board.post_many([task("a", parent_id="p"), task("b", parent_id="p")])
    board.complete(claimed(board), LARGE)
    board.complete(claimed(board), {"small": 1})
    assert board.get_results_by_parent("p") == [LARGE, {"small": 1}]
    merged = SwarmCoordinator(board).reduce("p", lambda results: {"all": results})
    assert merged == {"all": [LARGE, {"small": 1}]}


def test_a_schedules_large_payload_is_posted_each_time(
    board: TaskBoard, store: Store, clock: FakeClock
) -> None:
    board.schedule(Schedule(name="tick", task=task("x", LARGE), every_s=60))
    for path in files(store):
        age(path, 2 * DAY_S)
    assert board.prune(older_than_s=0).blobs == 0, "the schedule refers to it"
    for _ in range(2):
        clock.advance(60)
        held = claimed(board)
        assert board.load(held.payload) == LARGE
        board.complete(held, {})


def test_a_large_payload_replaces_another(board: TaskBoard) -> None:
    board.post(task("a", {"n": 1}, unique_key="u"))
    board.post(task("b", LARGE, unique_key="u"), on_duplicate="replace")
    assert board.load(claimed(board).payload) == LARGE


# Agents ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["work_cycle", "run"])
def test_a_handler_gets_the_payload_itself(board: TaskBoard, way: str) -> None:
    seen: list[JsonObject] = []

    def handle(task: Task) -> JsonObject:
        seen.append(task.payload)
        return task.payload

    board.post(task("a", LARGE))
    agent = SwarmAgent("ann", board, handlers={"work": handle})
    finish(agent, way)
    assert seen == [LARGE]
    done = board.get("a")
    assert done is not None
    assert done.status is S.COMPLETED
    assert board.load(done.result) == LARGE


def finish(agent: SwarmAgent, way: str) -> None:
    import threading

    if way == "run":
        agent.run(threading.Event(), until_idle=True, idle_s=0.01)
    else:
        agent.work_cycle()


@pytest.mark.parametrize("way", ["work_cycle", "run"])
def test_a_payload_that_is_gone_fails_the_attempt_and_not_the_agent(
    board: TaskBoard, store: Store, way: str
) -> None:
    board.post_many([task("a", LARGE, max_attempts=1), task("b", {"n": 1})])
    for path in files(store):
        path.unlink()
    agent = SwarmAgent("ann", board, handlers={"work": lambda task: task.payload})
    finish(agent, way)
    if way == "work_cycle":
        finish(agent, way)
    first, second = board.list_all()
    assert (first.status, second.status) == (S.FAILED, S.COMPLETED)
    assert first.error is not None
    assert "CorruptError" in first.error
    assert "cannot be read" in first.error


# Damage ------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink], ids=["cut", "flipped", "gone"])
def test_a_damaged_or_missing_file_is_told_with_its_path(
    board: TaskBoard, store: Store, damage: Callable[[Path], None]
) -> None:
    board.post(task("a", LARGE))
    (path,) = files(store)
    damage(path)
    held = claimed(board)
    with pytest.raises(CorruptError, match=path.name) as told:
        board.load(held.payload)
    assert told.value.where == str(path)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", b"[" * 100_000, b""])
def test_a_file_of_the_right_name_that_holds_no_object_is_told(
    store: Store, content: bytes
) -> None:
    name = f"sha256-{hashlib.sha256(content).hexdigest()}"
    path = folder(store) / name[7:9] / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(CorruptError, match=name):
        BlobFolder(folder(store)).get({"$blob": name})


HOSTILE: list[JsonObject] = [
    {"$blob": "../../../../etc/passwd"},
    {"$blob": "sha256-" + "../" * 21 + "x"},
    {"$blob": "sha256-" + "0" * 63},
    {"$blob": "sha256-" + "0" * 64 + "\n"},
    {"$blob": "sha256-" + "0" * 63 + "G"},
    {"$blob": None},
    {"$blob": ["sha256-" + "0" * 64]},
    {"$blob": ""},
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=repr)
def test_a_reference_that_can_be_none_is_refused_wherever_it_comes_in(
    board: TaskBoard, hostile: JsonObject
) -> None:
    with pytest.raises(UsageError, match=r"'\$blob' is the board's own key"):
        board.post(task("a", hostile))
    board.post(task("b"))
    with pytest.raises(UsageError, match=r"'b'.*'\$blob'"):
        board.complete(claimed(board), hostile)
    with pytest.raises(CorruptError, match="names no blob"):
        board.load(hostile)


@pytest.mark.parametrize("hostile", HOSTILE, ids=repr)
def test_one_that_came_in_another_way_stops_nobody_from_sweeping(
    board: TaskBoard, store: Store, hostile: JsonObject
) -> None:
    with store.transaction() as tx:  # as a file edited by hand, or a row
        tx.put(replace(task("a"), payload=hostile, created_at=1.0))
    BlobFolder(folder(store)).put(json.dumps(LARGE))
    (orphan,) = files(store)
    age(orphan, 2 * DAY_S)
    assert board.prune(older_than_s=0).blobs == 1


def test_a_reference_to_what_was_never_written_is_told_when_it_is_read(board: TaskBoard) -> None:
    ghost = {"$blob": "sha256-" + "0" * 64}
    board.post(task("a", ghost))
    with pytest.raises(CorruptError, match="cannot be read"):
        board.load(claimed(board).payload)


def test_a_large_value_that_looks_like_a_reference_is_but_a_value(board: TaskBoard) -> None:
    sly = {"$blob": "../../etc/passwd", "pad": "x" * 2000}
    board.post(task("a", sly))
    assert board.load(claimed(board).payload) == sly


def test_a_board_without_a_folder_refuses_what_is_large() -> None:
    board = TaskBoard("memory:", limits=LIMITS)
    with pytest.raises(UsageError, match=r"[0-9,]+ bytes; the board takes 1,000"):
        board.post(task("a", LARGE))
    with pytest.raises(UnsupportedError, match="no folder"):
        board.load({"$blob": "sha256-" + "0" * 64})


# Sweeping ----------------------------------------------------------------------------------------


def test_files_that_something_refers_to_stay_and_the_others_go(
    board: TaskBoard, store: Store
) -> None:
    board.post_many([task("old", {"of": "old", **LARGE}), task("both", LARGE), task("new", LARGE)])
    for held in board.claim_many("ann", 2):
        board.complete(held, {"result": held.task_id, **LARGE})
    for path in files(store):
        age(path, 2 * DAY_S)
    assert len(files(store)) == 4
    pruned = board.prune(older_than_s=0)
    assert (pruned.tasks, pruned.blobs) == (2, 3)
    assert board.load(claimed(board).payload) == LARGE


def test_young_files_stay_though_nothing_refers_to_them_yet(board: TaskBoard, store: Store) -> None:
    BlobFolder(folder(store)).put(json.dumps(LARGE))
    assert board.prune(older_than_s=0).blobs == 0
    (path,) = files(store)
    age(path, DAY_S - 60)
    assert board.prune(older_than_s=0).blobs == 0
    age(path, DAY_S + 60)
    assert board.prune(older_than_s=0).blobs == 1


def test_a_file_that_is_put_again_is_young_again(board: TaskBoard, store: Store) -> None:
    """Its row is not written yet, and a sweep may come between."""
    blobs = BlobFolder(folder(store))
    for _ in range(2):
        blobs.put(json.dumps(LARGE))
        assert board.prune(older_than_s=0).blobs == 0
        age(files(store)[0], 2 * DAY_S)
    assert board.prune(older_than_s=0).blobs == 1


def test_one_that_dies_between_file_and_row_leaves_an_orphan_that_goes_later(
    board: TaskBoard, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "transaction", dies)
        if store.shortcuts is not None:
            patch.setattr(type(store.shortcuts), "post", dies)
        with pytest.raises(ZeroDivisionError):
            board.post(task("a", LARGE))
    assert board.list_all() == []
    (orphan,) = files(store)
    age(orphan, 2 * DAY_S)
    assert board.prune(older_than_s=0).blobs == 1


def test_what_a_killed_writer_left_half_written_goes_too(board: TaskBoard, store: Store) -> None:
    board.post(task("a", LARGE))
    (path,) = files(store)
    draft = path.with_name(".draft-abc123")
    draft.write_text("{")
    mine = path.with_name("README")
    mine.write_text("not the board's")
    assert board.prune(older_than_s=0).blobs == 0
    for each in (draft, mine, path):
        age(each, 2 * DAY_S)
    assert board.prune(older_than_s=0).blobs == 1
    assert files(store) == sorted([mine, path])


def test_a_draft_is_named_so_that_a_sweep_knows_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def spy(_: int) -> None:
        seen.extend(path.name for path in folder(store).glob("*/*"))
        if seen:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", spy)
    with pytest.raises(TransientError, match="free some space"):
        BlobFolder(folder(store)).put(json.dumps(LARGE))
    assert [name[:7] for name in seen] == [".draft-"]
    assert files(store) == [], "and it does not stay"


def test_two_that_sweep_at_once_do_not_trip_over_each_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = BlobFolder(folder(store))
    for n in range(3):
        blobs.put(json.dumps({"n": n}))
    for path in files(store):
        age(path, 2 * DAY_S)
    glob = Path.glob

    def found_and_gone(path: Path, pattern: str) -> Any:
        found = list(glob(path, pattern))
        found[0].unlink()
        return iter(found)

    monkeypatch.setattr(Path, "glob", found_and_gone)
    assert blobs.sweep(set()) == 2


def test_select_does_not_read_files(board: TaskBoard, store: Store) -> None:
    board.post(task("a", LARGE))
    for path in files(store):
        path.unlink()
    assert is_reference(store.select(Query())[0].payload)
