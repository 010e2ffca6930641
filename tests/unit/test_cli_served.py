"""`stig board`, `status` and `logs` on a board over HTTP: the same as on one that is here."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stigmergy.board import Limit, Retention, Schedule, Task, TaskBoard, TaskStatus
from stigmergy.cli.app import app
from stigmergy.errors import LostLeaseError, StigmergyError, UnsupportedError, UsageError
from stigmergy.server.auth import Scope
from stigmergy.swarm.anyboard import AnyBoard
from stigmergy.swarm.remote import RemoteBoard
from stigmergy.testing.serving import ServedBoard, served


@pytest.fixture
def board(tmp_path: Path) -> Iterator[TaskBoard]:
    with TaskBoard(tmp_path / "board.db") as opened:
        yield opened


@pytest.fixture
def server(
    board: TaskBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ServedBoard]:
    with served(board, tmp_path / "server") as running:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "300")  # so that no path is cut
        monkeypatch.setenv("STIG_BOARD", running.url)
        monkeypatch.setenv("STIG_TOKEN", running.tokens[Scope.ADMIN])
        yield running


def stig(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def here_and_there(*words: str, board: TaskBoard, server: ServedBoard) -> tuple[str, str]:
    """What a command that changes nothing says of a board, asked directly and by its server."""
    here = stig(*words, "--board", board.url).replace(board.url, "BOARD")
    there = stig(*words, "--board", server.url).replace(server.url, "BOARD")
    return steady(here), steady(there)


def steady(text: str) -> str:
    """Without what goes on with the clock."""
    text = re.sub(r"[\d.]+ (ms|s|m \d\d s)\b", "TIME", text)
    return re.sub(r'"(at|oldest_ready_s|seconds|since)": [\d.]+', r'"\1": 0', text)


@pytest.mark.usefixtures("server")
def test_a_task_is_posted_taken_and_completed_over_http(board: TaskBoard) -> None:
    assert stig("board", "post", "resize", "A cat", "--id", "cat", "--payload", '{"x": 1}') == (
        "cat\n"
    )
    first = stig("board", "claim", "w1", "--type", "resize").splitlines()[0]
    name, fence = first.split()
    assert name == "cat"
    assert fence.startswith("1.")
    who = ["--agent", "w1", "--fence", fence]
    assert "held until" in stig("board", "report", "cat", '{"done": 1}', *who)
    stig("board", "renew", "cat", *who)
    assert stig("board", "complete", "cat", *who, "--result", '{"y": 2}') == "completed cat\n"
    task = board.get("cat")
    assert task is not None
    assert task.result == {"y": 2}
    assert "nothing to take" in CliRunner().invoke(app, ["board", "claim", "w1"]).stderr


def test_a_worker_reports_with_what_claim_told_it(
    board: TaskBoard, server: ServedBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STIG_TOKEN", server.tokens[Scope.WORKER])
    board.post_many(Task(task_type="job", task_id=name) for name in ("a", "b"))
    told = json.loads(stig("board", "claim", "w1", "--json"))
    lease = told["lease"]
    by = ["--agent", "w1", "--fence"]
    with pytest.raises(UsageError, match="not given out by this server"):
        stig("board", "complete", "a", *by, str(lease["fence"]))
    with pytest.raises(UsageError, match="not given out by this server"):
        stig("board", "complete", "a", *by, f"{lease['fence']}.{'0' * 32}")
    proven = f"{lease['fence']}.{lease['proof']}"
    assert "tried again" in stig("board", "fail", "a", *by, proven, "no luck")
    with pytest.raises(LostLeaseError):
        stig("board", "complete", "a", *by, proven)
    with pytest.raises(UsageError, match="scope admin"):
        stig("board", "cancel", "b")
    with pytest.raises(UsageError, match="give what `claim` told"):
        stig("board", "complete", "a", *by, "one")


@pytest.mark.usefixtures("server")
def test_a_claim_waits_over_http(board: TaskBoard) -> None:
    timer = threading.Timer(0.5, lambda: board.post(Task(task_type="job", task_id="late")))
    timer.start()
    assert stig("board", "claim", "w1", "--wait", "20s").startswith("late 1")
    timer.join()


def a_board_with_everything(board: TaskBoard) -> None:
    tasks = [Task(task_type="job", task_id=f"j{n}", parent_id="p") for n in range(4)]
    board.post_many([Task(task_type="all", task_id="p"), *tasks])
    board.post(Task(task_type="after", task_id="after", depends_on=("j0",)))
    board.post(Task(task_type="approval", task_id="ask", requires=("person",)))
    held = board.claim("w1", task_types=["job"], lease_s=500)
    assert held is not None
    board.fail(held, "timed out", retry=False)
    done = board.claim("w1", task_types=["job"], lease_s=500)
    assert done is not None
    board.complete(done, {"text": "x" * 2_000_000})
    board.claim("w2", task_types=["job"], lease_s=500)
    board.pause("job")
    board.limit(Limit(name="few", task_type="job", at_once=1))
    board.schedule(Schedule(name="nightly", task=Task(task_type="tidy"), cron="0 3 * * *"))
    board.retain(Retention(completed_s=8e6))
    board.share_fairly()


@pytest.mark.parametrize(
    "words",
    [
        ("board", "list"),
        ("board", "list", "--json"),
        ("board", "list", "--failed", "--error", "timed"),
        ("board", "list", "--status", "pending", "--type", "job", "--parent", "p"),
        ("board", "list", "--agent", "w2", "--newest", "--limit", "1"),
        ("board", "show", "j3"),
        ("board", "show", "after", "--json"),
        ("board", "show", "j1"),
        ("board", "stats"),
        ("board", "stats", "--json"),
        ("board", "rules"),
        ("board", "rules", "--json"),
        ("board", "waiting"),
        ("status",),
        ("status", "--json"),
        ("logs",),
        ("logs", "w1", "--json"),
        ("logs", "j1"),
    ],
    ids=" ".join,
)
def test_what_is_looked_at_is_the_same_over_http(
    words: tuple[str, ...], board: TaskBoard, server: ServedBoard
) -> None:
    a_board_with_everything(board)
    here, there = here_and_there(*words, board=board, server=server)
    assert there == here
    assert len(here) > 10


@pytest.mark.usefixtures("server")
def test_a_board_is_steered_over_http(board: TaskBoard) -> None:
    a_board_with_everything(board)
    assert stig("board", "pause", "--all").startswith("paused all types")
    assert "still paused: job" in stig("board", "resume", "--all")
    assert stig("board", "resume", "job") == "resumed job\n"
    assert stig("board", "priority", "1", "j3") == "priority 1 for 1 task\n"
    assert stig("board", "approve", "ask", "--by", "ann") == "approved 1 task\n"
    retried = json.loads(stig("board", "retry", "--failed", "--type", "job", "--json"))
    assert retried == {"retried": ["j0"], "refused": {}, "left": []}
    waits = board.get("after")
    assert waits is not None
    assert waits.status is TaskStatus.PENDING
    cancelled = json.loads(
        stig("board", "cancel", "--pending", "--parent", "p", "--reason", "enough", "--json")
    )
    assert cancelled["cancelled"] == ["j0", "j3"]  # j1 is done and j2 is held
    assert stig("board", "retry", "j3") == "retried 1 task\n"
    assert stig("board", "cancel", "j3") == "cancelled 1 task\n"
    with pytest.raises(UsageError, match="nowhere"):
        stig("board", "cancel", "nowhere")


@pytest.mark.parametrize(
    "words",
    [
        ("doctor",),
        ("migrate",),
        ("prune", "--older-than", "1d"),
        ("export", "out.jsonl"),
        ("limit", "l", "--type", "job", "--at-once", "1"),
        ("unlimit", "l"),
        ("schedule", "s", "job", "--every", "1h"),
        ("unschedule", "s"),
        ("retain", "--completed", "1d"),
        ("fair",),
    ],
)
def test_what_a_server_does_not_offer_is_refused_with_where_to_do_it(
    words: tuple[str, ...], server: ServedBoard
) -> None:
    with pytest.raises(UnsupportedError, match="run it beside the board") as refused:
        stig("board", *words, "--board", server.url)
    assert refused.value.exit_code == 3


def test_the_token_comes_from_a_file_with_just_the_scope_that_is_needed(
    board: TaskBoard, server: ServedBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.post(Task(task_type="job", task_id="a"))
    monkeypatch.delenv("STIG_TOKEN")
    with pytest.raises(UsageError, match="--token-file"):
        stig("board", "list")
    file = tmp_path / "read.token"
    file.write_text(f"read {server.tokens[Scope.READ]}\n")
    file.chmod(0o600)
    assert "a" in stig("board", "list", "--token-file", str(file))
    with pytest.raises(UsageError, match="scope admin"):
        stig("board", "cancel", "a", "--token-file", str(file))
    whole = str(tmp_path / "server" / "tokens")
    assert stig("board", "cancel", "a", "--token-file", whole) == "cancelled 1 task\n"
    assert "1 cancelled" in stig("status", "--board", server.url, "--token-file", str(file))
    with pytest.raises(UsageError, match="for a board over HTTP"):
        stig("board", "list", "--board", board.url, "--token-file", whole)


def test_the_journal_is_followed_over_http(board: TaskBoard, server: ServedBoard) -> None:
    stop = threading.Event()
    seen: list[str] = []

    def follow() -> None:
        with server.remote(Scope.READ) as remote:
            for event in remote.watch(after=0, stop=stop):
                seen.append(f"{event.kind} {event.task_id}")
                if event.task_id == "c":
                    stop.set()

    board.post(Task(task_type="job", task_id="a"))
    thread = threading.Thread(target=follow)
    thread.start()
    board.post(Task(task_type="job", task_id="b"))
    board.post(Task(task_type="job", task_id="c"))
    thread.join(20)
    assert seen == ["posted a", "posted b", "posted c"]


def test_a_watch_that_nothing_happens_in_heeds_a_stop(server: ServedBoard) -> None:
    stop = threading.Event()
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    with server.remote(Scope.READ) as remote:
        assert list(remote.watch(after=0, stop=stop)) == []


def test_a_server_that_refuses_or_is_gone_ends_a_watch(server: ServedBoard) -> None:
    watches: list[Callable[[], RemoteBoard]] = [
        lambda: RemoteBoard(server.url, token="x" * 20),
        lambda: RemoteBoard("http://127.0.0.1:9", token="x" * 20, patience_s=0.0),
    ]
    for open_one in watches:
        with open_one() as remote, pytest.raises(StigmergyError):
            next(remote.watch(after=0, stop=threading.Event()))


def test_boards_here_and_there_are_of_one_kind(board: TaskBoard, server: ServedBoard) -> None:
    with server.remote() as remote:
        both: list[AnyBoard] = [board, remote]
    assert [each.url for each in both] == [board.url, server.url]
