"""Damaged and full disks: nothing that was promised is lost silently."""

from __future__ import annotations

import json
import os
import random
import resource
import sqlite3
import threading
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stigmergy.board import Task, TaskBoard, TaskStatus, open_store
from stigmergy.board.stores.files import FilesStore
from stigmergy.errors import CorruptError, TransientError, UsageError

S = TaskStatus


def task(name: str, **fields: object) -> Task:
    return Task(task_type="work", task_id=name, **fields)  # type: ignore[arg-type] - test data


def filled(folder: Path) -> None:
    """A board with tasks in several states."""
    with TaskBoard(folder) as board:
        board.post_many(task(f"t{n}", payload={"n": n}) for n in range(6))
        for held in board.claim_many("ann", 3):
            board.complete(held, {"by": held.task_id})
        board.post(task("last"))


def journal(folder: Path) -> Path:
    return folder / ".board" / "journal.jsonl"


def statuses(board: TaskBoard) -> dict[str, str]:
    return {each.task_id: each.status.value for each in board.list_all()}


EXPECTED = {f"t{n}": "completed" if n < 3 else "pending" for n in range(6)} | {"last": "pending"}


@pytest.mark.parametrize(
    "tail", [b"x", b'{"crc32":"00000000","seq":1}', b"\x00" * 5000 + b"x", b"{}\n"]
)
def test_a_torn_end_of_the_journal_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    folder = tmp_path / "tasks"
    filled(folder)
    with TaskBoard(folder) as standing:
        size = journal(folder).stat().st_size
        with journal(folder).open("ab") as file:
            file.write(tail)
        with TaskBoard(folder) as fresh:
            assert statuses(fresh) == statuses(standing) == EXPECTED
            assert "damaged" not in [event.kind for event in fresh.events()]
            assert journal(folder).stat().st_size == size
            fresh.post(task("more"))
            assert statuses(standing) == EXPECTED | {"more": "pending"}


@pytest.mark.parametrize("line", range(1, 7))
def test_a_damaged_line_is_said_and_the_files_give_back_what_it_had(
    tmp_path: Path, line: int
) -> None:
    folder = tmp_path / "tasks"
    filled(folder)
    lines = journal(folder).read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b"work", b"work"[::-1], 1)
    journal(folder).write_bytes(b"".join(lines))
    damaged = journal(folder).read_bytes()
    with TaskBoard(folder) as board:
        assert statuses(board) == EXPECTED
        assert {t.task_id: t.result for t in board.list_all() if t.result} == {
            f"t{n}": {"by": f"t{n}"} for n in range(3)
        }
        assert [e.kind for e in board.events()].count("damaged") == 1
        seqs = [event.seq for event in board.events()]
        assert seqs == sorted(set(seqs))
        (kept,) = (folder / ".board" / "quarantine").glob("journal.jsonl.*")
        assert kept.read_bytes() == damaged
        held = board.claim("bob")
        assert held is not None
        assert held.task_id == "t3"
    with TaskBoard(folder) as again:
        assert [e.kind for e in again.events()].count("damaged") == 1, "said once"
        assert statuses(again) == EXPECTED | {"t3": "claimed"}


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.9])
def test_a_journal_cut_short_is_said_and_the_files_give_back_what_it_had(
    tmp_path: Path, keep: float
) -> None:
    folder = tmp_path / "tasks"
    filled(folder)
    size = journal(folder).stat().st_size
    os.truncate(journal(folder), int(size * keep) if isinstance(keep, float) else keep)
    with TaskBoard(folder) as board:
        assert statuses(board) == EXPECTED
        assert [e.kind for e in board.events()].count("damaged") == 1


def test_a_journal_that_is_gone_is_said_and_the_files_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    filled(folder)
    journal(folder).unlink()
    with TaskBoard(folder) as board:
        assert statuses(board) == EXPECTED
        assert board.events()[0].seq > 13, "numbers are not given twice"


