"""Steering a real run from another terminal: paused, with other agents, asked before it goes on.

Each wish is followed at once, and again after the run's process was killed with -9 and resumed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from stigmergy.board import Event, Task, TaskBoard, TaskStatus
from stigmergy.coding.rundir import StateFolder
from stigmergy.testing.runs import item

STIG = Path(sys.executable).with_name("stig")
START = {"gate.sh": "! grep -rn BAD --include=*.txt .\n", "README": "start\n"}
WITHIN_S = 60.0
QUIET_S = 1.5
"""Longer than anything in a run waits before it looks again."""


class Terminals:
    """One in which a run goes on, and others."""

    def __init__(self, repository: Path, shared: Path) -> None:
        self.repository = repository
        self.shared = shared
        """Readable by the agents: they wait for a file in it."""
        self.running: subprocess.Popen[str] | None = None
        self.lines: list[str] = []
        self._reader: threading.Thread | None = None
        self._said = threading.Condition()

    def let_agents_go(self) -> None:
        (self.shared / "go").touch()

    def run(self, items: list[dict[str, object]], *options: str) -> None:
        file = self.shared / "FEATURES.json"
        file.write_text(json.dumps({"features": items}))
        agent = (
            f"while [ ! -e {self.shared}/go ]; do sleep 0.02; done; "
            'echo "$STIG_DESCRIPTION" > "$STIG_PATH"'
        )
        self._start(
            *("run", "--features", str(file), "--gate", "sh gate.sh"),
            *("--agent-shell", "--agent-command", agent, "--plain", *options),
        )

    def resume(self) -> None:
        self._start("resume", "--plain")
        self.wait_for_line("resumed")

    def _start(self, *words: str) -> None:
        self.lines.clear()
        self.running = subprocess.Popen(
            [STIG, *words],
            cwd=self.repository,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"STIG_SANDBOX_SHARE": json.dumps([str(self.shared)])},
        )
        self._reader = threading.Thread(target=self._read, args=(self.running,))
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                with self._said:
                    self.lines.append(line)
                    self._said.notify_all()

    def wait_for_line(self, text: str) -> None:
        with self._said:
            done = self._said.wait_for(lambda: any(text in line for line in self.lines), WITHIN_S)
        assert done, f"no line with {text!r} in {self.lines}"

    def end(self) -> int:
        """How it ended by itself."""
        assert self.running is not None
        code = self.running.wait(WITHIN_S)
        self.close()
        return code

    def kill(self) -> None:
        assert self.running is not None
        self.running.send_signal(signal.SIGKILL)
        self.running.wait()
        self.close()

    def close(self) -> None:
        if self.running is not None and self.running.poll() is None:
            self.running.kill()
            self.running.wait()
        if self._reader is not None:
            self._reader.join()
        self.running = self._reader = None

    def stig(self, *words: str, code: int = 0) -> str:
        done = subprocess.run([STIG, *words], cwd=self.repository, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def board(self) -> TaskBoard:
        return TaskBoard(StateFolder(self.repository).find(None).board_url)

    def wait_until(self, holds: Callable[[TaskBoard], bool]) -> None:
        """By the board's own signals."""
        self.wait_for_line("started")
        with self.board() as board:
            seq = 0
            while not holds(board):
                assert board.wait(after=seq, timeout_s=WITHIN_S), self.lines
                seq = board.last_seq()

    def tasks(self, *types: str) -> dict[str, Task]:
        with self.board() as board:
            return {task.task_id: task for task in board.list_all(task_types=types or None)}

    def events(self, *kinds: str) -> list[Event]:
        with self.board() as board:
            return [event for event in board.events(limit=2**31) if event.kind in kinds]

    def takes_nothing(self) -> bool:
        """No task is claimed though there would be time for it."""
        before = len(self.events("claimed"))
        until = time.monotonic() + QUIET_S
        with self.board() as board:
            while (left := until - time.monotonic()) > 0:
                board.wait(after=board.last_seq(), timeout_s=left)
        return len(self.events("claimed")) == before


def held(board: TaskBoard) -> list[Task]:
    return board.list_all(
        statuses=[TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS], task_types=["code"]
    )


def claimed_by(board: TaskBoard, *, after: int) -> set[str]:
    events = board.events(after=after, limit=2**31)
    return {event.agent_id for event in events if event.kind == "claimed"}


