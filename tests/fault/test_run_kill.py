"""kill -9 of a run's process and of its agents: nothing is lost, nothing lands twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from stigmergy.testing.recovery import FILES, Survival, survive, undisturbed

MakeRepository = Callable[[Mapping[str, str | bytes]], Path]


def check(survival: Survival, tree: str) -> None:
    assert survival.lost == []
    assert survival.twice == []
    assert survival.tree == tree
    assert survival.clean


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    make_repository: MakeRepository, rng: random.Random
) -> None:
    tree, took_s = undisturbed(make_repository(FILES))

    survival = survive(make_repository(FILES), kills=6, within_s=took_s / 3, rng=rng)

    check(survival, tree)
    assert len(survival.kills) == 6


def test_agents_that_are_killed_are_replaced(
    make_repository: MakeRepository, rng: random.Random
) -> None:
    tree, _ = undisturbed(make_repository(FILES))

    survival = survive(make_repository(FILES), kills=4, within_s=1.0, rng=rng, victims=("agent",))

    check(survival, tree)
    assert survival.recovery_s == []  # the run itself was never killed


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_fifty_kills_of_everything(make_repository: MakeRepository, rng: random.Random) -> None:
    tree, took_s = undisturbed(make_repository(FILES))
    killed = 0
    while killed < 50:
        survival = survive(
            make_repository(FILES),
            kills=5,
            within_s=took_s / 2,
            rng=rng,
            victims=("orchestrator", "agent"),
        )
        check(survival, tree)
        killed += len(survival.kills)
