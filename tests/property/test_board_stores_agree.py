"""Random histories of a board: every store, with short cuts and without, against memory.

Every operation is done on all boards with one clock; what it returns or raises, the tasks and
the journal must be equal, after a reopening too. And the journal alone gives the statuses.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stigmergy.board import (
    Backoff,
    Event,
    Lease,
    Limit,
    OnDuplicate,
    Query,
    Retention,
    Schedule,
    Store,
    Task,
    TaskBoard,
    TaskStatus,
    open_store,
)
from stigmergy.board.approvals import approval
from stigmergy.board.stores.sqlite import SqliteStore
from stigmergy.errors import StigmergyError
from stigmergy.testing.postgres import PostgresServer
from stigmergy.testing.stores import FakeClock

PICK = st.integers(0, 99)
"""Picks one of what is there, by its remainder."""
agents = st.sampled_from(["ann", "bob"])
payloads = st.sampled_from([{}, {"n": 1}, {"ü": [1.5, None, {"deep": True}]}])
tasks = st.builds(
    Task,
    task_type=st.sampled_from(["code", "fix"]),
    payload=payloads,
    requires=st.sampled_from([(), (), (), ("gpu",), ("gpu", "web")]),
    parent_id=st.none() | st.sampled_from(["p", "q"]),
    unique_key=st.none() | st.none() | st.sampled_from(["u", "v"]),
    limit_key=st.none() | st.sampled_from(["k", "l"]),
    priority=st.integers(1, 10),
    max_attempts=st.integers(1, 3),
)
limits = st.sampled_from(
    [
        Limit(name="one", limit_key="*", at_once=1),
        Limit(name="one", limit_key="k", at_once=2),
        Limit(name="two", task_type="code", at_once=1),
        Limit(name="two", task_type="code", limit_key="*", rate=2, per_s=20.0),
        Limit(name="three", task_type="fix", rate=1, per_s=7.0),
    ]
)
schedules = st.sampled_from(
    [
        Schedule(name="often", task=Task(task_type="code"), every_s=30.0),
        Schedule(name="hourly", task=Task(task_type="fix"), cron="0 * * * *", overlap="allow"),
    ]
)
retentions = st.none() | st.just(Retention(completed_s=40.0, failed_s=90.0, events_s=None))


class Boards(RuleBasedStateMachine):
    """Boards that must not be told apart."""

    server: PostgresServer | None = None

    @initialize()
    def open_boards(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="boards-"))
        self.clock = FakeClock()
        self.urls = ["memory:", str(self.folder / "tasks"), str(self.folder / "board.db")]
        if self.server is not None:
            self.schema = f"b{secrets.token_hex(8)}"
            self.urls.append(self.server.url(board=self.schema))
        self.boards = [self._open(url) for url in self.urls]
        plain = SqliteStore(self.folder / "plain.db", clock=self.clock, plain=True)
        self.boards.append(self._board(plain))
        self.leases: list[Lease] = []
        self.has_pruned = False
        self.names = ["t0"]
        root = Task(task_type="code", task_id="t0", max_attempts=2)
        self._same(lambda board: board.post(root))

    def _open(self, url: str) -> TaskBoard:
        return self._board(open_store(url, clock=self.clock))

    def _board(self, store: Store) -> TaskBoard:
        return TaskBoard(store=store, lease_s=50, backoff=Backoff(first_s=5, most_s=8))

    def _same(self, act: Callable[[TaskBoard], object]) -> object:
        outcomes: list[object] = []
        for board in self.boards:
            try:
                outcomes.append(act(board))
            except StigmergyError as error:
                outcomes.append((type(error), str(error)))
        for board, outcome in zip(self.boards, outcomes, strict=True):
            assert outcome == outcomes[0], board.url
        return outcomes[0]

    @rule(drafts=st.lists(tasks, min_size=1, max_size=3), picks=st.lists(PICK, max_size=2))
    def post(self, drafts: list[Task], picks: list[int]) -> None:
        needed = tuple(dict.fromkeys(self._name(pick) for pick in picks))
        batch: list[Task] = []
        for draft in drafts:
            name = f"t{len(self.names)}"
            self.names.append(name)
            batch.append(replace(draft, task_id=name, depends_on=needed))
        self._same(lambda board: board.post_many(batch))

    @rule(draft=tasks, policy=st.sampled_from(["keep", "refuse", "replace"]))
    def post_one(self, draft: Task, policy: OnDuplicate) -> None:
        name = f"t{len(self.names)}"
        self.names.append(name)
        task = replace(draft, task_id=name)
        self._same(lambda board: board.post(task, on_duplicate=policy))

    @rule(draft=tasks, pick=PICK, needed=PICK)
    def post_again(self, draft: Task, pick: int, needed: int) -> None:
        again = replace(draft, task_id=self._name(pick), depends_on=(self._name(needed),))
        self._same(lambda board: board.post(again))

    @rule(
        agent=agents,
        limit=st.integers(1, 3),
        skills=st.sampled_from([["gpu", "web"], ["gpu", "web"], ["gpu"], []]),
        types=st.sampled_from([None, None, ["code"]]),
    )
    def claim(self, agent: str, limit: int, skills: list[str], types: list[str] | None) -> None:
        got = self._same(
            lambda board: board.claim_many(agent, limit, capabilities=skills, task_types=types)
        )
        assert isinstance(got, list)
        self.leases += [task.lease for task in got]

    @rule(agent=agents, picks=st.lists(PICK, max_size=2), limit=st.integers(0, 2))
    def complete_and_claim(self, agent: str, picks: list[int], limit: int) -> None:
        held = {lease.task_id: lease for pick in picks if (lease := self._lease(pick))}
        results = [(lease, {"by": agent}) for lease in held.values()]
        got = self._same(
            lambda board: board.complete_and_claim(
                agent, results, limit, capabilities=["gpu", "web"]
            )
        )
        if isinstance(got, list):
            self.leases += [task.lease for task in got]

    @rule(pick=PICK, progress=payloads)
    def report(self, pick: int, progress: dict[str, object]) -> None:
        if lease := self._lease(pick):
            self._same(lambda board: board.report(lease, progress))

    @rule(limit=limits)
    def set_limit(self, limit: Limit) -> None:
        self._same(lambda board: board.limit(limit))

    @rule(name=st.sampled_from(["one", "two", "three"]))
    def unlimit(self, name: str) -> None:
        self._same(lambda board: board.unlimit(name))

    @rule(
        task_type=st.sampled_from(["code", "fix", None]),
        verb=st.sampled_from(["pause", "resume", "resume"]),
    )
    def pause_or_resume(self, task_type: str | None, verb: str) -> None:
        self._same(lambda board: getattr(board, verb)(task_type))

    @rule(pick=PICK, priority=st.integers(1, 10))
    def set_priority(self, pick: int, priority: int) -> None:
        self._same(lambda board: board.set_priority(self._name(pick), priority))

    @rule(pick=PICK | st.none(), verb=st.sampled_from(["approve", "refuse"]))
    def decide(self, pick: int | None, verb: str) -> None:
        name = self._name(pick) if pick is not None else f"t{len(self.names)}"
        if pick is None:
            self.names.append(name)
            self._same(lambda board: board.post(approval(name, "May it?")))
        self._same(lambda board: getattr(board, verb)(name, by="ann", reason="why"))

    @rule(schedule=schedules)
    def set_schedule(self, schedule: Schedule) -> None:
        self._same(lambda board: board.schedule(schedule))

    @rule(retention=retentions)
    def set_retention(self, retention: Retention | None) -> None:
        self._same(lambda board: board.retain(retention))

    @rule(on=st.booleans())
    def share_fairly(self, on: bool) -> None:
        self._same(lambda board: board.share_fairly(on=on))

    @rule(verb=st.sampled_from(["cancel_all", "retry_all", "retry_all"]), parent=st.just("p"))
    def steer_many(self, verb: str, parent: str) -> None:
        self._same(lambda board: getattr(board, verb)(Query(parent_id=parent)))

    @rule(age_s=st.sampled_from([0.0, 50.0]), limit=st.none() | st.integers(1, 2))
    def prune(self, age_s: float, limit: int | None) -> None:
        self._same(lambda board: board.prune(older_than_s=age_s, limit=limit).tasks)
        self.has_pruned = True

    @rule(pick=PICK, verb=st.sampled_from(["start", "renew"]))
    def go_on(self, pick: int, verb: str) -> None:
        if lease := self._lease(pick):
            self._same(lambda board: getattr(board, verb)(lease))

    @rule(result=payloads)
    def complete_the_latest(self, result: dict[str, object]) -> None:
        if lease := self._lease(-1):
            self._same(lambda board: board.complete(lease, result))

    @rule(pick=PICK, result=payloads)
    def complete(self, pick: int, result: dict[str, object]) -> None:
        if lease := self._lease(pick):
            self._same(lambda board: board.complete(lease, result))

    @rule(picks=st.lists(PICK, min_size=1, max_size=3))
    def complete_many(self, picks: list[int]) -> None:
        if self.leases:
            held = [self.leases[pick % len(self.leases)] for pick in picks]
            self._same(lambda board: board.complete_many([(lease, {}) for lease in held]))

    @rule(pick=PICK, retry=st.booleans())
    def fail(self, pick: int, retry: bool) -> None:
        if lease := self._lease(pick):
            self._same(lambda board: board.fail(lease, "broke", retry=retry))

    @rule(pick=PICK, waits=st.lists(PICK, max_size=2), delay_s=st.sampled_from([0.0, 3.0]))
    def release(self, pick: int, waits: list[int], delay_s: float) -> None:
        wait_for = [self._name(wait) for wait in waits]
        if lease := self._lease(pick):
            self._same(lambda board: board.release(lease, wait_for=wait_for, delay_s=delay_s))

    @rule(agent=agents)
    def release_all(self, agent: str) -> None:
        self._same(lambda board: board.release_all(agent.__eq__, reason="dead"))

    @rule(pick=PICK, verb=st.sampled_from(["cancel", "retry", "retry"]))
    def steer(self, pick: int, verb: str) -> None:
        name = self._name(pick)
        self._same(lambda board: getattr(board, verb)(name))

    @rule()
    def outlast_leases(self) -> None:
        self.clock.advance(60.0)
        self._same(TaskBoard.reap)

    @rule(seconds=st.sampled_from([1.0, 4.0, 30.0, 60.0, 700.0, -20.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(pick=PICK)
    def reopen(self, pick: int) -> None:
        which = 1 + pick % (len(self.urls) - 1)
        self.boards[which].close()
        self.boards[which] = self._open(self.urls[which])

    @rule()
    def begin_journal_anew(self) -> None:
        store = self.boards[1]._store
        with store._mutex, store._lock.held():  # type: ignore[attr-defined] - the files store
            store._catch_up()  # type: ignore[attr-defined] - the files store
            store._begin_anew()  # type: ignore[attr-defined] - the files store
            store._note_progress(swept=False)  # type: ignore[attr-defined] - the files store

    def _lease(self, pick: int) -> Lease | None:
        return self.leases[pick % len(self.leases)] if self.leases else None

    def _name(self, pick: int) -> str:
        return self.names[pick % len(self.names)]

    @invariant()
    def all_look_alike(self) -> None:
        if not hasattr(self, "boards"):
            return
        standing = self._same(TaskBoard.list_all)
        self._same(TaskBoard.rules)
        self._same(TaskBoard.progress)
        self._same(lambda board: board.progress("p"))
        assert isinstance(standing, list)
        if self.has_pruned:
            return  # of what is gone, stores may keep more than they must
        events = self._same(lambda board: unnumbered(board.events(limit=10**6)))
        self._same(lambda board: [unnumbered(board.history(name)) for name in self.names])
        assert isinstance(events, list)
        statuses = {task.task_id: task.status for task in standing}
        told = replayed(events)  # of what retention dropped as well
        assert {name: told[name] for name in statuses} == statuses
        assert all(
            task.status is not TaskStatus.PENDING or is_hopeful(task, standing) for task in standing
        )

    def teardown(self) -> None:
        for board in getattr(self, "boards", ()):
            board.close()
        with contextlib.suppress(AttributeError):
            shutil.rmtree(self.folder)
        if self.server is not None and hasattr(self, "schema"):
            with psycopg.connect(self.server.url(), autocommit=True) as connection:
                connection.execute(f"DROP SCHEMA {self.schema} CASCADE".encode())


def unnumbered(events: list[Event]) -> list[Event]:
    """Stores number events in their own ways; each way, the numbers grow."""
    assert all(one.seq < next_one.seq for one, next_one in pairwise(events))
    return [replace(event, seq=0) for event in events]


def is_hopeful(task: Task, standing: list[Task]) -> bool:
    """What it waits for is not dead: nothing waits for ever."""
    known = {other.task_id: other for other in standing}
    dead = {TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.COMPLETED}
    return not any(known[name].status in dead for name in task.waiting_on if name in known)


def replayed(events: list[Event]) -> dict[str, TaskStatus]:
    """The statuses that the journal alone tells."""
    fixed = {
        "posted": TaskStatus.PENDING,
        "claimed": TaskStatus.CLAIMED,
        "started": TaskStatus.IN_PROGRESS,
        "released": TaskStatus.PENDING,
        "retried": TaskStatus.PENDING,
    }
    statuses: dict[str, TaskStatus] = {}
    for event in events:
        if event.kind in fixed:
            statuses[event.task_id] = fixed[event.kind]
        elif "status" in event.data:
            statuses[event.task_id] = TaskStatus(event.data["status"])
    return statuses


@pytest.fixture(scope="module", autouse=True)
def boards_on_postgres(postgres_server: PostgresServer) -> Iterator[None]:
    Boards.server = postgres_server
    yield
    Boards.server = None


Boards.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestStoresAgree = pytest.mark.needs_postgres(Boards.TestCase)
