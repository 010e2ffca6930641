"""What holds between two handles on one board."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from stigmergy.board.store import (
    Clock,
    Query,
    Rule,
    Store,
    open_store,
)
from stigmergy.errors import UsageError
from stigmergy.testing.storecontract.values import (
    ANYBODY,
    WAKE_S,
    FakeClock,
    ids,
    leased,
    put,
    task,
)

__all__ = ["SharedRules"]


_POLLED_S = 0.4
"""Half of what a store takes that sleeps through a change and polls for it later."""


class SharedRules:
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
            if store.wait(after=last, timeout_s=WAKE_S):
                woken_at.append(time.monotonic())

        thread = threading.Thread(target=sleep)
        thread.start()
        with writer.transaction() as tx:
            tx.put(task("bell", payload={"text": "x" * 50_000}))
            tx.append("bell", data={})
        rung_at = time.monotonic()
        thread.join(WAKE_S * 2)
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
