"""The guards that `tests/conftest.py` sets around every test do catch what they are there for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

GUARDED = """
import os, subprocess, sys, threading
import pytest

stop = threading.Event()

def teardown_module():
    stop.set()

def test_leaves_a_thread():
    threading.Thread(target=stop.wait, args=(60,), name="left").start()

def test_leaves_a_process():
    test_leaves_a_process.child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)

def test_leaves_a_file(tmp_path):
    os.open(tmp_path / "left.txt", os.O_CREAT | os.O_RDWR)

def test_leaves_nothing(tmp_path):
    thread = threading.Thread(target=int)
    thread.start()
    subprocess.run(["true"])
    (tmp_path / "x").write_text("closed")

def test_sees_nothing_of_the_user(make_repository):
    assert not {name for name in os.environ if name.startswith(("STIG_", "OPENAI_"))}
    assert "HTTPS_PROXY" not in os.environ
    first, second = (make_repository({"src/a.py": "a"}) for _ in range(2))
    argv = ["git", "rev-parse", "main"]
    assert first != second
    assert subprocess.check_output(argv, cwd=first) == subprocess.check_output(argv, cwd=second)

def test_draws(rng):
    print("drawn", rng.random())

@pytest.mark.needs_bwrap
def test_confined():
    raise AssertionError("it must not run without bubblewrap")

@pytest.mark.nightly
def test_long():
    print("long form ran")
"""


RunGuarded = Callable[..., str]


@pytest.fixture
def run_guarded(tmp_path: Path) -> RunGuarded:
    """Run the tests above on a machine without bubblewrap; gives what pytest said."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_guarded.py").write_text(GUARDED)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("git", "true"):
        (programs / name).symlink_to(str(shutil.which(name)))

    def run(*options: str, **environment: str) -> str:
        user = {"STIG_MODEL": "x", "OPENAI_API_KEY": "x", "HTTPS_PROXY": "http://127.0.0.1:1"}
        clean = {
            name: value
            for name, value in os.environ.items()
            if name != "CI" and not name.startswith(("COV", "PYTEST"))
        }
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *options],
            cwd=tmp_path,
            env={**clean, **user, "PATH": str(programs), **environment},
            capture_output=True,
            text=True,
        ).stdout

    return run


def test_what_is_left_behind_fails_the_test_that_left_it(run_guarded: RunGuarded) -> None:
    said = run_guarded("-k", "leaves")
    assert "left behind: the thread 'left' still runs" in said
    assert re.search(r"left behind: the process \d+ \(python[\d.]*\) still runs", said)
    assert re.search(r"left behind: \S+/left.txt is still open", said)
    assert set(re.findall(r"^ERROR tests/test_guarded.py::(\w+)", said, re.MULTILINE)) == {
        "test_leaves_a_thread",
        "test_leaves_a_process",
        "test_leaves_a_file",
    }
    assert "PASSED tests/test_guarded.py::test_leaves_nothing" in said


def test_settings_of_the_user_do_not_reach_the_tests(run_guarded: RunGuarded) -> None:
    assert "1 passed" in run_guarded("-k", "nothing_of_the_user")


def test_a_missing_part_skips_here_and_fails_in_ci(run_guarded: RunGuarded) -> None:
    assert "bwrap is not installed" in (local := run_guarded("-k", "confined"))
    assert "1 skipped" in local
    in_ci = run_guarded("-k", "confined", CI="true")
    assert "a missing part is a failure" in in_ci
    assert "skipped" not in in_ci


def test_the_seed_is_shown_and_repeats_the_run(run_guarded: RunGuarded) -> None:
    said = [run_guarded("-k", "draws", *seed) for seed in ((), (), ("--hypothesis-seed=7",))]
    drawn = [re.findall(r"^drawn .*", each, re.MULTILINE) for each in said]
    assert drawn[0] == drawn[1] != drawn[2]
    assert "seed: 7 (--hypothesis-seed=7 repeats it)" in said[2]


def test_the_long_form_runs_when_asked_for(run_guarded: RunGuarded) -> None:
    assert "1 passed" in run_guarded("-k", "long", "--nightly")
    assert "1 passed" not in run_guarded("-k", "long")
