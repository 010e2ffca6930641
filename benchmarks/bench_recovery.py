"""Recovery: kill -9 of the orchestrator and of agents at random points, then `resume`.

Each run has 12 items in three chains, a command agent and a gate. It is killed up to five times;
then its branch is compared with the one of an undisturbed run. Simulated agents.

    python benchmarks/bench_recovery.py [--kills 50] [--seed 1]
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from stigmergy.testing.recovery import FILES, Survival, survive, undisturbed

IDENTITY = ("-c", "user.name=bench", "-c", "user.email=bench@example.invalid")
KILLS_OF_ONE_RUN = 5


def make_repository(path: Path) -> Path:
    path.mkdir()
    for name, text in FILES.items():
        (path / name).write_text(text)
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", *IDENTITY, *command], cwd=path, check=True)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    survivals: list[Survival] = []
    with tempfile.TemporaryDirectory() as folder:
        tree, took_s = undisturbed(make_repository(Path(folder, "undisturbed")))
        print(f"seed {options.seed}; an undisturbed run takes {took_s:.1f} s", flush=True)
        while (left := options.kills - sum(len(s.kills) for s in survivals)) > 0:
            survival = survive(
                make_repository(Path(folder, f"run-{len(survivals)}")),
                kills=min(left, KILLS_OF_ONE_RUN),
                within_s=took_s / 2,
                rng=rng,
                victims=("orchestrator", "agent"),
            )
            survivals.append(survival)
            print(f"run {len(survivals)}: {len(survival.kills)} kills", flush=True)
    return show(survivals, tree)


def show(survivals: list[Survival], tree: str) -> int:
    victims = Counter(kill.victim for survival in survivals for kill in survival.kills)
    recovery_s = sorted(s for survival in survivals for s in survival.recovery_s)
    lost = sum(len(survival.lost) for survival in survivals)
    twice = sum(len(survival.twice) for survival in survivals)
    equal = sum(survival.tree == tree for survival in survivals)
    clean = sum(survival.clean for survival in survivals)
    print(
        f"kills                  {victims.total()} "
        f"(orchestrator {victims['orchestrator']}, agents {victims['agent']})"
    )
    print(f"runs                   {len(survivals)}")
    print(f"items lost             {lost}")
    print(f"items landed twice     {twice}")
    print(f"trees equal            {equal} of {len(survivals)}")
    print(f"working trees at tip   {clean} of {len(survivals)}")
    if recovery_s:
        print(
            f"at work again after    {statistics.median(recovery_s):.2f} s median, "
            f"{recovery_s[-1]:.2f} s worst ({len(recovery_s)} resumes)"
        )
    whole = lost == twice == 0 and equal == clean == len(survivals)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
