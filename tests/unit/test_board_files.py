"""The folder board: readable files, hand edits, quarantine, and a journal that stays bounded."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stigmergy.board import Backoff, Event, Task, TaskBoard, TaskStatus
from stigmergy.board.stores import files as files_store
from stigmergy.board.stores.files import FilesStore
from stigmergy.errors import LostLeaseError, UsageError
from stigmergy.testing.stores import FakeClock

S = TaskStatus


class Folder:
    """A folder board, with hands to change its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock()
        self.board = self.open()

    def open(self) -> TaskBoard:
        store = FilesStore(self.path, clock=self.clock)
        return TaskBoard(store=store, lease_s=100, backoff=Backoff(first_s=5))

    def file(self, name: str) -> Path:
        return self.path / f"{name}.json"

    def read(self, name: str) -> dict[str, Any]:
        return json.loads(self.file(name).read_text())

    def edit(self, name: str, **changes: object) -> None:
        self.write(name, json.dumps(self.read(name) | changes))

    def write(self, name: str, text: str) -> None:
        """As somebody who was done with it a while ago."""
        self.file(name).write_text(text)
        os.utime(self.file(name), (1, 1))

    def kinds(self) -> list[tuple[str, str]]:
        return [(event.kind, event.task_id) for event in self.board.events(limit=10**6)]

    def event(self, kind: str) -> Event:
        (event,) = (e for e in self.board.events(limit=10**6) if e.kind == kind)
        return event


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path / "tasks")
    yield folder
    folder.board.close()


def task(name: str, **fields: Any) -> Task:
    return Task(task_type="work", task_id=name, **fields)


def status(folder: Folder, name: str) -> TaskStatus:
    got = folder.board.get(name)
    assert got is not None
    return got.status


# Files as a mirror -------------------------------------------------------------------------------


def test_each_task_is_a_readable_file(folder: Folder) -> None:
    folder.board.post(task("a", description="grüß", payload={"n": [1]}))
    text = folder.file("a").read_text()
    assert '  "description": "grüß",\n' in text
    held = folder.board.claim("ann")
    assert held is not None
    data = folder.read("a")
    assert (data["status"], data["claimed_by"], data["lease_until"]) == (
        "claimed",
        "ann",
        held.lease_until,
    )
    folder.board.complete(held, {"x": 1})
    assert folder.read("a")["result"] == {"x": 1}
    assert sorted(p.name for p in folder.path.iterdir()) == [".board", "a.json"]


def test_a_shorter_task_leaves_nothing_of_the_longer_one(folder: Folder) -> None:
    folder.board.post(task("a", max_attempts=1))
    held = folder.board.claim("ann")
    assert held is not None
    folder.board.fail(held, "long " * 100)
    folder.board.retry("a")
    assert folder.read("a")["error"] is None


# Hand edits --------------------------------------------------------------------------------------


def test_setting_back_claimed_at_frees_a_crashed_agents_task(folder: Folder) -> None:
    """The seed's proof of crash recovery."""
    folder.board.post(task("a"))
    crashed = folder.board.claim("crashy")
    assert crashed is not None
    data = folder.read("a")
    data["claimed_at"] -= 3600
    folder.file("a").write_text(json.dumps(data))
    recovered = folder.board.claim("recovery")
    assert recovered is not None
    assert recovered.task_id == "a"
    with pytest.raises(LostLeaseError):
        folder.board.complete(crashed, {})
    assert [kind for kind, _ in folder.kinds()] == [
        "posted",
        "claimed",
        "edited",
        "expired",
        "claimed",
    ]


