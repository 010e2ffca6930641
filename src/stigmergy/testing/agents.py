"""The contract of the Agent seam: what every kind of agent does, however its work ends.

Subclass `AgentContract` and say how an agent of the kind is made to behave in each of the ways
of `Behaviour`. The contract runs it on real git, in a sandbox that confines nothing.
"""
# ruff: noqa: D102 - the name of a test is its rule

from __future__ import annotations

import enum
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stigmergy.board import JsonObject
from stigmergy.coding.git.process import run_git
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.sandbox.sandbox import Limits
from stigmergy.coding.work.agent import AGENTS, AgentKind
from stigmergy.coding.work.handoff import (
    MAX_HANDOFF_BYTES,
    AgentSpec,
    Assignment,
    Handoff,
    parse_handoff,
)
from stigmergy.coding.work.runner import AttemptFailedError, TaskRunner, WorkResult
from stigmergy.testing.directory_sandbox import DirectorySandbox

__all__ = ["CHANGED", "CONTENT", "TOKEN", "AgentContract", "Behaviour", "Staged"]

CHANGED = "greeting.txt"
CONTENT = "hello\n"
TOKEN = "stig-token-of-task-T1"  # noqa: S105 - a marker to look for
_REF = "refs/stigmergy/test/tasks/T1"


class Behaviour(enum.Enum):
    """What an agent under test is to do."""

    WORKS = "writes CONTENT to CHANGED, leaves it uncommitted, and ends well"
    IDLES = "ends well and has changed nothing"
    FAILS = "ends badly and has changed nothing"
    HANGS = "writes CONTENT to CHANGED and then does nothing for ever"


@dataclass(frozen=True, slots=True)
class Staged:
    """An agent that behaves so, and what its sandbox's environment needs for it."""

    spec: AgentSpec
    env: Mapping[str, str] = field(default_factory=dict[str, str])


