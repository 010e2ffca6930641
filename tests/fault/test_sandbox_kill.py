"""A killed orchestrator leaves no process, no mount, and nothing that its successor sees."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import psutil
import pytest

from stigmergy.coding.sandbox.local import LocalSandboxes
from stigmergy.coding.sandbox.sandbox import Exit, Limits, SandboxSettings
from stigmergy.testing.sandboxes import commit_all, git, shell

KINDS = [
    pytest.param(
        "overlay", "bubblewrap", marks=[pytest.mark.needs_overlay, pytest.mark.needs_bwrap]
    ),
    pytest.param("worktree", "bubblewrap", marks=pytest.mark.needs_bwrap),
    pytest.param("overlay", "none", marks=pytest.mark.needs_overlay),
    ("worktree", "none"),
]
GONE_S = 60.0

ORCHESTRATOR = """
import sys
from pathlib import Path
from stigmergy.coding.sandbox.local import LocalSandboxes
from stigmergy.coding.sandbox.sandbox import SandboxSettings
repository, state, view, confine, mark, commit = sys.argv[1:]
settings = SandboxSettings(view=view, confine=confine, env={"MARK": mark})
sandbox = LocalSandboxes(Path(repository), Path(state), settings).open("T1", commit)
script = "touch left ignored.tmp; rm file; setsid sleep 600 & echo begun; sleep 600"
sandbox.run(["sh", "-c", script], on_line=lambda line: print(line, flush=True))
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    (root / "file").write_text("text\n")
    (root / ".gitignore").write_text("*.tmp\n")
    commit_all(root)
    return root


def marked(mark: str) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MARK") == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize(("view", "confine"), KINDS)
def test_killing_the_orchestrator_ends_its_programs_and_its_successor_starts_clean(
    repository: Path, tmp_path: Path, view: str, confine: str
) -> None:
    mark, state = uuid.uuid4().hex, tmp_path / "state"
    commit = git(repository, "rev-parse", "HEAD")
    arguments = [str(repository), str(state), view, confine, mark, commit]
    with subprocess.Popen(
        [sys.executable, "-c", ORCHESTRATOR, *arguments], stdout=subprocess.PIPE, text=True
    ) as orchestrator:
        try:
            assert orchestrator.stdout is not None
            assert orchestrator.stdout.readline() == "begun\n"
            running = marked(mark)
        finally:
            orchestrator.send_signal(signal.SIGKILL)
    assert running
    _, alive = psutil.wait_procs(running, timeout=GONE_S)
    assert not alive
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    settings = SandboxSettings(view=view, confine=confine)
    with LocalSandboxes(repository, state, settings) as factory:
        sandbox = factory.open("T1", commit)
        assert shell(sandbox, "ls -A; git status --porcelain --ignored") == ".git\n.gitignore\nfile"
        assert len(list((state / ("boxes" if view == "overlay" else "slots")).iterdir())) == 1
    assert [entry.name for entry in state.iterdir()] == ["lock"]


@pytest.mark.parametrize(("view", "confine"), KINDS)
def test_a_program_that_kills_its_supervisor_gains_nothing(
    repository: Path, tmp_path: Path, view: str, confine: str
) -> None:
    mark = uuid.uuid4().hex
    settings = SandboxSettings(view=view, confine=confine, env={"MARK": mark})
    with LocalSandboxes(repository, tmp_path / "state", settings) as factory:
        sandbox = factory.open("T1", git(repository, "rev-parse", "HEAD"))
        script = "(setsid sleep 600 &); kill -9 $PPID; sleep 600"
        ended: Exit = sandbox.run(["sh", "-c", script], limits=Limits(wall_s=2))
        assert not ended.ok
        assert marked(mark) == []


def test_a_slot_that_cannot_be_mended_is_replaced(repository: Path, tmp_path: Path) -> None:
    settings = SandboxSettings(view="worktree", confine="none")
    with LocalSandboxes(repository, tmp_path / "state", settings) as factory:
        commit = git(repository, "rev-parse", "HEAD")
        factory.open("T1", commit).close()
        slot = tmp_path / "state" / "slots" / "1"
        (slot / "git" / "index").write_bytes(b"half an index")
        sandbox = factory.open("T2", commit)
        assert shell(sandbox, "cat file") == "text"
        assert not slot.exists()


def test_a_reset_that_was_interrupted_is_done_again(repository: Path, tmp_path: Path) -> None:
    settings = SandboxSettings(view="worktree", confine="none")
    with LocalSandboxes(repository, tmp_path / "state", settings) as factory:
        commit = git(repository, "rev-parse", "HEAD")
        factory.open("T1", commit).close()
        git_dir = tmp_path / "state" / "slots" / "1" / "git"
        (git_dir / "index.lock").write_bytes(b"")
        (git_dir.parent / "workspace" / "repo" / "half").write_text("written\n")
        sandbox = factory.open("T2", commit)
        assert shell(sandbox, "ls; git status --porcelain") == "file"
        assert git_dir.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs all the others like this")
@pytest.mark.needs_overlay
@pytest.mark.needs_bwrap
def test_an_ordinary_user_has_the_same_protection() -> None:
    """In a user namespace of its own, as a user that owns nothing but the folder."""
    # Not under tmp_path: every start of pytest closes the folders above it to other users.
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        os.chown(home, 65534, 65534)
        check_as_an_ordinary_user(home)


def check_as_an_ordinary_user(home: Path) -> None:
    script = (
        "import os, sys; sys.path[:0] = sys.argv[1].split(':'); from pathlib import Path\n"
        "os.environ['HOME'] = sys.argv[2]; os.chdir(sys.argv[2])\n"
        "from stigmergy.coding.sandbox.local import LocalSandboxes\n"
        "from stigmergy.testing.sandboxes import COMMIT, commit_all, git, shell\n"
        "root = Path('repository'); root.mkdir(); git(root, 'init', '-q')\n"
        "(root / 'file').write_text('text'); commit = commit_all(root)\n"
        "with LocalSandboxes(root.resolve(), Path('state')) as factory:\n"
        "    print(factory.protection.view, factory.protection.writes_confined)\n"
        "    sandbox = factory.open('T1', commit)\n"
        "    shell(sandbox, 'chmod 500 .; rm -f nothing; chmod 700 .; echo 2 > file;' + COMMIT)\n"
        "    head = sandbox.export('refs/stigmergy/x')\n"
        "    print(head == git(root, 'rev-parse', 'refs/stigmergy/x'))\n"
        "    print(shell(sandbox, 'id -u; git status --porcelain'))\n"
    )
    interpreter = Path(sys.executable).resolve()
    if any(not parent.stat().st_mode & 0o001 for parent in interpreter.parents):
        # It lies in root's home, which that user cannot enter.
        interpreter = Path(f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}")
    if not interpreter.exists():
        pytest.skip("there is no interpreter of this version that an ordinary user can run")
    path = ":".join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [str(interpreter), "-c", script, path, str(home)],
        user=65534,
        group=65534,
        extra_groups=[],
        env={"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "overlay True\nTrue\n65534\n", done.stderr