def test_an_edit_within_the_same_tick_and_of_the_same_size_is_seen(folder: Folder) -> None:
    folder.board.post(task("a", description="one"))
    file = folder.file("a")
    before = file.stat()
    file.write_text(file.read_text().replace("one", "two"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    held = folder.board.claim("ann")
    assert held is not None
    assert held.description == "two"


def test_a_candidate_edited_by_hand_is_claimed_as_edited_or_not_at_all(folder: Folder) -> None:
    folder.board.post_many([task("a"), task("b")])
    folder.edit("a", priority=10)
    folder.edit("b", description="changed", payload={"n": 1})
    held = folder.board.claim("ann")
    assert held is not None
    assert (held.task_id, held.description, held.payload) == ("b", "changed", {"n": 1})
    changed = {e.task_id: e.data["changed"] for e in folder.board.events() if e.kind == "edited"}
    assert changed == {"a": ["priority"], "b": ["description", "payload"]}


def test_a_task_done_by_hand_frees_its_dependents(folder: Folder) -> None:
    folder.board.post_many([task("a"), task("b", depends_on=("a",))])
    folder.edit("a", status="completed", result={"by": "hand"})
    assert folder.board.progress().completed == 1
    held = folder.board.claim("ann")
    assert held is not None
    assert held.task_id == "b"


def test_a_task_failed_by_hand_fails_its_dependents(folder: Folder) -> None:
    folder.board.post_many([task("a"), task("b", depends_on=("a",))])
    folder.edit("a", status="failed", error="no")
    assert status(folder, "a") is S.FAILED
    assert status(folder, "b") is S.FAILED
    assert folder.read("b")["status"] == "failed"


def test_a_task_taken_away_by_hand_refuses_its_holder(folder: Folder) -> None:
    folder.board.post(task("a"))
    held = folder.board.claim("ann")
    assert held is not None
    folder.edit("a", status="pending", fence=0)
    with pytest.raises(LostLeaseError):
        folder.board.complete(held, {})
    again = folder.board.claim("bob")
    assert again is not None
    assert again.fence == 2, "a fence lowered by hand would let the old holder in again"


def test_dependencies_changed_by_hand_count(folder: Folder) -> None:
    folder.board.post_many([task("a"), task("b")])
    folder.edit("a", depends_on=["b"])
    for name in ("b", "a"):
        held = folder.board.claim("ann")
        assert held is not None
        assert held.task_id == name
        folder.board.complete(held, {})


def test_formatting_alone_is_no_edit(folder: Folder) -> None:
    folder.board.post(task("a"))
    folder.write("a", json.dumps(folder.read("a")))
    assert len(folder.board.get_pending()) == 1
    assert folder.kinds() == [("posted", "a")]


def test_another_process_sees_a_hand_edit_too(folder: Folder) -> None:
    folder.board.post(task("a"))
    other = folder.open()
    folder.edit("a", description="changed")
    assert [t.description for t in folder.board.get_pending()] == ["changed"]
    assert [t.description for t in other.get_pending()] == ["changed"]
    assert [kind for kind, _ in folder.kinds()] == ["posted", "edited"]
    other.close()


# New and removed files ---------------------------------------------------------------------------


def test_a_file_dropped_in_is_a_posted_task(folder: Folder) -> None:
    folder.write("new", '{"task_type": "work", "payload": {"n": 1}}')
    assert [t.task_id for t in folder.board.get_pending()] == ["new"]
    event = folder.event("posted")
    assert event.task_id == "new"
    assert event.data["by_hand"] is True
    held = folder.board.claim("ann")
    assert held is not None
    assert held.payload == {"n": 1}
    assert folder.read("new")["claimed_by"] == "ann"


def test_files_dropped_in_together_may_depend_on_each_other(folder: Folder) -> None:
    folder.write("b", '{"task_type": "work", "depends_on": ["a"]}')
    folder.write("a", '{"task_type": "work"}')
    folder.write("c", '{"task_type": "work", "depends_on": ["ghost"]}')
    folder.write("d", '{"task_type": "work", "depends_on": ["c"]}')
    assert {t.task_id: t.waiting_on for t in folder.board.list_all()} == {"a": (), "b": ("a",)}
    assert sorted(e.data["file"] for e in folder.board.events() if e.kind == "quarantined") == [
        "c.json",
        "d.json",
    ]


def test_a_folder_without_a_journal_is_taken_as_it_stands(folder: Folder, tmp_path: Path) -> None:
    folder.board.post_many([task("a"), task("b")])
    held = folder.board.claim("ann")
    assert held is not None
    folder.board.complete(held, {"n": 1})
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("a", "b"):
        (copy / f"{name}.json").write_bytes(folder.file(name).read_bytes())
    with TaskBoard(copy) as board:
        assert {t.task_id: t.status for t in board.list_all()} == {
            "a": S.COMPLETED,
            "b": S.PENDING,
        }


def test_a_removed_file_is_a_removed_task(folder: Folder) -> None:
    folder.board.post_many([task("a"), task("b")])
    folder.file("a").unlink()
    assert [t.task_id for t in folder.board.get_pending()] == ["b"]
    assert folder.event("removed").task_id == "a"
    reopened = folder.open()
    assert reopened.get("a") is None
    reopened.close()


def test_a_removed_file_that_others_wait_for_comes_back(folder: Folder) -> None:
    folder.board.post_many([task("a"), task("b", depends_on=("a",)), task("held")])
    held = folder.board.claim_many("ann", 2)
    folder.board.release(held[0])
    for name in ("a", "held"):
        folder.file(name).unlink()
    assert len(folder.board.list_all()) == 3
    assert folder.file("a").exists()
    assert [kind for kind, _ in folder.kinds()].count("restored") == 2
    folder.board.complete(held[1], {})


def test_tasks_removed_together_with_those_that_wait_for_them_are_gone(folder: Folder) -> None:
    folder.board.post_many([task("a"), task("b", depends_on=("a",))])
    for name in ("a", "b"):
        folder.file(name).unlink()
    assert folder.board.list_all() == []


def test_other_files_are_nobodys_business(folder: Folder) -> None:
    for name in ("README.md", ".hidden.json", "a.json~", ".a.json.swp"):
        (folder.path / name).write_text("{{{")
    assert folder.board.list_all() == []
    assert folder.kinds() == []


# Quarantine --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not json {{{", "Expecting value"),
        ("", "Expecting value"),
        ("[]", "JSON object"),
        ('{"task_type": "work", "status": "limbo"}', "status"),
        ('{"task_type": "work", "priority": 99}', "priority"),
        ('{"task_type": "work", "priority": "1"}', "priority"),
        ('{"task_type": "work", "created_at": NaN}', "NaN"),
        ('{"task_type": "work", "payload": {"n": 1e999}}', "payload"),
        ('{"task_type": "work", "payload": {"n": "\\ud800"}}', "payload"),
        ('{"task_type": "work", "task_id": "b"}', "belongs in b.json"),
        ('{"task_type": "work", "task_id": "../b"}', "task_id"),
        ('{"task_type": "work", "status": "claimed"}', "lease_until"),
        ('{"task_type": "work", "surprise": 1}', "surprise"),
        ('{"task_type": "work", "depends_on": ["a"]}', "cycle"),
        ('{"task_type": "work", "depends_on": ["ghost"]}', "ghost"),
        ("[" * 100_000, "recursion"),
    ],
)
@pytest.mark.parametrize("is_known", [False, True])
def test_what_can_be_no_task_is_set_aside_once_and_the_board_goes_on(
    folder: Folder, text: str, reason: str, is_known: bool
) -> None:
    folder.board.post(task("good"))
    if is_known:
        folder.board.post(task("a", description="the last good version"))
    folder.write("a", text)
    names = ["good", "a"] if is_known else ["good"]
    for _ in range(3):
        assert [t.task_id for t in folder.board.get_pending()] == names
    event = folder.event("quarantined")
    assert reason in event.data["reason"]
    assert event.data["restored"] is is_known
    (kept,) = (folder.path / ".board" / "quarantine").iterdir()
    assert kept.name == f"a.json.{event.seq}"
    assert kept.read_text() == text
    assert folder.file("a").exists() is is_known
    if is_known:
        assert folder.read("a")["description"] == "the last good version"