class AgentContract:
    """The rules; each runs one attempt at task T1."""

    kinds: Mapping[str, AgentKind] = AGENTS

    def stage(self, behaviour: Behaviour, *, wall_s: float) -> AbstractContextManager[Staged]:
        """An agent of this kind that behaves so, with `wall_s` as its time limit."""
        raise NotImplementedError

    @pytest.fixture
    def repository(self, tmp_path: Path) -> Iterator[Repository]:
        at = tmp_path / "origin"
        at.mkdir()
        run_git(("init", "--quiet", "--initial-branch=main"), cwd=at)
        (at / "README.md").write_text("# Demo\n")
        run_git(("add", "--all"), cwd=at)
        author = {"GIT_AUTHOR_NAME": "Test", "GIT_AUTHOR_EMAIL": "test@example.invalid"}
        run_git(("commit", "--quiet", "--message=Start"), cwd=at, env=author)
        with Repository(at) as repository:
            yield repository

    @pytest.fixture
    def attempt(self, repository: Repository, tmp_path: Path) -> Attempt:
        return Attempt(self, repository, tmp_path / "sandboxes" / "T1")

    def test_work_that_ended_well_is_complete_and_committed(self, attempt: Attempt) -> None:
        result = attempt.run(Behaviour.WORKS)
        assert result.handoff.status == "complete"
        assert result.commit is not None
        assert attempt.repository.read_file(result.commit, CHANGED) == CONTENT.encode()

    def test_commits_and_changes_are_counted_from_git(self, attempt: Attempt) -> None:
        handoff = attempt.run(Behaviour.WORKS).handoff
        assert (handoff.commits, handoff.changes) == (1, (CHANGED,))
        assert (handoff.metrics.files_changed, handoff.metrics.lines_added) == (1, 1)

    def test_commits_bear_the_name_of_the_assignment(self, attempt: Attempt) -> None:
        commit = attempt.run(Behaviour.WORKS).commit
        assert commit is not None
        author = attempt.repository.commit(commit).author
        assert author.startswith(b"Contract agent <contract@example.invalid>")

    def test_ending_well_without_a_change_is_no_commit(self, attempt: Attempt) -> None:
        result = attempt.run(Behaviour.IDLES)
        assert (result.handoff.status, result.handoff.commits) == ("complete", 0)
        assert result.commit is None
        assert attempt.repository.tip(_REF) is None

    def test_ending_badly_is_a_handoff_with_a_reason(self, attempt: Attempt) -> None:
        handoff = attempt.run(Behaviour.FAILS).handoff
        assert handoff.status == "failed"
        assert handoff.error

    def test_a_time_limit_keeps_what_was_done(self, attempt: Attempt) -> None:
        result = attempt.run(Behaviour.HANGS, wall_s=3.0)
        assert result.handoff.status == "partial"
        assert "time limit" in (result.handoff.error or "")
        assert result.commit is not None

    def test_a_stop_ends_it_with_a_handoff_that_says_so(self, attempt: Attempt) -> None:
        with pytest.raises(AttemptFailedError) as caught:
            attempt.run(Behaviour.HANGS, stop_at=CHANGED)
        assert caught.value.reason == "stopped"
        assert caught.value.exit.code == 0, "it had to be killed"
        handoff = attempt.left()
        assert (handoff.status, handoff.error) == ("partial", "stopped")

    @pytest.mark.parametrize("behaviour", [Behaviour.WORKS, Behaviour.IDLES, Behaviour.FAILS])
    def test_all_that_it_says_is_progress(self, attempt: Attempt, behaviour: Behaviour) -> None:
        result = attempt.run(behaviour)
        assert result.refused_lines == 0
        assert [told["kind"] for told in attempt.told][:1] == ["start"]
        assert attempt.told[-1]["kind"] == "end"
        assert attempt.told[-1]["status"] == result.handoff.status

    @pytest.mark.parametrize("behaviour", [Behaviour.WORKS, Behaviour.FAILS])
    def test_it_leaves_nothing_outside_but_its_result(
        self, attempt: Attempt, behaviour: Behaviour, tmp_path: Path
    ) -> None:
        attempt.run(behaviour)
        top = {path.name for path in attempt.sandbox.folder.iterdir() if path.name != ".stderr"}
        assert top == {"task.json", "result.json", "repo"}
        assert {path.name for path in attempt.sandbox.folder.parent.iterdir()} == {"T1"}
        assert {path.name for path in tmp_path.iterdir()} <= {"origin", "sandboxes", "stage"}

    def test_the_token_is_in_no_file_and_no_word(self, attempt: Attempt) -> None:
        result = attempt.run(Behaviour.WORKS)
        files = [path for path in attempt.sandbox.folder.rglob("*") if path.is_file()]
        assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []
        assert TOKEN not in f"{attempt.told} {result}"


class Attempt:
    """One attempt of a staged agent, and what it said."""

    def __init__(self, contract: AgentContract, repository: Repository, folder: Path) -> None:
        self.repository = repository
        self.told: list[JsonObject] = []
        self._contract = contract
        self._folder = folder
        self._sandbox: DirectorySandbox | None = None

    @property
    def sandbox(self) -> DirectorySandbox:
        """The sandbox of the run."""
        assert self._sandbox is not None, "run first"
        return self._sandbox

    def run(
        self, behaviour: Behaviour, *, wall_s: float = 60.0, stop_at: str | None = None
    ) -> WorkResult:
        """Run it; it is stopped when it says something after the file `stop_at` is there."""
        base = self.repository.rev_parse("HEAD")
        stop = threading.Event()
        with self._contract.stage(behaviour, wall_s=wall_s) as staged:
            sandbox = DirectorySandbox(self.repository, self._folder, base, env=staged.env)
            self._sandbox = sandbox

            def listen(told: JsonObject) -> None:
                self.told.append(told)
                if stop_at is not None and (sandbox.repo / stop_at).exists():
                    stop.set()

            return TaskRunner(self.repository, agents=self._contract.kinds).run(
                sandbox,
                Assignment(
                    task_id="T1",
                    task_type="code",
                    description="Greet.",
                    base=base,
                    agent=staged.spec,
                    commit_name="Contract agent",
                    commit_email="contract@example.invalid",
                ),
                ref=_REF,
                token=TOKEN,
                limits=Limits(wall_s=wall_s),
                stop=stop,
                on_progress=listen,
            )

    def left(self) -> Handoff:
        """The handoff in the workspace, whatever the runner made of it."""
        data = self.sandbox.read_file("result.json", max_bytes=MAX_HANDOFF_BYTES)
        return parse_handoff(data, task_id="T1")
