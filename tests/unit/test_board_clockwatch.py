"""Somebody sets the machine's clock: what a local board counts in seconds goes on counting."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stigmergy.board import Backoff, Lease, Schedule, Store, Task, TaskBoard, TaskStatus, open_store
from stigmergy.board.clockwatch import ClockWatch, machine_clock_watch
from stigmergy.board.task import encode_json
from stigmergy.errors import LostLeaseError
from stigmergy.testing.stores import FakeClock

S = TaskStatus
LEASE_S = 100.0
HOUR, DAY = 3600.0, 86_400.0
JUMPS = [HOUR, -HOUR, DAY, -DAY]


@dataclass
class Machine:
    """A clock that can be set, and one that cannot."""

    wall: FakeClock
    steady: FakeClock = field(default_factory=lambda: FakeClock(500.0))
    boot: str = "first boot"

    def passes(self, seconds: float) -> None:
        self.wall.advance(seconds)
        self.steady.advance(seconds)

    def watch(self) -> ClockWatch:
        return ClockWatch(steady=self.steady, boot=self.boot)


@pytest.fixture
def machine(clock: FakeClock) -> Machine:
    return Machine(clock)


@pytest.fixture
def opened(store: Store, machine: Machine) -> Callable[[], TaskBoard]:
    """The board as a further process opens it."""
    return lambda: TaskBoard(
        store=store, lease_s=LEASE_S, backoff=Backoff(first_s=10), clock_watch=machine.watch()
    )


@pytest.fixture
def board(opened: Callable[[], TaskBoard]) -> TaskBoard:
    """Used before, so that it knows the clock."""
    board = opened()
    assert board.claim("ann") is None
    return board


def task(task_id: str) -> Task:
    return Task(task_type="work", task_id=task_id, created_at=1.0)


def claimed(board: TaskBoard, agent: str = "ann") -> Task:
    got = board.claim(agent)
    assert got is not None
    return got


def lease(board: TaskBoard, task_id: str) -> Lease:
    got = board.get(task_id)
    assert got is not None
    assert got.lease is not None
    return got.lease


def clock_events(board: TaskBoard) -> list[dict[str, object]]:
    return [event.data for event in board.events() if event.kind == "clock_set"]


@pytest.mark.parametrize("jump", JUMPS)
def test_leases_move_with_the_clock(board: TaskBoard, machine: Machine, jump: float) -> None:
    board.post_many([task("a"), task("b")])
    held = claimed(board)
    machine.passes(40)
    machine.wall.advance(jump)
    assert claimed(board, "bob").task_id == "b"
    assert lease(board, "a").deadline == pytest.approx(machine.wall.now + LEASE_S - 40)
    assert clock_events(board) == [{"by_s": jump, "leases_moved": 1}]
    machine.passes(LEASE_S - 40 - 0.01)
    assert board.claim("bob") is None, "not a moment early"
    machine.passes(0.02)
    assert claimed(board, "bob").task_id == "a", "and not late"
    with pytest.raises(LostLeaseError):
        board.complete(held, {})


@pytest.mark.parametrize("jump", JUMPS)
def test_a_lease_that_is_renewed_first_is_not_moved_twice(
    board: TaskBoard, machine: Machine, jump: float
) -> None:
    board.post_many([task("a"), task("b")])
    held, other = claimed(board), claimed(board)
    machine.passes(40)
    machine.wall.advance(jump)
    renewed = board.renew(held)
    assert renewed.deadline == machine.wall.now + LEASE_S
    board.report(other, {"done": 1})
    assert board.claim("bob") is None
    assert [lease(board, name).deadline for name in "ab"] == [machine.wall.now + LEASE_S] * 2
    assert len(clock_events(board)) == 1


@pytest.mark.parametrize("drift", [4.9, -4.9])
def test_a_little_drift_moves_nothing(board: TaskBoard, machine: Machine, drift: float) -> None:
    board.post(task("a"))
    deadline = claimed(board).lease_until
    for _ in range(3):
        machine.wall.advance(drift)
        assert board.claim("bob") is None
        machine.wall.advance(-drift)
    assert lease(board, "a").deadline == deadline
    assert clock_events(board) == []


@pytest.mark.parametrize("jump", [0.0, *JUMPS])
def test_a_restart_of_the_machine_moves_nothing(
    board: TaskBoard, opened: Callable[[], TaskBoard], machine: Machine, jump: float
) -> None:
    board.post(task("a"))
    deadline = claimed(board).lease_until
    machine.wall.advance(30 + jump)
    machine.steady.now = 3.0
    machine.boot = "second boot"
    again = opened()
    if jump <= 0:
        assert again.claim("bob") is None
        assert lease(again, "a").deadline == deadline
    else:
        assert claimed(again, "bob").attempts == 2, "its agent died with the machine"
    assert clock_events(again) == []


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_while_nobody_looked_is_found_by_whoever_comes(
    board: TaskBoard, opened: Callable[[], TaskBoard], machine: Machine, jump: float
) -> None:
    board.post(task("a"))
    claimed(board)
    machine.wall.advance(jump)
    assert opened().claim("bob") is None
    assert board.claim("bob") is None
    assert lease(board, "a").deadline == machine.wall.now + LEASE_S
    assert len(clock_events(board)) == 1, "whoever comes second finds it done"


def test_reaping_by_hand_looks_at_the_clock_too(board: TaskBoard, machine: Machine) -> None:
    board.post(task("a"))
    claimed(board)
    machine.wall.advance(DAY)
    assert board.reap() == 0
    machine.passes(LEASE_S)
    assert board.reap() == 1


def test_a_jump_is_not_forgotten_when_its_transaction_comes_to_nothing(
    board: TaskBoard, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.post(task("a"))
    claimed(board)
    machine.wall.advance(DAY)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("stigmergy.board.board.reap", broken)
        with pytest.raises(ZeroDivisionError):
            board.claim("bob")
    assert clock_events(board) == []
    assert board.claim("bob") is None
    assert lease(board, "a").deadline == machine.wall.now + LEASE_S


def test_a_board_whose_clock_stands_right_needs_no_second_look(
    board: TaskBoard, machine: Machine
) -> None:
    watch = board._clock_watch
    assert watch is not None

    def knows() -> bool:
        with board._store.transaction() as tx:
            told = next(rule.body for rule in tx.rules() if rule.name == watch.rule_name)
        return watch.knows(machine.wall.now, told=encode_json(told, what="the rule"))

    assert knows()
    machine.wall.advance(HOUR)
    assert not knows()
    board.claim("ann")
    assert knows()


class SetBetween(FakeClock):
    """A clock that is set right after one of its readings."""

    jump: float = 0.0
    readings: int = 0

    def __call__(self) -> float:
        now = super().__call__()
        self.readings -= 1
        if self.readings == 0:
            self.advance(self.jump)
        return now


@pytest.mark.parametrize("verb", ["claim", "renew"])
@pytest.mark.parametrize("readings", [1, 2, 3])
@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_set_in_the_middle_of_a_verb_moves_no_lease_twice(
    tmp_path: Path, jump: float, readings: int, verb: str
) -> None:
    wall = SetBetween(1e9)
    machine = Machine(wall)
    with closing(open_store(tmp_path / "b.db", clock=wall)) as store:
        board, other = (
            TaskBoard(store=store, lease_s=LEASE_S, clock_watch=machine.watch()) for _ in range(2)
        )
        board.post(task("a"))
        held = claimed(board) if verb == "renew" else None
        other.claim("bob", task_types=["none"])
        wall.jump, wall.readings = jump, readings
        if held is None:
            claimed(board)
        else:
            board.renew(held)
        for _ in range(4):
            other.claim("bob", task_types=["none"])
        assert wall.readings < 0
        assert lease(board, "a").deadline <= wall.now + LEASE_S


@pytest.mark.parametrize("jump", JUMPS)
def test_a_process_that_slept_through_a_jump_and_back_makes_no_lease_that_is_moved(
    board: TaskBoard, opened: Callable[[], TaskBoard], machine: Machine, jump: float
) -> None:
    sleeper, other = board, opened()
    other.claim("bob")
    machine.wall.advance(jump)
    other.claim("bob")
    machine.wall.advance(-jump)
    other.post(task("a"))
    claimed(sleeper)
    other.claim("bob")
    assert lease(board, "a").deadline == machine.wall.now + LEASE_S


@pytest.mark.parametrize("jump", JUMPS)
def test_two_processes_whose_clocks_differ_give_no_task_to_two(
    store: Store, machine: Machine, jump: float
) -> None:
    """As when one of them runs under libfaketime: wrong clocks cost time, never a result."""
    skewed = Machine(FakeClock(machine.wall.now + jump), machine.steady, machine.boot)
    right = TaskBoard(store=store, lease_s=LEASE_S, clock_watch=machine.watch())
    wrong = TaskBoard(store=store, lease_s=LEASE_S, clock_watch=skewed.watch())
    right.post_many(task(f"t{n}") for n in range(6))
    claims = ((board, board.claim("ann")) for _ in range(4) for board in (right, wrong))
    held = [(board, got) for board, got in claims if got is not None]
    accepted: list[str] = []
    for board, got in held:
        try:
            board.complete(got, {"fence": got.fence})
            accepted.append(got.task_id)
        except LostLeaseError:
            pass
    assert len(accepted) == len(set(accepted))
    for _ in range(20):
        for board in (right, wrong):
            board.claim("cy", task_types=["none"])
    assert len(clock_events(right)) <= 8, "they do not move leases to and fro for ever"
    done = {each.task_id: each for each in right.list_all(statuses=[S.COMPLETED])}
    assert done.keys() == set(accepted)


@pytest.mark.parametrize("jump", JUMPS)
def test_a_schedule_that_counts_seconds_goes_on_counting(
    board: TaskBoard, machine: Machine, jump: float
) -> None:
    board.schedule(Schedule(name="tick", task=Task(task_type="work"), every_s=60))
    machine.passes(20)
    machine.wall.advance(jump)
    assert board.claim("ann") is None
    machine.passes(39.9)
    assert board.claim("ann") is None
    machine.passes(0.2)
    assert board.claim("ann") is not None


def test_a_schedule_by_the_clock_keeps_to_the_clock(board: TaskBoard, machine: Machine) -> None:
    told = board.schedule(Schedule(name="daily", task=Task(task_type="work"), cron="0 6 * * *"))
    machine.wall.advance(-HOUR)
    assert board.claim("ann") is None
    assert board.rules().schedules == (told,)


def test_this_machine_has_a_clock_that_nobody_sets() -> None:
    watch = machine_clock_watch()
    assert watch is not None
    first = watch.steady()
    assert watch.steady() >= first
    assert len(watch.boot) > 8


@pytest.mark.parametrize("url", ["b.db", "tasks"])
def test_a_board_that_a_path_names_watches_the_machines_clock(
    tmp_path_factory: pytest.TempPathFactory, url: str
) -> None:
    with TaskBoard(tmp_path_factory.mktemp("x") / url) as board:
        assert board._clock_watch is not None
    with TaskBoard("memory:") as board:
        assert board._clock_watch is None