def test_a_file_that_is_just_being_written_gets_its_time(folder: Folder) -> None:
    folder.board.post(task("a"))
    folder.file("a").write_text('{"task_ty')
    folder.file("new").write_text('{"task_ty')
    assert [t.task_id for t in folder.board.get_pending()] == ["a"]
    assert folder.kinds() == [("posted", "a")]
    folder.file("new").write_text('{"task_type": "work"}')
    assert [t.task_id for t in folder.board.get_pending()] == ["a", "new"]


def test_a_name_that_is_no_task_id_is_set_aside(folder: Folder) -> None:
    for name in ("my task", "a..b", "x\udcff"):
        folder.write(name, '{"task_type": "work"}')
    assert folder.board.list_all() == []
    events = [e for e in folder.board.events() if e.kind == "quarantined"]
    assert sorted(e.data["file"] for e in events) == ["a..b.json", "my task.json", "x\\udcff.json"]


def test_links_and_folders_are_not_followed(folder: Folder, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"task_type": "work", "task_id": "a"}')
    folder.board.post(task("a"))
    folder.file("a").unlink()
    folder.file("a").symlink_to(secret)
    folder.file("dir").mkdir()
    os.mkfifo(folder.file("pipe"))
    held = folder.board.claim("ann")
    assert held is not None
    assert [t.task_id for t in folder.board.list_all()] == ["a"]
    assert secret.read_text() == '{"task_type": "work", "task_id": "a"}'
    assert not folder.file("a").is_symlink()
    assert len([kind for kind, _ in folder.kinds() if kind == "quarantined"]) == 3


