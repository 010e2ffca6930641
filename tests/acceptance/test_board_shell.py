"""A shell script is an agent: it claims, works and reports with `stig board` and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stigmergy.board import Task, TaskBoard, TaskStatus

STIG = Path(sys.executable).with_name("stig")

# No jq: what every machine with stigmergy has is Python.
AGENT = """\
set -eu
me=$1
field() { python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1].split("."):
    value = value[name]
print(value)' "$1" <<END
$claimed
END
}
while claimed=$(stig board claim "$me" --type square --lease 1m --json); do
    id=$(field task.task_id) fence=$(field lease.fence) n=$(field task.payload.n)
    if [ "$n" = 3 ]; then
        echo "no squares of $n" | stig board fail "$id" --agent "$me" --fence "$fence" - --no-retry
    else
        printf '{"square": %d}' $((n * n)) |
            stig board complete "$id" --agent "$me" --fence "$fence" --result -
    fi
done
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{STIG.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def sh(script: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["sh", "-c", script, "sh", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", script, "sh", *words], capture_output=True, text=True)


def test_two_scripts_do_all_the_work_once() -> None:
    lines = "\n".join(f'{{"task_type": "square", "payload": {{"n": {n}}}}}' for n in range(6))
    posted = run(f"stig board post --many - <<'END'\n{lines}\nEND")
    assert posted.stdout == "posted 6 tasks\n", posted.stderr
    with sh(AGENT, "one") as one, sh(AGENT, "two") as two:
        said = [agent.communicate(timeout=100) for agent in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), said
    with TaskBoard("board.db") as board:
        results = {task.payload["n"]: task for task in board.list_all()}
        claims = [event for event in board.events() if event.kind == "claimed"]
    assert {n: task.result for n, task in results.items() if n != 3} == {
        n: {"square": n * n} for n in (0, 1, 2, 4, 5)
    }
    assert results[3].status is TaskStatus.FAILED
    assert results[3].error == "no squares of 3"
    assert len(claims) == 6, "no task was done twice"


def test_a_script_that_was_given_up_is_refused_and_its_successor_is_not() -> None:
    with TaskBoard("board.db") as board:
        board.post(Task(task_id="a", task_type="job"))
    first = run("stig board claim slow --lease 0.01s | head -1")
    assert first.stdout == "a 1\n", first.stderr
    second = run("stig board claim quick --wait 10s | { read -r id fence; echo $id $fence; }")
    assert second.stdout == "a 2\n", second.stderr
    stale = run("""stig board complete a --agent slow --fence 1 --result '{"by": "slow"}'""")
    assert stale.returncode == 1
    assert "agent 'slow' no longer holds task 'a' (fence 1)" in stale.stderr
    assert "Its result was not written" in stale.stderr
    fresh = run("""stig board complete a --agent quick --fence 2 --result '{"by": "quick"}'""")
    assert fresh.returncode == 0, fresh.stderr
    with TaskBoard("board.db") as board:
        done = board.get("a")
    assert done is not None
    assert done.result == {"by": "quick"}


def test_a_script_sees_that_there_is_nothing_to_do() -> None:
    run("stig board post job --requires gpu")
    done = run(
        'stig board claim w; code=$?; if [ $code -eq 5 ]; then echo idle; else echo "$code"; fi'
    )
    assert done.stdout == "idle\n"
