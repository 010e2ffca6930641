"""The batch agent: `wasm` tasks of a board, many at a time, and nothing lost."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stigmergy import Task, TaskBoard, TaskStatus
from stigmergy.errors import UsageError
from stigmergy.wasm import BatchAgent, SwarmManager, batch
from stigmergy.wasm.gpu.device import Device, Dispatch
from stigmergy.wasm.module.reading import to_binary

WORK = """(module
  (import "stigmergy" "log" (func $log (param i32 i32)))
  (import "stigmergy" "random" (func $random (result i64)))
  (memory 1)
  (data (i32.const 0) "done")
  (func (export "square") (param i32) (result i32)
    (i32.store (i32.const 8) (i32.mul (local.get 0) (local.get 0)))
    (call $log (i32.const 0) (i32.const 4))
    (i32.load (i32.const 8)))
  (func (export "draw") (result i64) (call $random))
  (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 0)))
  (func (export "trap") (unreachable))
  (func (export "spin") (loop (br 0))))"""


@pytest.fixture
def board() -> Iterator[TaskBoard]:
    with TaskBoard("memory:") as opened:
        yield opened


@pytest.fixture
def swarm() -> Iterator[SwarmManager]:
    with SwarmManager("cpu", 64) as opened:
        yield opened


def post(board: TaskBoard, **payload: object) -> str:
    payload = payload if payload.keys() & {"wasm", "wat", "module"} else {"wat": WORK, **payload}
    return board.post(Task(task_type="wasm", payload=payload))


def task(board: TaskBoard, task_id: str) -> Task:
    found = board.get(task_id)
    assert found is not None
    return found


def test_a_batch_is_run_at_once_and_completed_together(
    board: TaskBoard, swarm: SwarmManager
) -> None:
    ids = [post(board, entry="square", args=[n]) for n in range(10)]
    binary = base64.b64encode(to_binary(WORK)).decode()
    ids.append(post(board, wasm=binary, entry="square", args=[10], read={"offset": 8, "size": 4}))
    assert BatchAgent(board, swarm).work_cycle() == 11
    results = [task(board, one).result or {} for one in ids]
    assert [result["result"] for result in results] == [n * n for n in range(11)]
    assert {result["output"] for result in results} == {"done\n"}
    assert base64.b64decode(results[10]["memory"]) == (100).to_bytes(4, "little")
    assert all(result["instructions"] == 11 for result in results)
    assert len(swarm.active_agents) == 0


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"entry": "trap"}, "trap: unreachable in function 'trap'"),
        ({"entry": "spin", "max_instructions": 1_000}, "used up its 1000 instructions"),
        ({"entry": "nothing"}, "no function 'nothing'"),
        ({"entry": "square", "args": ["x"]}, "args"),
        ({"entry": "square", "argz": [1]}, "argz"),
        ({"wasm": "AGFzbQ==", "entry": 0}, "not a WebAssembly module"),
        ({"wasm": "?", "entry": 0}, "no base64"),
        ({"wat": WORK, "wasm": "AGFzbQ=="}, "exactly one"),
        ({"wat": '(module (import "stigmergy" "wait" (func)) (func))'}, "alone"),
        ({"module": "../secret.wasm"}, "outside of the folder"),
        ({"wasm": "é"}, "no base64"),
        ({"entry": "square", "args": [1], "memory": "é"}, "no base64"),
        ({"entry": "half", "args": [10**400]}, "fits into f64"),
        ({"module": "a\0b"}, "no name of a file"),
        ({"entry": "spin", "max_instructions": 1 << 61}, "10000000000 at most"),
        ({"entry": "square", "args": [1], "read": {"offset": 65_536, "size": 1}}, "outside"),
    ],
)
def test_what_cannot_go_well_fails_for_good_and_alone(
    board: TaskBoard, swarm: SwarmManager, tmp_path: Path, payload: dict[str, object], says: str
) -> None:
    bad, good = post(board, **payload), post(board, entry="square", args=[3])
    (tmp_path / "modules").mkdir()
    BatchAgent(board, swarm, modules=tmp_path / "modules").work_cycle()
    assert task(board, bad).status is TaskStatus.FAILED
    assert says in (task(board, bad).error or "")
    assert (task(board, good).result or {})["result"] == 9


def test_a_module_is_a_file_of_the_folder(
    board: TaskBoard, swarm: SwarmManager, tmp_path: Path
) -> None:
    (tmp_path / "work.wat").write_text(WORK)
    named = post(board, module="work.wat", entry="square", args=[4])
    BatchAgent(board, swarm, modules=tmp_path).work_cycle()
    assert (task(board, named).result or {})["result"] == 16
    unnamed = post(board, module="work.wat", entry="square", args=[4])
    absent = post(board, module="absent.wat", entry="square", args=[4])
    BatchAgent(board, swarm).work_cycle()
    assert "no folder" in (task(board, unnamed).error or "")
    assert "no folder" in (task(board, absent).error or "")
    # Another agent may have it.
    assert task(board, unnamed).status is TaskStatus.PENDING


def test_a_file_that_is_not_there_is_tried_again(
    board: TaskBoard, swarm: SwarmManager, tmp_path: Path
) -> None:
    absent = post(board, module="work.wat", entry="square", args=[4])
    agent = BatchAgent(board, swarm, modules=tmp_path)
    agent.work_cycle()
    assert "cannot be read" in (task(board, absent).error or "")
    (tmp_path / "work.wat").write_text(WORK)
    agent.run(threading.Event(), until_idle=True)
    assert (task(board, absent).result or {})["result"] == 16
    assert agent.failed == 1


def test_a_task_draws_the_same_in_every_batch(board: TaskBoard, swarm: SwarmManager) -> None:
    first = post(board, entry="draw", identity=3)
    agent = BatchAgent(board, swarm)
    agent.work_cycle()
    others = [post(board, entry="draw", identity=n) for n in (1, 2, 3)]
    agent.work_cycle()
    drawn = [(task(board, one).result or {})["result"] for one in (first, *others)]
    assert drawn[0] == drawn[3]
    assert len(set(drawn)) == 3


def test_what_is_not_finite_is_named(board: TaskBoard, swarm: SwarmManager) -> None:
    ids = [post(board, entry="half", args=[x]) for x in (1.0, -1.0, 0.0)]
    BatchAgent(board, swarm).work_cycle()
    results = [(task(board, one).result or {})["result"] for one in ids]
    assert results == ["Infinity", "-Infinity", "NaN"]


def test_a_task_that_was_cancelled_meanwhile_takes_no_other_with_it(
    board: TaskBoard, swarm: SwarmManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, kept = post(board, entry="square", args=[1]), post(board, entry="square", args=[2])
    dispatch = swarm.dispatch

    def cancel_first(*arguments: object) -> object:
        board.cancel(gone, reason="enough")
        return dispatch(*arguments)  # pyright: ignore[reportArgumentType] - handed on

    monkeypatch.setattr(swarm, "dispatch", cancel_first)
    BatchAgent(board, swarm).work_cycle()
    assert task(board, gone).status is TaskStatus.CANCELLED
    assert (task(board, kept).result or {})["result"] == 4


def test_it_works_until_nothing_is_open_and_forgets_modules(
    board: TaskBoard, swarm: SwarmManager
) -> None:
    ids = [post(board, wat=f"(module (func (result i32) (i32.const {n})))") for n in range(150)]
    told: list[int] = []
    done = BatchAgent(board, swarm, limit=40).run(
        threading.Event(), until_idle=True, progress=told.append
    )
    assert (done, told) == (150, [40, 80, 120, 150])
    assert [(task(board, one).result or {})["result"] for one in ids] == list(range(150))
    assert len(swarm.placements) <= 40


def test_it_takes_only_wasm_tasks_that_it_can_do(board: TaskBoard, swarm: SwarmManager) -> None:
    board.post(Task(task_type="code"))
    board.post(Task(task_type="wasm", payload={"wat": WORK}, requires=("gpu",)))
    assert BatchAgent(board, swarm).work_cycle() == 0
    assert BatchAgent(board, swarm, capabilities=["gpu"]).work_cycle() == 1
    with pytest.raises(UsageError, match="limit"):
        BatchAgent(board, swarm, limit=0)


def test_killed_in_the_middle_it_loses_nothing(tmp_path: Path) -> None:
    """Real processes on a real board, killed with -9 while they work; every answer once."""
    url = f"sqlite:///{tmp_path}/board.db"
    (tmp_path / "spin.wat").write_text(
        """(module (func (export "run") (param i32) (result i32) (local i32)
             (local.set 1 (i32.const 1000000))
             (loop (br_if 0 (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
             (i32.mul (local.get 0) (i32.const 3))))"""
    )
    with TaskBoard(url) as board:
        ids = board.post_many(
            Task(
                task_type="wasm",
                payload={"module": "spin.wat", "entry": "run", "args": [n]},
                max_attempts=20,
            )
            for n in range(300)
        )
    script = tmp_path / "work.py"
    script.write_text(
        "import sys, threading\nfrom pathlib import Path\n"
        "from stigmergy import TaskBoard\nfrom stigmergy.wasm import BatchAgent, SwarmManager\n"
        "with TaskBoard(sys.argv[1]) as board, SwarmManager('cpu') as swarm:\n"
        "    agent = BatchAgent(board, swarm, modules=Path(sys.argv[2]), limit=40, lease_s=1)\n"
        "    told = lambda count: print(count, flush=True)\n"
        "    agent.run(threading.Event(), until_idle=True, progress=told)\n"
    )
    command = [sys.executable, str(script), url, str(tmp_path)]
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 0  # the next batch is in its hands
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
    with TaskBoard(url) as board:
        found = [board.get(one) for one in ids]
        assert all(one is not None and one.status is TaskStatus.COMPLETED for one in found)
        answers = [(one.result or {})["result"] for one in found if one]
        assert answers == [3 * n for n in range(300)]
        events = board.events(limit=1_000_000)
        completed = [event.task_id for event in events if event.kind == "completed"]
        assert sorted(completed) == sorted(ids)


def test_the_shell_runs_a_batch_agent(tmp_path: Path) -> None:
    stig = [str(Path(sys.executable).with_name("stig"))]
    environment = {**os.environ, "STIG_BOARD": str(tmp_path / "board.db")}
    (tmp_path / "work.wat").write_text(WORK)

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*stig, *arguments], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    payload = json.dumps({"module": "work.wat", "entry": "square", "args": [12]})
    task_id = run("board", "post", "wasm", "--payload", payload).strip()
    said = run("wasm", "work", "--modules", str(tmp_path), "--until-idle", "--engine", "cpu")
    assert said == "1 task came to an end here\n"
    shown = json.loads(run("board", "show", task_id, "--json"))
    assert "144" in json.dumps(shown)


def test_what_no_engine_can_begin_fails_in_every_batch(
    board: TaskBoard, swarm: SwarmManager
) -> None:
    text = '(module (func (export "f") (result funcref) (ref.null func)))'
    ids = [post(board, wat=text, entry="f") for _ in range(3)]
    BatchAgent(board, swarm).work_cycle()
    assert {task(board, one).status for one in ids} == {TaskStatus.FAILED}


@pytest.mark.needs_vulkan
@pytest.mark.parametrize("journal", [True, False])
def test_tasks_on_a_device_that_was_lost_are_done_again_or_tried_again(
    board: TaskBoard, monkeypatch: pytest.MonkeyPatch, *, journal: bool
) -> None:
    encode, lost = Device.encode, threading.Event()

    def lossy(self: Device, encoder: object, dispatches: Sequence[Dispatch]) -> None:
        if not lost.is_set():
            lost.set()
            self._device.destroy()  # pyright: ignore[reportPrivateUsage] - to lose it
        encode(self, encoder, dispatches)

    monkeypatch.setattr(Device, "encode", lossy)
    with SwarmManager("gpu", journal=journal) as swarm:
        ids = [post(board, entry="square", args=[n]) for n in range(3)]
        agent = BatchAgent(board, swarm)
        agent.work_cycle()
        if not journal:
            assert {task(board, one).status for one in ids} == {TaskStatus.PENDING}
            assert agent.run(threading.Event(), until_idle=True) == 3
        assert [(task(board, one).result or {})["result"] for one in ids] == [0, 1, 4]
        assert {task(board, one).attempts for one in ids} == {1 if journal else 2}


def test_others_of_the_swarm_are_left_alone(board: TaskBoard, swarm: SwarmManager) -> None:
    swarm.load_bytecode(WORK)
    others = swarm.spawn_agents(62, "square", [[n] for n in range(62)])
    agent = BatchAgent(board, swarm, limit=64)
    ids = [post(board, entry="square", args=[3])]
    ids += [post(board, wat=f"(module (func (result i32) (i32.const {n})))") for n in range(40)]
    for _ in range(21):
        agent.work_cycle()
    assert {task(board, one).status for one in ids} == {TaskStatus.COMPLETED}
    assert swarm.dispatch(others).agent_results[others[9]] == 81


def test_who_is_stopped_gives_long_work_back_between_two_slices(
    board: TaskBoard, swarm: SwarmManager
) -> None:
    short, long = (
        post(board, entry="square", args=[3]),
        post(board, entry="spin", max_instructions=10_000_000_000),
    )
    stop = threading.Event()

    def stop_once_it_is_claimed() -> None:
        for event in board.watch(stop=stop):
            if event.kind == "claimed":
                stop.set()

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(stop_once_it_is_claimed)
        agent = BatchAgent(board, swarm)
        done = agent.run(stop)
        watching.result()
    assert (task(board, long).status, task(board, long).attempts) == (TaskStatus.PENDING, 0)
    assert "the agent was stopped" in str(board.history(long)[-1].data)
    assert done + agent.given_back == 2
    assert task(board, short).status in (TaskStatus.PENDING, TaskStatus.COMPLETED)


def test_slices_do_not_change_what_comes_of_a_task(
    board: TaskBoard, swarm: SwarmManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_LEAST_SLICE", 7)
    monkeypatch.setattr(batch, "_FIRST_SLICE", 7)
    ids = [post(board, entry="square", args=[n]) for n in range(5)]
    spins = post(board, entry="spin", max_instructions=1_000)
    assert BatchAgent(board, swarm).work_cycle() == 6
    assert [(task(board, one).result or {})["result"] for one in ids] == [0, 1, 4, 9, 16]
    assert all((task(board, one).result or {})["instructions"] == 11 for one in ids)
    assert "used up its 1000 instructions" in (task(board, spins).error or "")