def test_a_journal_damaged_under_an_open_board_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    filled(folder)
    with TaskBoard(folder) as board, TaskBoard(folder) as other:
        assert statuses(board) == EXPECTED
        other.cancel("t4")
        other.cancel("t5")
        lines = journal(folder).read_bytes().splitlines(keepends=True)
        lines[-2] = lines[-2].replace(b"cancelled", b"c\x00ncelled", 1)
        journal(folder).write_bytes(b"".join(lines))
        wanted = EXPECTED | {"t4": "cancelled", "t5": "cancelled"}
        assert statuses(board) == wanted
        assert statuses(other) == wanted


def test_a_lost_note_makes_the_journal_be_believed(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    filled(folder)
    (folder / ".board" / "progress").write_text("nonsense")
    with TaskBoard(folder) as board:
        assert statuses(board) == EXPECTED


def test_bits_flipped_anywhere_are_never_taken_for_something_else(
    tmp_path: Path, rng: random.Random
) -> None:
    """Of task files and the journal: what stands afterwards is what stood, or is said."""
    for round_number in range(25):
        folder = tmp_path / f"tasks{round_number}"
        filled(folder)
        victims = [journal(folder), *sorted(folder.glob("*.json"))]
        victim = victims[rng.randrange(len(victims))]
        content = bytearray(victim.read_bytes())
        place = rng.randrange(len(content))
        content[place] ^= 1 << rng.randrange(8)
        victim.write_bytes(content)
        os.utime(victim, (1, 1))
        with TaskBoard(folder) as board:
            standing = statuses(board)
            said = [e.kind for e in board.events() if e.data.get("by_hand") or e.kind in SAID]
            assert standing == EXPECTED or said, f"{victim}, byte {place}"
            assert set(standing) >= set(EXPECTED) - {victim.stem}


SAID = {"damaged", "quarantined"}


@contextmanager
def full_disk(spare_bytes: int, *files: Path) -> Generator[None]:
    """Files may not grow beyond the largest of these and a bit: the kernel refuses as when full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(file.stat().st_size for file in files)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + spare_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("spare_bytes", [0, 1, 300, 700])
def test_a_full_disk_refuses_a_transaction_and_keeps_what_was_promised(
    tmp_path: Path, spare_bytes: int
) -> None:
    folder = tmp_path / "tasks"
    filled(folder)
    with TaskBoard(folder) as board:
        before = board.list_all(), board.events()
        with full_disk(spare_bytes, journal(folder)):
            with pytest.raises(TransientError, match="free some space"):
                board.post_many(task(f"new{n}") for n in range(5))
            assert (board.list_all(), board.events()) == before
            with TaskBoard(folder) as other:
                assert (other.list_all(), other.events()) == before
        board.post_many(task(f"new{n}") for n in range(5))
        assert len(board.list_all()) == 12


def test_a_full_disk_on_sqlite_is_transient_too(tmp_path: Path) -> None:
    path = tmp_path / "board.db"
    filled(path)
    with TaskBoard(path) as board:
        before = board.list_all(), board.events()
        with full_disk(0, path):
            with pytest.raises(TransientError, match="try again"):
                board.post_many(task(f"new{n}", payload={"x": "y" * 9000}) for n in range(50))
            assert (board.list_all(), board.events()) == before
        board.post(task("new"))
        assert len(board.list_all()) == 8


def test_task_files_that_find_no_room_are_written_when_there_is_some(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "tasks"
    filled(folder)
    wide = {"x": [1] * 20_000}  # far longer in a readable file than in a line of the journal
    with TaskBoard(folder) as board, TaskBoard(folder) as other:
        with full_disk(100_000, journal(folder)):
            board.post(task("wide", payload=wide, priority=1))
            assert "behind the journal" in caplog.text
            for handle in (other, board):
                standing = handle.get("wide")
                assert standing is not None
                assert standing.payload == wide
            held = other.claim("ann")
            assert held is not None
            assert held.task_id == "wide"
            assert [e.kind for e in board.history("wide")] == ["posted", "claimed"]
        board.complete(held, {"done": True})
        on_disk = json.loads((folder / "wide.json").read_text())
        assert (on_disk["payload"], on_disk["status"]) == (wide, "completed")
        assert not (folder / ".board" / "quarantine").exists()


def test_a_database_that_is_none_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "board.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(CorruptError, match=r"board\.db"):
        TaskBoard(path)
    assert path.read_bytes() == b"this is no database" * 100


@pytest.mark.parametrize("kind", ["tasks", "board.db"])
def test_threads_over_two_handles_claim_each_task_once(tmp_path: Path, kind: str) -> None:
    boards = [TaskBoard(tmp_path / kind) for _ in range(2)]
    boards[0].post_many(task(f"t{n}") for n in range(100))
    claimed: list[str] = []

    def work(number: int) -> None:
        board = boards[number % 2]
        while (held := board.claim(f"w{number}")) is not None:
            claimed.append(held.task_id)
            board.complete(held, {"by": number})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(f"t{n}" for n in range(100))
    assert boards[1].progress().completed == 100
    for board in boards:
        board.close()


def test_what_could_not_be_read_back_is_never_journaled(tmp_path: Path) -> None:
    store = open_store(tmp_path / "tasks")
    for bad in (
        task("a", not_before=float("inf")),
        task("a", attempts=-1),
        task("a", error="\ud800"),
        task("a", status=S.CLAIMED),
    ):
        with pytest.raises(UsageError, match="'a'"), store.transaction() as tx:
            tx.put(bad)
    store.close()
    with TaskBoard(tmp_path / "tasks") as board:
        assert board.list_all() == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE tasks SET payload = '{\"n\": 1' WHERE task_id = 't1'",
        "UPDATE tasks SET status = 'pendinf' WHERE task_id = 't1'",
        "UPDATE tasks SET payload = CAST(x'ff' AS TEXT) WHERE task_id = 't1'",
        "UPDATE events SET data = '{'",
        "UPDATE lanes SET requires = '['",
    ],
)
def test_a_damaged_row_of_a_database_is_said_to_be_one(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "board.db"
    filled(path)
    db = sqlite3.connect(path)
    db.execute(damage)
    db.commit()
    db.close()
    with TaskBoard(path) as board, pytest.raises(CorruptError, match="is damaged"):  # noqa: PT012 - whichever meets it
        board.list_all()
        board.events()
        board.claim("ann")


@pytest.mark.parametrize("damage", ["a flipped bit", "a cut"])
def test_damaged_older_events_are_said_to_be_so_and_the_tasks_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    folder = tmp_path / "tasks"
    filled(folder)
    with monkeypatch.context() as always:
        always.setattr(FilesStore, "_begin_anew_if_due", FilesStore._begin_anew)
        with TaskBoard(folder) as board:
            board.record("the events before this are archived")
            last = board.events()[-1].seq
            (archive,) = (folder / ".board" / "events").glob("*.jsonl")
            content = bytearray(archive.read_bytes())
            if damage == "a cut":
                del content[-5:]
            else:
                content[len(content) // 2] ^= 1
            archive.write_bytes(content)
            for ask in (board.events, lambda: board.history("t1")):
                with pytest.raises(CorruptError, match="older events"):
                    ask()
            assert statuses(board) == EXPECTED
            board.post(task("more"))
            assert [event.kind for event in board.events(after=last)] == ["posted"]
    archive.rename(tmp_path / "away")
    with TaskBoard(folder) as board:
        assert [event.kind for event in board.events()] == ["posted"]


def test_a_board_that_cannot_be_opened_leaves_no_file_open(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    filled(folder)
    record = next(
        line for line in journal(folder).read_bytes().splitlines() if b"task_type" in line
    )
    rest = (
        record[record.index(b'",') + 2 :].replace(b'"task_type"', b'"mood":1,"task_type"') + b"\n"
    )
    with journal(folder).open("ab") as file:
        file.write(b'{"crc32":"%08x",' % zlib.crc32(rest) + rest)
    before = {path.name for path in Path("/proc/self/fd").iterdir()}
    with pytest.raises(CorruptError, match="unknown fields: mood"):
        TaskBoard(folder)
    assert {path.name for path in Path("/proc/self/fd").iterdir()} == before
