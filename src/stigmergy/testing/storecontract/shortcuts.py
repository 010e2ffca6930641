"""Short cuts do what the plain path does, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from stigmergy.board.board import TaskBoard
from stigmergy.board.posting import post
from stigmergy.board.rules import Rules
from stigmergy.board.store import (
    Clock,
    Exchange,
    Extension,
    Match,
    Query,
    Rule,
    Shortcuts,
    Store,
)
from stigmergy.board.stores.memory import MemoryStore
from stigmergy.board.taking import exchange
from stigmergy.board.task import Event, Json, JsonObject, Lease, Task, TaskStatus
from stigmergy.testing.storecontract.values import (
    FakeClock,
    leased,
    put,
    restored,
    task,
)

__all__ = ["ShortcutsContract"]


_Result = tuple[Lease, JsonObject, JsonObject | None]


class _UnknownClock:
    """A clock that was set since anybody looked."""

    rule_name = "clock"

    def knows(self, now: float, *, told: str | None) -> bool:
        """Never."""
        del now, told
        return False


class ShortcutsContract:
    """What `Shortcuts` promise: what the plain path does, or nothing at all.

    For a store that has them: subclass it and give `make_store`, as for `StoreContract`. The plain
    path is that of the board on a store in memory.
    """

    @pytest.fixture
    def make_store(self) -> Callable[[Clock], Store]:
        """How to make an empty store; overridden by the implementer."""
        raise NotImplementedError("a subclass gives the fixture make_store")

    @pytest.fixture
    def clock(self) -> FakeClock:
        """The clock of both."""
        return FakeClock()

    @pytest.fixture
    def pair(self, make_store: Callable[[Clock], Store], clock: FakeClock) -> Iterator[_Pair]:
        """The store, and the one in memory that it is compared with."""
        pair = _Pair(make_store(clock), MemoryStore(clock=clock))
        yield pair
        pair.store.close()

    # Exchange --------------------------------------------------------------------------------

    @pytest.mark.parametrize("tells", ["tells", "does not tell"])
    def test_an_exchange_comes_to_what_the_plain_path_does(
        self, pair: _Pair, clock: FakeClock, tells: str
    ) -> None:
        """Results, claims, events and all, with every kind of match and number."""
        pair.put(*(leased(f"held{n}", until=clock.now + 9) for n in range(4)))
        pair.put(
            task("late", not_before=clock.now + 5),
            task("due", not_before=clock.now),
            task("low", priority=9),
            task("lagging", lag_s=50.0),
            task("gpu", requires=("gpu",)),
            task("other", task_type="other", limit_key="k"),
            *(task(f"t{n}", limit_key=f"k{n % 80}") for n in range(160)),
        )
        tells_completed = tells == "tells"
        results: list[_Result] = [
            (pair.lease("held1"), {"n": 1, "ü": [None]}, {"note": "x"}),
            (pair.lease("held0"), {}, None),
        ]
        order = Exchange(agent_id="bob", lease_s=7.5, limit=0, results=results)
        pair.exchange(replace(order, tells_completed=tells_completed))
        order = Exchange(
            agent_id="bob\\0\x00", lease_s=7.5, limit=3, tells_completed=tells_completed
        )
        gpu = frozenset({"gpu", "web"})
        matches = (
            Match(),
            Match(capabilities=gpu),
            Match(task_types=frozenset({"other", "none"})),
            Match(task_types=frozenset()),
        )
        for match in matches:
            pair.exchange(replace(order, match=match))
        last: _Result = (pair.lease("held2"), {"n": 2}, None)
        pair.exchange(replace(order, results=[last], limit=1))
        pair.exchange(replace(order, limit=1000))
        clock.advance(5)
        pair.exchange(order)
        assert pair.store.counts(None)[TaskStatus.COMPLETED] == 3

    def test_a_stale_result_declines_and_leaves_nothing(
        self, pair: _Pair, clock: FakeClock
    ) -> None:
        """Of a wrong fence, holder or status, alone or behind a good one."""
        pair.put(*(leased(name, until=clock.now + 9) for name in "abc"), task("free"))
        good = pair.lease("a")
        done = replace(leased("done", until=1.0), status=TaskStatus.COMPLETED, lease_until=None)
        pair.put(done)
        for stale in (
            replace(good, fence=2),
            replace(good, fence=0),
            replace(good, agent_id="bob"),
            replace(good, task_id="ghost"),
            replace(good, task_id="free"),
            replace(good, task_id="done"),
        ):
            behind: list[_Result] = [(pair.lease("b"), {}, None)]
            for others in (behind[:0], behind):
                order = Exchange(
                    agent_id="ann", lease_s=9.0, limit=1, results=[*others, (stale, {}, None)]
                )
                pair.declines(lambda short, order=order: short.exchange(order))

    def test_one_lease_given_twice_is_no_two_results(self, pair: _Pair, clock: FakeClock) -> None:
        """The second is stale, or the same again: the plain path knows."""
        pair.put(leased("a", until=clock.now + 9))
        twice = [(pair.lease("a"), {"n": n}, None) for n in (1, 2)]
        order = Exchange(agent_id="ann", lease_s=9.0, results=twice)
        pair.declines(lambda short: short.exchange(order))

    @pytest.mark.parametrize(
        "rule",
        [
            Rule(name="limit:x", gates=True),
            Rule(name="pause:*", gates=True),
            Rule(name="schedule:x", due_at=1_000_000.0),
        ],
        ids=["gates", "paused", "due"],
    )
    def test_a_claim_declines_while_a_rule_has_a_say(self, pair: _Pair, rule: Rule) -> None:
        """Handing in does not."""
        pair.put(leased("a", until=2e9), task("free"))
        with pair.store.transaction() as tx:
            tx.put_rule(rule)
        claim = Exchange(agent_id="ann", lease_s=9.0, limit=1)
        pair.declines(lambda short: short.exchange(claim))
        pair.exchange(Exchange(agent_id="ann", lease_s=9.0, results=[(pair.lease("a"), {}, None)]))

    def test_a_rule_that_has_none_is_passed_by(self, pair: _Pair, clock: FakeClock) -> None:
        """As one that is due later, until it is."""
        pair.put(task("a"), task("b"))
        with pair.store.transaction() as tx:
            tx.put_rule(Rule(name="fair"))
            tx.put_rule(Rule(name="schedule:x", due_at=clock.now + 1))
        claim = Exchange(agent_id="ann", lease_s=9.0, limit=1)
        pair.exchange(claim)
        clock.advance(1)
        pair.declines(lambda short: short.exchange(claim))

    def test_a_claim_declines_while_a_lease_has_run_out(
        self, pair: _Pair, clock: FakeClock
    ) -> None:
        """The dead come first; handing in, late too, goes on."""
        pair.put(leased("late", until=clock.now), task("free"))
        claim = Exchange(agent_id="bob", lease_s=9.0, limit=1)
        pair.declines(lambda short: short.exchange(claim))
        late: list[_Result] = [(pair.lease("late"), {"late": True}, None)]
        pair.exchange(Exchange(agent_id="ann", lease_s=9.0, results=late))
        pair.exchange(claim)

    def test_those_who_wait_are_freed_or_left_to_the_plain_path(
        self, pair: _Pair, clock: FakeClock
    ) -> None:
        """By one result of several too."""
        pair.put(
            *(leased(name, until=clock.now + 99) for name in "abc"),
            task("one", depends_on=("a",), waiting_on=("a",)),
            task("two", depends_on=("a", "b"), waiting_on=("a", "b")),
            task("later", depends_on=("b",), waiting_on=("b",), not_before=clock.now + 9),
        )
        order = Exchange(agent_id="ann", lease_s=9.0, limit=2)
        first: list[_Result] = [(pair.lease("c"), {}, None), (pair.lease("a"), {}, None)]
        pair.exchange(replace(order, results=first), may_decline=True)
        pair.exchange(replace(order, results=[(pair.lease("b"), {}, None)]), may_decline=True)
        clock.advance(9)
        pair.exchange(replace(order, limit=9), may_decline=True)

    # Extend ----------------------------------------------------------------------------------

    def test_an_extension_comes_to_what_the_plain_path_does(
        self, pair: _Pair, clock: FakeClock
    ) -> None:
        """Renewing, starting and reporting, in every combination, and late too."""
        pair.put(leased("a", until=clock.now + 9))
        told: dict[str, Json] = {"done": 1, "ü": "\x00"}
        for progress in (None, told, {}):
            for start in (False, True, True):
                for lease_s in (None, 30.0):
                    clock.advance(40)
                    pair.extend("a", lease_s=lease_s, start=start, progress=progress)

    def test_a_stale_extension_declines_and_leaves_nothing(
        self, pair: _Pair, clock: FakeClock
    ) -> None:
        """Of a wrong fence, holder or status."""
        pair.put(leased("a", until=clock.now + 9), task("free"))
        good = pair.lease("a")
        for stale in (
            replace(good, fence=2),
            replace(good, agent_id="bob"),
            replace(good, task_id="ghost"),
            replace(good, task_id="free"),
        ):
            pair.declines(
                lambda short, stale=stale: short.extend(
                    Extension(lease=stale, lease_s=9.0, start=True, progress={"n": 1})
                )
            )

    def test_leases_are_not_made_by_a_clock_that_is_not_known(
        self, pair: _Pair, clock: FakeClock
    ) -> None:
        """A deadline by the clock as it was set must not be moved along with older ones."""
        pair.put(leased("a", until=clock.now + 9), task("free"))
        claim = Exchange(agent_id="ann", lease_s=9.0, limit=1, clock=_UnknownClock())
        pair.declines(lambda short: short.exchange(claim))
        renewal = Extension(lease=pair.lease("a"), lease_s=9.0, clock=_UnknownClock())
        pair.declines(lambda short: short.extend(renewal))

    # Post ------------------------------------------------------------------------------------

    def test_posting_comes_to_what_the_plain_path_does(self, pair: _Pair, clock: FakeClock) -> None:
        """With every field that a simple task may have."""
        pair.post(
            Task(task_type="work", task_id="plain"),
            Task(task_type="work", task_id="dated", created_at=5.0, not_before=clock.now + 5),
            Task(
                task_type="odd \\0 'ü'",
                task_id="A.b_c-9",
                description="line\n\x00 😀",
                payload={"deep": [1, 2.5, None, {"ключ": "\x00"}], "big": 2**80},
                requires=("a,b", 'q"{}', "\\"),
                parent_id="p",
                limit_key="host:80 \x00",
                priority=10,
                max_attempts=2**53,
            ),
        )
        pair.exchange(
            Exchange(
                agent_id="ann",
                lease_s=9.0,
                limit=9,
                match=Match(capabilities=frozenset({"a,b", 'q"{}', "\\"})),
            )
        )

    def test_posting_what_stands_there_declines_and_leaves_nothing(self, pair: _Pair) -> None:
        """With all its batch: the plain path tells the same task from another."""
        pair.post(Task(task_type="work", task_id="a"))
        batch = [Task(task_type="work", task_id=name) for name in ("b", "a", "c")]
        pair.declines(lambda short: short.post(batch))

    def test_posting_declines_while_parents_take_turns(self, pair: _Pair) -> None:
        """The places in line are the plain path's."""
        with pair.store.transaction() as tx:
            tx.put_rule(Rule(name="fair"))
        batch = [Task(task_type="work", task_id="a", parent_id="p")]
        pair.declines(lambda short: short.post(batch))

    # Beside the plain path -------------------------------------------------------------------

    def test_a_board_with_a_history_from_elsewhere_goes_on(self, pair: _Pair) -> None:
        """Tasks that the plain path writes then are claimed by short cuts, and told after it."""
        for store in (pair.store, pair.plain):
            with store.transaction() as tx:
                tx.restore(restored(3, 2**52))
        for name in ("a", "b"):
            pair.put(task(name))
            pair.exchange(Exchange(agent_id="ann", lease_s=9.0, limit=1))
        seqs = [event.seq for event in pair.store.events(after=2**52, limit=9)]
        assert len(seqs) == 2
        assert seqs == sorted(set(seqs))


