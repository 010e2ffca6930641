"""The program in the sandbox when things break: it leaves a result, and nothing running."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stigmergy.coding.work.agent import INSIDE
from stigmergy.coding.work.handoff import Handoff, parse_handoff

PROGRAM = (sys.executable, "-I", "-S", "-B")


class Workspace:
    """A workspace with a repository, and the program run in it as a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repo = folder / "repo"
        self.repo.mkdir(parents=True)
        self.git("init", "-q")
        (self.repo / "a.txt").write_text("one\n")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "Start")
        self.base = self.git("rev-parse", "HEAD")

    def git(self, *args: str) -> str:
        who = ("-c", "user.name=T", "-c", "user.email=t@example.invalid")
        done = subprocess.run(
            ["git", *who, *args], cwd=self.repo, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def assign(self, agent: dict[str, Any], **fields: Any) -> None:
        document = {
            "version": 1,
            "task_id": "T1",
            "task_type": "code",
            "description": "Do it.",
            "base": self.base,
            "commit_name": "Agent",
            "commit_email": "agent@example.invalid",
            "agent": agent,
            **fields,
        }
        (self.folder / "task.json").write_text(json.dumps(document))

    def command(self, script: str, **more: Any) -> None:
        self.assign({"kind": "command", "argv": ["sh", "-c", script], "wall_s": 60, **more})

    def start(self, program: Path = INSIDE, **env: str) -> subprocess.Popen[str]:
        environment = {"PATH": os.environ["PATH"], "STIG_WORKSPACE": str(self.folder), **env}
        return subprocess.Popen(
            [*PROGRAM, str(program)],
            cwd=self.repo,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, program: Path = INSIDE, **env: str) -> tuple[int, str, str]:
        process = self.start(program, **env)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def result(self) -> Handoff:
        return parse_handoff((self.folder / "result.json").read_bytes(), task_id="T1")

    def done(self) -> Handoff:
        code, _, err = self.run()
        assert (code, err) == (0, "")
        return self.result()


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


# --- tasks that cannot be done ---


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "'agent': is missing"),
        ('{"agent": []}', "is not an object"),
        ('{"agent": {}, "task_id": 3}', "task_id: is not a string"),
    ],
)
def test_a_task_that_is_none_fails_with_a_reason(
    work: Workspace, text: str | None, reason: str
) -> None:
    if text is not None:
        (work.folder / "task.json").write_text(text)
    handoff = work.done()
    assert handoff.status == "failed"
    assert reason in (handoff.error or "")


def test_an_agent_nobody_knows_fails_with_its_name(work: Workspace) -> None:
    work.assign({"kind": "acp"})
    assert "'acp'" in (work.done().error or "")


def test_a_program_that_is_not_there_is_127(work: Workspace) -> None:
    work.assign({"kind": "command", "argv": ["no-such-agent"], "wall_s": 5})
    handoff = work.done()
    assert (handoff.status, handoff.exit_code) == ("failed", 127)
    assert "'no-such-agent' was not found" in (handoff.error or "")


def test_127_from_a_shell_stays_failed_whatever_was_changed(work: Workspace) -> None:
    work.command("echo x > new.txt; no-such-program")
    handoff = work.done()
    assert (handoff.status, handoff.exit_code, handoff.commits) == ("failed", 127, 1)
    assert "was not found" in (handoff.error or "")


def test_a_command_longer_than_the_system_takes_fails_with_a_reason(work: Workspace) -> None:
    work.assign(
        {"kind": "command", "argv": ["true", "{description}"], "wall_s": 5},
        description="x" * 3_000_000,
    )
    assert "could not be started" in (work.done().error or "")


def test_placeholders_in_shell_text_are_refused(work: Workspace) -> None:
    agent = {"kind": "command", "argv": ["echo {path}"], "shell": True, "wall_s": 5}
    work.assign(agent, scope=["$(touch hacked)"])
    assert '"$STIG_PATH"' in (work.done().error or "")


def test_what_a_task_says_is_no_shell_text(work: Workspace) -> None:
    agent = {"kind": "command", "argv": ['echo x > "$STIG_PATH"'], "shell": True, "wall_s": 5}
    work.assign(agent, scope=["$(touch hacked) `touch hacked`"])
    assert work.done().changes == ("$(touch hacked) `touch hacked`",)


# --- agents that do damage ---


def test_a_lock_left_by_a_killed_git_does_not_cost_the_work(work: Workspace) -> None:
    work.command("echo x > new.txt; touch .git/index.lock")
    handoff = work.done()
    assert (handoff.status, handoff.commits, handoff.changes) == ("complete", 1, ("new.txt",))


def test_without_a_repository_nothing_is_complete(work: Workspace) -> None:
    work.command("rm -rf .git")
    handoff = work.done()
    assert handoff.status == "failed"
    assert "could not be committed" in (handoff.error or "")


