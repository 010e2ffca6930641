"""An attempt seen from the host: git counts, the agent's claim does not; failures have reasons."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stigmergy.board import JsonObject
from stigmergy.coding.git.process import run_git
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.sandbox.sandbox import Limits
from stigmergy.coding.work.agent import Start
from stigmergy.coding.work.briefing import system_prompt, user_prompt, with_prompts
from stigmergy.coding.work.handoff import Assignment, CommandAgent
from stigmergy.coding.work.progress import ProgressReader, parse_line
from stigmergy.coding.work.runner import AttemptFailedError, TaskRunner, WorkResult
from stigmergy.errors import UnsupportedError
from stigmergy.testing.directory_sandbox import DirectorySandbox

REF = "refs/stigmergy/test/tasks/T1"
AUTHOR = {
    "GIT_AUTHOR_NAME": "Test",
    "GIT_AUTHOR_EMAIL": "test@example.invalid",
    "GIT_COMMITTER_NAME": "Test",
    "GIT_COMMITTER_EMAIL": "test@example.invalid",
}
COMMIT = """
import subprocess
def git(*args):
    subprocess.run(["git", *args], check=True)
def commit(path, content):
    open(path, "w").write(content)
    git("add", "-A")
    git("commit", "-q", "-m", "work")
"""
RESULT = """
import json, os
def link():
    os.rename("../result.json", "../r")
    os.symlink("r", "../result.json")
def result(**fields):
    open("../result.json", "w").write(json.dumps({"version": 1, **fields}))
