"""Boards of earlier versions are brought up to date, whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stigmergy.board import Event, Task, TaskBoard, TaskStatus
from stigmergy.board.lifecycle import rank
from stigmergy.board.stores.postgres import PostgresStore
from stigmergy.board.stores.postgres import migrations as postgres_migrations
from stigmergy.board.stores.sqlite import SqliteStore, migrations
from stigmergy.errors import CorruptError
from stigmergy.testing.stores import FakeClock

S = TaskStatus
NOW = 1_000_000.0

# As version 1 wrote them.
INSERT = """
    INSERT INTO tasks (task_id, task_type, description, payload, requires, depends_on, waiting_on,
      parent_id, priority, status, attempts, max_attempts, not_before, created_at, claimed_by,
      claimed_at, lease_until, fence, finished_at, result, error, lane, rank, ready, blocked)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
APPEND = "INSERT INTO events (at, kind, task_id, agent_id, data) VALUES (?, ?, ?, ?, ?)"


def task(task_id: str, **fields: Any) -> Task:
    return Task(**{"task_type": "work", "task_id": task_id, "created_at": NOW - 50, **fields})


HELD: dict[str, Any] = {"claimed_by": "ann", "claimed_at": NOW - 40, "attempts": 1, "fence": 3}
TASKS = [
    task("ready", payload={"ü": [1, None, "\0"]}, description='"line"\n\0', priority=1),
    task("gpu", requires=("gpu", "web"), parent_id="p"),
    task("due", not_before=NOW + 60),
    task("was-due", not_before=NOW - 10, priority=9),
    task("blocked", depends_on=("claimed", "done"), waiting_on=("claimed",)),
    task("claimed", status=S.CLAIMED, lease_until=NOW + 60, **HELD),
    task("expired", status=S.IN_PROGRESS, lease_until=NOW - 1, **HELD),
    task("done", status=S.COMPLETED, finished_at=NOW - 5, result={"n": 1}, parent_id="p", **HELD),
    task("dead", status=S.FAILED, finished_at=NOW - 4, error="broke", result={"error": "x"}),
    task(
        "victim",
        status=S.FAILED,
        finished_at=NOW - 4,
        depends_on=("dead",),
        waiting_on=("dead",),
        error="it depends on 'dead'",
        result={"error": "it depends on 'dead'", "dependency": "dead"},
    ),
    task("dropped", status=S.CANCELLED, finished_at=NOW - 3, error="no", task_type="other"),
]
EVENTS = [("posted", each.task_id, "", {"priority": each.priority}) for each in TASKS] + [
    ("gate", "", "ann", {"green": True, "ü": "\0"})
]


def make_version_1(path: Path, *, version: int = 1) -> None:
    """A board as version 1 left it, its log not checkpointed."""
    db = sqlite3.connect(path, isolation_level=None)
    schema = files("stigmergy.board.stores.sqlite").joinpath("0001.sql").read_text()
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(f"BEGIN; {schema} PRAGMA user_version = {version}; COMMIT;")
    for each in TASKS:
        _insert(db, each)
    for kind, task_id, agent_id, data in EVENTS:
        db.execute(APPEND, (NOW, kind, task_id, agent_id, json.dumps(data, ensure_ascii=False)))
    db.close()


def _insert(db: sqlite3.Connection, each: Task) -> None:
    key = each.task_type, json.dumps(each.requires)
    found = db.execute("SELECT lane FROM lanes WHERE task_type = ? AND requires = ?", key)
    lane = found.fetchone()
    if lane is None:
        add = "INSERT INTO lanes (task_type, requires) VALUES (?, ?) RETURNING lane"
        lane = db.execute(add, key).fetchone()
    pending = each.status is S.PENDING
    blocked = pending and bool(each.waiting_on)
    # A task whose time came after it was written was made ready by the next claim.
    ready = pending and not blocked and each.not_before <= NOW - 50
    row = (
        each.task_id,
        each.task_type,
        each.description,
        json.dumps(each.payload, ensure_ascii=False, separators=(",", ":")),
        json.dumps(each.requires),
        json.dumps(each.depends_on),
        json.dumps(each.waiting_on),
        each.parent_id,
        each.priority,
        each.status.value,
        each.attempts,
        each.max_attempts,
        each.not_before,
        each.created_at,
        each.claimed_by,
        each.claimed_at,
        each.lease_until,
        each.fence,
        each.finished_at,
        None if each.result is None else json.dumps(each.result),
        each.error,
        lane[0],
        rank(each),
        int(ready),
        int(blocked),
    )
    db.execute(INSERT, row)
    db.executemany(
        "INSERT INTO waits (needs, task_id) VALUES (?, ?)",
        [(name, each.task_id) for name in each.waiting_on],
    )


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    path = tmp_path / "board.db"
    make_version_1(path)
    return path


