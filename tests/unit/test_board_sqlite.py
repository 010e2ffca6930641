"""What only the SQLite store can get wrong."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stigmergy.board import Match, Task, TaskBoard
from stigmergy.board.stores.sqlite import SqliteStore
from stigmergy.board.stores.sqlite.migrations import SCHEMA_VERSION
from stigmergy.errors import TransientError, UsageError


def claim_steps(folder: Path, number: int) -> int:
    """Steps of SQLite's machine, in hundreds, that a claim takes among so many tasks."""
    store = SqliteStore(folder / f"{number}.db", clock=time.time)
    with TaskBoard(store=store) as board:
        board.post_many(Task(task_type="work", task_id=f"t{n}") for n in range(number))
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        store._db.set_progress_handler(count, 100)
        assert board.claim("ann") is not None
        store._db.set_progress_handler(None, 0)
    return steps


def test_a_claim_takes_no_more_steps_on_a_larger_board(tmp_path: Path) -> None:
    assert claim_steps(tmp_path, 3000) <= claim_steps(tmp_path, 30) + 2


def test_a_board_that_a_newer_version_took_over_is_written_no_more(tmp_path: Path) -> None:
    path = tmp_path / "board.db"
    with TaskBoard(path) as board:
        board.post(Task(task_type="work", task_id="a"))
        db = sqlite3.connect(path)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        db.close()
        with pytest.raises(UsageError, match="use a newer one"):
            board.post(Task(task_type="work", task_id="b"))
        assert [task.task_id for task in board.list_all()] == ["a"]
    with pytest.raises(UsageError, match="use a newer one"):
        TaskBoard(path)


def test_a_lane_that_was_rolled_back_is_not_taken_for_the_one_that_gets_its_number(
    tmp_path: Path,
) -> None:
    store = SqliteStore(tmp_path / "b.db", clock=time.time, plain=True)

    def look_and_fail() -> None:
        with store.transaction() as tx:
            tx.put(Task(task_type="a", task_id="lost"))
            assert len(tx.ready(Match(task_types=frozenset({"a"})), limit=9)) == 1
            raise ZeroDivisionError

    with TaskBoard(store=store) as board:
        with pytest.raises(ZeroDivisionError):
            look_and_fail()
        board.post(Task(task_type="b", task_id="kept"))
        assert board.claim("ann", task_types=["a"]) is None
        assert board.claim("ann", task_types=["b"]) is not None


def test_commits_that_a_damaged_log_lost_are_told(tmp_path: Path) -> None:
    path = tmp_path / "board.db"
    first = TaskBoard(path)
    for n in range(5):
        first.post(Task(task_type="work", task_id=f"t{n}"))
    told = first.last_seq()
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob("board.db*"):
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    first.close()
    log = copy / "board.db-wal"
    content = bytearray(log.read_bytes())
    content[-2000] ^= 1  # in the last commit
    log.write_bytes(content)
    with TaskBoard(copy / "board.db") as board:
        damaged = board.events(limit=100)[-1]
        assert (damaged.kind, damaged.data["lost_events"]) == ("damaged", 1)
        assert damaged.seq > told, "no number comes twice"
        assert board.get("t4") is None
    with TaskBoard(copy / "board.db") as board:
        assert [e.kind for e in board.events()].count("damaged") == 1, "told once"


def test_a_new_board_beside_the_lock_of_one_that_is_gone_has_lost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "board.db"
    with TaskBoard(path) as board:
        board.post(Task(task_type="work"))
    path.unlink()
    with TaskBoard(path) as board:
        assert board.events() == []


def two_boards(folder: Path) -> tuple[TaskBoard, TaskBoard]:
    """Two that share a file as two processes do."""
    path = folder / "board.db"
    return TaskBoard(path), TaskBoard(path)


