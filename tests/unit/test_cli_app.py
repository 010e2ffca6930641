"""How `stig` ends as a process: closed streams, readers that go, text that is not to be trusted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

STIG = Path(sys.executable).with_name("stig")
EACH = ("run", "--each", "*.txt", "--agent-command", "true", "--gate", "none")
RUN = ("run", "--agent-command", "true", "--gate", "none", "--features")
MakeRepository = Callable[[Mapping[str, str | bytes]], Path]


@pytest.fixture
def repository(make_repository: MakeRepository) -> Path:
    return make_repository({f"{number}.txt": "" for number in range(3)})


def shell(script: str, repository: Path, *args: str | bytes) -> subprocess.CompletedProcess[str]:
    """Run a line of sh in which `stig` is a word, and `"$@"` are the arguments."""
    return subprocess.run(
        ["bash", "-c", f'stig() {{ "{STIG}" "$@"; }}; {script}', "bash", *args],
        cwd=repository,
        capture_output=True,
        text=True,
        errors="replace",
    )


def test_a_closed_stdout_is_as_the_null_device(repository: Path) -> None:
    done = shell('stig "$@" >&-', repository, *EACH, "--dry-run")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    done = shell('stig "$@" --plain >&-', repository, *EACH, "--confine", "none")
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


def test_a_closed_stderr_is_as_the_null_device(repository: Path) -> None:
    done = shell("stig run 2>&-", repository)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_a_reader_that_goes_ends_it_as_sigpipe_would(
    repository: Path, extra: tuple[str, ...]
) -> None:
    # The reader has gone before a word is written, so that no buffer can take it.
    script = 'exec 3> >(:); wait $!; stig "$@" >&3'
    done = shell(script, repository, *EACH, "--dry-run", *extra)
    assert done.returncode == 141
    assert done.stderr == ""


def test_help_whose_reader_goes_ends_alike(repository: Path) -> None:
    done = shell("exec 3> >(:); wait $!; stig run --help >&3", repository)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    "args",
    [
        ("run", "--each", "*.txt", "--task", b"\xff", "--agent-command", "true"),
        ("logs", b"\xff"),
        ("status", "--repo", b"\xff"),
    ],
)
def test_an_argument_that_is_not_text_is_named(
    repository: Path, args: tuple[str | bytes, ...]
) -> None:
    done = shell('stig "$@"', repository, *args)
    assert done.returncode == 2
    assert done.stderr == "stig: the argument '\\udcff' is not valid UTF-8\n"


def test_an_error_cannot_drive_the_terminal(repository: Path) -> None:
    done = shell('stig "$@"', repository, *RUN, "a\x1b[2Jb\x1b]0;owned\x07.json")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "ab.json: cannot be read" in done.stderr
