from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stigmergy.errors import NotFoundError
from stigmergy.wasm.roster import ActiveAgents, FreeSlots, Roster, SwarmFullError

CAPACITY = 40


class RosterMachine(RuleBasedStateMachine):
    """A roster is a dictionary of agents, whose slots are never shared."""

    def __init__(self) -> None:
        super().__init__()
        self.roster = Roster(CAPACITY)
        self.model: dict[int, tuple[int, int]] = {}
        self.next_id = 0

    @rule(entry=st.integers(0, 3), argument=st.integers(0, 2**64 - 1))
    def add_one(self, entry: int, argument: int) -> None:
        if len(self.model) == CAPACITY:
            with pytest.raises(SwarmFullError, match="capacity"):
                self.roster.add_one(entry, [argument])
            return
        self.roster.add_one(entry, [argument])
        self.model[self.next_id] = (entry, argument)
        self.next_id += 1

    @rule(count=st.integers(0, CAPACITY), entry=st.integers(0, 3))
    def add_many(self, count: int, entry: int) -> None:
        arguments = np.arange(count, dtype=np.uint64).reshape(count, 1)
        if len(self.model) + count > CAPACITY:
            with pytest.raises(SwarmFullError, match="capacity"):
                self.roster.add(count, entry, arguments)
            return
        self.roster.add(count, entry, arguments)
        self.model.update({self.next_id + at: (entry, at) for at in range(count)})
        self.next_id += count

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        agent = data.draw(st.sampled_from(sorted(self.model)))
        self.roster.remove(self.roster.slots_of([agent]))
        del self.model[agent]
        with pytest.raises(NotFoundError):
            self.roster.slot(agent)

    @invariant()
    def it_holds_who_was_added(self) -> None:
        slots = self.roster.slots()
        assert self.roster.agent_ids[slots].tolist() == sorted(self.model)
        assert len(set(slots.tolist())) == len(slots) == len(self.roster)
        free = list(self.roster.free_slots)
        assert sorted([*free, *slots.tolist()]) == list(range(CAPACITY))
        for agent, (entry, argument) in self.model.items():
            slot = self.roster.slot(agent)
            assert self.roster.entries[slot] == entry
            assert self.roster.arguments[slot, 0] == argument


TestRoster = RosterMachine.TestCase


def test_a_slot_that_is_freed_is_taken_next() -> None:
    free = FreeSlots(4)
    assert free.take(3).tolist() == [0, 1, 2]
    free.give_back(np.array([1]))
    assert free[0] == 1
    assert free.take(2).tolist() == [1, 3]
    assert len(free) == 0


def test_numbers_of_the_dead_take_no_room() -> None:
    roster = Roster(8)
    for _ in range(10_000):
        roster.add_one(0, [])
        roster.remove(roster.slots_of([roster.next_agent_id - 1]))
    assert roster._slot_of.size < 1_000


def test_agents_are_found_in_the_order_asked_for_each_once() -> None:
    roster = Roster(8)
    roster.add(6, 0, np.zeros((6, 0), dtype=np.uint64))
    roster.remove(roster.slots_of([2]))
    assert roster.slots_of([5, 0, 5, 3]).tolist() == [5, 0, 3]
    assert roster.slots_of(range(3, 6)).tolist() == [3, 4, 5]
    assert roster.slots_of([]).tolist() == []
    for wrong in ([0, 2], [6], [-1], ["x"], [None], [2**70]):
        with pytest.raises(NotFoundError, match="no agent"):
            roster.slots_of(wrong)


def test_agents_are_looked_at_by_number() -> None:
    roster = Roster(4)
    agents = ActiveAgents(roster, {0: ("run", "digest")})
    roster.add_one(0, [])
    assert (len(agents), list(agents), 0 in agents, "x" in agents) == (1, [0], True, False)
    assert (agents[0].entry_point, agents[0].pool_slot) == ("run", 0)
    with pytest.raises(KeyError):
        agents[1]