"""


@dataclass(frozen=True)
class Script:
    """An agent that nobody should trust: any Python program."""

    text: str

    def start(self, assignment: Assignment, *, token: str | None) -> Start:
        del assignment, token
        return Start((sys.executable, "-c", COMMIT + RESULT + self.text), AUTHOR)


class Host:
    """A repository, and attempts in sandboxes of it."""

    def __init__(self, repository: Repository, folder: Path) -> None:
        self.repository = repository
        self.told: list[JsonObject] = []
        self._folder = folder

    def attempt(
        self, script: str, *, limits: Limits | None = None, wall_s: float = 60.0, **more: Any
    ) -> WorkResult:
        base = self.repository.rev_parse("HEAD")
        sandbox = DirectorySandbox(self.repository, self._folder, base)
        runner = TaskRunner(self.repository, agents={"command": Script(script)})
        spec = CommandAgent(argv=("-",), wall_s=wall_s)
        task = assignment(base=base, agent=spec)
        return runner.run(
            sandbox, task, ref=REF, limits=limits, on_progress=self.told.append, **more
        )

    def failure(self, script: str, **more: Any) -> AttemptFailedError:
        with pytest.raises(AttemptFailedError) as caught:
            self.attempt(script, **more)
        assert self.repository.tip(REF) is None
        return caught.value


def assignment(**fields: Any) -> Assignment:
    agent = CommandAgent(argv=("-",))
    standard = {"task_id": "T1", "task_type": "code", "description": "Do it.", "base": "0" * 40}
    return Assignment.model_validate({"agent": agent, **standard, **fields})


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    at = tmp_path / "origin"
    at.mkdir()
    run_git(("init", "--quiet"), cwd=at)
    (at / "README.md").write_text("one\ntwo\n")
    run_git(("add", "--all"), cwd=at)
    run_git(("commit", "--quiet", "--message=Start"), cwd=at, env=AUTHOR)
    with Repository(at) as repository:
        yield Host(repository, tmp_path / "sandbox")


# --- what git says ---


def test_a_claim_of_commits_that_are_not_there_is_overridden(host: Host) -> None:
    result = host.attempt(
        'result(status="complete", commits=7, changes=["a", "b"],'
        ' metrics={"files_changed": 2, "lines_added": 99, "steps": 3})'
    )
    handoff = result.handoff
    assert (handoff.status, handoff.commits, handoff.changes) == ("complete", 0, ())
    assert (handoff.metrics.files_changed, handoff.metrics.lines_added) == (0, 0)
    assert handoff.metrics.steps == 3
    assert result.commit is None


def test_commits_that_were_not_claimed_are_counted(host: Host) -> None:
    result = host.attempt(
        'commit("README.md", "one\\n2\\n"); commit("b.bin", "x\\0"); result(status="complete")'
    )
    handoff = result.handoff
    assert (handoff.commits, set(handoff.changes)) == (2, {"README.md", "b.bin"})
    assert (handoff.metrics.lines_added, handoff.metrics.lines_removed) == (1, 1)
    assert host.repository.tip(REF) == result.commit


def test_changes_left_uncommitted_by_such_an_agent_do_not_count(host: Host) -> None:
    result = host.attempt('open("x", "w").write("x"); result(status="complete", commits=1)')
    assert (result.commit, result.handoff.commits) == (None, 0)


def test_commits_that_do_not_descend_from_the_base_are_refused(host: Host) -> None:
    failure = host.failure(
        'git("checkout", "-q", "--orphan", "other"); commit("x", "x"); result(status="complete")'
    )
    assert failure.reason == "rewritten-history"


# --- attempts that fail ---


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("", "no-result"),
        ('open("../result.json", "w").write("{")', "invalid-result"),
        ('result(status="great")', "invalid-result"),
        ("result()", "invalid-result"),
        ('open("../result.json", "w").write(" " * 2_000_000)', "invalid-result"),
        ('result(status="complete"); os.mkfifo("../p"); os.replace("../p", "../result.json")',
         "invalid-result"),
        ('result(status="complete"); link()', "invalid-result"),
        ('result(status="complete"); raise SystemExit(3)', "crashed"),
        ('result(status="complete"); os.kill(os.getpid(), 9)', "out-of-memory"),
        ('result(status="complete"); os.kill(os.getpid(), 11)', "killed"),
    ],
)  # fmt: skip
def test_an_attempt_without_a_proper_end_is_a_failure(host: Host, script: str, reason: str) -> None:
    failure = host.failure(f'commit("x", "x")\n{script}')
    assert failure.reason == reason
    assert "'T1'" in str(failure)


def test_what_a_crashed_program_said_last_is_in_the_error(host: Host) -> None:
    assert "out of luck" in str(host.failure('raise SystemExit("out of luck")'))


def test_a_program_beyond_its_time_is_a_failure_whatever_it_left(host: Host) -> None:
    script = 'result(status="complete"); import time; time.sleep(600)'
    sandbox_limits = Limits(wall_s=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stigmergy.coding.work.runner._GRACE_S", 0.0)
        failure = host.failure(script, limits=sandbox_limits, wall_s=0.5)
    assert failure.reason == "timed-out"


def test_a_stopped_attempt_is_a_failure_whatever_it_left(host: Host) -> None:
    stop = threading.Event()
    stop.set()
    assert host.failure("import time; time.sleep(600)", stop=stop).reason == "stopped"


def test_an_agent_nobody_knows_is_refused_before_anything_starts(
    host: Host, tmp_path: Path
) -> None:
    runner = TaskRunner(host.repository, agents={})
    base = host.repository.rev_parse("HEAD")
    sandbox = DirectorySandbox(host.repository, tmp_path / "sandbox", base)
    with pytest.raises(UnsupportedError, match="'command'"):
        runner.run(sandbox, assignment(base=base), ref=REF)
    assert not (sandbox.folder / "task.json").exists()


# --- progress ---


def test_progress_is_passed_on_and_the_rest_counted(host: Host) -> None:
    lines = [{"kind": "step", "step": 1}, "noise", {"no": "kind"}, {"kind": "text", "text": "x"}]
    prints = "".join(f"print({json.dumps(json.dumps(line))}, flush=True)\n" for line in lines)
    result = host.attempt(prints + 'result(status="partial")')
    assert host.told == [{"kind": "step", "step": 1}, {"kind": "text", "text": "x"}]
    assert result.refused_lines == 2


@pytest.mark.parametrize(
    "line",
    [
        "", "null", "[]", "3", '{"kind": 3}', '{"kind": ""}', '{"kind": "a b"}', '{"kind": "A"}',
        '{"kind": "' + "a" * 33 + '"}', "[" * 10_000, '{"kind": "x", "n": ' + "9" * 5_000 + "}",
        '{"kind": "x", "text": "' + "a" * 20_000 + '"}', '{"kind": "x"', "\0",
    ],
    ids=lambda line: line[:16],
)  # fmt: skip
def test_a_line_that_is_no_progress_is_refused(line: str) -> None:
    assert parse_line(line) is None


def test_progress_is_flat_bounded_and_writable() -> None:
    said = {"kind": "x", "text": "\ud800" * 2_500, "deep": {"a": 1}, "list": [1], "Bad Name": 1}
    told = parse_line(json.dumps({**said, "n": 10**300, "f": float("nan"), "t": True, "z": None}))
    assert told == {"kind": "x", "text": "?" * 1_999 + "…", "t": True, "z": None}
    many = parse_line(json.dumps({"kind": "x", **{f"f{n}": n for n in range(99)}}))
    assert many is not None
    assert len(many) <= 16


def test_a_flood_of_progress_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stigmergy.coding.work.progress._LINES", 3)
    reader = ProgressReader()
    read = [reader.read('{"kind": "step"}') for _ in range(5)]
    assert [told is not None for told in read] == [True, True, True, False, False]
    assert reader.refused == 2


# --- prompts ---


def test_the_users_prompt_holds_the_whole_task() -> None:
    text = user_prompt(
        assignment(
            scope=("src/*.py",),
            acceptance=("It adds.",),
            gate=("make", "test"),
            context={"gate_output": "1 failed", "hint": "look left"},
            attempt=2,
        )
    )
    for part in ("Task T1", "Do it.", "- src/*.py", "- It adds.", "make", "1 failed", "attempt 2"):
        assert part in text
    assert "# The gate's output\n\n1 failed" in text
    assert "# hint\n\nlook left" in text


def test_a_long_context_is_cut_in_the_middle() -> None:
    text = user_prompt(assignment(context={"gate_output": "begin" + "x" * 100_000 + "end"}))
    assert "begin" in text
    assert "end" in text
    assert len(text) < 26_000


def test_a_fix_is_told_that_it_is_one() -> None:
    assert "This is a fix" in system_prompt("fix")
    assert "This is a fix" not in system_prompt("code")


def test_the_system_prompt_names_every_tool() -> None:
    from stigmergy.coding.work.inside.toolbox import TOOLS

    for tool in TOOLS:
        assert f"`{tool['function']['name']}`" in system_prompt("code")


def test_prompts_that_are_there_stay() -> None:
    prompted = with_prompts(assignment(user_prompt="mine"))
    assert prompted.user_prompt == "mine"
    assert prompted.system_prompt