def completed(board: TaskBoard, task_type: str) -> int:
    return len(board.list_all(statuses=[TaskStatus.COMPLETED], task_types=[task_type]))


def asked(board: TaskBoard) -> list[Task]:
    return board.list_all(statuses=[TaskStatus.PENDING], task_types=["approval"])


def items(count: int) -> list[dict[str, object]]:
    return [item(f"F{n}", f"{n}.txt") for n in range(1, count + 1)]


@pytest.fixture
def terminals(
    make_repository: Callable[[Mapping[str, str | bytes]], Path], tmp_path: Path
) -> Iterator[Terminals]:
    shared = tmp_path / "shared"
    shared.mkdir()
    made = Terminals(make_repository(START), shared)
    yield made
    made.close()


def test_a_paused_run_finishes_what_is_held_takes_nothing_and_goes_on_when_told(
    terminals: Terminals,
) -> None:
    terminals.run(items(4), "--agents", "2")
    terminals.wait_until(lambda board: len(held(board)) == 2)
    assert "2 tasks in hand will be finished" in terminals.stig("steer", "pause")
    terminals.wait_for_line("all tasks paused")
    terminals.let_agents_go()
    terminals.wait_until(lambda board: completed(board, "code") == 2)
    assert terminals.takes_nothing()
    assert "PAUSED" in terminals.stig("status")

    terminals.kill()
    terminals.resume()
    assert terminals.takes_nothing(), "it is still paused"
    (pause,) = terminals.events("paused")
    assert all(claim.seq < pause.seq for claim in terminals.events("claimed"))

    assert "goes on where it runs" in terminals.stig("resume")
    assert terminals.end() == 0
    assert sorted(path.name for path in terminals.repository.glob("*.txt")) == [
        f"{n}.txt" for n in range(1, 5)
    ]


def test_more_agents_come_at_once_and_those_too_many_leave_after_their_task(
    terminals: Terminals,
) -> None:
    terminals.run(items(6), "--agents", "1")
    terminals.wait_until(lambda board: len(held(board)) == 1)
    assert "works with 3 agents" in terminals.stig("steer", "agents", "3", "--by", "ann")
    terminals.wait_until(lambda board: len(held(board)) == 3)

    terminals.kill()
    with terminals.board() as board:
        killed = board.last_seq()
    terminals.resume()
    terminals.wait_until(lambda board: len(claimed_by(board, after=killed)) == 3)

    terminals.stig("steer", "agents", "1")
    terminals.wait_for_line("1 agents wanted")
    terminals.let_agents_go()
    assert terminals.end() == 0
    wish = terminals.events("agents_wanted")[-1]
    assert terminals.events("agents_wanted")[0].data == {"count": 3, "by": "ann"}
    later = {
        claim.agent_id.rpartition("/")[2]
        for claim in terminals.events("claimed")
        if claim.seq > wish.seq
    }
    assert later == {"agent-1", "queue"}


def test_landings_wait_for_a_yes_and_a_no_fails_the_item_with_the_reason(
    terminals: Terminals,
) -> None:
    terminals.let_agents_go()
    terminals.run([*items(2), item("F3", "3.txt", depends_on=["F2"])], "--approve", "landings")
    terminals.wait_until(lambda board: len(asked(board)) == 2)
    assert terminals.takes_nothing()
    waiting = terminals.stig("steer", "waiting")
    assert "F1.approval1" in waiting
    assert "git diff" in waiting
    standing = terminals.stig("status")
    assert "`stig steer waiting`" in standing
    assert "you: approve or refuse" in standing
    payload = terminals.tasks("approval")["F1.approval1"].payload
    assert (payload["paths"], payload["files_changed"], payload["lines_added"]) == (["1.txt"], 1, 1)
    branch = subprocess.run(
        ["git", "rev-parse", payload["branch"]],
        cwd=terminals.repository,
        capture_output=True,
        text=True,
    )
    assert branch.stdout.strip() == payload["commit"]

    terminals.kill()
    terminals.stig("steer", "approve", "F1", "--by", "ann")
    terminals.resume()
    terminals.wait_for_line("landed F1")
    terminals.stig("steer", "refuse", "F2", "--by", "ann", "--reason", "not like this")
    assert terminals.end() == 1
    assert (terminals.repository / "1.txt").exists()
    assert not (terminals.repository / "2.txt").exists()
    failed = terminals.tasks("land")["F2.land"].error
    assert failed == "it depends on 'F2.approval1', which failed: refused by ann: not like this"
    assert "not like this" in str(terminals.tasks("land")["F3.land"].error)


