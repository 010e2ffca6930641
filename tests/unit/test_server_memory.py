"""The memory, approvals and priorities over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stigmergy import Task, TaskBoard, TaskStatus
from stigmergy.memory import Memory
from stigmergy.server.auth import Scope
from stigmergy.server.documents.memory import (
    EntryHistory,
    EntryPage,
    Hits,
    MemoryDocument,
    Remembered,
)
from stigmergy.server.serving import ServeOptions
from stigmergy.testing.serving import ServedBoard, served

API = "/api/v1"
MEMORY = f"{API}/memory"


@pytest.fixture
def board(tmp_path: Path) -> Iterator[TaskBoard]:
    with TaskBoard(tmp_path / "board.db") as opened:
        yield opened


@pytest.fixture
def server(board: TaskBoard, tmp_path: Path) -> Iterator[ServedBoard]:
    options = ServeOptions(memory=tmp_path / "memory.db")
    with served(board, tmp_path / "server", options) as running:
        yield running


@pytest.fixture
def worker(server: ServedBoard) -> Iterator[httpx.Client]:
    with server.client(Scope.WORKER) as client:
        yield client


@pytest.fixture
def admin(server: ServedBoard) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def kind_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def test_what_is_stored_is_found_again(worker: httpx.Client) -> None:
    key = f"{MEMORY}/entries/build/notes/gate@1"
    stored = worker.put(key, json={"value": "the gate needs libfoo", "tags": ["gate"]})
    entry = Remembered.model_validate(stored.json()).entry
    assert (entry.namespace, entry.key, entry.kind, entry.version) == (
        "build",
        "notes/gate@1",
        "note",
        1,
    )
    assert worker.get(key).json() == stored.json()
    hits = Hits.model_validate(
        worker.get(f"{MEMORY}/search", params={"q": "libfoo", "namespace": "build"}).json()
    )
    assert [hit.key for hit in hits.hits] == ["notes/gate@1"]
    assert worker.get(f"{MEMORY}/search", params={"q": "libfoo", "tag": "x"}).json()["hits"] == []
    told = MemoryDocument.model_validate(worker.get(MEMORY).json())
    assert [(each.namespace, each.entries) for each in told.namespaces] == [("build", 1)]
    assert "path" not in worker.get(MEMORY).json()


def test_keys_have_versions_and_pages(worker: httpx.Client) -> None:
    for number in range(5):
        worker.put(f"{MEMORY}/entries/n/k{number}", json={"value": {"n": number}})
    first = EntryPage.model_validate(worker.get(f"{MEMORY}/entries?limit=3").json())
    rest = worker.get(f"{MEMORY}/entries", params={"limit": 3, "cursor": first.next_cursor})
    rest_page = EntryPage.model_validate(rest.json())
    keys = [entry.key for entry in (*first.entries, *rest_page.entries)]
    assert keys == [f"k{number}" for number in range(5)]
    assert rest_page.next_cursor is None
    stale = worker.put(f"{MEMORY}/entries/n/k0", json={"value": 1, "if_version": 7})
    assert kind_of(stale) == (409, "stale-version")
    assert worker.put(f"{MEMORY}/entries/n/k0", json={"value": 1, "if_version": 1}).is_success
    history = EntryHistory.model_validate(worker.get(f"{MEMORY}/history/n/k0").json())
    assert [entry.value for entry in history.versions] == [1, {"n": 0}]
    new = worker.post(f"{MEMORY}/entries/n", json={"value": "x"})
    assert new.status_code == 201
    assert worker.get(f"{MEMORY}/entries/n/{new.json()['entry']['key']}").status_code == 200


def test_where_an_entry_comes_from_is_not_the_client_s_to_say(
    worker: httpx.Client, board: TaskBoard
) -> None:
    url = f"{MEMORY}/entries/n/k"
    own = worker.put(url, json={"value": "x", "origin": {"agent_id": "boss"}})
    assert own.status_code == 422
    origin = worker.put(url, json={"value": "x"}).json()["entry"]["origin"]
    assert origin["agent_id"].startswith("token-")
    board.post(Task(task_type="job", task_id="j"))
    order = {"agent_id": "w1"}
    (held,) = worker.post(f"{API}/tasks/claim", json=order).json()["claimed"]
    told = worker.put(url, json={"value": "y", "lease": held["lease"]}).json()["entry"]["origin"]
    assert (told["agent_id"], told["task_id"]) == ("w1", "j")
    forged = {**held["lease"], "agent_id": "boss"}
    answer = worker.put(url, json={"value": "z", "lease": forged})
    assert kind_of(answer) == (403, "forged-lease")


def test_only_who_steers_may_forget(worker: httpx.Client, admin: httpx.Client) -> None:
    url = f"{MEMORY}/entries/n/k"
    worker.put(url, json={"value": "x"})
    assert kind_of(worker.delete(url)) == (403, "scope")
    assert admin.delete(url).status_code == 204
    assert kind_of(admin.delete(url)) == (404, "not-found")
    assert kind_of(admin.get(url)) == (404, "not-found")


def test_names_that_are_none_are_refused(worker: httpx.Client) -> None:
    for path in ("entries/..%2f/k", "entries/n/%00", "entries/ /k", "entries/n/" + "k" * 201):
        answer = worker.put(f"{MEMORY}/{path}", json={"value": 1})
        assert answer.status_code in (404, 422), path
    for query in ("q=", "q=x&limit=0", "q=x&kind=odd", "limit=1"):
        assert worker.get(f"{MEMORY}/search?{query}").status_code == 422


def test_a_server_without_a_memory_says_so(board: TaskBoard, tmp_path: Path) -> None:
    with served(board, tmp_path / "s") as server, server.client() as client:
        assert kind_of(client.get(f"{MEMORY}/search?q=x")) == (404, "no-memory")


def test_the_memory_is_one_with_that_of_other_processes(
    worker: httpx.Client, tmp_path: Path
) -> None:
    with Memory(tmp_path / "memory.db") as memory:
        memory.store("n", "here", "said here")
        assert worker.get(f"{MEMORY}/entries/n/here").json()["entry"]["value"] == "said here"
        worker.put(f"{MEMORY}/entries/n/there", json={"value": "said there"})
        entry = memory.get("n", "there")
    assert entry is not None
    assert entry.value == "said there"


# --- figures ---


def test_the_figures_are_there_for_prometheus(
    server: ServedBoard, worker: httpx.Client, board: TaskBoard
) -> None:
    board.post_many(Task(task_type="job") for _ in range(3))
    worker.post(f"{API}/tasks/claim", json={"agent_id": "a"})
    until = time.monotonic() + 10
    while "stigmergy_journal_events_total 4.0" not in (text := worker.get("/metrics").text):
        assert time.monotonic() < until, text
    families = {each.name: each for each in text_string_to_metric_families(text)}
    assert families["stigmergy_server_waiting_claims"].samples[0].value == 0
    assert families["stigmergy_server_streams"].samples[0].value == 0
    answer = httpx.get(f"{server.url}/metrics", trust_env=False)
    assert answer.status_code == 401


# --- what a person decides ---


def test_what_waits_for_a_person_is_approved_or_refused(
    admin: httpx.Client, worker: httpx.Client, board: TaskBoard
) -> None:
    for name in ("yes", "no"):
        board.post(Task(task_type="approval", task_id=name, requires=("person",)))
    ruling = {"by": "ada", "reason": "it is right"}
    assert kind_of(worker.post(f"{API}/tasks/yes/approve", json=ruling)) == (403, "scope")
    done = admin.post(f"{API}/tasks/yes/approve", json=ruling).json()["task"]
    assert done["status"] == "completed"
    assert done["result"] == {"approved": True, "by": "ada", "reason": "it is right"}
    refused = admin.post(f"{API}/tasks/no/refuse", json=ruling).json()["task"]
    assert refused["status"] == "failed"
    board.post(Task(task_type="job", task_id="other"))
    assert kind_of(admin.post(f"{API}/tasks/other/approve", json=ruling)) == (422, "refused")


def test_priorities_and_pauses_decide_who_comes_next(admin: httpx.Client, board: TaskBoard) -> None:
    board.post_many(Task(task_type="job", task_id=name) for name in ("a", "b"))
    changed = admin.post(f"{API}/tasks/b/priority", json={"priority": 1}).json()["task"]
    assert changed["priority"] == 1
    assert admin.post(f"{API}/tasks/b/priority", json={"priority": 0}).status_code == 422
    order = {"agent_id": "w", "limit": 1}
    assert admin.post(f"{API}/pause", json={"task_type": None}).status_code == 204
    assert admin.post(f"{API}/tasks/claim", json=order).json()["claimed"] == []
    assert admin.post(f"{API}/resume", json={}).status_code == 204
    (held,) = admin.post(f"{API}/tasks/claim", json=order).json()["claimed"]
    assert held["task"]["task_id"] == "b"
    task = board.get("a")
    assert task is not None
    assert task.status is TaskStatus.PENDING
