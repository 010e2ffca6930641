from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stigmergy import Task, TaskBoard, TaskStatus
from stigmergy.server.auth import Scope
from stigmergy.server.documents.board import EventPage
from stigmergy.server.documents.leases import Claimed
from stigmergy.server.documents.tasks import Listed, TaskPage
from stigmergy.server.guard import BodyLimits
from stigmergy.server.rates import Rate
from stigmergy.server.serving import ServeOptions
from stigmergy.testing.serving import ServedBoard, served

API = "/api/v1"


@pytest.fixture
def board(tmp_path: Path) -> Iterator[TaskBoard]:
    with TaskBoard(tmp_path / "board.db") as opened:
        yield opened


@pytest.fixture
def server(board: TaskBoard, tmp_path: Path) -> Iterator[ServedBoard]:
    with served(board, tmp_path / "server") as running:
        yield running


@pytest.fixture
def http(server: ServedBoard) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def worker(server: ServedBoard) -> Iterator[httpx.Client]:
    with server.client(Scope.WORKER) as client:
        yield client


def claim(client: httpx.Client, **order: Any) -> list[dict[str, Any]]:
    answer = client.post(f"{API}/tasks/claim", json={"agent_id": "a", **order})
    assert answer.status_code == 200, answer.text
    Claimed.model_validate(answer.json())
    return answer.json()["claimed"]


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    assert (answer.status_code, document["type"]) == (status, f"urn:stigmergy:problem:{kind}")
    assert document["status"] == status
    assert document["detail"]
    return document


