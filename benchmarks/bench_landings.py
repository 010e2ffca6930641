"""Landings an hour of whole runs: board, sandboxes, agents, queue, against a plain loop of git.

    python benchmarks/bench_landings.py [--tasks 1000] [--files 5000] [--agents 4]

Three runs, each on a fresh repository of `--files` files; every agent is a command that appends a
line to its file, so nothing but Stigmergy takes time (simulated agents: this measures scheduling,
sandboxes and merging, and says nothing of a model).

1. no gate, against a plain loop of `git worktree add`, the same command, commit, `git merge`;
2. a gate that takes two seconds, against a serial queue that runs it for each change.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from stigmergy.coding import preflight, run
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.preflight import Source
from stigmergy.config import load_settings
from stigmergy.swarm import Stop

GATE_S = 2.0
PLAIN_TASKS = 25
SERIAL_TASKS = 10


def make_repository(folder: Path, files: int) -> None:
    """A repository of `files` small files in folders of a hundred."""
    for number in range(files):
        path = folder / f"src/part{number // 100:03d}/file{number:05d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {number}\n" * 20)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=b", "-c", "user.email=b@x.invalid", "commit", "-q", "-m", "start")


def git(folder: Path, *argv: str) -> None:
    subprocess.run(["git", *argv], cwd=folder, check=True, capture_output=True)


def stigmergy_run(folder: Path, *, tasks: int, agents: int, gate: str) -> float:
    """Landings an hour of a run over the first `tasks` files."""
    settings = load_settings(
        agents=agents,
        agent_command="sed -i '$a one more line' {path}",
        gate=gate,
        sandbox_network=False,
    )
    wanted = sorted(path for path in folder.glob("src/*/*.txt"))[:tasks]
    features = folder.parent / "features.json"
    names = [str(path.relative_to(folder)) for path in wanted]
    features.write_text(
        "["
        + ",".join(
            f'{{"id":"T{n:05d}","description":"append","files":["{name}"]}}'
            for n, name in enumerate(names)
        )
        + "]"
    )
    with Repository(folder) as repository:
        prepared = preflight.prepare(
            repository,
            Source(kind="features", text=str(features)),
            settings,
            environ={},
            now=time.time(),
        )
    began = time.perf_counter()
    outcome = run.start(prepared, stop=Stop(), watch=lambda *_: None)
    elapsed = time.perf_counter() - began
    if outcome.exit_code != 0:
        raise SystemExit(outcome.verdict)
    return tasks * 3600 / elapsed


def plain_loop(folder: Path, tasks: int, *, gate_s: float = 0.0) -> float:
    """Landings an hour of a loop that a shell script would be, with a gate for each change."""
    identity = ("-c", "user.name=b", "-c", "user.email=b@x.invalid")
    paths = sorted(folder.glob("src/*/*.txt"))[:tasks]
    began = time.perf_counter()
    for number, path in enumerate(paths):
        tree = folder.parent / f"tree{number}"
        git(folder, "worktree", "add", "-q", "-b", f"task{number}", str(tree))
        with (tree / path.relative_to(folder)).open("a") as file:
            file.write("one more line\n")
        git(tree, *identity, "commit", "-q", "-am", f"task {number}")
        if gate_s:
            subprocess.run(["sleep", str(gate_s)], check=True)
        git(folder, *identity, "merge", "-q", "--no-edit", f"task{number}")
        git(folder, "worktree", "remove", "--force", str(tree))
    return tasks * 3600 / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--gated-tasks", type=int, default=120)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folders = [
            Path(scratch) / name / "repository" for name in ("ours", "plain", "gated", "serial")
        ]
        for folder in folders:
            make_repository(folder, options.files)
        ours = stigmergy_run(folders[0], tasks=options.tasks, agents=options.agents, gate="none")
        plain = plain_loop(folders[1], PLAIN_TASKS)
        print(
            f"without a gate, {options.files} files, {options.tasks} tasks, "
            f"{options.agents} simulated agents: {ours:,.0f} landings/h; plain loop of worktree "
            f"and merge ({PLAIN_TASKS} tasks): {plain:,.0f}; ratio {ours / plain:.1f}"
        )
        gated = stigmergy_run(
            folders[2], tasks=options.gated_tasks, agents=options.agents, gate=f"sleep {GATE_S}"
        )
        serial = plain_loop(folders[3], SERIAL_TASKS, gate_s=GATE_S)
        print(
            f"gate of {GATE_S:g} s, {options.gated_tasks} tasks: {gated:,.0f} landings/h; the "
            f"plain loop with that gate for each ({SERIAL_TASKS} tasks): {serial:,.0f}; "
            f"ratio {gated / serial:.1f}"
        )


if __name__ == "__main__":
    main()
