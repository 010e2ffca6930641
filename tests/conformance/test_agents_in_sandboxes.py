"""Both kinds of agents at work in the sandboxes of this machine, model and all."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stigmergy.board import JsonObject
from stigmergy.coding.git.process import run_git
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.sandbox.local import LocalSandboxes
from stigmergy.coding.sandbox.sandbox import ModelSocket, SandboxSettings
from stigmergy.coding.work.handoff import AgentSpec, Assignment, CommandAgent, OwnAgent
from stigmergy.coding.work.runner import AttemptFailedError, TaskRunner, WorkResult
from stigmergy.testing.model_server import Call, Say, ScriptedModelServer

REF = "refs/stigmergy/test/tasks/T1"
SCRIPT = [
    Say(calls=(Call("search", {"pattern": "^one"}),)),
    Say(calls=(Call("edit_file", {"path": "a.txt", "old": "one", "new": "two"}),)),
    Say(calls=(Call("run", {"argv": ["cat", "a.txt"]}), Call("commit", {"message": "Two"}))),
    Say(calls=(Call("finish", {"status": "complete", "summary": "It is two."}),)),
]


class Place:
    """A repository, and attempts in sandboxes of one kind."""

    def __init__(self, repository: Repository, state: Path, confine: str) -> None:
        self.repository = repository
        self.told: list[JsonObject] = []
        self._state = state
        self._confine = confine

    def attempt(
        self, agent: AgentSpec, *, model: str = "http://127.0.0.1:1/v1", stop_at: str = ""
    ) -> WorkResult:
        base = self.repository.rev_parse("HEAD")
        stop = threading.Event()

        def listen(told: JsonObject) -> None:
            self.told.append(told)
            if told["kind"] == stop_at:
                stop.set()

        with self._sandboxes(model) as sandboxes:
            task = Assignment(
                task_id="T1", task_type="code", description="Make it two.", base=base, agent=agent
            )
            return TaskRunner(self.repository).run(
                sandboxes.open("T1-1", base),
                task,
                ref=REF,
                token="token",
                stop=stop,
                on_progress=listen,
            )

    @contextmanager
    def _sandboxes(self, model: str) -> Generator[LocalSandboxes]:
        # The host's network instead of a Unix socket: the scripted model listens on loopback.
        settings = SandboxSettings(confine=self._confine, network=True)
        socket = ModelSocket(path=self._state / "model.sock", url=model)
        with LocalSandboxes(self.repository.path, self._state, settings, socket) as sandboxes:
            yield sandboxes


@pytest.fixture(params=["none", pytest.param("bubblewrap", marks=pytest.mark.needs_bwrap)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    at = tmp_path / "origin"
    at.mkdir()
    run_git(("init", "--quiet"), cwd=at)
    (at / "a.txt").write_text("one\n")
    run_git(("add", "--all"), cwd=at)
    author = {"GIT_AUTHOR_NAME": "Test", "GIT_AUTHOR_EMAIL": "test@example.invalid"}
    run_git(("commit", "--quiet", "--message=Start"), cwd=at, env=author)
    with Repository(at) as repository:
        yield Place(repository, tmp_path / "state", request.param)


def test_a_command_works_in_a_sandbox(place: Place) -> None:
    result = place.attempt(CommandAgent(argv=("sh", "-c", "echo two > a.txt; rm -f none")))
    handoff = result.handoff
    assert (handoff.status, handoff.commits, handoff.changes) == ("complete", 1, ("a.txt",))
    assert result.commit is not None
    assert place.repository.read_file(result.commit, "a.txt") == b"two\n"
    assert result.refused_lines == 0


def test_a_model_works_with_tools_in_a_sandbox(place: Place) -> None:
    with ScriptedModelServer({"T1": SCRIPT}) as server:
        result = place.attempt(OwnAgent(model="scripted"), model=server.base_url)
        seen = server.requests
    handoff = result.handoff
    assert (handoff.status, handoff.error) == ("complete", None)
    assert (handoff.commits, handoff.changes) == (1, ("a.txt",))
    assert (handoff.metrics.steps, handoff.metrics.tool_calls) == (4, 5)
    results = [m["content"] for m in seen[-1].body["messages"] if m["role"] == "tool"]
    assert results[0] == "a.txt:1:one"
    assert results[2].endswith("\ntwo\n")
    assert {request.headers["authorization"] for request in seen} == {"Bearer token"}


def test_a_failing_command_is_failed_in_a_sandbox(place: Place) -> None:
    handoff = place.attempt(CommandAgent(argv=("sh", "-c", "echo bad; exit 3"))).handoff
    assert (handoff.status, handoff.exit_code, handoff.commits) == ("failed", 3, 0)


def test_a_time_limit_keeps_the_work_in_a_sandbox(place: Place) -> None:
    spec = CommandAgent(argv=("sh", "-c", "echo two > a.txt; exec sleep 600"), wall_s=3.0)
    result = place.attempt(spec)
    assert (result.handoff.status, result.handoff.commits) == ("partial", 1)


def test_a_stop_is_heeded_in_a_sandbox(place: Place) -> None:
    with pytest.raises(AttemptFailedError) as caught:
        place.attempt(CommandAgent(argv=("sleep", "600")), stop_at="tool")
    assert caught.value.reason == "stopped"
    assert place.repository.tip(REF) is None
