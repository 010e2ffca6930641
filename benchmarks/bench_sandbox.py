"""How long a sandbox takes, against `git worktree add`, in repositories of 5,000 and 50,000 files.

Usage: python benchmarks/bench_sandbox.py [--rounds 40] [--files 5000 50000] [--view overlay]

Each round opens a sandbox at the newest commit and lands what it brings, as a run does, so every
sandbox starts at a commit that no sandbox was opened at before. CPU is user and system time of this
process and of all that it waited for.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from stigmergy.coding.sandbox.local import LocalSandboxes
from stigmergy.coding.sandbox.sandbox import SandboxSettings

SCRIPT = (
    "echo change >> d0/e1/f21.txt; git commit -q -a -m work"
    " --author='Agent <agent@example.invalid>'"
)
IDENTITY = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Agent"), ("EMAIL", "agent@example.invalid"))
}


@dataclass
class Times:
    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def line(self) -> str:
        wall, cpu = sorted(self.wall_ms), statistics.mean(self.cpu_ms)
        p99 = wall[min(len(wall) - 1, int(len(wall) * 0.99))]
        return f"p50 {statistics.median(wall):7.1f} ms  p99 {p99:7.1f} ms  CPU mean {cpu:6.1f} ms"

    @property
    def p50(self) -> float:
        return statistics.median(self.wall_ms)


class Stopwatch:
    def __init__(self, times: Times) -> None:
        self.times = times

    def __enter__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), _cpu_s()

    def __exit__(self, *_: object) -> None:
        self.times.wall_ms.append((time.perf_counter() - self.wall) * 1e3)
        self.times.cpu_ms.append((_cpu_s() - self.cpu) * 1e3)


def _cpu_s() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "gc.auto=0", *arguments],
        cwd=repository,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **IDENTITY},
    )
    return done.stdout.strip()


def make_repository(root: Path, files: int) -> None:
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    for number in range(files):
        folder = root / f"d{number // 1000}" / f"e{number // 20}"
        if number % 20 == 0:
            folder.mkdir(parents=True)
        (folder / f"f{number}.txt").write_text(f"line {number}\n" * 20)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Start")


def bench(root: Path, files: int, rounds: int, settings: SandboxSettings) -> tuple[float, float]:
    repository = root / f"repository-{files}"
    make_repository(repository, files)
    opened, trivial, whole, worktree = Times(), Times(), Times(), Times()
    with LocalSandboxes(repository, root / f"state-{files}", settings) as factory:
        tip = git(repository, "rev-parse", "HEAD")
        began = time.perf_counter()
        factory.open("first", tip).close()
        first_s = time.perf_counter() - began
        for number in range(rounds):
            with Stopwatch(whole):
                with Stopwatch(opened):
                    sandbox = factory.open(f"T{number}", tip)
                ended = sandbox.run(["sh", "-c", SCRIPT], env=IDENTITY)
                assert ended.ok, ended
                tip = sandbox.export(f"refs/stigmergy/bench/T{number}") or tip
                sandbox.close()
            with Stopwatch(trivial):
                sandbox = factory.open("trivial", tip)
                sandbox.run(["true"])
                sandbox.close()
        view = factory.protection.view
    for number in range(3):
        with Stopwatch(worktree):
            git(repository, "worktree", "add", "--detach", str(root / f"w{files}-{number}"), tip)
    print(f"\n{files} files, view {view}, first sandbox (makes the base) {first_s:.2f} s")
    print(f"  open                                  {opened.line()}")
    print(f"  open + run `true` + close             {trivial.line()}")
    print(f"  open + run + commit + export + close  {whole.line()}")
    print(f"  git worktree add                      {worktree.line()}")
    print(f"  git worktree add / open               {worktree.p50 / opened.p50:.1f}")
    return opened.p50, whole.p50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--files", type=int, nargs="+", default=[5_000, 50_000])
    parser.add_argument("--view", default="auto")
    parser.add_argument("--confine", default="auto")
    chosen = parser.parse_args()
    settings = SandboxSettings(view=chosen.view, confine=chosen.confine)
    with tempfile.TemporaryDirectory() as made:
        found = [bench(Path(made), files, chosen.rounds, settings) for files in chosen.files]
    if len(found) > 1:
        (small, small_whole), *_, (large, large_whole) = found
        whole = large_whole / small_whole
        print(f"\nmost files / fewest: open {large / small:.2f}, whole {whole:.2f}")


if __name__ == "__main__":
    main()
