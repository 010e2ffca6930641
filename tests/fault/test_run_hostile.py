"""Whole runs in which something breaks or misbehaves: agents, gates, the disk, the user."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from stigmergy.board import TaskBoard, TaskStatus
from stigmergy.board.blobs import is_reference
from stigmergy.coding.rundir import StateFolder
from stigmergy.errors import StigmergyError
from stigmergy.testing.runs import Ran, item, resume_run, run_items

MakeRepository = Callable[[Mapping[str, str | bytes]], Path]

GATE = "sh gate.sh"
NO_BAD_WORD = "! grep -rn BAD --include=*.txt .\n"
START = {"gate.sh": NO_BAD_WORD, "README": "start\n"}
WRITE = 'echo "$STIG_DESCRIPTION" > "$STIG_PATH"'


def git(repository: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


@pytest.fixture
def repository(make_repository: MakeRepository) -> Path:
    return make_repository(START)


def run_shell(repository: Path, agent: str, **settings: object) -> Ran:
    """One item, done by a shell command."""
    asked = {"gate": GATE, "max_attempts": 1} | settings
    items = [item("F01", "a.txt")]
    return run_items(repository, items, agent_command=agent, agent_shell=True, **asked)


# --- agents ---


def test_an_agent_that_is_killed_in_the_middle_is_tried_again(repository: Path) -> None:
    killed: list[int] = []

    def kill_the_first(line: str) -> None:
        deadline = time.monotonic() + 60
        while line.startswith("planner") and not killed and time.monotonic() < deadline:
            for process in psutil.Process().children(recursive=True):
                try:
                    if any("first try" in word for word in process.cmdline()):
                        process.kill()
                        killed.append(process.pid)
                except psutil.Error:
                    continue

    first = 'grep -q \'"attempt":1,\' "$STIG_WORKSPACE/task.json"'
    agent = f": first try; if {first}; then sleep 600; fi; {WRITE}"
    ran = run_items(
        repository,
        [item("F01", "a.txt")],
        on_line=kill_the_first,
        agent_command=agent,
        agent_shell=True,
        gate=GATE,
    )

    assert killed
    assert ran.outcome.exit_code == 0
    [failed] = [e for e in ran.events("failed") if e.task_id == "F01"]
    assert failed.data["status"] == "pending"
    assert git(repository, "rev-list", "--count", "main") == "2"


def test_a_flood_of_output_harms_nobody(repository: Path) -> None:
    flood = (
        "python3 -c \"import sys; [sys.stdout.write('x' * 99 + chr(10)) for _ in range(600000)]\""
    )

    ran = run_shell(repository, f"{flood}; {flood} >&2; {WRITE}")

    assert ran.outcome.exit_code == 0
    board = ran.directory.path / "board.db"
    assert board.stat().st_size < 4 * 2**20


RESULT = '"$STIG_WORKSPACE/result.json"'


@pytest.mark.parametrize(
    ("name", "misdeed"),
    [
        ("a huge result", f"head -c 100000000 /dev/zero > {RESULT}"),
        ("a link as result", f"ln -sf /etc/passwd {RESULT}"),
        ("a folder as result", f"mkdir {RESULT}"),
        ("a pipe as result", f"mkfifo {RESULT}"),
        ("a forged result", f'echo \'{{"status": "complete"}}\' > {RESULT}'),
    ],
)
def test_what_an_agent_leaves_in_place_of_its_result(
    repository: Path, name: str, misdeed: str
) -> None:
    """The runner writes the result of a command anew, or the attempt fails; nothing else."""
    ran = run_shell(repository, f"{misdeed}; {WRITE}")

    if ran.outcome.exit_code == 0:
        assert (repository / "a.txt").read_text() == "do it\n"
    else:
        assert "result.json" in json.dumps(ran.report["failures"])
    assert git(repository, "status", "--porcelain") == ""


@pytest.mark.parametrize("ending", ["exit 1", "kill -9 $PPID"])
def test_an_agent_that_ends_badly_leaves_nothing_on_main(repository: Path, ending: str) -> None:
    commit = f'{WRITE}; git add -A; git -c user.name=x -c user.email=y commit -qm "half"'

    ran = run_shell(repository, f"{commit}; {ending}")

    assert ran.outcome.exit_code == 1
    assert git(repository, "rev-list", "--count", "main") == "1"
    assert ran.report["failures"]["F01"]


def test_rewritten_history_is_refused(repository: Path) -> None:
    (repository / "more").write_text("more\n")
    git(repository, "add", "more")
    git(repository, "commit", "--quiet", "-m", "More")
    rewrite = (
        "git checkout -q --orphan other && git rm -rqf . && echo evil > a.txt && git add -A && "
        "git -c user.name=x -c user.email=y commit -qm rewritten"
    )

    ran = run_shell(repository, rewrite)

    assert ran.outcome.exit_code == 1
    assert "does not descend from" in ran.report["failures"]["F01"]
    assert (repository / "more").exists()
    assert git(repository, "rev-list", "--count", "main") == "2"


def test_nothing_done_is_sent_back_and_given_up(repository: Path) -> None:
    agent = [sys.executable, "-c", "print('all done')"]

    ran = run_shell(repository, " ".join([*agent[:2], '"print(1)"']), max_fixes=1)

    assert ran.outcome.exit_code == 1
    assert {back["kind"] for back in ran.report["returned"]} == {"no-commit"}


@pytest.mark.parametrize("confine", ["auto", "none"])
def test_hostile_git_settings_in_a_sandbox_run_nothing_outside(
    repository: Path, tmp_path: Path, confine: str
) -> None:
    proof = tmp_path / "pwned"
    hook = f"#!/bin/sh\ntouch {proof}\n"
    agent = (
        f"mkdir -p hooks; printf '{hook}' > hooks/post-commit; chmod +x hooks/post-commit; "
        "for h in pre-commit reference-transaction post-checkout post-index-change; do "
        "cp hooks/post-commit hooks/$h; done; git config core.hooksPath $PWD/hooks; "
        f"git config core.fsmonitor 'touch {proof}'; git config core.worktree /; "
        f"git config filter.x.clean 'touch {proof}; cat'; "
        f"git config filter.x.smudge 'touch {proof}; cat'; "
        "echo '*.txt filter=x' > .gitattributes; "
        f"git config uploadpack.packObjectsHook 'touch {proof}'; rm -r hooks; {WRITE}"
    )

    ran = run_shell(repository, agent, sandbox_confine=confine, max_fixes=0)

    # Whether this lands is not the question; what matters is what ran outside of the sandbox.
    assert ran.outcome.exit_code in (0, 1)
    if confine == "auto" and ran.view.facts["sandbox"]["writes_confined"]:
        assert not proof.exists()
    own = git(repository, "config", "--local", "--list")
    assert "filter.x" not in own
    assert "fsmonitor" not in own
    assert "hookspath" not in own.lower()


# --- gates ---


def test_a_flaky_gate_does_not_reject_and_is_said(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    count = tmp_path / "count"
    count.mkdir()
    # Red at its first look at a.txt, green ever after.
    gate = f"[ ! -e a.txt ] || ! mkdir {count}/once 2>/dev/null\n"
    repository = make_repository(START | {"gate.sh": gate})

    ran = run_shell(repository, WRITE, sandbox_confine="none")

    assert ran.outcome.exit_code == 0
    assert ran.report["returned"] == []
    assert ran.report["gate_red"] == 1
    assert [e.data["flaky"] for e in ran.events("gate_ended")][-1] is True
    [landed] = [e for e in ran.events("completed") if e.task_id == "F01.land"]
    assert landed.data["flaky"] is True


def test_a_gate_that_hangs_is_red_and_leaves_nothing_running(
    make_repository: MakeRepository,
) -> None:
    marker = f"27182.{os.getpid()}"
    gate = f"[ ! -e a.txt ] || sleep {marker}\n"
    repository = make_repository(START | {"gate.sh": gate})

    ran = run_shell(repository, WRITE, gate_timeout_s=4.0, max_fixes=0)

    assert ran.outcome.exit_code == 1
    assert "did not end within 4 s" in ran.report["failures"]["F01"]
    lines = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
    assert not any(marker in line for line in lines)


# --- the user ---


def test_a_cancelled_run_ends_and_says_so(repository: Path) -> None:
    def cancel_all(line: str) -> None:
        if line.startswith("landed F01"):
            with TaskBoard(StateFolder(repository).find(None).board_url) as board:
                for task in board.list_all():
                    current = board.get(task.task_id)
                    if current is not None and not current.status.is_final:
                        board.cancel(task.task_id, reason="cancelled by the user")

    items = [item("F01", "a.txt"), item("F02", "b.txt", depends_on=["F01"]), item("F03", "c.txt")]
    agent = f'[ "$STIG_PATH" = a.txt ] || sleep 600; {WRITE}'
    ran = run_items(
        repository,
        items,
        agents=2,
        on_line=cancel_all,
        agent_command=agent,
        agent_shell=True,
        gate=GATE,
    )

    assert ran.outcome.exit_code == 1
    assert "1 of 3 items landed, 2 did not" in ran.outcome.verdict
    with TaskBoard(ran.directory.board_url) as board:
        assert all(task.status.is_final for task in board.list_all())
        assert board.get("F03").status is TaskStatus.CANCELLED  # type: ignore[union-attr] - posted
    assert sorted(path.name for path in repository.glob("*.txt")) == ["a.txt"]


STIG_RUN = """
import json, sys
from pathlib import Path
from stigmergy.swarm import Stop, stop_on_signals
from stigmergy.testing.runs import run_items
repository, items, settings = map(json.loads, sys.argv[1:])
stop = Stop()
with stop_on_signals(stop):
    say = lambda line: print(line, flush=True)
    ran = run_items(Path(repository), items, stop=stop, on_line=say, **settings)
