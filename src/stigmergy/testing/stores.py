"""The contract of the Store seam: subclass it, say how a store is made, and run it with pytest.

class TestMyStore(StoreContract):
    is_shared = True

    @pytest.fixture
    def make_store(self, tmp_path):
        return lambda clock: MyStore(tmp_path / "board", clock=clock)
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from stigmergy.board.board import TaskBoard
from stigmergy.board.lifecycle import AGING_S, rank
from stigmergy.board.posting import post
from stigmergy.board.rules import Rules
from stigmergy.board.store import (
    Clock,
    Exchange,
    Match,
    Query,
    Rule,
    Shortcuts,
    Store,
    Transaction,
    open_store,
)
from stigmergy.board.stores.memory import MemoryStore
from stigmergy.board.taking import exchange
from stigmergy.board.task import Event, Json, JsonObject, Lease, Task, TaskStatus
from stigmergy.errors import UsageError

__all__ = ["FakeClock", "SharedStoreContract", "ShortcutsContract", "StoreContract"]

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


def restored(*seqs: int) -> list[Event]:
    """Events of another board."""
    return [
        Event(seq=seq, at=seq / 8, kind="told", task_id=f"t{seq}", agent_id="ann", data={"n": seq})
        for seq in seqs
    ]


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
            unique_key="ключ\\\x00",
            limit_key="\\0 host:80",
            priority=10,
            lag_s=0.25,
            status=TaskStatus.IN_PROGRESS,
            attempts=2,
            max_attempts=2**53,
            not_before=0.1 + 0.2,
            created_at=1e-9,
            claimed_by="агент",
            claimed_at=1.5e9,
            lease_until=1.5e9 + 1e-6,
            fence=2**40,
            progress={"done": 3, "näher": [None]},
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

    def test_a_forgotten_task_is_gone_from_every_question(self, store: Store) -> None:
        """And its id is free: put again, it comes last. Unknown ids are ignored."""
        put(
            store,
            leased("held", until=1.0),
            task("keyed", unique_key="u", parent_id="p"),
            task("waits", waiting_on=("keyed",), depends_on=("keyed",)),
            task("stays"),
        )
        with store.transaction() as tx:
            for name in ("held", "keyed", "waits", "ghost"):
                tx.forget(name)
            self._knows_only(tx, "stays")
        with store.transaction() as tx:
            self._knows_only(tx, "stays")
        assert store.get("held") is None
        assert store.counts(None) == {TaskStatus.PENDING: 1}
        assert store.counts("p") == {}
        put(store, task("held", description="another"))
        assert ids(store.select(Query())) == ["stays", "held"]
        assert store.get("held") == task("held", description="another")

    def _knows_only(self, tx: Transaction, name: str) -> None:
        assert ids(tx.select(Query())) == ids(tx.ready(ANYBODY, limit=9)) == [name]
        assert tx.get("keyed") is None
        assert tx.expired(limit=9) == []
        assert tx.dependents("keyed") == []
        assert tx.holder("u") is None
        assert tx.tail("p", 5) is None

    def test_what_was_not_forgotten_after_all_keeps_its_place(self, store: Store) -> None:
        """Though it was put again meanwhile."""
        put(store, task("a"), task("b", unique_key="u", parent_id="p"), task("c"))

        def interrupted() -> None:
            with store.transaction() as tx:
                tx.forget("a")
                tx.forget("b")
                tx.put(task("a", description="another"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            interrupted()
        b = task("b", unique_key="u", parent_id="p")
        assert store.select(Query()) == [task("a"), b, task("c")]
        with store.transaction() as tx:
            assert tx.holder("u") == b
            assert tx.tail("p", 5) == rank(b)
            assert ids(tx.ready(ANYBODY, limit=9)) == ["a", "b", "c"]

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

    def test_a_lag_puts_a_task_back_in_claim_order(self, store: Store) -> None:
        """By so many seconds."""
        put(store, task("a", lag_s=2.0), task("b", created_at=2.0), task("c", lag_s=0.5))
        with store.transaction() as tx:
            assert ids(tx.ready(ANYBODY, limit=9)) == ["c", "b", "a"]

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

    def test_ready_leaves_out_what_is_barred(self, store: Store) -> None:
        """A type, a limit key whatever the type, or a key within a type."""
        put(
            store,
            task("plain"),
            task("x", limit_key="x"),
            task("y", limit_key="y"),
            task("other", task_type="other"),
            task("other-x", task_type="other", limit_key="x"),
        )

        def ready(*barred: tuple[str | None, str | None]) -> list[str]:
            with store.transaction() as tx:
                return ids(tx.ready(Match(barred=frozenset(barred)), limit=9))

        assert ready() == ["plain", "x", "y", "other", "other-x"]
        assert ready(("work", None)) == ["other", "other-x"]
        assert ready((None, "x")) == ["plain", "y", "other"]
        assert ready(("other", "x")) == ["plain", "x", "y", "other"]
        assert ready(("work", "y"), ("other", None), (None, "none")) == ["plain", "x"]
        with store.transaction() as tx:
            narrow = Match(task_types=frozenset({"other"}), barred=frozenset({("other", "x")}))
            assert ids(tx.ready(narrow, limit=9)) == ["other"]

    def test_many_that_are_barred_do_not_hide_the_one_that_is_not(self, store: Store) -> None:
        """However many keys there are."""
        put(store, *(task(f"t{n}", limit_key=f"k{n % 100}", priority=1) for n in range(300)))
        put(store, task("mine", limit_key="free", priority=10))
        barred = frozenset((None, f"k{n}") for n in range(100))
        with store.transaction() as tx:
            assert ids(tx.ready(Match(barred=barred), limit=5)) == ["mine"]

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

    @pytest.mark.parametrize("key", ["u", "*", "\\0", "\x00", "'; --", "ключ " * 30], ids=ascii)
    def test_the_holder_of_a_key_is_the_unfinished_task_that_has_it(
        self, store: Store, key: str
    ) -> None:
        """Whatever ends it frees the key."""
        for status in TaskStatus:
            if status.is_final:
                put(store, task(status.value, unique_key=key, status=status))
        with store.transaction() as tx:
            assert tx.holder(key) is None
            tx.put(task("new", unique_key=key))
            assert tx.holder(key) == task("new", unique_key=key)
        held = replace(leased("new", until=9.0), unique_key=key)
        for standing in (held, replace(held, status=TaskStatus.IN_PROGRESS)):
            put(store, standing)
            with store.transaction() as tx:
                assert tx.holder(key) == standing
                assert tx.holder("another") is None
        put(store, replace(held, status=TaskStatus.COMPLETED, lease_until=None))
        with store.transaction() as tx:
            assert tx.holder(key) is None

    def test_a_key_that_was_not_taken_after_all_is_free(self, store: Store) -> None:
        """An exception gives it back to whoever had it."""
        put(store, task("a", unique_key="u"))

        def interrupted() -> None:
            with store.transaction() as tx:
                tx.put(task("a", unique_key="u", status=TaskStatus.FAILED))
                tx.put(task("b", unique_key="u"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            interrupted()
        with store.transaction() as tx:
            assert tx.holder("u") == task("a", unique_key="u")

    def test_the_tail_is_the_highest_rank_of_a_parents_pending_tasks(self, store: Store) -> None:
        """Of that priority; what waits for others or for its time is pending too."""
        last = task("c", parent_id="p", created_at=7.0, lag_s=600.0)
        put(
            store,
            task("a", parent_id="p", created_at=3.0),
            task("b", parent_id="p", created_at=5.0, waiting_on=("a",), not_before=9e9),
            last,
            task("urgent", parent_id="p", created_at=9.0, priority=1),
            task("other", parent_id="q", created_at=9.0),
            replace(leased("held", until=9.0), parent_id="p", created_at=9e6),
            task("orphan", created_at=9e6),
        )
        with store.transaction() as tx:
            assert tx.tail("p", 5) == rank(last)
            assert tx.tail("p", 1) == 9.0
            assert tx.tail("p", 2) is None
            assert tx.tail("nobody", 5) is None
            tx.put(replace(last, status=TaskStatus.CANCELLED))
            assert tx.tail("p", 5) == 5.0 + 4 * AGING_S
            tx.put(task("d", parent_id="p", created_at=6.0))
            assert tx.tail("p", 5) == 6.0 + 4 * AGING_S

    # Selecting and counting ------------------------------------------------------------------

    def test_select_finds_what_finished_before_a_time(self, store: Store) -> None:
        """Not at it, and nothing that is unfinished; the first so many if a limit is given."""
        done = {"status": TaskStatus.COMPLETED}
        put(
            store,
            task("late", finished_at=30.0, **done),
            task("open"),
            task("early", finished_at=10.0, **done),
            task("failed", finished_at=20.0, status=TaskStatus.FAILED),
            task("third", finished_at=15.0, parent_id="p", **done),
        )

        def select(**fields: Json) -> list[str]:
            with store.transaction() as tx:
                inside = tx.select(Query(**fields))
            assert inside == store.select(Query(**fields))
            return ids(inside)

        assert select(finished_before=20.0) == ["early", "third"]
        assert select(finished_before=20.1) == ["early", "failed", "third"]
        assert select(finished_before=math.inf) == ["late", "early", "failed", "third"]
        assert select(finished_before=math.inf, limit=2) == ["late", "early"]
        completed = frozenset({TaskStatus.COMPLETED})
        assert select(finished_before=25.0, statuses=completed, limit=1) == ["early"]
        assert select(finished_before=25.0, parent_id="p") == ["third"]
        assert select(limit=0) == []
        assert select(limit=2) == ["late", "open"]
        assert select(limit=99) == ["late", "open", "early", "failed", "third"]
        dead = frozenset({TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.PENDING})
        assert select(statuses=dead) == ["open", "failed"]
        assert select(statuses=dead, limit=1) == ["open"]

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

    def test_last_seq_is_that_of_the_latest_event(self, store: Store) -> None:
        """0 before the first; what was undone does not count."""
        assert store.last_seq() == 0
        with store.transaction() as tx:
            tx.append("a", data={})
            tx.append("b", data={})
        last = store.events(after=0, limit=9)[-1].seq
        assert store.last_seq() == last

        def interrupted() -> None:
            with store.transaction() as tx:
                tx.append("lost", data={})
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            interrupted()
        assert store.last_seq() == last

    def test_old_events_are_forgotten_but_for_the_latest(
        self, store: Store, clock: FakeClock
    ) -> None:
        """Young ones stay; numbers go on from where they were; an exception keeps them all."""
        for n in range(4):
            with store.transaction() as tx:
                tx.append("old", task_id="a", data={"n": n})
            clock.advance(10)
        events = store.events(after=0, limit=9)

        def interrupted() -> None:
            with store.transaction() as tx:
                tx.forget_events(before=clock.now)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            interrupted()
        assert store.events(after=0, limit=9) == events
        with store.transaction() as tx:
            forgotten = tx.forget_events(before=clock.now - 20)
        left = store.events(after=0, limit=9)
        assert left[-2:] == events[2:], "that old, and no older"
        assert forgotten == len(events) - len(left)
        with store.transaction() as tx:
            tx.forget_events(before=math.inf)
        assert store.events(after=0, limit=9)[-1] == events[-1]
        assert store.events(after=0, limit=9, task_id="a")[-1] == events[-1]
        assert store.last_seq() == events[-1].seq
        with store.transaction() as tx:
            tx.append("new", data={})
        assert store.last_seq() > events[-1].seq

    def test_events_of_another_board_are_restored_with_their_numbers(
        self, store: Store, clock: FakeClock
    ) -> None:
        """And times; gaps are kept, and what comes after goes on above."""
        told = restored(3, 7, 2**40)
        with store.transaction() as tx:
            tx.restore(told[:2])
            tx.restore(told[2:])
            tx.append("imported", data={})
        events = store.events(after=0, limit=9)
        assert events[:3] == told
        assert (events[3].kind, events[3].at) == ("imported", clock.now)
        assert events[3].seq > 2**40
        assert store.last_seq() == events[3].seq
        assert store.events(after=0, limit=9, task_id="t7") == [told[1]]
        assert store.events(after=7, limit=1) == [told[2]]
        for _ in range(3):
            with store.transaction() as tx:
                tx.append("more", data={})
        seqs = [event.seq for event in store.events(after=0, limit=99)]
        assert seqs == sorted(set(seqs))
        assert len(seqs) == 7

    @pytest.mark.parametrize("seqs", [(3, 2), (3, 3), (0,), (-1, 4)], ids=str)
    def test_events_that_do_not_grow_are_not_restored(
        self, store: Store, seqs: tuple[int, ...]
    ) -> None:
        """Refused, and nothing of them is written."""
        with pytest.raises(UsageError, match="order"), store.transaction() as tx:
            tx.restore(restored(*seqs))
        assert store.events(after=-9, limit=9) == []

    def test_a_journal_that_has_events_takes_no_others(self, store: Store) -> None:
        """Whether of an earlier transaction or of the same one."""

        def mix() -> None:
            with store.transaction() as tx:
                tx.append("mine", data={})
                tx.restore(restored(9))

        with pytest.raises(UsageError, match="empty"):
            mix()
        with store.transaction() as tx:
            tx.append("mine", data={})
        last = store.last_seq()
        for told in (restored(last), restored(last + 2**30)):
            with pytest.raises(UsageError, match="empty"), store.transaction() as tx:
                tx.restore(told)
        assert [event.kind for event in store.events(after=0, limit=9)] == ["mine"]

    def test_what_was_not_restored_after_all_is_not_there(self, store: Store) -> None:
        """And the board can still be restored."""

        def interrupted() -> None:
            with store.transaction() as tx:
                tx.restore(restored(5))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            interrupted()
        assert store.last_seq() == 0
        with store.transaction() as tx:
            tx.restore(restored(4))
        assert store.last_seq() == 4

    # Rules -----------------------------------------------------------------------------------

    def test_rules_come_back_by_name(self, store: Store) -> None:
        """As they were put; one of the same name is replaced, and unknown ones are ignored."""
        rules = [
            Rule(name="a", body={"n": [1, 2.5, None], "ü": {}}, gates=True),
            Rule(name="B", due_at=1e9 + 0.25),
            Rule(name="ä:b\\0\x00'", body={"b": "\x00"}, gates=True, due_at=0.0),
        ]
        with store.transaction() as tx:
            assert tx.rules() == []
            for rule in rules:
                tx.put_rule(rule)
            tx.forget_rule("ghost")
            assert tx.rules() == sorted(rules, key=lambda rule: rule.name)
        with store.transaction() as tx:
            assert tx.rules() == sorted(rules, key=lambda rule: rule.name)
            tx.put_rule(Rule(name="a", body={"new": True}))
            tx.forget_rule("B")
            tx.forget_rule(rules[2].name)
            assert tx.rules() == [Rule(name="a", body={"new": True})]
        with store.transaction() as tx:
            assert tx.rules() == [Rule(name="a", body={"new": True})]

    def test_rules_are_undone_with_the_rest(self, store: Store) -> None:
        """Those that were put, replaced and forgotten."""
        with store.transaction() as tx:
            tx.put_rule(Rule(name="a", body={"n": 1}))
            tx.put_rule(Rule(name="b", gates=True))

        def interrupted() -> None:
            with store.transaction() as tx:
                tx.put_rule(Rule(name="a", body={"n": 2}))
                tx.forget_rule("b")
                tx.put_rule(Rule(name="c"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            interrupted()
        with store.transaction() as tx:
            assert tx.rules() == [Rule(name="a", body={"n": 1}), Rule(name="b", gates=True)]

    def test_what_a_caller_does_to_a_rule_stays_with_the_caller(self, store: Store) -> None:
        """The store's copy changes only through the store."""
        body: dict[str, Json] = {"list": [1]}
        with store.transaction() as tx:
            tx.put_rule(Rule(name="a", body=body))
            body["list"].append(2)
            tx.rules()[0].body["list"].append(3)
        with store.transaction() as tx:
            tx.rules()[0].body["list"].append(4)
        with store.transaction() as tx:
            assert tx.rules() == [Rule(name="a", body={"list": [1]})]

    def test_a_rule_that_json_cannot_hold_is_refused_by_name(self, store: Store) -> None:
        """And nothing is written."""

        def put_both() -> None:
            with store.transaction() as tx:
                tx.put_rule(Rule(name="innocent"))
                tx.put_rule(Rule(name="offender", body={"n": math.nan}))

        with pytest.raises(UsageError, match="'offender'"):
            put_both()
        with store.transaction() as tx:
            assert tx.rules() == []

    # Waiting ---------------------------------------------------------------------------------

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
            store.last_seq,
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
        assert store.last_seq() == again.last_seq()

    def test_two_handles_see_each_others_rules_and_what_was_forgotten(
        self, store: Store, again: Store
    ) -> None:
        """At once, in both directions."""
        with store.transaction() as tx:
            tx.put_rule(Rule(name="a", body={"n": 1}, gates=True))
            tx.put(task("x", unique_key="u"))
        with again.transaction() as tx:
            assert tx.rules() == [Rule(name="a", body={"n": 1}, gates=True)]
            assert tx.holder("u") is not None
            tx.forget_rule("a")
            tx.put_rule(Rule(name="b", due_at=2.5))
            tx.forget("x")
        assert store.get("x") is None
        with store.transaction() as tx:
            assert tx.rules() == [Rule(name="b", due_at=2.5)]
            assert tx.holder("u") is None
            tx.put(task("x", unique_key="u"))
        assert ids(again.select(Query())) == ["x"]

    def test_a_transaction_within_another_is_refused(self, store: Store) -> None:
        """It would wait for itself."""
        with store.transaction() as tx:
            tx.put(task("a"))
            with pytest.raises(UsageError, match="already"):
                put(store, task("b"))
        assert ids(store.select(Query())) == ["a"]

    def test_everything_is_there_after_reopening(
        self, make_store: Callable[[Clock], Store], clock: FakeClock
    ) -> None:
        """And the journal's numbers go on from where they were."""
        first = make_store(clock)
        put(first, task("b"), task("a"), leased("c", until=1.0))
        with first.transaction() as tx:
            tx.append("one", data={})
            tx.put_rule(Rule(name="r", body={"n": [1]}, gates=True, due_at=2.5))
            tx.put(task("gone"))
        with first.transaction() as tx:
            tx.forget("gone")
        tasks, events = first.select(Query()), first.events(after=0, limit=9)
        first.close()
        second = open_store(first.url, clock=clock)
        assert second.select(Query()) == tasks
        assert second.events(after=0, limit=9) == events
        with second.transaction() as tx:
            tx.append("two", data={})
            assert ids(tx.expired(limit=9)) == ["c"]
            assert tx.rules() == [Rule(name="r", body={"n": [1]}, gates=True, due_at=2.5)]
        assert second.events(after=events[-1].seq, limit=9)[0].kind == "two"
        second.close()


_Result = tuple[Lease, JsonObject, JsonObject | None]


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
        [Rule(name="limit:x", gates=True), Rule(name="schedule:x", due_at=1_000_000.0)],
        ids=["gates", "due"],
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
                    stale, lease_s=9.0, start=True, progress={"n": 1}
                )
            )

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
        done = self._short.extend(lease, **how)
        board = TaskBoard(store=self.plain)
        wanted = board._extend(lease, **how)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the plain path
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