def opened(path: Path, clock: Callable[[], float] = lambda: NOW) -> TaskBoard:
    return TaskBoard(store=SqliteStore(path, clock=clock))


def check_is_whole(board: TaskBoard) -> None:
    """All that version 1 had is there, and as it was."""
    assert board.list_all() == TASKS
    assert board.events(limit=99) == [
        Event(seq=n, at=NOW, kind=kind, task_id=task_id, agent_id=agent_id, data=data)
        for n, (kind, task_id, agent_id, data) in enumerate(EVENTS, start=1)
    ]


def structure(path: Path) -> dict[str, str]:
    """What a database is made of, without comments and spacing."""
    db = sqlite3.connect(path)
    rows = db.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
    made = {name: re.sub(r"--[^\n]*|\s+|\"", " ", sql) for name, sql in rows}
    db.close()
    return {name: " ".join(text.split()) for name, text in made.items()}


# SQLite ------------------------------------------------------------------------------------------


def test_the_steps_lead_to_the_schema_of_a_new_board(version_1: Path, tmp_path: Path) -> None:
    opened(version_1).close()
    fresh = tmp_path / "fresh.db"
    opened(fresh).close()
    migrated = structure(version_1)
    assert len(migrated) >= 14
    assert migrated == structure(fresh)


def test_there_is_a_step_to_every_version() -> None:
    folder = files("stigmergy.board.stores.sqlite")
    steps = sorted(each.name for each in folder.iterdir() if re.fullmatch(r"\d+\.sql", each.name))
    assert steps == [f"{number:04}.sql" for number in range(1, migrations.SCHEMA_VERSION + 1)]


def test_tasks_and_events_of_version_1_are_read_as_they_were(version_1: Path) -> None:
    with opened(version_1) as board:
        check_is_whole(board)
        assert board.history("victim")[0].seq == 10
        assert board.progress() == replace(
            board.progress(), total=11, pending=5, in_progress=2, completed=1, failed=2, cancelled=1
        )
        assert board.progress("p").total == 2
        assert board.rules().limits == ()


def test_work_goes_on_where_version_1_left_it(version_1: Path) -> None:
    clock = FakeClock(NOW)
    with opened(version_1, clock) as board:
        held = board.claim_many("bob", 9)
        assert [each.task_id for each in held] == ["ready", "expired", "was-due"]
        assert held[1].fence == 4
        (claimed,) = (each for each in TASKS if each.task_id == "claimed")
        board.complete(claimed, {"late": True})
        assert [each.task_id for each in board.claim_many("bob", 9)] == ["blocked"]
        assert board.claim("bob", capabilities=["gpu", "web"]) is not None
        clock.advance(60)
        assert [each.task_id for each in board.claim_many("bob", 9)] == ["due"]
        assert board.retry("dead").status is S.PENDING
        victim = board.get("victim")
        assert victim is not None
        assert (victim.status, victim.waiting_on) == (S.PENDING, ("dead",))
        assert board.last_seq() > len(EVENTS)
        board.post(task("new", unique_key="u", limit_key="k"))
        assert board.post(task("twin", unique_key="u")) == "new"
        board.prune(older_than_s=0)
        assert board.get("done") is None


def test_what_refers_to_nothing_is_found_before_it_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "board.db"
    make_version_1(path)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("UPDATE tasks SET lane = 99 WHERE task_id = 'gpu'")
    before = db.execute("SELECT * FROM tasks").fetchall()
    db.close()
    with pytest.raises(CorruptError, match=r"1 rows refer to what is not there.*left as it is"):
        opened(path)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert db.execute("SELECT * FROM tasks").fetchall() == before
    db.close()