sys.exit(ran.outcome.exit_code)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_cleanly_with_its_agents(
    repository: Path, number: signal.Signals
) -> None:
    marker = f"16180.{os.getpid()}"
    agent = f'if [ "$STIG_PATH" = b.txt ] && [ ! -e quick ]; then sleep {marker}; fi; {WRITE}'
    settings = {"agent_command": agent, "agent_shell": True, "gate": GATE, "max_attempts": 1}
    items = [item("F01", "a.txt"), item("F02", "b.txt")]
    arguments = [json.dumps(value) for value in (str(repository), items, settings)]
    process = subprocess.Popen(
        [sys.executable, "-c", STIG_RUN, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as lines:
        assert any(line.startswith("landed F01") for line in lines)
        process.send_signal(number)
        rest = lines.read()
    assert process.wait() == 130
    assert "stopped: 1 of 2 items landed" in rest
    assert not any(
        marker in line for p in psutil.process_iter(["cmdline"]) for line in p.info["cmdline"] or []
    )
    (repository / "quick").touch()
    git(repository, "add", "quick")
    git(repository, "commit", "--quiet", "-m", "be quick")

    ran = resume_run(repository)

    assert ran.outcome.exit_code == 0
    assert ran.report["landed"] == 2


# --- the disk ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    if os.geteuid() != 0:
        pytest.skip("a small tmpfs can be mounted by root alone")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_said_loses_nothing_and_the_run_goes_on_afterwards(
    repository: Path, small_disk: Path, tmp_path: Path
) -> None:
    (repository / ".stigmergy").symlink_to(small_disk)
    ballast = small_disk / "ballast"
    full = tmp_path / "signals" / "full"
    full.parent.mkdir()

    def fill(line: str) -> None:
        if line.startswith("landed F0") and not ballast.exists():
            with ballast.open("wb") as file:
                try:
                    while True:
                        file.write(b"\0" * 65536)
                        file.flush()
                except OSError:
                    pass
            full.touch()

    items = [item("F00", "0.txt")]
    items += [item(f"F0{n}", f"{n}.txt", depends_on=[f"F0{n - 1}"]) for n in range(1, 5)]
    # The last item is not done before: the run must not be over.
    agent = f'[ "$STIG_PATH" != 4.txt ] || until [ -e {full} ]; do sleep 0.02; done; {WRITE}'
    settings = {"agent_command": agent, "agent_shell": True, "gate": GATE}
    settings["sandbox_share"] = (full.parent,)
    try:
        ran = run_items(repository, items, on_line=fill, **settings)
        said = ran.text + ran.outcome.verdict
        assert ran.outcome.exit_code != 0
    except StigmergyError as error:
        said = str(error)
    assert re.search(r"disk .*full|No space left", said), said
    landed = set(git(repository, "log", "--format=", "--name-only", "main").split())
    assert {name for name in landed if name.endswith(".txt")} < {f"{n}.txt" for n in range(5)}
    ballast.unlink()

    after = resume_run(repository)

    assert after.outcome.exit_code == 0
    assert sorted(path.name for path in repository.glob("*.txt")) == [f"{n}.txt" for n in range(5)]
    assert git(repository, "rev-list", "--count", "main") == "6"


@pytest.mark.parametrize(
    "path", [".stigmergy/runs/29991231-235959-abcd/run.json", "stigmergy.toml"]
)
def test_an_agent_cannot_land_what_this_program_would_believe(
    make_repository: Callable[..., Path], path: str
) -> None:
    """Neither a forged run nor settings that unconfine the next one."""
    repository = make_repository({"a.txt": "a\n"})
    script = f"mkdir -p $(dirname {path}); echo x > {path}; git add -f {path}; git commit -qm x"
    ran = run_items(
        repository,
        [item("F01", "a.txt")],
        agent_command=f'sh -c "{script}"',
        gate="none",
        max_attempts=1,
    )
    assert ran.outcome.exit_code == 1
    assert "what no agent may change" in ran.text
    assert not (repository / path).exists()


# --- large items ---


def test_an_item_too_large_for_a_row_of_the_board_is_not_done_without_what_it_asks_for(
    repository: Path,
) -> None:
    """Its payload is a file beside the board. For a program's environment it is too large too."""
    large = item("F01", "a.txt", acceptance=[f"{n} " + "x" * 1900 for n in range(700)])
    ran = run_items(
        repository, [large], agent_command="echo ran > ran", agent_shell=True, gate=GATE
    )
    with TaskBoard(ran.directory.board_url) as board:
        (work,) = (task for task in board.list_all() if is_reference(task.payload))
        assert len(board.load(work.payload)["acceptance"]) == 700
        assert work.error is not None
        assert "Argument list too long" in work.error
    assert ran.outcome.exit_code == 1
