"""The journal: order, cursors, waiting, dropping, restoring."""

from __future__ import annotations

import math
import threading
import time

import pytest

from stigmergy.board.store import (
    Query,
    Store,
)
from stigmergy.board.task import Event
from stigmergy.errors import UsageError
from stigmergy.testing.storecontract.values import (
    WAKE_S,
    FakeClock,
    put,
    restored,
    task,
)

__all__ = ["JournalRules"]


class JournalRules:
    """Events, and waiting for them."""

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
            target=lambda: answers.append(store.wait(after=0, timeout_s=WAKE_S))
        )
        began = time.monotonic()
        thread.start()
        with writer.transaction() as tx:
            tx.append("bell", data={})
        thread.join(WAKE_S * 2)
        assert answers == [True]
        assert time.monotonic() - began < WAKE_S / 2

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