def die_at(path: Path, step: int) -> bool:
    """Open the board in a process that is killed at that step; False if it came to its end.

    A step is a statement, or a thousand instructions of SQLite's machine within one.
    """
    pid = os.fork()
    if pid == 0:
        left = step

        def count(*_: object) -> int:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return 0

        class Connection(sqlite3.Connection):
            def executescript(self, script: str) -> sqlite3.Cursor:
                self.set_trace_callback(count)
                self.set_progress_handler(count, 1000)
                return super().executescript(script)

        connect = sqlite3.connect
        sqlite3.connect = lambda *a, **k: connect(*a, factory=Connection, **k)
        try:
            opened(path)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def test_a_death_at_any_step_leaves_one_version_whole(tmp_path: Path) -> None:
    template = tmp_path / "template"
    template.mkdir()
    make_version_1(template / "board.db")
    raw = content(template / "board.db")
    deaths = 0
    for step in range(1, 1000):
        home = tmp_path / f"{step}"
        shutil.copytree(template, home)
        path = home / "board.db"
        if not die_at(path, step):
            break
        deaths += 1
        db = sqlite3.connect(path)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        db.close()
        assert version in (1, migrations.SCHEMA_VERSION)
        if version == 1:
            assert content(path) == raw
        with opened(path) as board:
            check_is_whole(board)
        shutil.rmtree(home)
    assert deaths > 25, "every statement of the migration is a step"


def content(path: Path) -> list[list[Any]]:
    db = sqlite3.connect(path)
    tables = ("meta", "lanes", "tasks", "waits", "events", "sqlite_master")
    found = [db.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
    db.close()
    return found


def at_once(number: int, act: Callable[[], int]) -> list[int]:
    """Do it in so many processes that begin together; how each ended."""
    reading, writing = os.pipe()
    pids: list[int] = []
    for _ in range(number):
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                os.close(writing)
                os.read(reading, 1)  # until the parent closes its end
                code = act()
            finally:
                os._exit(code)
        pids.append(pid)
    os.close(reading)
    os.close(writing)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


@pytest.mark.parametrize("begun", ["version 1", "nothing"])
def test_of_many_that_open_a_board_at_once_one_migrates_it(tmp_path: Path, begun: str) -> None:
    path = tmp_path / "board.db"
    if begun == "version 1":
        make_version_1(path)

    def open_and_post() -> int:
        read = migrations._read
        scripts: list[str] = []

        def counted(name: str) -> str:
            scripts.append(name)
            return read(name)

        migrations._read = counted
        with opened(path, time.time) as board:
            board.post(Task(task_type="work", task_id=f"by-{os.getpid()}"))
        return len(scripts)

    assert sorted(at_once(8, open_and_post)) == [0] * 7 + [1]
    with opened(path) as board:
        assert sum(each.task_id.startswith("by-") for each in board.list_all()) == 8
        seqs = [event.seq for event in board.events()]
        assert seqs == list(range(1, len(seqs) + 1))


# PostgreSQL --------------------------------------------------------------------------------------


@pytest.mark.needs_postgres
def test_processes_that_make_a_postgres_board_at_once_make_one(postgres_url: str) -> None:
    def open_and_post() -> int:
        with TaskBoard(postgres_url) as board:
            board.post(Task(task_type="work", task_id=f"by-{os.getpid()}"))
        return 0

    assert at_once(4, open_and_post) == [0] * 4
    with TaskBoard(postgres_url) as board:
        assert board.progress().total == 4


@pytest.mark.needs_postgres
def test_the_functions_of_a_postgres_board_bear_its_version(postgres_url: str) -> None:
    PostgresStore(postgres_url).close()
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute(
            "SELECT proname FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace "
            "WHERE n.nspname = 'stigmergy'"
        ).fetchall()
    names = {name for (name,) in rows}
    version = postgres_migrations.SCHEMA_VERSION
    called = {"base", "horizon", "notify", "exchange", "lanes", "extend", "post"}
    assert {f"{name}_{version}" for name in called} <= names
    assert all(name.endswith(f"_{version}") for name in names)


@pytest.mark.needs_postgres
def test_a_postgres_board_that_is_there_is_not_made_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TaskBoard(postgres_url) as board:
        board.post(Task(task_type="work", task_id="a"))

    def made(*_: object, **__: object) -> None:
        raise AssertionError("it was made again")

    monkeypatch.setattr(postgres_migrations, "_run", made)
    with TaskBoard(postgres_url) as board:
        assert [each.task_id for each in board.list_all()] == ["a"]
