"""The contract of the Store seam: subclass it, say how a store is made, and run it with pytest.

class TestMyStore(StoreContract):
    is_shared = True

    @pytest.fixture
    def make_store(self, tmp_path):
        return lambda clock: MyStore(tmp_path / "board", clock=clock)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from stigmergy.board.store import Clock, Match, Query, Store, open_store
from stigmergy.board.task import Event, Json, Task, TaskStatus
from stigmergy.errors import UsageError

__all__ = ["FakeClock", "SharedStoreContract", "StoreContract"]

ANYBODY = Match()
_WAKE_S = 20.0
"""Far more than any wake-up takes; reached only by a store that does not wake."""
_POLLED_S = 0.4
"""Half of what a store takes that sleeps through a change and polls for it later."""


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move it, backwards too."""
        self.now += seconds


def task(task_id: str, **fields: Json) -> Task:
    """A task as the board would put it."""
    known: dict[str, Json] = {"task_type": "work", "task_id": task_id, "created_at": 1.0}
    return Task(**{**known, **fields})


def leased(task_id: str, *, until: float, by: str = "ann") -> Task:
    """A task that somebody holds."""
    return task(
        task_id,
        status=TaskStatus.CLAIMED,
        claimed_by=by,
        claimed_at=1.0,
        lease_until=until,
        attempts=1,
        fence=1,
    )


def put(store: Store, *tasks: Task) -> None:
    """Write tasks in one transaction."""
    with store.transaction() as tx:
        for each in tasks:
            tx.put(each)


def ids(tasks: list[Task]) -> list[str]:
    """Their ids, in their order."""
    return [each.task_id for each in tasks]


