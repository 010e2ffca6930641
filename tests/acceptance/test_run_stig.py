"""`stig run`, `resume` and `cancel` as a user types them: what they do, say and return."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from stigmergy.testing.runs import item

STIG = Path(sys.executable).with_name("stig")
START = {"gate.sh": "! grep -rn BAD --include=*.txt .\n", "README": "start\n"}
WRITE = 'echo "$STIG_DESCRIPTION" > "$STIG_PATH"'
RUN = ("run", "--gate", "sh gate.sh", "--agent-shell", "--agent-command")


@pytest.fixture
def repository(make_repository: Callable[[Mapping[str, str | bytes]], Path]) -> Path:
    return make_repository(START)


def stig(repository: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [STIG, *args],
        cwd=repository,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    )


def features(folder: Path, *items: dict[str, object]) -> str:
    path = folder / "FEATURES.json"
    path.write_text(json.dumps({"features": list(items)}))
    return str(path)


def test_a_run_lands_and_returns_0(repository: Path, tmp_path: Path) -> None:
    file = features(tmp_path, item("F01", "a.txt"), item("F02", "b.txt", depends_on=["F01"]))

    done = stig(repository, *RUN, WRITE, "--features", file)

    assert done.returncode == 0, done.stderr
    assert "all 2 items landed and the target is green" in done.stdout
    assert (repository / "b.txt").read_text() == "do it\n"


def test_each_line_of_json_is_a_document(repository: Path, tmp_path: Path) -> None:
    done = stig(
        repository, *RUN, WRITE, "--json", "--features", features(tmp_path, item("F01", "a.txt"))
    )

    assert done.returncode == 0, done.stderr
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert documents
    assert "landed F01" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--each", "*.txt"), 2, "*.txt"),
        (("--features", "missing.json"), 2, "missing.json"),
        (("--each", "README", "--gate", "false"), 2, "the gate is red on main as it is"),
        (("--each", "README", "--target", "nowhere"), 2, "no branch 'nowhere'"),
        (("--each", "README", "--objective", "x"), 2, "give one of"),
    ],
)
def test_wrong_input_returns_2_in_one_message(
    repository: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = stig(repository, *RUN, "true", *arguments)

    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_says_where_items_overlap_and_starts_nothing(
    repository: Path, tmp_path: Path
) -> None:
    file = features(tmp_path, item("F01", "a.txt"), item("F02", "a.txt"))

    done = stig(repository, *RUN, WRITE, "--dry-run", "--features", file)

    assert done.returncode == 0
    assert "2 items may change 'a.txt' at the same time: F01, F02" in done.stdout
    assert not (repository / ".stigmergy").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_ctrl_c_returns_130_and_sigterm_143_and_resume_goes_on(
    repository: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    file = features(tmp_path, item("F01", "a.txt"), item("F02", "b.txt", depends_on=["F01"]))
    agent = f'if [ "$STIG_PATH" = b.txt ] && [ ! -e quick ]; then sleep 600; fi; {WRITE}'
    command = [STIG, *RUN, agent, "--plain", "--features", file]
    process = subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as lines:
        assert any("landed F01" in line for line in lines)
        process.send_signal(number)
        assert "`stig resume` goes on" in lines.read()
    assert process.wait() == code
    (repository / "quick").touch()
    subprocess.run(["git", "add", "quick"], cwd=repository, check=True)
    subprocess.run(["git", "commit", "-qm", "be quick"], cwd=repository, check=True)

    done = stig(repository, "resume")

    assert done.returncode == 0, done.stderr
    assert (repository / "b.txt").exists()


def test_cancel_ends_a_run_from_outside(repository: Path, tmp_path: Path) -> None:
    file = features(tmp_path, item("F01", "a.txt"), item("F02", "b.txt"))
    agent = f'if [ "$STIG_PATH" = b.txt ]; then sleep 600; fi; {WRITE}'
    command = [STIG, *RUN, agent, "--plain", "--features", file]
    process = subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as lines:
        assert any("landed F01" in line for line in lines)
        cancelled = stig(repository, "cancel")
        rest = lines.read()

    assert cancelled.returncode == 0, cancelled.stderr
    assert "cancelled 1 item " in cancelled.stdout
    assert process.wait() == 1
    assert "1 of 2 items landed, 1 did not" in rest
