"""Routing: who is asked first, over many calls."""

import math
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stigmergy.models.routing import Candidate, next_ready_at, order

NAMES = st.sampled_from("abcdefgh")
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        name=NAMES,
        role=st.sampled_from(["primary", "spillover"]),
        weight=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
        in_flight=st.integers(0, 3),
        max_concurrent=st.none() | st.integers(1, 3),
        ready_at=st.sampled_from([-math.inf, 5.0, 10.0, 15.0]),
    ),
    unique_by=lambda candidate: candidate.name,
    max_size=8,
)
SEEDS = st.integers(0, 2**32)


def drawn(candidates, seed, *, now=10.0):
    chance = random.Random(seed)
    return order(candidates, now=now, draws=[chance.random() for _ in candidates])


@given(CANDIDATES, SEEDS)
def test_exactly_those_that_are_ready_and_have_room_are_asked(candidates, seed):
    names = drawn(candidates, seed)
    expected = [c.name for c in candidates if c.has_room and c.ready_at <= 10.0]
    assert sorted(names) == sorted(expected)


@given(CANDIDATES, SEEDS)
def test_every_primary_comes_before_any_spillover(candidates, seed):
    roles = {candidate.name: candidate.role for candidate in candidates}
    asked = [roles[name] for name in drawn(candidates, seed)]
    assert asked == sorted(asked)


@given(CANDIDATES, SEEDS)
def test_weight_zero_is_asked_last_of_its_role(candidates, seed):
    by_name = {candidate.name: candidate for candidate in candidates}
    for role in ("primary", "spillover"):
        weights = [
            by_name[name].weight > 0
            for name in drawn(candidates, seed)
            if by_name[name].role == role
        ]
        assert weights == sorted(weights, reverse=True)


@given(CANDIDATES)
def test_when_nobody_can_be_asked_the_wait_ends_with_somebody_ready(candidates):
    ready_at = next_ready_at(candidates)
    if ready_at is not None:
        assert order(candidates, now=ready_at, draws=[0.5] * len(candidates))
    else:
        assert not any(candidate.has_room for candidate in candidates)


@given(st.lists(st.sampled_from([1.0, 2.0, 5.0]), min_size=2, max_size=4), SEEDS)
def test_first_attempts_are_shared_by_weight(weights, seed):
    candidates = [Candidate(name=str(n), weight=weight) for n, weight in enumerate(weights)]
    chance = random.Random(seed)
    rounds = 2_000
    first = Counter(
        order(candidates, now=0.0, draws=[chance.random() for _ in candidates])[0]
        for _ in range(rounds)
    )
    for candidate in candidates:
        share = candidate.weight / sum(weights)
        # Six standard deviations: a right implementation fails once in 500 million draws.
        slack = 6 * math.sqrt(share * (1 - share) / rounds)
        assert abs(first[candidate.name] / rounds - share) <= slack