def test_a_refused_landing_can_be_asked_for_again(terminals: Terminals) -> None:
    terminals.let_agents_go()
    terminals.run(items(2), "--approve", "landings")
    terminals.wait_until(lambda board: len(asked(board)) == 2)
    terminals.stig("steer", "refuse", "F1", "--reason", "not yet")
    terminals.stig("steer", "retry", "F1")
    terminals.stig("steer", "priority", "1", "F2")
    assert "approved 2 tasks" in terminals.stig("steer", "approve", "--all")
    assert terminals.end() == 0
    assert "has ended" in terminals.stig("steer", "pause", code=2)


def test_no_work_begins_before_the_plan_is_approved(terminals: Terminals) -> None:
    terminals.let_agents_go()
    terminals.run(items(3), "--approve", "plan")
    terminals.wait_until(lambda board: bool(asked(board)))
    assert terminals.takes_nothing()
    terminals.kill()
    terminals.resume()
    assert terminals.takes_nothing()
    assert terminals.events("claimed") == []
    (plan,) = terminals.tasks("approval").values()
    assert [told["key"] for told in plan.payload["items"]] == ["F1", "F2", "F3"]
    terminals.stig("steer", "approve", "plan.approval1")
    assert terminals.end() == 0
    assert len(terminals.tasks("approval")) == 1


def test_a_refused_plan_fails_its_items_with_the_reason(terminals: Terminals) -> None:
    terminals.run(items(2), "--approve", "plan")
    terminals.wait_until(lambda board: bool(asked(board)))
    terminals.stig("steer", "refuse", "--all", "--by", "ann", "--reason", "too much at once")
    assert terminals.end() == 1
    assert all("too much at once" in str(t.error) for t in terminals.tasks("code").values())


def test_nobody_but_a_person_can_say_yes_to_a_landing(terminals: Terminals) -> None:
    """A worker that may post and complete tasks tries to have unapproved work landed."""
    terminals.let_agents_go()
    terminals.run(items(1), "--approve", "landings")
    terminals.wait_until(lambda board: len(asked(board)) == 1)
    with terminals.board() as board:
        for forged in (
            # Another landing of the same work, with an approval that is none.
            [
                Task(task_id="X.approval1", task_type="generic"),
                Task(
                    task_id="X.land",
                    task_type="land",
                    payload={"key": "X"},
                    depends_on=("F1", "X.approval1"),
                ),
            ],
            # The same under the item's own name.
            [
                Task(
                    task_id="Y.land",
                    task_type="land",
                    payload={"key": "F1"},
                    depends_on=("F1", "X.approval1"),
                )
            ],
            # Work of its own, with the commit that nobody has approved, and no yes to it.
            [
                Task(task_id="Z", task_type="generic", payload={"key": "Z"}),
                Task(task_id="Z.approval1", task_type="generic"),
                Task(
                    task_id="Z.land",
                    task_type="land",
                    payload={"key": "Z"},
                    depends_on=("Z", "Z.approval1"),
                ),
            ],
            # What was never work, and what is not there.
            [Task(task_id="N.land", task_type="land")],
        ):
            board.post_many(forged)
        work = board.get("F1")
        assert work is not None
        result = work.result
        while held := board.claim("mallory", task_types=["generic"]):
            board.complete(held, result if held.task_id == "Z" else {"approved": True})
    names = {"X.land", "Y.land", "Z.land", "N.land"}
    terminals.wait_until(
        lambda board: all((t := board.get(n)) is not None and t.status.is_final for n in names)
    )
    lands = terminals.tasks("land")
    assert {n: lands[n].status for n in names} == dict.fromkeys(names, TaskStatus.FAILED)
    assert terminals.events("landing", "target_moved") == []
    terminals.stig("steer", "approve", "F1", "--by", "ann")
    terminals.wait_for_line("landed F1")
    terminals.end()
    assert (terminals.repository / "1.txt").exists()
