"""Selecting, counting, and the rules that a store keeps for the board."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from stigmergy.board.census import Census, census_of, tally_of
from stigmergy.board.store import (
    Query,
    Rule,
    Store,
)
from stigmergy.board.task import Json, TaskStatus
from stigmergy.errors import UsageError
from stigmergy.testing.storecontract.values import (
    FakeClock,
    ids,
    leased,
    put,
    task,
)

__all__ = ["LookingRules"]


class LookingRules:
    """What is found."""

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
        assert select(after="early") == ["failed", "third"]
        assert select(after="late", limit=2) == ["open", "early"]
        assert select(after="late", statuses=completed, limit=9) == ["early", "third"]
        assert select(after="late", parent_id="p") == ["third"]
        assert select(after="third") == select(after="unknown") == []
        assert select(limit=0) == []
        assert select(limit=2) == ["late", "open"]
        assert select(limit=99) == ["late", "open", "early", "failed", "third"]
        dead = frozenset({TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.PENDING})
        assert select(statuses=dead) == ["open", "failed"]
        assert select(statuses=dead, limit=1) == ["open"]

    def test_a_census_counts_as_reading_every_task_would(self, store: Store) -> None:
        """By type and status; whose lease is over, what could be taken, and since when."""
        assert store.census(now=50.0) == Census()
        put(
            store,
            task("a", created_at=7.0),
            task("b", created_at=9.0, not_before=5.0, task_type="other\x00ü"),
            task("later", created_at=1.0, not_before=60.0),
            task("waits", created_at=1.0, depends_on=("a",), waiting_on=("a",)),
            leased("held", until=60.0),
            leased("late", until=50.0),
            task("done", status=TaskStatus.COMPLETED, finished_at=8.0, result={"x": 1}),
            task("dead", status=TaskStatus.FAILED, finished_at=8.0),
        )
        found = store.census(now=50.0)
        assert found == census_of(store.select(Query()), now=50.0)
        assert (found.held, found.overdue, found.oldest_ready_at) == (2, 1, 7.0)
        later = store.census(now=60.0)
        assert later == census_of(store.select(Query()), now=60.0)
        assert (later.overdue, later.oldest_ready_at) == (2, 7.0)
        with store.transaction() as tx:
            tx.forget("a")
        assert store.census(now=50.0).oldest_ready_at == 9.0

    def test_a_tally_counts_as_reading_every_event_would(
        self, store: Store, clock: FakeClock
    ) -> None:
        """From an event and a time on; an attempt that another follows counts by itself."""
        assert store.tally(after=0, since=0.0) == {}
        for n in range(4):
            clock.now = 100.0 + n
            with store.transaction() as tx:
                tx.append("posted", task_id="t", data={})
                tx.append("failed", task_id="t", data={"status": "pending", "error": "\x00ü"})
                tx.append("failed", task_id="t", data={"status": "failed", "n": n})
                tx.append("expired", task_id="t", data={"status": "pending"})
                tx.append("expired", task_id="t", data={})
        events = store.events(after=0, limit=99)
        for after in (0, events[6].seq, events[-1].seq):
            for since in (0.0, 101.0, 102.5, 104.0):
                wanted = [e for e in events if e.seq > after and e.at >= since]
                assert store.tally(after=after, since=since) == tally_of(wanted)
        counted = {"posted": 4, "failed": 4, "expired": 4, "tried_again": 8}
        assert store.tally(after=0, since=0.0) == counted

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