def test_without_a_checkout_nothing_is_complete(work: Workspace) -> None:
    work.command('rm -rf "$STIG_WORKSPACE/repo"')
    assert work.done().status == "failed"


@pytest.mark.parametrize(
    "plant",
    [
        'printf \'{"status": "complete", "commits": 9}\' > ../result.json',
        "ln -s /etc/passwd ../result.json",
        "mkfifo ../result.json",
    ],
)
def test_a_result_that_an_agent_planted_is_replaced(work: Workspace, plant: str) -> None:
    work.command(f"{plant}; exit 1")
    handoff = work.done()
    assert (handoff.status, handoff.exit_code) == ("failed", 1)
    assert not (work.folder / "result.json").is_symlink()


def test_a_folder_in_the_results_place_is_an_error_not_a_success(work: Workspace) -> None:
    work.command("mkdir ../result.json")
    code, _, err = work.run()
    assert code == 3
    assert "result.json" in err


def test_names_that_are_no_text_are_committed_and_told(work: Workspace) -> None:
    work.command(r"printf x > $(printf 'na\377me')")
    handoff = work.done()
    assert (handoff.status, handoff.commits, handoff.changes) == ("complete", 1, ("na�me",))


def test_a_flood_of_output_is_bounded(work: Workspace) -> None:
    work.command("yes 0123456789 | head -c 20000000; echo the end; exit 1")
    code, out, _ = work.run()
    assert code == 0
    assert len(out) < 300_000
    error = work.result().error or ""
    assert error.endswith("the end")
    assert len(error) < 20_100


# --- being ended ---


def test_a_stop_ends_the_command_with_its_children_and_keeps_the_work(work: Workspace) -> None:
    work.command("echo x > new.txt; sleep 600 & echo $! > ../child; echo begun; wait")
    process = work.start()
    assert process.stdout is not None
    until(process, '"begun"')
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    handoff = work.result()
    assert (handoff.status, handoff.error, handoff.changes) == ("partial", "stopped", ("new.txt",))
    assert ends(int((work.folder / "child").read_text()))


def test_a_stop_before_any_work_is_failed(work: Workspace) -> None:
    work.command("echo begun; exec sleep 600")
    process = work.start()
    until(process, '"begun"')
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert (work.result().status, work.result().error) == ("failed", "stopped")


def test_killed_it_leaves_no_result_and_a_checkout_that_can_be_read(work: Workspace) -> None:
    work.command("echo x > new.txt; echo $$ > ../child; echo begun; exec sleep 600")
    process = work.start()
    until(process, '"begun"')
    process.kill()
    process.communicate(timeout=60)
    os.kill(int((work.folder / "child").read_text()), signal.SIGKILL)
    assert not (work.folder / "result.json").exists()
    assert work.git("status", "--porcelain") == "?? new.txt"


def test_nobody_reading_its_progress_is_no_failure(work: Workspace) -> None:
    work.command("for n in 1 2 3; do echo line; done; echo x > new.txt")
    process = work.start()
    assert process.stdout is not None
    process.stdout.close()
    with process:
        assert process.wait(timeout=60) == 0
    assert work.result().status == "complete"


def test_an_error_of_our_own_is_a_result_with_its_name(work: Workspace) -> None:
    work.assign({"kind": "own", "max_steps": "many"})
    code, _, err = work.run(OPENAI_BASE_URL="http://127.0.0.1:1/v1")
    assert code == 0
    assert "Traceback" in err
    assert "ValueError" in (work.result().error or "")


# --- where it runs ---


def test_it_runs_from_a_copy_of_its_folder_alone(work: Workspace, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "agent"
    shutil.copytree(INSIDE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    work.assign({"kind": "own", "model": "m"})
    code, _, err = work.run(copy)
    assert (code, err) == (0, "")
    assert "OPENAI_BASE_URL" in (work.result().error or "")


def test_without_a_workspace_it_says_so() -> None:
    done = subprocess.run([*PROGRAM, str(INSIDE)], env={}, capture_output=True, text=True)
    assert done.returncode == 2
    assert "STIG_WORKSPACE" in done.stderr


def test_a_command_agent_loads_nothing_that_only_a_model_needs() -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(INSIDE.parent)!r}); import inside.program;"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run([*PROGRAM, "-c", script], capture_output=True, text=True, check=True)
    slow = {"http.client", "ssl", "email", "pathlib", "dataclasses", "inspect", "random", "asyncio"}
    assert slow & set(done.stdout.split()) == set()


def until(process: subprocess.Popen[str], mark: str) -> None:
    """Read its progress up to a line with `mark`."""
    assert process.stdout is not None
    for line in process.stdout:
        if mark in line:
            return
    raise AssertionError(f"it ended without {mark}")


def ends(pid: int) -> bool:
    """It is gone, or goes within seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 60.0)[0])
    finally:
        os.close(descriptor)