class StoreContract:
    """What `Store` and `Transaction` promise, one rule a test."""

    @pytest.fixture
    def make_store(self) -> Callable[[Clock], Store]:
        """How to make an empty store; overridden by the implementer."""
        raise NotImplementedError("a subclass gives the fixture make_store")

    @pytest.fixture
    def clock(self) -> FakeClock:
        """The store's clock."""
        return FakeClock()

    @pytest.fixture
    def store(self, make_store: Callable[[Clock], Store], clock: FakeClock) -> Iterator[Store]:
        """An empty store."""
        store = make_store(clock)
        yield store
        store.close()

    # Tasks -----------------------------------------------------------------------------------

    def test_a_new_store_is_empty(self, store: Store) -> None:
        """Nothing is there before somebody puts it."""
        assert store.get("nobody") is None
        assert store.select(Query()) == []
        assert store.counts(None) == {}
        assert store.events(after=0, limit=10) == []

    def test_a_task_comes_back_field_by_field(self, store: Store) -> None:
        """What is put is what is got."""
        full = Task(
            task_type="odd type / ü",
            description='line\n"quote" \\ \x00 \u2028 😀',
            payload={"deep": [1, 2.5, None, True, {"ключ": "значение"}], "big": 2**80},
            task_id="A.b_c-9",
            requires=("gpu", "python 3"),
            depends_on=("one", "two"),
            waiting_on=("two",),
            parent_id="parent",
            priority=10,
            status=TaskStatus.IN_PROGRESS,
            attempts=2,
            max_attempts=2**53,
            not_before=0.1 + 0.2,
            created_at=1e-9,
            claimed_by="агент",
            claimed_at=1.5e9,
            lease_until=1.5e9 + 1e-6,
            fence=2**40,
            finished_at=3.0,
            result={"empty": {}, "list": []},
            error="späť",
        )
        put(store, full)
        assert store.get("A.b_c-9") == full
        assert store.select(Query()) == [full]

    def test_a_task_is_replaced_by_id_and_keeps_its_place(self, store: Store) -> None:
        """The posting order does not change by a later write."""
        put(store, task("a"), task("b"), task("c"))
        put(store, task("a", description="changed"))
        assert ids(store.select(Query())) == ["a", "b", "c"]
        assert store.select(Query())[0].description == "changed"

    def test_what_a_caller_does_to_a_payload_stays_with_the_caller(self, store: Store) -> None:
        """The store's copy changes only through the store."""
        payload: dict[str, Json] = {"list": [1]}
        put(store, task("a", payload=payload))
        payload["list"].append(2)
        got = store.get("a")
        assert got is not None
        got.payload["list"].append(3)
        with store.transaction() as tx:
            seen = tx.get("a")
            assert seen is not None
            seen.payload["list"].append(4)
        assert [each.payload for each in store.select(Query())] == [{"list": [1]}]

    @pytest.mark.parametrize(
        "bad", [float("nan"), float("inf"), {1, 2}, "\ud800", b"bytes"], ids=repr
    )
    def test_what_json_cannot_hold_is_refused_and_nothing_written(
        self, store: Store, bad: Json
    ) -> None:
        """The refusal names the task."""
        with pytest.raises(UsageError, match="offender"):
            put(store, task("innocent"), task("offender", payload={"bad": [bad]}))
        assert store.select(Query()) == []
        put(store, task("innocent"))
        assert ids(store.select(Query())) == ["innocent"]

    # Transactions ----------------------------------------------------------------------------

    def test_a_transaction_sees_its_own_writes(self, store: Store) -> None:
        """In every question that it can ask."""
        with store.transaction() as tx:
            tx.put(task("a"))
            tx.put(leased("b", until=tx.now))
            tx.put(task("c", waiting_on=("a",)))
            assert tx.get("a") == task("a")
            assert ids(tx.ready(ANYBODY, limit=9)) == ["a"]
            assert ids(tx.expired(limit=9)) == ["b"]
            assert ids(tx.dependents("a")) == ["c"]
            assert ids(tx.select(Query())) == ["a", "b", "c"]

    def test_an_exception_undoes_everything(self, store: Store) -> None:
        """Tasks, events and indexes are as before."""
        put(store, task("a", priority=3), task("w", waiting_on=("a",)))

        def interrupted() -> None:
            with store.transaction() as tx:
                tx.put(leased("a", until=5.0))
                tx.put(task("w"))
                tx.put(task("new"))
                tx.append("lost", data={})
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            interrupted()
        assert store.select(Query()) == [task("a", priority=3), task("w", waiting_on=("a",))]
        assert store.events(after=0, limit=9) == []
        with store.transaction() as tx:
            assert ids(tx.ready(ANYBODY, limit=9)) == ["a"]
            assert ids(tx.dependents("a")) == ["w"]
            assert tx.expired(limit=9) == []

    def test_now_is_the_clock_when_the_transaction_began(
        self, store: Store, clock: FakeClock
    ) -> None:
        """And the same for all of it."""
        with store.transaction() as tx:
            began = clock.now
            clock.advance(60)
            assert tx.now == began
            tx.append("seen", data={})
        assert store.events(after=0, limit=1)[0].at == began

    def test_transactions_of_threads_do_not_overlap(self, store: Store) -> None:
        """Each of many increments is kept."""
        put(store, task("counter", payload={"n": 0}))

        def count() -> None:
            for _ in range(20):
                with store.transaction() as tx:
                    now = tx.get("counter")
                    assert now is not None
                    tx.put(replace(now, payload={"n": now.payload["n"] + 1}))

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counted = store.get("counter")
        assert counted is not None
        assert counted.payload == {"n": 80}

    # What is ready ---------------------------------------------------------------------------

    def test_ready_goes_by_age_and_priority_then_posting_order(self, store: Store) -> None:
        """As `lifecycle.rank` has it; a level of priority is worth ten minutes."""
        put(
            store,
            task("late", created_at=700.0, priority=1),
            task("low", created_at=0.0, priority=9),
            task("first", created_at=5.0, priority=1),
            task("twin", created_at=5.0, priority=1),
            task("aged", created_at=0.0, priority=2),
        )
        with store.transaction() as tx:
            assert ids(tx.ready(ANYBODY, limit=9)) == ["first", "twin", "aged", "late", "low"]
            assert ids(tx.ready(ANYBODY, limit=2)) == ["first", "twin"]
            assert tx.ready(ANYBODY, limit=0) == []

    def test_ready_leaves_out_what_waits_is_held_or_is_done(
        self, store: Store, clock: FakeClock
    ) -> None:
        """Only a pending task whose time has come and whose needs are met."""
        put(
            store,
            leased("held", until=clock.now + 9),
            task("blocked", waiting_on=("held",)),
            task("soon", not_before=clock.now + 5),
            *(task(s.value, status=s) for s in TaskStatus if s.is_final),
        )
        with store.transaction() as tx:
            assert tx.ready(ANYBODY, limit=9) == []
        clock.advance(5)
        with store.transaction() as tx:
            assert ids(tx.ready(ANYBODY, limit=9)) == ["soon"]
        clock.advance(-1)
        with store.transaction() as tx:
            assert tx.ready(ANYBODY, limit=9) == [], "the clock stepped back"

    def test_ready_matches_types_and_capabilities(self, store: Store) -> None:
        """An agent gets what it can do: all that is required, of the types it takes."""
        put(
            store,
            task("plain", created_at=4.0),
            task("gpu", requires=("gpu",), created_at=3.0),
            task("both", requires=("gpu", "web"), created_at=2.0),
            task("other", task_type="other", created_at=1.0),
        )

        def ready(match: Match) -> list[str]:
            with store.transaction() as tx:
                return ids(tx.ready(match, limit=9))

        assert ready(ANYBODY) == ["other", "plain"]
        assert ready(Match(capabilities=frozenset({"gpu"}))) == ["other", "gpu", "plain"]
        assert ready(
            Match(capabilities=frozenset({"gpu", "web", "x"}), task_types=frozenset({"work"}))
        ) == ["both", "gpu", "plain"]
        assert ready(Match(task_types=frozenset())) == []

    def test_many_tasks_for_others_do_not_hide_the_one_for_me(self, store: Store) -> None:
        """However many come before it in claim order."""
        put(
            store,
            *(task(f"t{n}", requires=(f"skill{n % 7}",), priority=1) for n in range(200)),
            task("mine", priority=10),
        )
        with store.transaction() as tx:
            assert ids(tx.ready(ANYBODY, limit=5)) == ["mine"]

    # Leases, dependents ----------------------------------------------------------------------

    def test_expired_names_the_longest_overdue_first(self, store: Store, clock: FakeClock) -> None:
        """A lease that ends now has run out; ties go by posting order."""
        put(
            store,
            leased("now", until=clock.now),
            leased("later", until=clock.now + 0.5),
            leased("old", until=clock.now - 10),
            leased("older", until=clock.now - 20),
            leased("twin", until=clock.now - 10),
        )
        with store.transaction() as tx:
            assert ids(tx.expired(limit=9)) == ["older", "old", "twin", "now"]
            assert ids(tx.expired(limit=2)) == ["older", "old"]

    def test_dependents_are_those_that_still_wait(self, store: Store) -> None:
        """In posting order; whoever no longer waits is not among them."""
        put(
            store,
            task("z", waiting_on=("a", "b"), depends_on=("a", "b")),
            task("y", waiting_on=("a",), depends_on=("a",)),
            task("x", depends_on=("a",)),
        )
        with store.transaction() as tx:
            assert ids(tx.dependents("a")) == ["z", "y"]
            tx.put(task("y", depends_on=("a",)))
            assert ids(tx.dependents("a")) == ["z"]
            assert tx.dependents("nobody") == []

    # Selecting and counting ------------------------------------------------------------------

    def test_select_applies_every_filter(self, store: Store) -> None:
        """Together they narrow; an empty set passes nothing."""
        put(
            store,
            task("a", parent_id="p"),
            replace(leased("b", until=9.0), parent_id="p"),
            leased("c", until=9.0, by="bob"),
            task("d", task_type="other", parent_id="p"),
        )

        def select(**fields: Json) -> list[str]:
            return ids(store.select(Query(**fields)))

        assert select(parent_id="p") == ["a", "b", "d"]
        assert select(statuses=frozenset({TaskStatus.CLAIMED})) == ["b", "c"]
        assert select(claimed_by="bob") == ["c"]
        assert select(task_types=frozenset({"other", "none"})) == ["d"]
        assert select(parent_id="p", task_types=frozenset({"work"}), claimed_by="ann") == ["b"]
        assert select(statuses=frozenset()) == []
        with store.transaction() as tx:
            assert ids(tx.select(Query(parent_id="p"))) == ["a", "b", "d"]

    def test_counts_are_by_status_for_all_or_for_a_parent(self, store: Store) -> None:
        """A status that nothing has may be absent."""
        put(
            store,
            task("a", parent_id="p"),
            task("b", parent_id="p"),
            task("c", status=TaskStatus.FAILED),
        )
        assert store.counts(None) == {TaskStatus.PENDING: 2, TaskStatus.FAILED: 1}
        assert store.counts("p") == {TaskStatus.PENDING: 2}
        assert store.counts("nobody") == {}

    # The journal -----------------------------------------------------------------------------

    def test_events_come_back_in_order_from_a_cursor(self, store: Store, clock: FakeClock) -> None:
        """`seq` grows, `after` is exclusive, `limit` cuts, `task_id` filters."""
        for n in range(5):
            with store.transaction() as tx:
                tx.append("a", task_id=f"t{n % 2}", agent_id="ann", data={"n": n})
                tx.append("b", data={"ü": [n]})
        events = store.events(after=0, limit=100)
        seqs = [event.seq for event in events]
        assert seqs == sorted(set(seqs))
        assert [event.kind for event in events] == ["a", "b"] * 5
        assert events[0] == Event(
            seq=seqs[0], at=clock.now, kind="a", task_id="t0", agent_id="ann", data={"n": 0}
        )
        for place, seq in enumerate(seqs):
            assert store.events(after=seq, limit=2) == events[place + 1 : place + 3]
        of_one = [event for event in events if event.task_id == "t1"]
        assert store.events(after=0, limit=9, task_id="t1") == of_one
        assert store.events(after=seqs[4], limit=1, task_id="t0") == [events[8]]
        assert store.events(after=0, limit=0) == []

    def test_wait_returns_at_once_when_there_is_something(self, store: Store) -> None:
        """And False when nothing came in time."""
        assert store.wait(after=0, timeout_s=0.0) is False
        with store.transaction() as tx:
            tx.append("a", data={})
        (event,) = store.events(after=0, limit=1)
        assert store.wait(after=event.seq - 1, timeout_s=0.0) is True
        assert store.wait(after=event.seq, timeout_s=0.01) is False

    def test_wait_is_woken_by_a_thread(self, store: Store) -> None:
        """Long before its time runs out."""
        self._is_woken(store, writer=store)

    def _is_woken(self, store: Store, *, writer: Store) -> None:
        answers: list[bool] = []
        thread = threading.Thread(
            target=lambda: answers.append(store.wait(after=0, timeout_s=_WAKE_S))
        )
        began = time.monotonic()
        thread.start()
        with writer.transaction() as tx:
            tx.append("bell", data={})
        thread.join(_WAKE_S * 2)
        assert answers == [True]
        assert time.monotonic() - began < _WAKE_S / 2

    def test_close_is_idempotent_and_says_so_to_whoever_goes_on(self, store: Store) -> None:
        """Every use of a closed store is refused alike."""
        store.close()
        store.close()
        with pytest.raises(UsageError, match="closed"):
            put(store, task("a"))
        for use in (
            lambda: store.get("a"),
            lambda: store.select(Query()),
            lambda: store.counts(None),
            lambda: store.events(after=0, limit=1),
        ):
            with pytest.raises(UsageError, match="closed"):
                use()


