"""`stig board`: what each command does to a board, says on a terminal and tells a script."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup
from typer.testing import CliRunner, Result

from stigmergy.board import Task, TaskBoard, TaskStatus, open_store
from stigmergy.board.stores.sqlite.migrations import SCHEMA_VERSION
from stigmergy.cli.board import board as board_app
from stigmergy.cli.board.reading import moment, seconds
from stigmergy.errors import CorruptError, LostLeaseError, NotFoundError, UsageError

ROOT = Path(__file__).resolve().parents[2]
STIG = Path(sys.executable).with_name("stig")
HOSTILE = "[red]bad[/red] \x1b[2J\x1b]0;owned\x07\nsecond\u202eline"
NOTHING_TO_DO = 5


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path


def ask(*words: str, code: int = 0, stdin: str | bytes = "") -> Result:
    result = CliRunner().invoke(board_app, list(words), input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def stig(*words: str, code: int = 0, stdin: str | bytes = "") -> str:
    return ask(*words, code=code, stdin=stdin).stdout


def told(*words: str, code: int = 0, stdin: str | bytes = "") -> dict[str, object]:
    return json.loads(stig(*words, "--json", code=code, stdin=stdin))


def post(task_id: str, task_type: str = "job", **fields: object) -> None:
    with TaskBoard("board.db") as board:
        board.post(Task(task_id=task_id, task_type=task_type, **fields))


def task(task_id: str) -> Task:
    with TaskBoard("board.db") as board:
        found = board.get(task_id)
    assert found is not None
    return found


def statuses() -> dict[str, str]:
    with TaskBoard("board.db") as board:
        return {task.task_id: task.status.value for task in board.list_all()}


def claim(task_id: str, agent: str = "w1", lease_s: float = 60.0) -> Task:
    """Claim one task of a type of its own."""
    with TaskBoard("board.db") as board:
        claimed = board.claim(agent, task_types=[task_id], lease_s=lease_s)
    assert claimed is not None
    return claimed


def fail(task_id: str, error: str) -> None:
    post(task_id, task_type=task_id)
    with TaskBoard("board.db") as board:
        held = board.claim("w1", task_types=[task_id])
        assert held is not None
        board.fail(held, error, retry=False)


def assert_harmless(text: str) -> None:
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]bad[/red]" in text, "markup in data is shown, not obeyed"


# --- which board ---


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("show", "a"),
        ("stats",),
        ("watch",),
        ("claim", "w1"),
        ("complete", "a", "--agent", "w1", "--fence", "1"),
        ("fail", "a", "wrong", "--agent", "w1", "--fence", "1"),
        ("release", "a", "--agent", "w1", "--fence", "1"),
        ("renew", "a", "--agent", "w1", "--fence", "1"),
        ("retry", "a"),
        ("cancel", "a"),
        ("pause", "job"),
        ("pause", "--all"),
        ("priority", "1", "a"),
        ("waiting",),
        ("approve", "a"),
        ("refuse", "a"),
        ("resume", "job"),
        ("report", "a", "{}", "--agent", "w1", "--fence", "1"),
        ("rules",),
        ("limit", "l", "--type", "job", "--at-once", "1"),
        ("unlimit", "l"),
        ("schedule", "s", "job", "--every", "1h"),
        ("unschedule", "s"),
        ("retain", "--completed", "1d"),
        ("fair",),
        ("prune", "--older-than", "1d"),
        ("prune", "--older-than", "1d", "--dry-run"),
        ("export", "out.jsonl"),
        ("doctor",),
        ("migrate",),
    ],
)
def test_no_command_but_post_begins_a_board(folder: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(NotFoundError, match=r"no board\.db in this folder.*stig board post"):
        ask(*words)
    for url in ("other.db", "sqlite:///other.db", "tasks", "files:///tasks"):
        with pytest.raises(NotFoundError, match="there is no board at"):
            ask(*words, "--board", url)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("url", ["other.db", "sqlite:///other.db", "tasks", "files:///tasks"])
def test_post_begins_a_board_of_every_kind_and_the_others_find_it(url: str) -> None:
    name = stig("post", "job", "--board", url).strip()
    assert name in stig("list", "--board", url)


def test_the_flag_wins_over_the_environment_and_that_over_the_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stig("post", "job", "--id", "here")
    monkeypatch.setenv("STIG_BOARD", "env.db")
    stig("post", "job", "--id", "env")
    stig("post", "job", "--id", "flag", "--board", "flag.db")
    assert "env" in stig("list")
    assert "flag" in stig("list", "--board", "flag.db")
    monkeypatch.setenv("STIG_BOARD", "")
    assert "here" in stig("list"), "an empty variable names nothing"


def test_a_board_in_memory_is_refused() -> None:
    with pytest.raises(UsageError, match="one process"):
        ask("post", "job", "--board", "memory:")


@pytest.mark.parametrize("words", [("list",), ("post", "job")])
def test_the_database_of_another_program_is_left_alone(
    folder: Path, words: tuple[str, ...]
) -> None:
    database = sqlite3.connect("other.db")
    database.execute("CREATE TABLE things (name TEXT)")
    database.close()
    before = (folder / "other.db").read_bytes()
    with pytest.raises(UsageError, match="another program"):
        ask(*words, "--board", "other.db")
    assert (folder / "other.db").read_bytes() == before


@pytest.mark.needs_postgres
def test_a_board_in_postgresql_is_begun_by_post_alone(postgres_url: str) -> None:
    url = f"{postgres_url}&board=shell"
    for words in (("list",), ("doctor",), ("migrate",), ("claim", "w1")):
        with pytest.raises(NotFoundError, match="there is no board at postgresql:"):
            ask(*words, "--board", url)
    stig("post", "job", "--id", "a", "--board", url)
    assert stig("claim", "w1", "--board", url).startswith("a 1\n")
    assert "nothing to migrate" in stig("migrate", "--board", url)
    assert stig("doctor", "--board", url) == "the board is sound\n"


@pytest.mark.needs_postgres
def test_a_password_in_a_url_is_not_shown(postgres_url: str) -> None:
    url = f"{postgres_url}&password=secret&board=none"
    with pytest.raises(NotFoundError) as failure:
        ask("list", "--board", url)
    assert "secret" not in str(failure.value)


def test_an_empty_file_is_no_board_yet(folder: Path) -> None:
    (folder / "board.db").touch()
    with pytest.raises(NotFoundError):
        ask("list")
    stig("post", "job", "--id", "a")
    assert statuses() == {"a": "pending"}


# --- post ---


def test_post_puts_all_that_is_said_on_the_board() -> None:
    post("first")
    before = time.time()
    name = stig(
        *("post", "resize", "A thumbnail", "--payload", '{"path": "a.png"}'),
        *("--requires", "gpu", "--requires", "cuda", "--depends-on", "first"),
        *("--parent", "first", "--priority", "2", "--max-attempts", "7", "--in", "1h30m"),
    ).strip()
    posted = task(name)
    assert (posted.task_type, posted.description) == ("resize", "A thumbnail")
    assert posted.payload == {"path": "a.png"}
    assert set(posted.requires) == {"gpu", "cuda"}
    assert (posted.depends_on, posted.parent_id) == (("first",), "first")
    assert (posted.priority, posted.max_attempts) == (2, 7)
    assert posted.not_before == pytest.approx(before + 5400, abs=60)


def test_a_payload_comes_from_a_file_or_from_stdin(folder: Path) -> None:
    (folder / "payload.json").write_text('{"from": "file"}')
    stig("post", "job", "--id", "a", "--payload", "@payload.json")
    stig("post", "job", "--id", "b", "--payload", "-", stdin='{"from": "stdin"}')
    assert [task(name).payload["from"] for name in "ab"] == ["file", "stdin"]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("{", "--payload is not JSON"),
        ("[1]", "--payload is a list: an object"),
        ("null", "--payload is null"),
        ("@missing.json", "missing.json: cannot be read: No such file"),
        ("@.", "cannot be read: Is a directory"),
        ('{"a": NaN}', "JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_payload_that_is_no_object_is_refused(payload: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ask("post", "job", "--payload", payload)


def test_many_tasks_come_from_a_file_all_or_none(folder: Path) -> None:
    lines = [
        '{"task_type": "job", "task_id": "b", "depends_on": ["a"]}',
        "",
        '{"task_type": "job", "task_id": "a", "payload": {"n": 1}}',
        '{"task_type": "job"}',
    ]
    (folder / "tasks.jsonl").write_text("\n".join(lines))
    assert stig("post", "--many", "tasks.jsonl") == "posted 3 tasks\n"
    assert len(statuses()) == 3
    assert told("post", "--many", "-", stdin='{"task_type": "job", "task_id": "c"}') == {
        "task_ids": ["c"]
    }
    (folder / "bad.jsonl").write_text('{"task_type": "job", "task_id": "d"}\n{"task_id": "e"}\n')
    with pytest.raises(UsageError, match=r"bad\.jsonl:2: task 'e' has no 'task_type'"):
        ask("post", "--many", "bad.jsonl")
    with pytest.raises(UsageError, match="stdin:1 is not JSON"):
        ask("post", "--many", "-", stdin="no\n")
    assert set(statuses()) >= {"a", "b", "c"}
    assert len(statuses()) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give the TYPE"),
        (("job", "--many", "x"), "leave TYPE out"),
        (("--many", os.devnull), "holds no task"),
        (("job", "--in", "1h", "--at", "2026-12-24"), "not both"),
        (("job", "--in", "soon"), "--in is 'soon'"),
        (("job", "--at", "soon"), "--at is 'soon'"),
        (("job", "--depends-on", "missing"), "depends on 'missing'"),
        (("job", "--id", "../x"), "task id"),
    ],
)
def test_a_post_that_cannot_be_is_refused_with_what_to_do(
    words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        ask("post", *words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5d", 129_600), ("1w", 604_800)],
)
def test_lengths_of_time(text: str, expected: float) -> None:
    assert seconds(text, what="--in") == expected


@pytest.mark.parametrize("text", ["", "m", "-5", "5x", "1h-", "1 2", "٣m", "1e3", "inf"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(UsageError, match="--in"):
        seconds(text, what="--in")


def test_a_moment_is_local_unless_it_names_a_zone() -> None:
    zoned = moment("2026-12-24T18:00+02:00", what="--at")
    assert zoned == moment("2026-12-24T16:00Z", what="--at") == 1_798_128_000
    local = time.mktime(time.strptime("2026-12-24 18:00", "%Y-%m-%d %H:%M"))
    assert moment("2026-12-24 18:00", what="--at") == local


# --- list and show ---


def test_list_says_where_each_task_stands() -> None:
    post("a", task_type="a")
    post("b", depends_on=("a",))
    post("c", task_type="c")
    post("d", not_before=time.time() + 3600)
    claim("c", agent="worker")
    fail("e", "no space left")
    lines = stig("list").splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["a", "b", "c", "d", "e"]
    assert "ready for" in lines[1]
    assert "waits for a" in lines[2]
    assert re.search(r"worker, (60|[1-5]\d) s left|worker, 1 m 00 s left", lines[3])
    assert re.search("in 59 m|in 1 h", lines[4])
    assert "no space left" in lines[5]


def test_list_takes_filters_and_a_limit() -> None:
    post("a", task_type="a", parent_id="p")
    post("b", task_type="b", parent_id="p")
    post("c", task_type="a")
    claim("b")

    def listed(*words: str) -> list[str]:
        tasks = told("list", *words)["tasks"]
        assert isinstance(tasks, list)
        return [task["task_id"] for task in tasks]

    assert listed("--type", "a") == ["a", "c"]
    assert listed("--parent", "p", "--status", "claimed") == ["b"]
    assert listed("--agent", "w1") == ["b"]
    assert listed("--limit", "1", "--newest") == ["c"]
    assert listed("--limit", "0") == ["a", "b", "c"]
    assert "… and more; --limit 0 shows all" in stig("list", "--limit", "2")
    assert "more" not in stig("list", "--limit", "3")
    assert told("list", "--limit", "2")["more"] is True
    assert stig("list", "--type", "z") == "no such task\n"


def test_the_dead_letters_have_their_errors_in_full() -> None:
    fail("a", "first line\nsecond line that says what it was about, at some length, to its end")
    fail("b", "other")
    post("c")
    said = stig("list", "--failed")
    assert "to its end" in " ".join(said.split())
    assert "a  a, after 1 attempt" in said
    assert "c  " not in said
    assert "other" not in stig("list", "--failed", "--error", "second line")
    with pytest.raises(UsageError, match="not both"):
        ask("list", "--failed", "--status", "pending")


def test_nothing_on_a_board_drives_the_terminal() -> None:
    post("a", task_type="t\x1b[31m", description=HOSTILE, payload={"k": f"{HOSTILE}\x9b2J"})
    with TaskBoard("board.db") as board:
        held = board.claim(f"w {HOSTILE}")
        assert held is not None
        board.record("odd", task_id="a", data={"said": HOSTILE})
        board.fail(held, HOSTILE, retry=False)
    for words in (("list",), ("list", "--failed"), ("show", "a")):
        assert_harmless(stig(*words))


def test_times_that_no_calendar_has_are_shown_all_the_same() -> None:
    post("a", created_at=1e300, not_before=1e300)
    assert "beyond all calendars" in stig("show", "a")
    assert "a" in stig("list")
    assert "job" in stig("stats")


def test_a_table_fits_the_terminal() -> None:
    post("a" * 128, description="x" * 300, task_type="y" * 60)
    for words in (("list",), ("stats",)):
        assert max(len(line) for line in stig(*words).splitlines()) <= 80


def test_show_tells_all_of_a_task() -> None:
    post("a", task_type="a")
    post(
        "b",
        description="Do it\nwell",
        payload={"path": "ä.png"},
        requires=("gpu",),
        depends_on=("a",),
    )
    said = stig("show", "b")
    for part in ("Do it", "well", '"path": "ä.png"', "gpu", "a: pending", "waits for a"):
        assert part in said
    assert "posted as job" in said
    document = told("show", "b")
    assert document["depends_on"] == {"a": "pending"}
    assert document["task"]["payload"] == {"path": "ä.png"}
    assert [event["kind"] for event in document["history"]] == ["posted"]
    with pytest.raises(NotFoundError, match="no task 'c'"):
        ask("show", "c")


def test_an_error_is_shown_once() -> None:
    fail("a", "no space left on the device")
    assert stig("show", "a").count("no space left on the device") == 3, "state, error, history"


# --- stats ---


def scripted(events: list[tuple[float, Callable[[TaskBoard], object]]]) -> None:
    """Do things to the board, each so many seconds ago."""
    now = [0.0]
    with TaskBoard(store=open_store("board.db", clock=lambda: now[0])) as board:
        for ago, act in events:
            now[0] = time.time() - ago
            act(board)


def do_one(board: TaskBoard) -> None:
    held = board.claim("w1", lease_s=600)
    assert held is not None
    board.complete(held)


def test_stats_count_what_the_last_minute_and_hour_brought() -> None:
    jobs = [Task(task_type="job", task_id=f"j{number}") for number in range(6)]
    scripted(
        [
            (7200, lambda board: board.post_many(jobs)),
            (5000, do_one),
            (2000, do_one),
            (1999, do_one),
            (10, do_one),
            (5, lambda board: board.claim("w2", lease_s=1)),
        ]
    )
    document = told("stats")
    assert document["by_status"]["completed"] == 4
    assert document["by_type"] == {"job": {"completed": 4, "claimed": 1, "pending": 1}}
    assert document["oldest_ready_s"] == pytest.approx(7200, abs=60)
    assert (document["held"], document["overdue"]) == (1, 1)
    assert document["throughput"]["minute"]["completed"] == 1
    assert document["throughput"]["hour"]["completed"] == 3
    assert document["throughput"]["hour"]["posted"] == 0
    said = stig("stats")
    assert "1 task held by agents, 1 overdue" in said
    assert "the oldest ready task waits for 2 h 00 m" in said


def test_what_the_journal_has_forgotten_is_unknown_and_not_nothing() -> None:
    scripted([(1800, lambda board: board.post(Task(task_type="job")))])
    database = sqlite3.connect("board.db")
    database.execute("UPDATE events SET seq = seq + 1000")
    database.commit()
    database.close()
    throughput = told("stats")["throughput"]
    assert throughput["hour"] is None
    assert throughput["minute"]["posted"] == 0
    hour = next(line for line in stig("stats").splitlines() if line.startswith("hour"))
    assert set(hour.split()[1:]) == {"unknown"}


def test_a_board_without_tasks_says_so() -> None:
    TaskBoard("board.db").close()
    assert stig("list") == "no task\n"
    assert stig("stats") == "no task\n"


# --- being an agent ---


def test_claim_tells_the_id_and_the_fence_on_its_first_line() -> None:
    post("a", task_type="a", description="Do it", payload={"n": 1})
    first, *rest = stig("claim", "w1", "--lease", "10m").splitlines()
    assert first == "a 1"
    assert "attempt 1 of 3" in rest[0]
    assert '"n": 1' in "\n".join(rest)
    assert task("a").claimed_by == "w1"


def test_claim_as_json_has_all_that_the_reports_need() -> None:
    post("a", payload={"n": 1})
    document = told("claim", "w1")
    lease = document["lease"]
    assert document["task"]["payload"] == {"n": 1}
    words = (lease["task_id"], "--agent", lease["agent_id"], "--fence", str(lease["fence"]))
    stig("complete", *words, "--result", '{"size": 64}')
    assert task("a").result == {"size": 64}


def test_a_claim_that_finds_nothing_says_so_by_its_exit_code() -> None:
    post("a", requires=("gpu",), task_type="a")
    assert ask("claim", "w1", code=NOTHING_TO_DO).stdout == ""
    assert told("claim", "w1", code=NOTHING_TO_DO) == {"task": None, "lease": None}
    ask("claim", "w1", "--capability", "gpu", "--type", "b", code=NOTHING_TO_DO)
    assert stig("claim", "w1", "--capability", "gpu", "--type", "a").startswith("a 1\n")


def test_a_claim_can_wait_for_a_task_whose_time_comes() -> None:
    post("a", not_before=time.time() + 0.3)
    assert stig("claim", "w1", "--wait", "30s").startswith("a 1\n")
    ask("claim", "w1", "--wait", "0.2s", code=NOTHING_TO_DO)


def test_fail_release_and_renew_do_what_the_board_does() -> None:
    post("a", task_type="a", max_attempts=2)
    held = ("--agent", "w1", "--fence")
    claim("a", lease_s=60)
    assert "renewed a until" in stig("renew", "a", *held, "1", "--lease", "1h")
    assert (task("a").lease_until or 0) > time.time() + 3000
    assert told("renew", "a", *held, "1")["lease"]["fence"] == 1
    stig("release", "a", *held, "1", "--reason", "later")
    assert (task("a").status, task("a").attempts) == (TaskStatus.PENDING, 0)
    claim("a")
    assert "tried again in" in stig("fail", "a", *held, "2", "-", stdin="what\nwent wrong\n")
    assert task("a").error == "what\nwent wrong"
    stig("claim", "w1", "--wait", "30s")
    assert stig("fail", "a", "again", *held, "3") == "failed a, for good\n"


def test_no_retry_fails_for_good() -> None:
    post("a", task_type="a")
    claim("a")
    stig("fail", "a", "cannot be", "--agent", "w1", "--fence", "1", "--no-retry")
    assert task("a").status is TaskStatus.FAILED


@pytest.mark.parametrize(
    "words",
    [
        ("complete", "a"),
        ("fail", "a", "wrong"),
        ("release", "a"),
        ("renew", "a"),
        ("report", "a", "{}"),
    ],
)
def test_a_stale_agent_is_refused_whatever_it_says(words: tuple[str, ...]) -> None:
    post("a", task_type="a")
    claim("a", lease_s=0.000_001)
    claim("a", agent="w2")
    before = task("a")
    with pytest.raises(LostLeaseError, match="agent 'w2' claimed it since"):
        ask(*words, "--agent", "w1", "--fence", "1")
    assert task("a") == before


def test_a_report_is_shown_and_renews_the_lease() -> None:
    post("a", task_type="a")
    claim("a", lease_s=60)
    said = stig(
        *("report", "a", '{"done": 3, "total": 10}', "--agent", "w1", "--fence", "1"),
        *("--lease", "1h"),
    )
    assert said.startswith("reported on a, held until")
    assert task("a").status is TaskStatus.IN_PROGRESS
    assert (task("a").lease_until or 0) > time.time() + 3000
    assert "w1, 3 of 10, " in stig("list")
    assert '"done": 3' in stig("show", "a")
    assert "reports done 3" in stig("show", "a")


def test_a_payload_too_large_for_a_row_is_read_from_its_file() -> None:
    payload = {"text": "x" * 2**20}
    post("a", payload=payload)
    assert "$blob" in task("a").payload
    assert told("show", "a")["task"]["payload"] == payload
    assert told("claim", "w1")["task"]["payload"] == payload


# --- unique keys ---


def test_a_unique_key_keeps_replaces_or_refuses() -> None:
    key = ("--unique-key", "sync-eu")
    first = stig("post", "sync", "one", *key)
    assert stig("post", "sync", "two", *key) == first, "the id of the task that stands there"
    assert task(first.strip()).description == "one"
    assert stig("post", "sync", "three", *key, "--on-duplicate", "replace") == first
    assert task(first.strip()).description == "three"
    with pytest.raises(UsageError, match="has its unique_key 'sync-eu'"):
        ask("post", "sync", "four", *key, "--on-duplicate", "refuse")
    assert len(statuses()) == 1
    ask("post", "sync", "--on-duplicate", "odd", code=2)


# --- rules ---


def test_a_paused_type_is_not_taken() -> None:
    post("a", task_type="a")
    post("b", task_type="b")
    claim("b")
    assert stig("pause", "a") == "paused a\n"
    assert stig("pause", "b") == "paused b; 1 task held by agents go on\n"
    ask("claim", "w2", code=NOTHING_TO_DO)
    assert "its type is paused" in stig("list")
    assert "pending: its type is paused" in stig("show", "a")
    assert told("rules")["paused"] == ["a", "b"]
    assert stig("resume", "a") == "resumed a\n"
    assert stig("claim", "w2").startswith("a 1")


def test_all_types_are_paused_and_resumed_at_once() -> None:
    post("a", task_type="a")
    assert stig("pause", "--all") == "paused all types\n"
    ask("claim", "w1", code=NOTHING_TO_DO)
    assert "all is paused" in stig("list")
    assert "all types  not taken until `stig board resume --all`" in stig("rules")
    stig("pause", "b")
    assert stig("resume", "--all") == "resumed all types; still paused: b\n"
    assert stig("claim", "w1").startswith("a 1")
    with pytest.raises(UsageError, match="name a task type, or give --all"):
        ask("pause")
    with pytest.raises(UsageError, match="name a task type, or give --all"):
        ask("resume", "a", "--all")


def test_a_priority_changes_the_order() -> None:
    for name in "abc":
        post(name)
    assert stig("priority", "1", "c", "b") == "priority 1 for 2 tasks\n"
    assert "priority 1, was 5" in stig("show", "c")
    assert stig("claim", "w1").startswith("b 1")
    with pytest.raises(UsageError, match="no task 'x'"):
        ask("priority", "1", "x")
    ask("priority", "11", "a", code=2)


def test_what_waits_for_a_person_is_listed_and_decided() -> None:
    post("plain")
    assert stig("waiting") == "nothing waits for you\n"
    stig("cancel", "plain")
    for name in "ab":
        post(name, task_type="approval", requires=("person",), description=f"May {name} go out?")
    ask("claim", "w1", code=NOTHING_TO_DO)
    listed = stig("waiting")
    assert "May a go out?" in listed
    assert "waits for a person" in stig("list")
    assert stig("approve", "a", "--by", "ann", "--reason", "fine") == "approved 1 task\n"
    assert task("a").result == {"approved": True, "by": "ann", "reason": "fine"}
    assert told("refuse", "b", "--by", "ann", "--reason", "too big") == {
        "refused": ["b"],
        "errors": {},
        "left": [],
    }
    assert task("b").error == "refused by ann: too big"
    assert stig("waiting") == "nothing waits for you\n"
    with pytest.raises(UsageError, match="was approved by 'ann' already"):
        ask("refuse", "a")


def test_a_limit_holds_back_and_is_named() -> None:
    for name in "abc":
        post(name, limit_key="x" if name == "c" else None)
    assert stig("limit", "jobs", "--type", "job", "--at-once", "1") == (
        "limit jobs: 1 at once of type job\n"
    )
    assert stig("claim", "w1").startswith("a 1")
    ask("claim", "w2", code=NOTHING_TO_DO)
    assert "pending: held back by the limit jobs" in stig("show", "b")
    assert told("show", "c")["held_back"] == "held back by the limit jobs"
    stig("limit", "keys", "--key", "*", "--rate", "100/m")
    (jobs, keys) = told("rules")["limits"]
    assert (jobs["name"], jobs["at_once"]) == ("jobs", 1)
    assert (keys["limit_key"], keys["rate"], keys["per_s"]) == ("*", 100, 60)
    assert "100 in 1 m 00 s, each limit key by itself" in stig("rules")
    assert stig("unlimit", "jobs") == "dropped the limit jobs\n"
    assert stig("claim", "w2").startswith("b 1")
    with pytest.raises(NotFoundError, match="no limit 'jobs'"):
        ask("unlimit", "jobs")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("limit", "l"), "is for no task_type"),
        (("limit", "l", "--type", "a"), "needs at_once"),
        (("limit", "l", "--type", "a", "--rate", "0/1m"), "--rate is '0/1m'"),
        (("limit", "l", "--type", "a", "--rate", "many"), "--rate is 'many'"),
        (("limit", "l", "--type", "a", "--rate", "5/never"), "--rate is '1never'"),
        (("schedule", "s", "job"), "needs every_s or cron"),
        (("schedule", "s", "job", "--every", "1h", "--cron", "* * * * *"), "not both"),
        (("schedule", "s", "job", "--cron", "soon"), "cron is 'soon'"),
        (("schedule", "s", "job", "--cron", "* * * * *", "--zone", "Mars/X"), "no time zone"),
        (("retain",), "--completed 7d"),
        (("retain", "--completed", "1d", "--for-ever"), "--for-ever"),
        (("prune", "--older-than", "30x"), "--older-than is '30x'"),
        (("prune", "--older-than", "1d", "--status", "pending"), "--status has 'pending'"),
    ],
)
def test_rules_that_cannot_be_are_refused_with_what_to_do(
    words: tuple[str, ...], said: str
) -> None:
    post("a")
    with pytest.raises(UsageError, match=said):
        ask(*words)
    ask("limit", "l", "--type", "a", "--at-once", "0", code=2)
    assert stig("rules") == "no rules\n"


def test_a_schedule_posts_when_somebody_asks_for_work() -> None:
    post("a", task_type="a")
    made = told(
        *("schedule", "sync", "orders", "Fetch", "--every", "1s", "--payload", '{"n": 1}'),
        *("--requires", "net", "--priority", "2"),
    )["schedule"]
    assert made["every_s"] == 1
    assert made["task"]["payload"] == {"n": 1}
    assert "orders, every 1.0 s" in stig("rules")
    claimed = told("claim", "w1", "--capability", "net", "--type", "orders", "--wait", "30s")
    assert claimed["task"]["task_id"].startswith("sync.")
    assert claimed["task"]["priority"] == 2
    stig("schedule", "report", "weekly", "--cron", "0 6 * * mon", "--zone", "Europe/Berlin")
    assert "weekly, 0 6 * * mon Europe/Berlin, next at " in stig("rules")
    assert stig("unschedule", "sync") == "dropped the schedule sync\n"
    with pytest.raises(NotFoundError, match="no schedule 'sync'"):
        ask("unschedule", "sync")


def test_retention_and_fairness_are_rules_too() -> None:
    post("a")
    assert stig("retain", "--completed", "7d", "--events", "1h") == (
        "retention: completed 7 days, events 1 h 00 m; the rest for ever\n"
    )
    assert stig("fair") == "parents take turns\n"
    assert told("rules")["retention"]["completed_s"] == 7 * 86400
    assert told("rules")["fair"] is True
    assert "parents take turns" in stig("rules")
    assert stig("fair", "false") == "parents do not take turns\n"
    assert stig("retain", "--for-ever") == "retention: all stays for ever\n"
    assert stig("rules") == "no rules\n"


def test_prune_drops_what_is_old_and_says_what_it_would() -> None:
    jobs = [Task(task_type="job", task_id=f"j{number}") for number in range(3)]
    scripted(
        [
            (7200, lambda board: board.post_many(jobs)),
            (7000, do_one),
            (10, do_one),
        ]
    )
    assert told("prune", "--older-than", "1h", "--dry-run") == {"dry_run": True, "tasks": 1}
    assert len(statuses()) == 3
    assert told("prune", "--older-than", "1h", "--status", "failed")["tasks"] == 0
    assert stig("prune", "--older-than", "1h").startswith("dropped 1 task, ")
    assert set(statuses()) == {"j1", "j2"}
    assert stig("prune", "--older-than", "0", "--status", "completed, failed").startswith(
        "dropped 1 task, "
    )
    assert stig("doctor") == "the board is sound\n", "what was pruned is no fault"


# --- steering ---


def test_retry_begins_named_tasks_anew() -> None:
    fail("a", "x")
    fail("b", "x")
    assert stig("retry", "a") == "retried 1 task\n"
    assert statuses() == {"a": "pending", "b": "failed"}
    with pytest.raises(UsageError, match="cannot retry"):
        ask("retry", "a")
    with pytest.raises(UsageError, match="no task 'z'"):
        ask("retry", "z")


def test_retry_goes_on_after_one_that_cannot_be() -> None:
    fail("a", "x")
    post("b")
    result = CliRunner().invoke(board_app, ["retry", "b", "a", "z", "--json"])
    assert json.loads(result.stdout)["retried"] == ["a"]
    assert set(json.loads(result.stdout)["refused"]) == {"b", "z"}
    assert isinstance(result.exception, UsageError)
    assert statuses()["a"] == "pending"


def test_retry_in_bulk_takes_filters() -> None:
    fail("a", "timed out after 5 s")
    fail("b", "no space left")
    fail("c", "timed out after 9 s")
    post("d")
    assert stig("retry", "--failed", "--error", "timed out", "--type", "a") == "retried 1 task\n"
    assert stig("retry", "--failed", "--error", "timed out") == "retried 1 task\n"
    assert statuses() == {"a": "pending", "b": "failed", "c": "pending", "d": "pending"}
    assert stig("retry", "--failed", "--error", "timed out") == "retried 0 tasks\n"


@pytest.mark.parametrize("words", [("--failed",), ("c", "b", "a")])
def test_retry_finds_an_order_in_which_it_goes(words: tuple[str, ...]) -> None:
    with TaskBoard("board.db") as board:
        board.post_many(
            [
                Task(task_id="c", task_type="job", depends_on=("b",)),
                Task(task_id="b", task_type="job", depends_on=("a",)),
                Task(task_id="a", task_type="a"),
            ]
        )
        held = board.claim("w1")
        assert held is not None
        board.fail(held, "x", retry=False)
    assert set(statuses().values()) == {"failed"}
    assert stig("retry", *words) == "retried 3 tasks\n"
    assert set(statuses().values()) == {"pending"}


def test_a_task_whose_need_stays_dead_is_not_retried() -> None:
    post("a", task_type="a")
    post("b", depends_on=("a",))
    stig("cancel", "a")
    assert statuses() == {"a": "cancelled", "b": "failed"}
    with pytest.raises(UsageError, match="retry that first"):
        ask("retry", "b")
    said = stig("retry", "--failed")
    assert said.startswith("retried 0 tasks\n1 task stay")
    assert told("retry", "--failed") == {"retried": [], "refused": {}, "left": ["b"]}
    stig("retry", "--failed", "--cancelled")
    assert statuses() == {"a": "pending", "b": "pending"}


def test_cancel_in_bulk_takes_filters_and_leaves_what_is_held() -> None:
    post("a", task_type="a", parent_id="p")
    post("b", task_type="a")
    post("c", task_type="c")
    claim("c")
    post("d", task_type="a", depends_on=("b",))
    assert stig("cancel", "--pending", "--parent", "p") == "cancelled 1 task\n"
    assert stig("cancel", "--pending", "--reason", "not needed") == "cancelled 1 task\n"
    assert statuses() == {"a": "cancelled", "b": "cancelled", "c": "claimed", "d": "failed"}
    assert task("b").error == "not needed"
    assert told("cancel", "--unfinished")["cancelled"] == ["c"]


def test_cancel_by_what_went_wrong_before() -> None:
    post("a", task_type="a")
    post("b", task_type="b")
    post("c", depends_on=("a",))
    with TaskBoard("board.db") as board:
        for kind in "ab":
            held = board.claim("w1", task_types=[kind])
            assert held is not None
            board.fail(held, f"wrong with {kind}")
    assert stig("cancel", "--pending", "--error", "with a") == "cancelled 1 task\n"
    assert statuses() == {"a": "cancelled", "b": "pending", "c": "failed"}


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_steering_needs_names_or_a_choice_and_not_both(command: str) -> None:
    post("a")
    choice = "--failed" if command == "retry" else "--pending"
    for words in ((), ("--type", "a"), ("a", choice), ("a", "--type", "a")):
        with pytest.raises(UsageError, match=r"name a task|not both"):
            ask(command, *words)
    assert statuses() == {"a": "pending"}


# --- moving ---


def test_a_board_moves_as_one_file(folder: Path) -> None:
    post("a", payload={"n": 1})
    post("b", depends_on=("a",))
    claim_kind = claim("job")
    assert stig("export", "out.jsonl") == "exported 2 tasks and 3 events\n"
    assert told("import", "out.jsonl", "--board", "tasks")["tasks"] == 2
    with TaskBoard("tasks") as moved, TaskBoard("board.db") as board:
        assert moved.list_all() == board.list_all()
        assert moved.get("a") == claim_kind
    assert sorted(path.name for path in folder.glob("out*")) == ["out.jsonl"]


def test_an_export_goes_through_a_pipe(folder: Path) -> None:
    post("a")
    done = ask("export", "-")
    assert done.stderr == "exported 1 task and 1 event\n"
    assert stig("import", "-", "--board", "new.db", stdin=done.stdout_bytes).startswith("imported")
    assert stig("list", "--board", "new.db").splitlines()[1].startswith("a ")


def test_only_an_export_is_overwritten(folder: Path) -> None:
    post("a")
    (folder / "notes.txt").write_text("mine")
    (folder / "sub").mkdir()
    for name in ("notes.txt", "board.db", "sub"):
        with pytest.raises(UsageError, match="not overwritten"):
            ask("export", name)
    assert (folder / "notes.txt").read_text() == "mine"
    with pytest.raises(UsageError, match="cannot be written"):
        ask("export", "missing/out.jsonl")
    stig("export", "out.jsonl")
    post("b")
    assert stig("export", "out.jsonl") == "exported 2 tasks and 2 events\n"


def test_a_file_that_is_no_whole_export_begins_no_board(folder: Path) -> None:
    post("a")
    stig("export", "out.jsonl")
    whole = (folder / "out.jsonl").read_bytes()
    (folder / "cut.jsonl").write_bytes(whole[:-20])
    with pytest.raises(CorruptError, match=r"cut\.jsonl:4: it was cut off here"):
        ask("import", "cut.jsonl", "--board", "new.db")
    assert not (folder / "new.db").exists()
    with pytest.raises(UsageError, match="an empty board"):
        ask("import", "out.jsonl")
    with pytest.raises(UsageError, match="cannot be read"):
        ask("import", "none.jsonl", "--board", "new.db")


# --- keeping it in order ---


def spoil(sql: str) -> None:
    database = sqlite3.connect("board.db")
    database.execute(sql)
    database.commit()
    database.close()


def test_the_doctor_finds_and_mends_and_its_exit_code_tells() -> None:
    post("a")
    post("b", depends_on=("a",))
    assert stig("doctor") == "the board is sound\n"
    spoil("UPDATE tasks SET waiting_on = '[]' WHERE task_id = 'b'")
    said = " ".join(stig("doctor", code=1).split())
    assert "fault b does not wait for 'a', which is pending" in said
    assert "`stig board doctor --mend` mends 2 of 2" in said
    said = stig("doctor", "--mend")
    assert "mended  b" in said
    assert said.endswith("the board is sound\n")
    assert told("doctor") == {"sound": True, "mended": [], "findings": []}
    assert "mended: does not wait for 'a'" in stig("show", "b")


def test_a_note_is_no_fault() -> None:
    post("a", task_type="a")
    claim("a", lease_s=0.000_001)
    document = told("doctor")
    assert document["sound"] is True
    assert document["findings"][0]["kind"] == "lease-overdue"
    assert "note  a" in stig("doctor")


def test_what_the_doctor_cannot_mend_it_says_with_what_to_do() -> None:
    post("a")
    spoil("UPDATE tasks SET status = 'completed', finished_at = 1 WHERE task_id = 'a'")
    for words in ((), ("--mend",)):
        said = " ".join(stig("doctor", *words, code=1).split())
        assert "is completed, but pending by the journal" in said
        assert "stig board show a" in said


def test_migrate_says_from_which_schema_to_which() -> None:
    post("a")
    document = told("migrate")
    assert document["before"] == document["after"] == SCHEMA_VERSION
    assert stig("migrate") == f"schema {SCHEMA_VERSION}: nothing to migrate\n"
    stig("post", "job", "--board", "tasks")
    assert "no schema" in stig("migrate", "--board", "tasks")
    spoil("PRAGMA user_version = 999")
    with pytest.raises(UsageError, match="use a newer one"):
        ask("migrate")


# --- watch, and the program as a process ---


def run(*words: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [STIG, "board", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_tells_what_happens_until_it_is_stopped(number: signal.Signals) -> None:
    post("a")
    with run("watch", "--json", "--after", "0") as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["kind"] == "posted"
        claim_all = TaskBoard("board.db")
        with claim_all as board:
            board.claim("w1")
        event = json.loads(watching.stdout.readline())
        assert (event["kind"], event["task_id"], event["agent_id"]) == ("claimed", "a", "w1")
        watching.send_signal(number)
        rest, errors = watching.communicate(timeout=60)
    assert (watching.returncode, rest, errors) == (0, "", "")


def test_watch_begins_now_and_takes_filters() -> None:
    post("old")
    with TaskBoard("board.db") as board, run("watch", "--task", "b", "--kind", "note") as watching:
        assert watching.stdout is not None
        for _ in range(600):  # until the watcher is there
            board.record("note", task_id="a", data={"text": "no"})
            board.record("note", task_id="b", data={"text": HOSTILE})
            board.record("other", task_id="b")
            if watching.poll() is None and _has_output(watching):
                break
        line = watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=60)
    assert watching.returncode == 0
    assert " b board  note: " in line
    assert "old" not in line
    assert_harmless(line)


def _has_output(process: subprocess.Popen[str]) -> bool:
    import select

    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0.1)[0])


def test_errors_reach_the_shell_as_one_message_and_an_exit_code() -> None:
    post("a", task_type="a")
    claim("a")
    stale = ["complete", "a", "--agent", "w2", "--fence", "9"]
    done = subprocess.run([STIG, "board", *stale], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("stig: agent 'w2' no longer holds task 'a' (fence 9)")
    assert "Traceback" not in done.stderr
    done = subprocess.run([STIG, "board", "list", "--board", "no.db"], capture_output=True)
    assert done.returncode == 2
    done = subprocess.run([STIG, "board", "fly"], capture_output=True, text=True)
    assert done.returncode == 2


def test_the_boards_commands_do_not_load_the_rest() -> None:
    program = (
        "import sys; import stigmergy.cli.process; import stigmergy.cli.board;"
        "print(*[name for name in sys.modules if name in"
        " ('httpx', 'pydantic', 'stigmergy.coding', 'stigmergy.models')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "", "a script pays for it with every task"


def test_the_help_of_every_command_fits_80_columns_and_has_an_example() -> None:
    for command in board_app.registered_commands:
        assert command.name is not None
        said = stig(command.name, "--help")
        assert max(len(line.rstrip()) for line in said.splitlines()) <= 80
        assert "Example" in said
        assert f"stig board {command.name}" in said


def test_every_command_and_option_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "board-commands.md").read_text()
    group = typer.main.get_command(board_app)
    assert isinstance(group, TyperGroup)
    for name, command in group.commands.items():
        assert re.search(rf"^### .*`{name}\b", page, re.MULTILINE), name
        for option in command.params:
            for flag in (*option.opts, *option.secondary_opts):
                if flag.startswith("--"):
                    assert re.search(rf"`{flag}\b", page), f"{name} {flag}"