class _Pair:
    """A store with short cuts, and one in memory that knows only the plain path."""

    def __init__(self, store: Store, plain: Store) -> None:
        assert store.shortcuts is not None, "the store has no short cuts"
        self.store = store
        self.plain = plain
        self._short: Shortcuts = store.shortcuts

    def put(self, *tasks: Task) -> None:
        """In both."""
        put(self.store, *tasks)
        put(self.plain, *tasks)

    def lease(self, task_id: str) -> Lease:
        """Of whoever holds it."""
        held = self.store.get(task_id)
        assert held is not None
        assert held.lease is not None
        return held.lease

    def exchange(self, order: Exchange, *, may_decline: bool = False) -> None:
        """In both, and compare."""
        done = self._short.exchange(order)
        if done is None:
            assert may_decline, "it declined"
            with self.store.transaction() as tx:
                done = exchange(tx, order, Rules())
        with self.plain.transaction() as tx:
            wanted = exchange(tx, order, Rules())
        assert done.claimed == wanted.claimed
        if order.tells_completed:
            assert done.completed == wanted.completed
        self.compare()

    def extend(self, task_id: str, **how: Json) -> None:
        """In both, and compare."""
        lease = self.lease(task_id)
        order = Extension(lease=lease, **how)
        done = self._short.extend(order)
        board = TaskBoard(store=self.plain)
        wanted = board._extend(order)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the plain path
        assert done == wanted
        self.compare()

    def post(self, *tasks: Task) -> None:
        """In both, and compare."""
        assert self._short.post(tasks) is not None
        with self.plain.transaction() as tx:
            post(tx, {task.task_id: task for task in tasks}, on_duplicate="keep", fair=False)
        self.compare()

    def declines(self, act: Callable[[Shortcuts], object]) -> None:
        """It does not know, and writes nothing."""
        before = self._all(self.store)
        assert act(self._short) is None
        assert self._all(self.store) == before

    def compare(self) -> None:
        """Both have the same tasks and events, whatever numbers they have."""
        tasks, events = self._all(self.store)
        wanted_tasks, wanted_events = self._all(self.plain)
        assert tasks == wanted_tasks
        assert [replace(event, seq=0) for event in events] == [
            replace(event, seq=0) for event in wanted_events
        ]

    def _all(self, store: Store) -> tuple[list[Task], list[Event]]:
        return store.select(Query()), store.events(after=0, limit=10**6)
