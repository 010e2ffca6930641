from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from stigmergy.coding import locking
from stigmergy.coding.locking import is_free
from stigmergy.coding.rundir import RunDirectory, StateFolder, new_run_id
from stigmergy.coding.spec import RunSpec
from stigmergy.config import Settings
from stigmergy.errors import CorruptError, NotFoundError, UsageError

HOLDER = """
import sys
from pathlib import Path
from stigmergy.coding.rundir import StateFolder
with StateFolder(Path(sys.argv[1])).locked("other"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path)
    folder.prepare()
    return folder


def spec(tmp_path: Path) -> RunSpec:
    return RunSpec(
        repository=tmp_path,
        target="refs/heads/main",
        start="a" * 40,
        source="features",
        source_text="F.json",
        gate=("true",),
        settings=Settings(),
        created_at=1.0,
    )


def test_the_folder_hides_itself_from_git(state: StateFolder) -> None:
    assert (state.path / ".gitignore").read_text() == "*\n"


def test_a_spec_comes_back_as_it_was(state: StateFolder, tmp_path: Path) -> None:
    run = state.create(new_run_id(0), spec(tmp_path))
    assert run.read_spec() == spec(tmp_path)


def test_what_was_killed_while_it_was_made_is_no_run(state: StateFolder, tmp_path: Path) -> None:
    run = state.create(new_run_id(0), spec(tmp_path))
    (state.path / "runs" / f"new-{new_run_id(1)}").mkdir()
    assert state.runs() == [run]


def test_the_latest_of_two_runs_of_one_second_is_the_later_one(
    state: StateFolder, tmp_path: Path
) -> None:
    started = [1_700_000_000 + part / 1000 for part in (0, 1, 20, 300, 999, 1000)]
    made = [state.create(new_run_id(now), spec(tmp_path)) for now in started]
    assert state.runs() == made
    assert state.find(None) == made[-1]


def test_a_damaged_spec_names_its_file(state: StateFolder, tmp_path: Path) -> None:
    run = state.create(new_run_id(0), spec(tmp_path))
    (run.path / "run.json").write_text("{")
    with pytest.raises(CorruptError, match=r"run\.json"):
        run.read_spec()


def test_runs_are_found_by_either_end_of_their_id_or_the_latest(
    state: StateFolder, tmp_path: Path
) -> None:
    early, late = (state.create(f"20260101-00000{n}-abc{n}", spec(tmp_path)) for n in (1, 2))
    assert state.find(None) == late
    assert state.find("abc1") == early
    assert state.find("20260101-000001") == early
    with pytest.raises(UsageError, match="may be"):
        state.find("20260101")
    with pytest.raises(NotFoundError, match="nope"):
        state.find("nope")


def test_no_run_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no run has been started"):
        StateFolder(tmp_path).find(None)


def test_a_second_run_is_refused_while_another_process_holds_the_lock(
    state: StateFolder, tmp_path: Path
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match="run other"), state.locked("mine"):
        pass
    assert "run other" in (state.holder() or "")
    holder.kill()
    holder.communicate()
    with state.locked("mine"):
        assert "mine" in (state.holder() or "")
    assert state.holder() is None


def test_who_looks_who_is_at_work_is_not_taken_for_one_who_is(
    state: StateFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with state.locked("ended"):
        pass
    look = os.open(tmp_path / ".stigmergy" / "lock", os.O_RDWR)
    assert is_free(look), "and it has the lock until the file is closed"
    assert state.holder() is None
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: os.close(look))
    monkeypatch.setattr(locking, "time", clock)
    with state.locked("mine"):
        assert "mine" in (state.holder() or "")


def test_refs_are_of_the_run() -> None:
    assert RunDirectory(Path("x/r1")).ref("tasks", "F1") == "refs/stigmergy/r1/tasks/F1"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    top = tmp_path / "repository"
    top.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=top, check=True)
    return top


@pytest.mark.parametrize("name", [".stigmergy", ".stigmergy/runs"])
def test_a_link_that_came_with_the_repository_is_refused(repository: Path, name: str) -> None:
    outside = repository.parent / "outside"
    outside.mkdir()
    link = repository / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    subprocess.run(["git", "add", "-f", "."], cwd=repository, check=True)
    for use in (StateFolder(repository).prepare, lambda: StateFolder(repository).find(None)):
        with pytest.raises(UsageError, match="git tracks files in"):
            use()
    assert list(outside.iterdir()) == []


def test_a_link_that_the_user_made_is_followed(repository: Path) -> None:
    outside = repository.parent / "outside"
    outside.mkdir()
    (repository / ".stigmergy").symlink_to(outside)
    StateFolder(repository).prepare()
    assert (outside / "runs").is_dir()


def test_a_run_that_came_with_the_repository_is_refused(repository: Path) -> None:
    forged = repository / ".stigmergy" / "runs" / "29991231-235959-abcd"
    forged.mkdir(parents=True)
    (forged / "run.json").write_text("{}")
    subprocess.run(["git", "add", "-f", "."], cwd=repository, check=True)
    with pytest.raises(UsageError, match="git tracks files in"):
        StateFolder(repository).find(None)


def test_a_report_is_not_written_through_a_link(state: StateFolder, tmp_path: Path) -> None:
    run = state.create(new_run_id(0), spec(tmp_path))
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (run.path / "report.json.new").symlink_to(victim)
    run.write_report({"exit_code": 0})
    assert victim.read_text() == "precious"
    assert run.report.is_file()
