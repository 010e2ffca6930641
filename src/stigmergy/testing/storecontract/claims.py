"""What is ready for an agent, whose lease ran out, and who waits for whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stigmergy.board.lifecycle import AGING_S, rank
from stigmergy.board.store import (
    Match,
    Store,
)
from stigmergy.board.task import TaskStatus
from stigmergy.testing.storecontract.values import (
    ANYBODY,
    FakeClock,
    ids,
    leased,
    put,
    task,
)

__all__ = ["ClaimRules"]


class ClaimRules:
    """The questions of a claim."""

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

    def test_a_task_put_with_another_priority_goes_by_that_one(self, store: Store) -> None:
        """In claim order, and in its parent's line."""
        put(store, *(task(name, parent_id="p") for name in "abc"))
        put(store, task("c", parent_id="p", priority=1))
        put(store, task("a", parent_id="p", priority=6, lag_s=3.0))
        with store.transaction() as tx:
            assert ids(tx.ready(ANYBODY, limit=9)) == ["c", "b", "a"]
            assert tx.tail("p", 1) == 1.0
            assert tx.tail("p", 5) == 1.0 + 4 * AGING_S
            assert tx.tail("p", 6) == 4.0 + 5 * AGING_S

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
        assert ready((None, None)) == [], "all types are barred"
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