def events_of(stream: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in stream:
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


# --- the life of a task ---


def test_a_task_goes_from_posting_to_its_result(worker: httpx.Client, board: TaskBoard) -> None:
    posted = worker.post(f"{API}/tasks", json={"task_type": "add", "payload": {"x": 1}})
    assert posted.status_code == 201
    (task_id,) = posted.json()["task_ids"]
    (held,) = claim(worker, task_types=["add"])
    assert held["task"]["task_id"] == task_id
    path, lease = f"{API}/tasks/{task_id}", {"lease": held["lease"]}
    started = worker.post(f"{path}/start", json=lease)
    assert Listed.model_validate(started.json()).task.status is TaskStatus.IN_PROGRESS
    renewed = worker.post(f"{path}/renew", json={**lease, "lease_s": 900}).json()
    assert renewed["lease"]["deadline"] > held["lease"]["deadline"] + 500
    worker.post(f"{path}/report", json={**lease, "progress": {"done": 1, "total": 2}})
    assert worker.get(path).json()["task"]["progress"] == {"done": 1, "total": 2}
    done = worker.post(f"{path}/complete", json={**lease, "result": {"y": 2}})
    assert done.json()["task"]["status"] == "completed"
    task = board.get(task_id)
    assert task is not None
    assert task.result == {"y": 2}
    history = EventPage.model_validate(worker.get(f"{path}/history").json())
    kinds = [event.kind for event in history.events]
    assert kinds == ["posted", "claimed", "started", "reported", "completed"]


def test_a_batch_is_posted_whole_or_not_at_all(worker: httpx.Client, board: TaskBoard) -> None:
    good = {"task_type": "job", "task_id": "one"}
    bad = {"task_type": "job", "depends_on": ["nowhere"]}
    problem(worker.post(f"{API}/tasks/batch", json={"tasks": [good, bad]}), 422, "refused")
    assert board.list_all() == []
    both = {"tasks": [{"task_type": "job", "task_id": "two", "depends_on": ["one"]}, good]}
    assert worker.post(f"{API}/tasks/batch", json=both).json() == {"task_ids": ["two", "one"]}


def test_fail_and_release_put_a_task_back(worker: httpx.Client) -> None:
    worker.post(f"{API}/tasks", json={"task_type": "job", "task_id": "j"})
    (held,) = claim(worker)
    released = worker.post(f"{API}/tasks/j/release", json={"lease": held["lease"], "reason": "no"})
    assert released.json()["task"]["status"] == "pending"
    (held,) = claim(worker)
    failed = worker.post(
        f"{API}/tasks/j/fail", json={"lease": held["lease"], "error": "boom", "retry": False}
    )
    assert failed.json()["task"]["status"] == "failed"
    assert failed.json()["task"]["error"] == "boom"


def test_steering_cancels_retries_and_pauses(http: httpx.Client) -> None:
    http.post(f"{API}/tasks", json={"task_type": "job", "task_id": "j"})
    cancelled = http.post(f"{API}/tasks/j/cancel", json={"reason": "enough"})
    assert cancelled.json()["task"]["error"] == "enough"
    assert http.post(f"{API}/tasks/j/retry").json()["task"]["status"] == "pending"
    assert http.post(f"{API}/pause", json={"task_type": "job"}).status_code == 204
    assert claim(http) == []
    assert http.post(f"{API}/resume", json={"task_type": "job"}).status_code == 204
    assert len(claim(http)) == 1
    http.post(f"{API}/agents", json={"count": 7})
    last = http.get(f"{API}/events").json()["events"][-1]
    assert (last["kind"], last["data"]["count"]) == ("agents_wanted", 7)


def test_a_page_of_large_tasks_ends_early_and_the_next_goes_on(
    http: httpx.Client, board: TaskBoard
) -> None:
    board.post_many(
        Task(task_type="job", task_id=f"t{n:03}", payload={"text": "x" * 500_000})
        for n in range(60)
    )
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = http.get(f"{API}/tasks", params={"limit": 1_000, **cursor})
        assert len(answer.content) < 10_000_000
        page = TaskPage.model_validate(answer.json())
        seen += [task.task_id for task in page.tasks]
        if page.next_cursor is None:
            break
        cursor = {"cursor": page.next_cursor}
    assert seen == [f"t{n:03}" for n in range(60)]


def test_a_large_payload_goes_as_a_blob(worker: httpx.Client, board: TaskBoard) -> None:
    value = {"text": "x" * 2_000_000}
    reference = worker.post(f"{API}/blobs", json=value).json()
    assert reference["bytes"] > 2_000_000
    worker.post(f"{API}/tasks", json={"task_type": "job", "task_id": "j", "payload": reference})
    task = board.get("j")
    assert task is not None
    assert board.load(task.payload) == value
    assert worker.get(f"{API}/blobs/{reference['$blob']}").json() == value
    problem(worker.get(f"{API}/blobs/sha256-{'0' * 64}"), 404, "not-found")
    problem(worker.get(f"{API}/blobs/..%2f..%2ftokens"), 404, "not-found")


# --- lists ---


def test_a_cursor_goes_through_all_tasks_once(http: httpx.Client, board: TaskBoard) -> None:
    board.post_many(Task(task_type=f"t{n % 2}", task_id=f"n{n:03}") for n in range(25))
    seen: list[str] = []
    query: dict[str, Any] = {"task_type": "t1", "limit": 5}
    while True:
        page = TaskPage.model_validate(http.get(f"{API}/tasks", params=query).json())
        seen += [task.task_id for task in page.tasks]
        board.post(Task(task_type="t0"))  # what comes later moves nobody
        if page.next_cursor is None:
            break
        query["cursor"] = page.next_cursor
    assert seen == [f"n{n:03}" for n in range(1, 25, 2)]


def test_a_cursor_of_other_filters_or_a_forged_one_is_refused(
    http: httpx.Client, board: TaskBoard
) -> None:
    board.post_many(Task(task_type="job") for _ in range(3))
    cursor = http.get(f"{API}/tasks", params={"limit": 1}).json()["next_cursor"]
    other = {"limit": 1, "cursor": cursor, "status": "failed"}
    problem(http.get(f"{API}/tasks", params=other), 422, "refused")
    for forged in ("x", "!!", "W10", cursor + "A", "ZGVlcA" * 100):
        problem(http.get(f"{API}/tasks", params={"cursor": forged}), 422, "refused")


def test_progress_counts_what_stands_where(http: httpx.Client, board: TaskBoard) -> None:
    board.post_many(Task(task_type="job", parent_id="p") for _ in range(3))
    board.claim("a")
    told = http.get(f"{API}/progress", params={"parent_id": "p"}).json()
    assert told == {
        "total": 3,
        "pending": 2,
        "in_progress": 1,
        "completed": 0,
        "failed": 0,
        "cancelled": 0,
    }


# --- waiting claims ---


def test_a_claim_waits_until_a_task_comes(worker: httpx.Client, board: TaskBoard) -> None:
    timer = threading.Timer(0.3, lambda: board.post(Task(task_type="job")))
    timer.start()
    began = time.monotonic()
    (held,) = claim(worker, wait_s=30)
    assert held["task"]["task_type"] == "job"
    assert time.monotonic() - began < 25
    timer.join()


def test_a_claim_that_waited_in_vain_gets_nothing(worker: httpx.Client) -> None:
    began = time.monotonic()
    assert claim(worker, wait_s=0.4) == []
    assert time.monotonic() - began >= 0.4


def test_a_waiting_claim_gets_a_task_whose_time_comes(
    worker: httpx.Client, board: TaskBoard
) -> None:
    board.post(Task(task_type="job", not_before=time.time() + 0.5))
    assert len(claim(worker, wait_s=30)) == 1


def test_what_is_claimed_for_a_client_that_left_is_given_back(
    server: ServedBoard, board: TaskBoard
) -> None:
    with server.client(Scope.WORKER, timeout_s=0.5) as hasty, pytest.raises(httpx.ReadTimeout):
        hasty.post(f"{API}/tasks/claim", json={"agent_id": "hasty", "wait_s": 30})
    board.post(Task(task_type="job", task_id="j"))
    with server.client(Scope.WORKER) as patient:
        (held,) = claim(patient, agent_id="patient", wait_s=30)
    assert held["task"]["task_id"] == "j"


def test_absurd_waits_are_refused(worker: httpx.Client) -> None:
    for wait in (61, 1e308, -1):
        answer = worker.post(f"{API}/tasks/claim", json={"agent_id": "a", "wait_s": wait})
        problem(answer, 422, "invalid")
    text = '{"agent_id": "a", "wait_s": NaN}'
    answer = worker.post(
        f"{API}/tasks/claim", content=text, headers={"content-type": "application/json"}
    )
    problem(answer, 422, "invalid")


# --- leases ---


def test_a_stale_lease_is_a_conflict_that_tells_why(worker: httpx.Client, board: TaskBoard) -> None:
    board.post(Task(task_type="job", task_id="j"))
    (held,) = claim(worker)
    board.cancel("j", reason="not wanted")
    answer = worker.post(f"{API}/tasks/j/complete", json={"lease": held["lease"]})
    told = problem(answer, 409, "lost-lease")
    assert (told["task_id"], told["agent_id"], told["fence"]) == ("j", "a", 1)
    assert "not wanted" in told["reason"]


def test_a_worker_cannot_report_on_what_it_was_not_given(
    worker: httpx.Client, http: httpx.Client, board: TaskBoard
) -> None:
    board.post_many([Task(task_type="job", task_id="j"), Task(task_type="job", task_id="k")])
    held = claim(worker, agent_id="mine", limit=1)[0]
    board.claim("victim")
    forged = {"task_id": "k", "agent_id": "victim", "fence": 1}
    for proof in ({}, {"proof": held["lease"]["proof"]}, {"proof": ""}, {"proof": "0" * 32}):
        answer = worker.post(f"{API}/tasks/k/complete", json={"lease": {**forged, **proof}})
        problem(answer, 403, "forged-lease")
    crossed = worker.post(f"{API}/tasks/k/complete", json={"lease": held["lease"]})
    problem(crossed, 422, "invalid")
    assert http.post(f"{API}/tasks/k/complete", json={"lease": forged}).status_code == 200


def test_no_worker_takes_what_waits_for_a_person(
    worker: httpx.Client, http: httpx.Client, board: TaskBoard
) -> None:
    board.post(Task(task_type="approval", requires=("person",)))
    order = {"agent_id": "a", "capabilities": ["person"]}
    problem(worker.post(f"{API}/tasks/claim", json=order), 403, "scope")
    assert claim(worker) == []
    assert len(claim(http, capabilities=["person"])) == 1


# --- who may ---


def test_each_scope_may_do_what_it_says(server: ServedBoard) -> None:
    with server.client(Scope.READ) as reader, server.client(Scope.WORKER) as worker:
        assert reader.get(f"{API}/tasks").status_code == 200
        problem(reader.post(f"{API}/tasks", json={"task_type": "job"}), 403, "scope")
        problem(reader.post(f"{API}/tasks/claim", json={"agent_id": "a"}), 403, "scope")
        assert worker.post(f"{API}/tasks", json={"task_type": "job"}).status_code == 201
        for path, body in (
            ("tasks/x/cancel", {}),
            ("tasks/x/retry", {}),
            ("pause", {}),
            ("resume", {}),
            ("agents", {"count": 1}),
        ):
            problem(worker.post(f"{API}/{path}", json=body), 403, "scope")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer x", "Basic eDp4", "bearer stig_x"])
def test_without_a_good_token_nothing_is_told(server: ServedBoard, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for path in ("tasks", "journal", "no/such/thing"):
        answer = httpx.get(f"{server.url}{API}/{path}", headers=headers, trust_env=False)
        problem(answer, 401, "unauthorised")
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_read_only_server_changes_nothing(board: TaskBoard, tmp_path: Path) -> None:
    options = ServeOptions(read_only=True)
    with served(board, tmp_path / "s", options) as server, server.client() as admin:
        problem(admin.post(f"{API}/tasks", json={"task_type": "job"}), 403, "read-only")
        assert admin.get(f"{API}/tasks").json()["tasks"] == []


def test_too_many_requests_are_told_when_to_come_again(board: TaskBoard, tmp_path: Path) -> None:
    options = ServeOptions(rate=Rate(per_s=1, burst=3))
    with (
        served(board, tmp_path / "s", options) as server,
        server.client() as admin,
        server.client(Scope.READ) as other,
    ):
        answers = [admin.get(f"{API}/progress") for _ in range(5)]
        assert [each.status_code for each in answers][:3] == [200, 200, 200]
        told = problem(answers[-1], 429, "too-many-requests")
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert 0 < told["retry_after_s"] <= 2
        assert other.get(f"{API}/progress").status_code == 200  # its own bucket


# --- the same request twice ---


def test_a_key_makes_a_write_happen_once(worker: httpx.Client, board: TaskBoard) -> None:
    headers = {"Idempotency-Key": "one"}
    first = worker.post(f"{API}/tasks", json={"task_type": "job"}, headers=headers)
    second = worker.post(f"{API}/tasks", json={"task_type": "job"}, headers=headers)
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert len(board.list_all()) == 1
    other = worker.post(f"{API}/tasks", json={"task_type": "other"}, headers=headers)
    problem(other, 422, "key-taken")
    refused = {"Idempotency-Key": "two"}
    for _ in range(2):
        answer = worker.post(f"{API}/tasks/nowhere/start", json={}, headers=refused)
        problem(answer, 422, "invalid")


def test_a_claim_with_a_key_gives_the_same_tasks_again(
    worker: httpx.Client, board: TaskBoard
) -> None:
    board.post_many(Task(task_type="job") for _ in range(5))
    headers = {"Idempotency-Key": "k"}
    order = {"agent_id": "a", "limit": 2}
    first = worker.post(f"{API}/tasks/claim", json=order, headers=headers).json()
    assert worker.post(f"{API}/tasks/claim", json=order, headers=headers).json() == first
    assert board.progress().in_progress == 2


def test_results_and_the_next_claim_with_a_key_happen_once(
    worker: httpx.Client, board: TaskBoard
) -> None:
    board.post_many(Task(task_type="job", task_id=name) for name in ("a", "b", "c"))
    claimed = worker.post(f"{API}/tasks/claim", json={"agent_id": "w"}).json()["claimed"]
    body = {
        "agent_id": "w",
        "results": [{"lease": claimed[0]["lease"], "result": {"ok": True}}],
    }
    headers = {"Idempotency-Key": "k-exchange"}
    first = worker.post(f"{API}/tasks/complete-and-claim", json=body, headers=headers)
    again = worker.post(f"{API}/tasks/complete-and-claim", json=body, headers=headers)
    assert (first.status_code, first.json()) == (200, again.json())
    assert [each["task"]["task_id"] for each in first.json()["claimed"]] == ["b"]
    Claimed.model_validate(first.json())
    assert board.progress().completed == 1
    assert worker.post(f"{API}/tasks/complete-and-claim", json=body | {"results": []}).is_error
    person = body | {"capabilities": ["person"]}
    assert worker.post(f"{API}/tasks/complete-and-claim", json=person).status_code == 403


def test_the_same_key_of_another_token_is_another_key(
    worker: httpx.Client, http: httpx.Client, board: TaskBoard
) -> None:
    for client in (worker, http):
        headers = {"Idempotency-Key": "same"}
        client.post(f"{API}/tasks", json={"task_type": "job"}, headers=headers)
    assert len(board.list_all()) == 2


def test_answers_survive_a_restart(board: TaskBoard, tmp_path: Path) -> None:
    told = []
    for _ in range(2):
        with served(board, tmp_path / "s") as server, server.client() as client:
            headers = {"Idempotency-Key": "k"}
            told.append(
                client.post(f"{API}/tasks", json={"task_type": "j"}, headers=headers).json()
            )
    assert told[0] == told[1]
    assert len(board.list_all()) == 1


@pytest.mark.parametrize("verb", ["fail", "release", "post"])
def test_what_a_server_did_before_it_could_answer_is_not_done_again(
    board: TaskBoard, tmp_path: Path, verb: str
) -> None:
    path, body, headers = f"{API}/tasks", {"task_type": "new"}, {"Idempotency-Key": "k"}
    with served(board, tmp_path / "s") as server, server.client() as client:
        if verb != "post":
            board.post(Task(task_type="job", task_id="j"))
            (held,) = claim(client)
            path, body = f"{API}/tasks/j/{verb}", {"lease": held["lease"], "error": "boom"}
            if verb == "release":
                del body["error"]
        client.post(path, json=body, headers=headers)
    (file,) = (tmp_path / "s").glob("*.answers.db")
    with contextlib.closing(sqlite3.connect(file)) as db, db:  # as if it had died just before
        db.execute("UPDATE answers SET status = NULL, media_type = NULL, body = NULL")
    before = board.last_seq()
    with served(board, tmp_path / "s") as server, server.client() as client:
        answer = client.post(path, json=body, headers=headers)
        assert answer.is_success, answer.text
        other = client.post(path, json=body, headers={"Idempotency-Key": "other"})
    assert board.last_seq() == before + (verb == "post")
    if verb == "post":
        assert other.json() != answer.json()
    else:
        problem(other, 409, "lost-lease")


def test_a_lease_outlives_the_server_that_gave_it(board: TaskBoard, tmp_path: Path) -> None:
    board.post(Task(task_type="job", task_id="j"))
    with served(board, tmp_path / "s") as server, server.client(Scope.WORKER) as client:
        (held,) = claim(client)
    with served(board, tmp_path / "s") as server, server.client(Scope.WORKER) as client:
        done = client.post(f"{API}/tasks/j/complete", json={"lease": held["lease"]})
    assert done.status_code == 200


# --- the journal ---


def test_a_stream_goes_on_where_it_was_left(http: httpx.Client, board: TaskBoard) -> None:
    board.post_many(Task(task_type="job") for _ in range(1200))
    seen: list[int] = []
    while len(seen) < 1500:
        headers = {"Last-Event-ID": str(seen[-1])} if seen else {}
        with http.stream("GET", f"{API}/journal", headers=headers) as stream:
            for number, event in enumerate(events_of(stream.iter_lines())):
                seen.append(event["seq"])
                if seen[-1] == 1200:
                    board.post_many(Task(task_type="late") for _ in range(300))
                if number == 399 or len(seen) == 1500:
                    break
    assert seen == list(range(1, 1501))


def test_a_stream_of_one_task_tells_of_no_other(http: httpx.Client, board: TaskBoard) -> None:
    board.post_many(Task(task_type="job", task_id=name) for name in "abc")
    with http.stream("GET", f"{API}/journal", params={"task_id": "b"}) as stream:
        events = events_of(stream.iter_lines())
        assert next(events)["task_id"] == "b"
        board.cancel("a")
        board.cancel("b")
        assert next(events)["kind"] == "cancelled"


@pytest.mark.parametrize("given", ["9" * 5000, "-1", "x", "1.5", "99999999999999999999", "77"])
def test_an_id_that_is_none_is_refused(http: httpx.Client, given: str) -> None:
    answer = http.get(f"{API}/journal", headers={"Last-Event-ID": given})
    problem(answer, 422, "refused")


def test_events_come_in_pages(http: httpx.Client, board: TaskBoard) -> None:
    board.post_many(Task(task_type="job", task_id=f"j{n}") for n in range(10))
    page = http.get(f"{API}/events", params={"after": 4, "limit": 3}).json()
    assert [event["seq"] for event in page["events"]] == [5, 6, 7]
    assert page["last_seq"] == 10
    one = http.get(f"{API}/events", params={"task_id": "j7"}).json()["events"]
    assert [event["task_id"] for event in one] == ["j7"]


def test_a_page_of_large_events_ends_early_and_the_next_goes_on(
    http: httpx.Client, server: ServedBoard, board: TaskBoard
) -> None:
    board.post(Task(task_type="job", task_id="t"))
    for n in range(300):
        size = 60_000 if n >= 60 else 10
        board.record("note", task_id="t" if n % 2 else "", data={"n": n, "text": "x" * size})
    for path, wanted in ((f"{API}/events", 301), (f"{API}/tasks/t/history", 151)):
        seqs: list[int] = []
        pages, more = 0, True
        while more:
            answer = http.get(path, params={"after": seqs[-1] if seqs else 0})
            assert len(answer.content) < 8 * 1024**2 + 100_000
            page = answer.json()
            EventPage.model_validate(page)
            seqs += [event["seq"] for event in page["events"]]
            more, pages = page["more"], pages + 1
        assert len(seqs) == len(set(seqs)) == wanted
        assert seqs == sorted(seqs)
        assert pages >= 2 or wanted == 151
    with server.remote() as remote:
        assert remote.history("t") == board.history("t")
        assert remote.events(limit=5) == board.events(limit=5)


def test_streams_and_waiting_claims_end_with_the_server(board: TaskBoard, tmp_path: Path) -> None:
    ended: list[str] = []

    def follow(server: ServedBoard) -> None:
        with server.client() as client, client.stream("GET", f"{API}/journal") as stream:
            for _ in stream.iter_lines():
                pass
        ended.append("stream")

    def wait(server: ServedBoard) -> None:
        with server.client() as client, contextlib.suppress(httpx.TransportError):
            claim(client, wait_s=60)
        ended.append("claim")

    with served(board, tmp_path / "s") as server:
        threads = [threading.Thread(target=work, args=(server,)) for work in (follow, wait)]
        for thread in threads:
            thread.start()
        with server.client() as client:
            there = ("stigmergy_server_waiting_claims 1.0", "stigmergy_server_streams 1.0")
            until = time.monotonic() + 50
            while not all(line in (text := client.get("/metrics").text) for line in there):
                assert time.monotonic() < until, text
        began = time.monotonic()
    for thread in threads:
        thread.join(50)
    assert sorted(ended) == ["claim", "stream"]
    assert time.monotonic() - began < 40, "the claim would have waited for a minute"


# --- the page, and what is not there ---


def test_every_answer_has_the_safe_headers(http: httpx.Client, server: ServedBoard) -> None:
    for path in ("/healthz", "/openapi.json", f"{API}/tasks", "/nowhere", "/static/x.js"):
        answer = http.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert httpx.get(f"{server.url}/healthz", trust_env=False).json() == {"status": "ok"}


def test_what_is_not_there_and_wrong_methods_are_problems(http: httpx.Client) -> None:
    problem(http.get(f"{API}/nowhere"), 404, "not-found")
    problem(http.get(f"{API}/tasks/nobody"), 404, "not-found")
    problem(http.delete(f"{API}/tasks"), 405, "method-not-allowed")
    problem(http.post(f"{API}/tasks/nobody/cancel"), 404, "not-found")


def test_bodies_over_the_limit_are_refused(board: TaskBoard, tmp_path: Path) -> None:
    options = ServeOptions(limits=BodyLimits(request_bytes=1000, blob_bytes=2000))
    with served(board, tmp_path / "s", options) as server, server.client() as client:
        large = {"task_type": "job", "description": "x" * 1000}
        problem(client.post(f"{API}/tasks", json=large), 413, "too-large")
        chunked = client.post(f"{API}/tasks", content=iter([b"x" * 600] * 9))
        problem(chunked, 413, "too-large")
        assert client.post(f"{API}/blobs", json={"v": "x" * 1500}).status_code == 201
        problem(client.post(f"{API}/blobs", json={"v": "x" * 2500}), 413, "too-large")