class SharedStoreContract(StoreContract):
    """What a store promises that a second handle, in another process too, opens by its URL."""

    @pytest.fixture
    def again(self, store: Store, clock: FakeClock) -> Iterator[Store]:
        """A second handle on the same board."""
        other = open_store(store.url, clock=clock)
        yield other
        other.close()

    def test_wait_is_woken_by_another_handle(self, store: Store, again: Store) -> None:
        """Which stands for another process. Woken, not found by a poll for what was missed."""
        delays = sorted(self._wake_up_s(store, again) for _ in range(9))
        assert delays[4] < _POLLED_S

    def _wake_up_s(self, store: Store, writer: Store) -> float:
        woken_at: list[float] = []
        last = max((event.seq for event in store.events(after=0, limit=100)), default=0)

        def sleep() -> None:
            if store.wait(after=last, timeout_s=_WAKE_S):
                woken_at.append(time.monotonic())

        thread = threading.Thread(target=sleep)
        thread.start()
        with writer.transaction() as tx:
            tx.put(task("bell", payload={"text": "x" * 50_000}))
            tx.append("bell", data={})
        rung_at = time.monotonic()
        thread.join(_WAKE_S * 2)
        return woken_at[0] - rung_at

    def test_two_handles_see_each_other_at_once(self, store: Store, again: Store) -> None:
        """Tasks and events, in both directions."""
        put(store, task("a"))
        put(again, task("b"))
        assert ids(store.select(Query())) == ids(again.select(Query())) == ["a", "b"]
        with again.transaction() as tx:
            tx.put(leased("a", until=5.0))
            tx.append("claimed", task_id="a", data={})
        with store.transaction() as tx:
            assert ids(tx.ready(ANYBODY, limit=9)) == ["b"]
        assert store.events(after=0, limit=9) == again.events(after=0, limit=9)

    def test_everything_is_there_after_reopening(
        self, make_store: Callable[[Clock], Store], clock: FakeClock
    ) -> None:
        """And the journal's numbers go on from where they were."""
        first = make_store(clock)
        put(first, task("b"), task("a"), leased("c", until=1.0))
        with first.transaction() as tx:
            tx.append("one", data={})
        tasks, events = first.select(Query()), first.events(after=0, limit=9)
        first.close()
        second = open_store(first.url, clock=clock)
        assert second.select(Query()) == tasks
        assert second.events(after=0, limit=9) == events
        with second.transaction() as tx:
            tx.append("two", data={})
            assert ids(tx.expired(limit=9)) == ["c"]
        assert second.events(after=events[-1].seq, limit=9)[0].kind == "two"
        second.close()