# The journal -------------------------------------------------------------------------------------


def test_the_journal_begins_anew_and_events_stay_readable_by_seq(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_store, "_JOURNAL_BYTES", 20_000)
    other = folder.open()
    for n in range(60):
        folder.board.post(task(f"t{n}", payload={"x": "y" * 100}))
        held = folder.board.claim("ann")
        assert held is not None
        (folder.board if n % 2 else other).complete(held, {})
    events = folder.board.events(limit=10**6)
    assert [e.seq for e in events] == list(range(1, 181))
    assert [e.kind for e in events] == ["posted", "claimed", "completed"] * 60
    archive = sorted((folder.path / ".board" / "events").iterdir())
    assert len(archive) > 1
    assert (folder.path / ".board" / "journal.jsonl").stat().st_size < 200_000
    for after in (0, 1, 44, 45, 90, 178, 179, 180):
        assert folder.board.events(after=after, limit=7) == events[after : after + 7]
        assert other.events(after=after, limit=7) == events[after : after + 7]
    assert [e.seq for e in other.history("t3")] == [10, 11, 12]
    reopened = folder.open()
    assert reopened.list_all() == folder.board.list_all() == other.list_all()
    assert reopened.events(limit=10**6) == events
    reopened.close()
    other.close()


def test_every_line_of_the_journal_is_json(folder: Folder) -> None:
    """While it is used, blanks follow the last; on a board at rest nothing does."""
    folder.board.post(task("a", description="ü"))
    journal = folder.path / ".board" / "journal.jsonl"
    *lines, room = journal.read_text().split("\n")
    assert [json.loads(line).get("seq") for line in lines] == [1, 1]
    assert room.strip() == ""
    folder.board.close()
    assert journal.read_text().split("\n") == [*lines, ""]


def test_the_journal_keeps_its_length_while_lines_are_added(folder: Folder) -> None:
    """A sync of a file that grows takes twice as long; two processes share the room."""
    journal = folder.path / ".board" / "journal.jsonl"
    folder.board.post(task("first"))
    size = journal.stat().st_size
    other = folder.open()
    for n in range(10):
        (folder.board, other)[n % 2].post(task(f"t{n}"))
    assert journal.stat().st_size == size
    for n in range(10, 150):
        (folder.board, other)[n % 2].post(task(f"t{n}", description="x" * 1000))
    assert journal.stat().st_size > size
    assert len(folder.board.list_all()) == len(other.list_all()) == 151
    other.close()


@pytest.mark.parametrize("rest", [b" ", b"\0", b" " * 70_000, b" " * 20_000 + b"\0" * 50_000])
def test_what_follows_the_last_line_is_no_damage(folder: Folder, rest: bytes) -> None:
    """Be it room, or what a power cut left of it."""
    folder.board.post(task("a"))
    folder.board.close()
    journal = folder.path / ".board" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + rest)
    with folder.open() as board:
        board.post(task("b"))
        assert [each.task_id for each in board.list_all()] == ["a", "b"]
        assert [event.kind for event in board.events()] == ["posted", "posted"]


def test_a_line_torn_within_the_room_is_cut_off(folder: Folder) -> None:
    """Whatever of its sectors reached the disk; the lines before it stay."""
    folder.board.post(task("a"))
    folder.board.close()
    journal = folder.path / ".board" / "journal.jsonl"
    content = journal.read_bytes()
    line = content.splitlines(keepends=True)[-1] * 3
    for written in (line[:512], b" " * 512 + line[512:], line[:512] + b"\0" * 512 + line[1024:]):
        torn = written.replace(b"\n", b"x")
        journal.write_bytes(content + torn + b" " * 4096)
        with folder.open() as board:
            assert [each.task_id for each in board.list_all()] == ["a"]
            assert [event.kind for event in board.events()] == ["posted"]
        assert journal.read_bytes() == content


