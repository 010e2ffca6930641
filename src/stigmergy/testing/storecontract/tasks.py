"""Tasks come back as they were put, and a transaction happens whole or not at all."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from stigmergy.board.lifecycle import rank
from stigmergy.board.store import (
    Query,
    Store,
    Transaction,
)
from stigmergy.board.task import Json, Task, TaskStatus
from stigmergy.errors import UsageError
from stigmergy.testing.storecontract.values import (
    ANYBODY,
    FakeClock,
    ids,
    leased,
    put,
    task,
)

__all__ = ["TaskRules"]


class TaskRules:
    """Tasks and transactions."""

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
