"""Landings an hour on 5,000 files: the merge queue against a loop of `git merge`, in one run.

Every branch changes a file of its own and a line of a file that it shares with others. The peer
does what a script would: for each branch a working tree and `git merge`. With a gate the peer is
the same queue with a window of one. The gate is a sleep without a checkout, on both sides.
Nothing here is a model's work: it measures merging, gating and landing.

    python benchmarks/bench_merge.py [--branches 200] [--files 5000] [--gate-s 2] [--serial 5]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from stigmergy.coding.git.repository import Repository
from stigmergy.coding.merge.batch import Candidate, Window
from stigmergy.coding.merge.gate import Gate
from stigmergy.coding.merge.lander import Lander
from stigmergy.coding.merge.stack import Strategy
from stigmergy.coding.merge.verdict import Landed
from stigmergy.coding.sandbox.sandbox import Exit, Protection

MAIN = "refs/heads/main"
SHARED = 40
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "bench"), ("EMAIL", "bench@example.invalid"))
}


def git(path, *args, stdin=None):
    return subprocess.run(
        ["git", "-c", "gc.auto=0", *args],
        cwd=path,
        input=stdin,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | IDENTITY,
    ).stdout.decode().strip()  # fmt: skip


def build(path, *, files, branches):
    """A bare repository of `files` files and the branches, written by one fast-import."""
    path.mkdir()
    git(path, "init", "-q", "--bare", "-b", "main")
    stream = bytearray()

    def data(text):
        raw = text.encode()
        stream.extend(b"data %d\n%s\n" % (len(raw), raw))

    def commit(ref, message, parent=None):
        stream.extend(
            f"commit {ref}\ncommitter bench <b@example.invalid> 1700000000 +0000\n".encode()
        )
        data(message)
        if parent:
            stream.extend(f"from {parent}\n".encode())

    def put(name, text):
        stream.extend(f"M 100644 inline {name}\n".encode())
        data(text)

    commit(MAIN, "base")
    for number in range(files - SHARED):
        put(f"src/p{number % 50}/q{number % 10}/m{number}.py", f"value = {number}\n" * 20)
    for number in range(SHARED):
        put(f"shared/s{number}.py", "".join(f"line = {line}\n" for line in range(400)))
    for number in range(branches):
        commit(f"refs/heads/task/{number}", f"work of {number}", MAIN)
        put(f"src/new/n{number}.py", f"new = {number}\n")
        lines = [f"line = {line}\n" for line in range(400)]
        lines[(number // SHARED) * 20] = f"line = 'task {number}'\n"
        put(f"shared/s{number % SHARED}.py", "".join(lines))
    git(path, "fast-import", "--quiet", stdin=bytes(stream))


class SleepFactory:
    """Sandboxes without a checkout whose gate takes a fixed time: the gate's cost alone."""

    protection = Protection(
        kind="bench", view="none", writes_confined=False, network_confined=False,
        processes_confined=False,
    )  # fmt: skip

    def __init__(self, seconds):
        self.seconds = seconds

    def open(self, name, commit):
        return SleepSandbox(name, commit, self.seconds)

    def close(self):
        pass


class SleepSandbox:
    def __init__(self, name, base, seconds):
        self.name, self.base, self.seconds = name, base, seconds

    def run(self, *_, **__):
        time.sleep(self.seconds)
        return Exit(
            code=0, reason="exited", duration_s=self.seconds, stdout_tail="", stderr_tail=""
        )

    def close(self):
        pass


def cpu_s():
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def measured(name, landings, work):
    wall, cpu = time.perf_counter(), cpu_s()
    work()
    wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
    return {
        "what": name,
        "landings": landings,
        "wall_s": round(wall, 2),
        "wall_ms_each": round(1000 * wall / landings, 1),
        "cpu_ms_each": round(1000 * cpu / landings, 1),
        "landings_per_hour": round(3600 * landings / wall),
    }


def queue(path, branches, strategy, gate_s, window=None):
    with Repository(path) as repository:
        base = repository.rev_parse("main")
        candidates = [
            Candidate(
                task_id=f"T{number}", commit=repository.rev_parse(f"task/{number}"), base=base
            )
            for number in range(branches)
        ]

        def work():
            lander = Lander(
                repository,
                MAIN,
                clock=time.time,
                on_intent=lambda _: None,
                on_event=lambda _: None,
                strategy=strategy,
                window=window,
                gate=Gate(argv=("sleep",)) if gate_s else None,
                factory=SleepFactory(gate_s) if gate_s else None,
            )
            verdicts = lander.land(candidates, threading.Event())
            assert all(isinstance(verdict, Landed) for verdict in verdicts), verdicts

        serial = ", one at a time" if window else ""
        figures = measured(f"queue, {strategy}, gate {gate_s:g} s{serial}", branches, work)
        listed = git(path, "ls-tree", "-r", "--name-only", "main", "src/new/").splitlines()
        assert len(listed) == branches, "not everything that was said to land did"
    git(path, "update-ref", MAIN, base)
    return figures


def plain(path, branches):
    """A working tree a branch, `git merge`, move main: one after another."""
    base = git(path, "rev-parse", "main")

    def work():
        for number in range(branches):
            tree = path.parent / f"tree{number}"
            git(path, "worktree", "add", "-q", "--detach", str(tree), "main")
            git(tree, "merge", "-q", "--no-edit", f"task/{number}")
            git(path, "update-ref", MAIN, git(tree, "rev-parse", "HEAD"))
            git(path, "worktree", "remove", "--force", str(tree))

    figures = measured("plain loop of worktree and merge", branches, work)
    git(path, "update-ref", MAIN, base)
    return figures


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--branches", type=int, default=200)
    options.add_argument("--files", type=int, default=5_000)
    options.add_argument("--gate-s", type=float, default=2.0)
    options.add_argument("--serial", type=int, default=10, help="branches for the peers")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "repository"
        build(path, files=asked.files, branches=asked.branches)
        rows = [queue(path, asked.branches, strategy, 0.0) for strategy in Strategy]
        rows.append(plain(path, asked.serial))
        rows.append(queue(path, asked.branches, Strategy.REBASE, asked.gate_s))
        one = Window(size=1, ceiling=1)
        rows.append(queue(path, asked.serial, Strategy.REBASE, asked.gate_s, one))
    _, rebase, _, loop, batched, serial = (row["landings_per_hour"] for row in rows)
    for row in rows:
        print(json.dumps(row))
    print(
        json.dumps(
            {
                "files": asked.files,
                "cores": len(os.sched_getaffinity(0)),
                "load_1m": round(os.getloadavg()[0], 1),
                "queue_to_plain_loop_without_gate": round(rebase / loop, 1),
                "batched_to_serial_with_gate": round(batched / serial, 1),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
