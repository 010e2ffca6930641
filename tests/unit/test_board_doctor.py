"""The board's doctor: what it finds, what it mends, and that a sound board has no findings."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from stigmergy.board import Limits, Store, Task, TaskBoard, TaskStatus, open_store
from stigmergy.board.doctor import examine, mend
from stigmergy.board.findings import Finding, disagreement, journaled_status
from stigmergy.board.task import Event

NOW = 1_795_256_100.0
URLS = ["memory:", "board.db", "tasks"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=URLS)
def store(request: pytest.FixtureRequest):
    store = open_store(request.param, clock=lambda: NOW)
    yield store
    store.close()


def put(store: Store, *tasks: Task) -> None:
    """Write past the board, as a hand or a fault would."""
    with store.transaction() as tx:
        for task in tasks:
            tx.put(task)


def task(name: str, **fields: object) -> Task:
    return Task(task_id=name, task_type="job", created_at=NOW - 60, **fields)


def held(name: str, **fields: object) -> Task:
    about: dict[str, object] = {
        "status": TaskStatus.CLAIMED,
        "claimed_by": "w1",
        "claimed_at": NOW - 10,
        "lease_until": NOW + 60,
        "attempts": 1,
        "fence": 1,
    }
    return task(name, **(about | fields))


def kinds(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.kind, finding.task_id) for finding in findings]


def stands(store: Store, name: str) -> Task:
    found = store.get(name)
    assert found is not None
    return found


def journal(store: Store, name: str) -> list[str]:
    return [event.kind for event in store.events(after=0, limit=100, task_id=name)]


def busy(store: Store) -> None:
    """Do all that a board can do."""
    board = TaskBoard(store=store)
    board.post_many(
        [
            Task(task_id="a", task_type="a"),
            Task(task_id="b", task_type="b", depends_on=("a",)),
            Task(task_id="c", task_type="c", depends_on=("b",)),
            Task(task_id="d", task_type="d", max_attempts=2),
            Task(task_id="e", task_type="e"),
            Task(task_id="f", task_type="f", depends_on=("e",)),
            Task(task_id="g", task_type="g"),
            Task(task_id="h", task_type="h"),
        ]
    )

    def claim(kind: str) -> Task:
        claimed = board.claim("w1", task_types=[kind])
        assert claimed is not None
        return claimed

    board.complete(claim("a"))
    board.start(claim("b"))
    board.fail(claim("d"), "once")
    board.cancel("e")
    board.retry("e")
    board.release(claim("e"), wait_for=["g"])
    board.fail(claim("g"), "x", retry=False)
    claim("h")


def test_a_board_that_only_the_program_wrote_has_no_findings(store: Store) -> None:
    busy(store)
    assert examine(store) == []
    assert mend(store) == []


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        (("done",), "waits for 'done', which is completed; does not wait for 'open'"),
        ((), "does not wait for 'open', which is pending"),
        (("open", "other"), "waits for 'other', without need"),
        (("open", "gone"), "waits for 'gone', without need"),
    ],
)
def test_a_task_that_waits_wrongly_is_told_and_mended(
    store: Store, waiting: tuple[str, ...], said: str
) -> None:
    put(
        store,
        task("done", status=TaskStatus.COMPLETED, finished_at=NOW),
        task("open"),
        task("other"),
        task("a", depends_on=("done", "open"), waiting_on=waiting),
    )
    (finding,) = examine(store)
    assert (finding.kind, finding.task_id, finding.can_mend) == ("waits-wrongly", "a", True)
    assert said in finding.what
    assert kinds(mend(store)) == [("waits-wrongly", "a")]
    assert stands(store, "a").waiting_on == ("open",)
    assert examine(store) == []
    with store.transaction() as tx:
        assert [task.task_id for task in tx.dependents("open")] == ["a"]


def test_what_was_pruned_is_not_waited_for(store: Store) -> None:
    put(store, task("a", depends_on=("pruned",)))
    assert examine(store) == []


def test_a_task_that_waits_for_a_dead_one_fails_with_all_that_wait_for_it(store: Store) -> None:
    put(
        store,
        task("dead", status=TaskStatus.FAILED, error="no space", finished_at=NOW),
        task("a", depends_on=("dead",), waiting_on=("dead",)),
        task("b", depends_on=("a",), waiting_on=("a",)),
    )
    assert kinds(examine(store)) == [("waits-for-dead", "a")]
    mend(store)
    assert stands(store, "a").error == "it depends on 'dead', which failed: no space"
    assert stands(store, "b").status is TaskStatus.FAILED
    assert journal(store, "a") == ["failed", "mended"]
    assert examine(store) == []


def test_a_task_that_waits_for_one_that_is_not_there_is_for_a_person_to_judge(
    store: Store,
) -> None:
    put(store, task("a", depends_on=("gone",), waiting_on=("gone",)))
    (finding,) = examine(store)
    assert (finding.kind, finding.can_mend) == ("waits-for-missing", False)
    assert "post a task with the id 'gone'" in finding.advice
    assert mend(store) == []


def test_tasks_that_wait_in_a_circle_are_told(store: Store) -> None:
    put(
        store,
        task("a", depends_on=("b",), waiting_on=("b",)),
        task("b", depends_on=("a",), waiting_on=("a",)),
    )
    (finding,) = examine(store)
    assert finding.kind == "waits-in-circle"
    assert "a -> b -> a" in finding.what


def test_a_lease_that_ran_out_is_a_note_and_mending_returns_the_task(store: Store) -> None:
    put(store, held("a", lease_until=NOW - 90), held("b", lease_until=NOW - 1, attempts=3))
    found = examine(store)
    assert [(f.kind, f.is_note) for f in found] == [("lease-overdue", True)] * 2
    assert "'w1', whose lease ran out 90 s ago" in found[0].what
    mend(store)
    assert stands(store, "a").status is TaskStatus.PENDING
    assert stands(store, "b").status is TaskStatus.FAILED, "it was the last attempt"
    assert journal(store, "a") == ["expired", "mended"]


@pytest.mark.parametrize(
    "fields",
    [{"lease_until": NOW + 30 * 86400}, {"claimed_at": NOW + 7200, "lease_until": NOW + 7260}],
)
def test_a_lease_of_a_clock_that_jumped_is_cut_short_and_stays_its_holders(
    store: Store, fields: dict[str, float]
) -> None:
    put(store, held("a", **fields))
    (finding,) = examine(store)
    assert finding.kind == "lease-in-future"
    assert kinds(mend(store)) == [("lease-in-future", "a")]
    mended = stands(store, "a")
    assert (mended.lease_until or 0) <= NOW + 300
    board = TaskBoard(store=store)
    board.complete(mended, {"ok": True})
    assert examine(store) == []


def test_a_status_that_the_journal_contradicts_is_told(store: Store) -> None:
    busy(store)
    put(store, replace(stands(store, "a"), status=TaskStatus.PENDING, waiting_on=("x",)))
    put(store, replace(stands(store, "h"), status=TaskStatus.IN_PROGRESS))
    found = [finding for finding in examine(store) if finding.kind == "journal-disagrees"]
    assert [(f.task_id, f.what) for f in found] == [
        ("a", "is pending, but completed by the journal"),
        ("h", "is in progress, but claimed by the journal"),
    ]
    assert "stig board show a" in found[0].advice


def test_a_mending_is_journaled_with_what_was_wrong(store: Store) -> None:
    put(store, task("a", waiting_on=("z",)))
    mend(store)
    (event,) = store.events(after=0, limit=10)
    assert (event.kind, event.task_id) == ("mended", "a")
    assert event.data["finding"] == "waits-wrongly"


def test_mending_one_thing_does_not_settle_what_the_journal_says_of_another(store: Store) -> None:
    busy(store)
    put(store, replace(stands(store, "h"), status=TaskStatus.IN_PROGRESS, lease_until=NOW + 1e9))
    assert kinds(mend(store)) == [("lease-in-future", "h")]
    assert kinds(examine(store)) == [("journal-disagrees", "h")]


def event(kind: str, **data: object) -> Event:
    return Event(seq=1, at=NOW, kind=kind, task_id="a", data=data)


def test_what_the_journal_says_of_a_task() -> None:
    assert journaled_status([]) is None
    assert journaled_status([event("gate"), event("progress", status="completed")]) is None
    assert journaled_status([event("failed", status="pending")]) is TaskStatus.PENDING
    assert journaled_status([event("completed"), event("edited")]) is TaskStatus.COMPLETED
    assert journaled_status([event("posted"), event("edited", status="no")]) is TaskStatus.PENDING
    assert (
        disagreement(None, [event("posted")]) == "is not on the board, but pending by the journal"
    )
    assert disagreement(None, [event("completed")]) is None, "it was pruned"
    assert disagreement(None, [event("posted"), event("removed")]) is None


@pytest.mark.parametrize("url", ["board.db", "tasks"])
def test_a_large_value_whose_file_is_gone_is_told(url: str) -> None:
    with closing(open_store(url, clock=lambda: NOW)) as store:
        board = TaskBoard(store=store, limits=Limits(payload_bytes=10))
        board.post(Task(task_id="a", task_type="a", payload={"text": "x" * 100}))
        assert examine(store) == []
        assert store.blobs is not None
        (file,) = store.blobs.glob("*/*")
        file.unlink()
        (finding,) = examine(store)
    assert (finding.kind, finding.task_id, finding.can_mend) == ("file-missing", "a", False)
    assert "has its payload in a file that cannot be read" in finding.what


# --- SQLite ---


def test_an_index_that_disagrees_is_told_and_mended() -> None:
    with closing(open_store("board.db")) as store:
        busy(store)
        with closing(sqlite3.connect("board.db")) as database:
            database.execute("DELETE FROM waits WHERE task_id = 'c'")
            database.execute("INSERT INTO waits VALUES ('a', 'h')")
            database.commit()
        assert kinds(examine(store)) == [("index-disagrees", "c"), ("index-disagrees", "h")]
        assert kinds(mend(store)) == [("index-disagrees", "c"), ("index-disagrees", "h")]
        assert examine(store) == []


def test_a_damaged_file_is_told(folder: Path) -> None:
    with closing(open_store("board.db")) as store:
        board = TaskBoard(store=store)
        board.post_many([Task(task_type="job", description="x" * 5000) for _ in range(50)])
    content = bytearray((folder / "board.db").read_bytes())
    for page in range(6, len(content) // 4096, 3):
        content[page * 4096 : page * 4096 + 100] = b"\x55" * 100
    (folder / "board.db").write_bytes(content)
    with closing(open_store("board.db")) as store:
        found = examine(store)
    assert found[0].kind == "damaged"
    assert "export" in found[0].advice


def test_a_row_that_is_no_task_is_told() -> None:
    with closing(open_store("board.db")) as store:
        busy(store)
        with closing(sqlite3.connect("board.db")) as database:
            database.execute("UPDATE tasks SET status = 'odd' WHERE task_id = 'd'")
            database.commit()
        (finding,) = examine(store)
        assert finding.kind == "unreadable"


# --- PostgreSQL ---


@pytest.mark.needs_postgres
def test_a_board_in_postgresql_is_examined_and_mended_too(postgres_url: str) -> None:
    with closing(open_store(postgres_url, clock=lambda: NOW)) as store:
        busy(store)
        assert examine(store) == []
        put(store, replace(stands(store, "c"), waiting_on=()), held("z", lease_until=NOW - 1))
        assert kinds(examine(store)) == [("waits-wrongly", "c"), ("lease-overdue", "z")]
        assert kinds(mend(store)) == [("waits-wrongly", "c"), ("lease-overdue", "z")]
        assert examine(store) == []


# --- a folder ---


def test_what_is_in_quarantine_is_told(folder: Path) -> None:
    with closing(open_store("tasks")) as store:
        busy(store)
    broken = folder / "tasks" / "d.json"
    broken.write_text("{ broken")
    os.utime(broken, (1, 1))  # nobody is writing it any more
    with closing(open_store("tasks")) as store:
        (finding,) = examine(store)
    assert (finding.kind, finding.is_note) == ("quarantined", True)
    assert "d.json" in finding.what