def test_the_lock_is_free_while_a_commit_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another agent claims while the disk is busy with the first one's claim."""
    ann, bob = two_boards(tmp_path)
    with ann, bob:
        ann.post_many(Task(task_type="work", task_id=f"t{n}") for n in range(2))
        assert (
            bob.claim("bob", task_types=["none"]) is None
        )  # the clock is looked at the first time
        real, claimed = os.fdatasync, list[str]()

        def busy(fd: int) -> None:
            monkeypatch.setattr(os, "fdatasync", real)
            task = bob.claim("bob")  # it would wait for ever for a lock of this thread
            assert task is not None
            claimed.append(task.task_id)
            real(fd)

        monkeypatch.setattr(os, "fdatasync", busy)
        task = ann.claim("ann")
        assert task is not None
        assert [task.task_id, *claimed] == ["t0", "t1"]


@pytest.mark.parametrize("read", ["get", "list_all", "progress", "events", "last_seq", "wait"])
def test_nobody_reads_what_a_power_cut_could_take_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    """Whoever reads a commit that its writer has not synced yet syncs it first; then not again."""
    reads: dict[str, Callable[[TaskBoard], object]] = {
        "get": lambda board: board.get("t"),
        "list_all": lambda board: board.list_all(),
        "progress": lambda board: board.progress(),
        "events": lambda board: board.events(),
        "last_seq": lambda board: board.last_seq(),
        "wait": lambda board: board.wait(after=0, timeout_s=0.0),
    }
    ann, bob = two_boards(tmp_path)
    with ann, bob:
        real, synced = os.fdatasync, list[str]()

        def counted(fd: int) -> None:
            synced.append(read)
            real(fd)

        def stuck(fd: int) -> None:
            monkeypatch.setattr(os, "fdatasync", counted)
            assert reads[read](bob)
            assert synced == [read]
            assert reads[read](bob)
            assert synced == [read], "it is on disk already"
            real(fd)

        monkeypatch.setattr(os, "fdatasync", stuck)
        ann.post(Task(task_type="work", task_id="t"))
        synced.clear()
        with TaskBoard(tmp_path / "board.db") as late:
            synced.clear()
            assert reads[read](late)
            assert synced == [], "the writer has noted that it is on disk"


def test_a_commit_that_cannot_be_synced_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor noted as on disk; trying again is no second completion."""
    with TaskBoard(tmp_path / "board.db") as board:
        board.post(Task(task_type="work", task_id="t"))
        task = board.claim("ann")
        assert task is not None
        noted = (tmp_path / "board.db.lock").read_bytes()

        def broken(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", broken)
            with pytest.raises(TransientError, match=r"could not be synced.*try again"):
                board.complete(task, {"n": 1})
            with pytest.raises(TransientError, match="could not be synced"):
                board.get("t")
        assert (tmp_path / "board.db.lock").read_bytes() == noted
        board.complete(task, {"n": 1})
        assert [event.kind for event in board.history("t")] == ["posted", "claimed", "completed"]


def test_a_commit_on_disk_has_the_earlier_ones_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though their writers have not synced yet: what is acknowledged stands on what is there."""
    home, disk = tmp_path / "home", tmp_path / "disk"
    home.mkdir()
    ann, bob = two_boards(home)
    with ann, bob:
        real = os.fdatasync

        def power_cut_after_this(fd: int) -> None:
            real(fd)
            if not disk.exists():
                shutil.copytree(home, disk)

        def stuck(_: int) -> None:
            monkeypatch.setattr(os, "fdatasync", power_cut_after_this)
            bob.post(Task(task_type="work", task_id="bobs"))

        monkeypatch.setattr(os, "fdatasync", stuck)
        ann.post(Task(task_type="work", task_id="anns"))
    monkeypatch.setattr(os, "fdatasync", real)
    with TaskBoard(disk / "board.db") as board:
        assert [task.task_id for task in board.list_all()] == ["anns", "bobs"]
        assert [event.task_id for event in board.events()] == ["anns", "bobs"]
