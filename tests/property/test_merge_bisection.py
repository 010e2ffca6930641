"""For any set of culprits: the innocent land, culprits are rejected, in few gate runs, in order."""

import math

from hypothesis import given
from hypothesis import strategies as st

from stigmergy.coding.merge.batch import Bisection, Candidate, Window, choose_batch, in_order

MEMBERS = [f"t{number:02}" for number in range(24)]


class Gate:
    """Red when what is landed plus the probe holds a culprit, or both of a bad pair."""

    def __init__(self, culprits, pairs=()):
        self.culprits = set(culprits)
        self.pairs = [set(pair) for pair in pairs]
        self.runs = 0

    def red(self, members):
        self.runs += 1
        present = set(members)
        return bool(present & self.culprits) or any(pair <= present for pair in self.pairs)


def bisect(members, gate):
    """Run a queue's whole treatment of one batch; returns (landed, rejected)."""
    if not gate.red(members):
        return list(members), []
    landed, rejected = [], []
    search = Bisection.of_red(members)
    while (probe := search.probe) is not None:
        if gate.red([*landed, *probe.members]):
            search, out = search.red()
            if out is not None:
                rejected.append(out)
        else:
            landed += probe.members
            search = search.green()
    return landed, rejected


@st.composite
def batches(draw):
    members = MEMBERS[: draw(st.integers(1, len(MEMBERS)))]
    culprits = draw(st.sets(st.sampled_from(members)))
    return members, culprits


@given(batches())
def test_every_innocent_lands_and_every_culprit_is_rejected(batch):
    members, culprits = batch
    landed, rejected = bisect(members, Gate(culprits))
    assert set(rejected) == culprits
    assert set(landed) == set(members) - culprits


@given(batches())
def test_candidates_land_in_the_order_of_the_batch(batch):
    members, culprits = batch
    landed, rejected = bisect(members, Gate(culprits))
    assert landed == sorted(landed)
    assert rejected == sorted(rejected)


@given(batches())
def test_gate_runs_stay_within_the_promised_bound(batch):
    members, culprits = batch
    gate = Gate(culprits)
    bisect(members, gate)
    depth = math.ceil(math.log2(len(members))) if len(members) > 1 else 0
    assert gate.runs <= 1 + len(culprits) * (2 * depth + 2)


def test_a_group_that_must_be_red_is_not_gated_again():
    gate = Gate({MEMBERS[7]})
    bisect(MEMBERS[:8], gate)
    # All eight, the left half of 8, of 4 and of 2 (each green), and the one retry.
    assert gate.runs == 1 + 3 + 1


@given(batches(), st.data())
def test_of_a_pair_red_only_together_exactly_the_later_is_rejected(batch, data):
    members, culprits = batch
    innocent = sorted(set(members) - culprits)
    if len(innocent) < 2:
        return
    pair = data.draw(st.lists(st.sampled_from(innocent), min_size=2, max_size=2, unique=True))
    landed, rejected = bisect(members, Gate(culprits, [pair]))
    assert set(rejected) == culprits | {max(pair)}
    assert set(landed) == set(members) - set(rejected)


@given(st.integers(1, 24))
def test_a_batch_that_was_red_by_chance_lands_whole(size):
    members = MEMBERS[:size]

    class Flaky(Gate):
        def red(self, members):
            return super().red(members) or self.runs == 1

    gate = Flaky(())
    landed, rejected = bisect(members, gate)
    assert landed == members
    assert rejected == []
    assert gate.runs <= 2 + math.ceil(math.log2(size)) if size > 1 else gate.runs == 2


@given(batches(), st.data())
def test_a_member_taken_out_is_asked_about_no_more_and_the_rest_are_decided(batch, data):
    members, culprits = batch
    gone = data.draw(st.sampled_from(members))
    gate = Gate(culprits)
    landed, rejected = [], []
    search = Bisection.of_red(members).without([gone])
    while (probe := search.probe) is not None:
        assert gone not in probe.members
        if gate.red([*landed, *probe.members]):
            search, out = search.red()
            rejected += [out] if out else []
        else:
            landed += probe.members
            search = search.green()
    assert set(rejected) == culprits - {gone}
    assert set(landed) == set(members) - culprits - {gone}


candidates = st.lists(
    st.builds(
        lambda number, priority, ready, files: Candidate(
            task_id=f"t{number}",
            commit="a" * 40,
            base="b" * 40,
            priority=priority,
            ready_at=ready,
            files=frozenset(files),
        ),
        st.integers(0, 999),
        st.integers(1, 4),
        st.integers(0, 5),
        st.sets(st.sampled_from("abcdef"), max_size=3),
    ),
    unique_by=lambda one: one.task_id,
    max_size=20,
)


@given(candidates, st.integers(1, 10))
def test_no_candidate_is_passed_over_for_one_of_lower_priority(offered, size):
    chosen = choose_batch(offered, size=size)
    left = [one for one in offered if one not in chosen]
    assert len(chosen) == min(size, len(offered))
    assert chosen == in_order(chosen)
    if chosen and left:
        assert max(one.priority for one in chosen) <= min(one.priority for one in left)


@given(candidates.filter(bool), st.integers(1, 10))
def test_the_first_in_order_is_always_taken(offered, size):
    assert in_order(offered)[0] in choose_batch(offered, size=size)


@given(candidates, st.integers(1, 10))
def test_an_overlapping_candidate_is_taken_only_when_no_disjoint_one_of_its_priority_is_left(
    offered, size
):
    chosen = choose_batch(offered, size=size)
    left = [one for one in offered if one not in chosen]
    for one in left:
        higher = {f for c in chosen for f in c.files if c.priority <= one.priority}
        rivals = [c for c in chosen if c.priority == one.priority]
        if higher.isdisjoint(one.files) and len(chosen) == size:
            # It was disjoint, so what took its place came earlier and was disjoint as well.
            assert all(in_order([c, one])[0] == c for c in rivals)


@given(st.lists(st.booleans()), st.integers(1, 8), st.integers(0, 8))
def test_the_window_stays_between_floor_and_ceiling(verdicts, floor, room):
    window = Window(size=floor, floor=floor, ceiling=floor + room)
    for green in verdicts:
        before = window
        window = window.after(green=green)
        assert window.floor <= window.size <= window.ceiling
        assert window.size >= before.size if green else window.size <= before.size
