"""What `make` does before anything else: find a Python, make `.venv` once, say what is missing."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

import setup_environment as environment  # noqa: E402 - lies in scripts/, found by the line above
import system_packages as packages  # noqa: E402 - likewise


class CountingSetup(environment.Setup):
    """Notes what it would have made, and leaves what the real one leaves."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.made: list[str] = []

    def _make(self, kind: str) -> None:
        self.made.append(kind)
        self.python.parent.mkdir(parents=True, exist_ok=True)
        self.python.touch()
        for stamp in environment.REQUIREMENTS:
            self._stamp(stamp).unlink(missing_ok=True)
        self._stamp(kind).write_text(self._digest(kind))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "requirements", root / "requirements")
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH: a machine with next to nothing on it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "dirname", "cat", "env"):
        (folder / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_what_is_ready_is_not_made_again(checkout: Path) -> None:
    setup = CountingSetup(checkout)
    setup.ensure("dev")
    setup.ensure("dev")
    assert setup.made == ["dev"]


def test_the_tests_environment_serves_the_demo_and_not_the_other_way_round(checkout: Path) -> None:
    setup = CountingSetup(checkout)
    setup.ensure("run")
    setup.ensure("dev")
    setup.ensure("run")
    assert setup.made == ["run", "dev"]


@pytest.mark.parametrize("changed", ["requirements/dev.txt", "pyproject.toml"])
def test_a_changed_source_makes_it_anew(checkout: Path, changed: str) -> None:
    setup = CountingSetup(checkout)
    setup.ensure("dev")
    with (checkout / changed).open("a") as file:
        file.write("# changed\n")
    setup.ensure("dev")
    assert setup.made == ["dev", "dev"]


def test_a_moved_checkout_makes_it_anew(checkout: Path) -> None:
    CountingSetup(checkout).ensure("run")
    moved = CountingSetup(checkout.rename(checkout.with_name("moved")))
    assert not moved.is_ready("run")


def test_two_at_once_make_it_once(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Semaphore(0)
    monkeypatch.setattr(environment, "say", lambda text: waiting.release())
    setups = [CountingSetup(checkout), CountingSetup(checkout)]
    threads = [threading.Thread(target=setup.ensure, args=("run",)) for setup in setups]
    lock = os.open(checkout, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    for thread in threads:
        thread.start()
    both = [waiting.acquire(timeout=60) for _ in threads]
    os.close(lock)
    for thread in threads:
        thread.join(60)
    assert both == [True, True]
    assert [kind for setup in setups for kind in setup.made] == ["run"]


def test_a_failed_download_is_tried_again_and_then_told_with_its_log(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup = environment.Setup(checkout)
    setup.python.parent.mkdir(parents=True)
    program(setup.python.parent, "python", f"echo tried >>{checkout}/tries; echo no route; exit 1")
    with pytest.raises(environment.SetupError, match="no route"):
        setup._pip("--requirement=run.txt")
    assert (checkout / "tries").read_text().split() == ["tried", "tried"]
    assert "trying once more" in capsys.readouterr().out


def test_pins_are_counted_without_hashes_and_comments(checkout: Path) -> None:
    pins = list(environment.pins_in(checkout / "requirements" / "build.txt"))
    assert any(pin.startswith("hatchling==") for pin in pins)
    assert all("==" in pin for pin in pins)


def test_without_a_new_python_the_user_is_told_what_to_install(
    tmp_path: Path, bin_folder: Path
) -> None:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    program(bin_folder, "python3", "exit 1")  # an old one: the probe for the version fails
    done = subprocess.run([tmp_path / "scripts" / "setup", "run"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "apt-get install python3" in done.stderr


def test_packages_are_installed_where_apt_may_be_used(
    bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    program(bin_folder, "apt-get", f'echo "$DEBIAN_FRONTEND $*" >>{tmp_path}/calls')
    assert packages.install(["bubblewrap"]) is None
    assert (tmp_path / "calls").read_text().splitlines() == [
        "noninteractive -qq update",
        "noninteractive -qq install --yes --no-install-recommends bubblewrap",
    ]


@pytest.mark.parametrize("fails", [False, True], ids=["installed", "failed"])
def test_an_installed_postgresql_makes_no_cluster(
    bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("install", "rm"):
        (bin_folder / name).symlink_to(str(shutil.which(name, path="/usr/bin:/bin")))
    setting = tmp_path / "etc" / "no-cluster.conf"
    monkeypatch.setattr(packages, "NO_CLUSTER", setting)
    program(bin_folder, "apt-get", f"cat {setting} >>{tmp_path}/seen; exit {int(fails)}")
    assert (packages.install(["git", "postgresql"]) is None) is not fails
    assert (tmp_path / "seen").read_text() == "create_main_cluster = false\n"
    assert not setting.exists()  # later clusters are the user's affair


def test_a_program_off_path_is_found_where_its_package_keeps_it(
    bin_folder: Path, tmp_path: Path
) -> None:
    needed = packages.Needed("initdb", "postgresql", "tests", f"{tmp_path}/lib/*/initdb"[1:])
    assert not needed.is_there()
    program(tmp_path / "lib" / "15", "initdb", "")
    assert needed.is_there()


def test_a_failed_installation_is_told_with_what_apt_said(
    bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    program(bin_folder, "apt-get", "echo unable to locate >&2; exit 100")
    assert "unable to locate" in str(packages.install(["bubblewrap"]))


@pytest.mark.parametrize("sudo", [None, "exit 1"], ids=["no sudo", "sudo asks for a password"])
def test_who_may_not_install_is_told_the_command(
    bin_folder: Path, monkeypatch: pytest.MonkeyPatch, sudo: str | None
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    program(bin_folder, "apt-get", "exit 0")
    if sudo is not None:
        program(bin_folder, "sudo", sudo)
    assert "sudo apt-get install bubblewrap" in str(packages.install(["bubblewrap"]))


def test_missing_programs_are_told_and_do_not_fail_the_run(
    bin_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert packages.main() == 0  # there is no apt-get here
    told = capsys.readouterr().err
    assert "bwrap is missing: the tests of confined sandboxes cannot run" in told


def test_make_without_a_target_lists_the_targets() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "check", "bench", "nightly", "format", "lock", "clean"):
        assert f"  make {target} " in shown