def test_a_disk_without_room_for_room_takes_lines(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        if len(data) >= 64 * 1024:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    for n in range(3):
        folder.board.post(task(f"t{n}"))
    assert len(folder.board.list_all()) == 3


# After a restart of the machine ------------------------------------------------------------------


def test_after_a_restart_the_journal_is_believed_and_what_differs_is_kept(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are not synced: after a power cut they may be old, empty or missing."""
    folder.board.post_many([task(name) for name in ("old", "empty", "missing", "fine")])
    old = folder.file("old").read_text()
    for held in folder.board.claim_many("ann", 4):
        folder.board.complete(held, {})
    folder.board.close()
    folder.write("old", old)
    folder.write("empty", "")
    folder.file("missing").unlink()
    monkeypatch.setattr(files_store, "boot_id", lambda: "another boot")
    folder.board = folder.open()
    assert folder.board.progress().completed == 4
    assert {folder.read(n)["status"] for n in ("old", "empty", "missing")} == {"completed"}
    assert [kind for kind, _ in folder.kinds()].count("quarantined") >= 1
    kept = list((folder.path / ".board" / "quarantine").glob("old.json.*"))
    assert [path.read_text() for path in kept] == [old]


# Edges -------------------------------------------------------------------------------------------


def test_a_board_is_not_carried_over_a_fork(folder: Folder) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            folder.board.get("a")
        except UsageError:
            os._exit(17)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 17


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot open a board"):
        TaskBoard(tmp_path / "file")


def test_files_that_cannot_be_written_are_caught_up_with_later(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.board.post(task("a"))
    held = folder.board.claim("ann")
    assert held is not None
    folder.file("a").unlink()
    folder.file("a").mkdir()
    with caplog.at_level(logging.WARNING):
        assert folder.board.renew(held).task_id == "a"
    assert folder.file("a").is_file()
    folder.board.complete(held, {"n": 1})
    assert folder.read("a")["result"] == {"n": 1}


# Unique keys -------------------------------------------------------------------------------------


def test_a_file_with_a_key_that_another_task_has_is_set_aside(folder: Folder) -> None:
    folder.board.post(task("a", unique_key="u"))
    folder.write("b", json.dumps({"task_type": "work", "unique_key": "u"}))
    assert [each.task_id for each in folder.board.list_all()] == ["a"]
    told = folder.event("quarantined")
    assert "the unfinished task 'a' has its unique_key" in told.data["reason"]
    assert not folder.file("b").exists()


def test_a_finished_task_is_not_reopened_by_hand_while_another_has_its_key(folder: Folder) -> None:
    folder.board.post(task("a", unique_key="u"))
    folder.board.cancel("a")
    folder.board.post(task("b", unique_key="u"))
    folder.edit("a", status="pending")
    assert status(folder, "a") is S.CANCELLED
    folder.board.cancel("b")
    folder.edit("a", status="pending")
    assert status(folder, "a") is S.PENDING
    assert folder.board.post(task("c", unique_key="u")) == "a"


def test_of_several_files_with_one_key_the_oldest_task_is_taken(folder: Folder) -> None:
    for name, created_at in (("a", 9.0), ("b", 5.0), ("c", 7.0)):
        told = {"task_type": "work", "unique_key": "u", "created_at": created_at}
        folder.write(name, json.dumps(told))
    assert [each.task_id for each in folder.board.list_all()] == ["b"]
    assert folder.board.post(task("d", unique_key="u")) == "b"


def test_a_key_can_be_handed_over_by_hand(folder: Folder) -> None:
    folder.board.post_many([task("a", unique_key="u"), task("b")])
    folder.edit("a", unique_key=None)
    folder.edit("b", unique_key="u")
    assert len(folder.board.list_all()) == 2
    assert folder.board.post(task("c", unique_key="u")) == "b"
    assert folder.board.post(task("a2", unique_key="v")) == "a2"
