"""WebAssembly agents against what else there is, in one run.

    python -m wasm [--agents 1024 65536] [--scale 1] [--million 1000000] [--engines cpu gpu]
        [--peer PYTHON] [--only throughput,first,spawn,million,peer] [--json FILE]

Ratios are what counts: the machine is told, and times differ from one to the next. Every answer is
checked. A swarm's time is from spawning to having the results.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from stigmergy.errors import UnsupportedError
from stigmergy.wasm import SwarmManager
from stigmergy.wasm.bench import KERNELS, Kernel, measure_native, measure_python, measure_swarm
from stigmergy.wasm.module.reading import to_binary
from wasm.handwritten import measure_handwritten

HERE = Path(__file__).parent
RATIOS = {"to Python": "python", "to one core": "native", "to all": "all", "by hand": "hand"}
PARTS = ("throughput", "first", "spawn", "million", "peer")
PYTHON_AGENTS = 4_096
PEER_AGENTS = 1_024
PEER_LIMIT_S = 300


@dataclass
class Report:
    machine: str = ""
    devices: dict[str, str] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    options = parse()
    console = Console(width=max(140, Console().width))
    report = Report(
        f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}"
    )
    console.print(f"on {report.machine}")
    runs = {
        "throughput": lambda: throughput(options, report, console),
        "first": lambda: first_call(options, console),
        "spawn": lambda: spawning(console),
        "million": lambda: million(options, console),
        "peer": lambda: peer(options, console),
    }
    for part in options.only:
        report.parts[part] = runs[part]()
    if options.json:
        options.json.write_text(json.dumps(vars(report), indent=2) + "\n")


def throughput(
    options: argparse.Namespace, report: Report, console: Console
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for agents in options.agents:
        table = Table(title=f"{agents:,} agents", box=None, padding=(0, 2, 0, 0))
        table.add_column("kernel")
        table.add_column("way")
        for column in ("ms", "first ms", "instructions/s", *RATIOS):
            table.add_column(column, justify="right")
        for kernel in kernels(options):
            with console.status(f"{kernel.name}, {agents:,} agents …"):
                found = one_kernel(kernel, agents, options, report)
            rows += found
            for row in found:
                table.add_row(
                    kernel.name,
                    row["way"],
                    f"{row['seconds'] * 1e3:.1f}",
                    f"{row['first_s'] * 1e3:.0f}" if row["first_s"] else "",
                    f"{row['per_second']:.2e}" if row["per_second"] else "",
                    *(f"{row[name]:.2f}" if row[name] else "" for name in RATIOS.values()),
                )
        console.print(table)
    return rows


def kernels(options: argparse.Namespace) -> list[Kernel]:
    """The programs, as long as asked for; the sieve's size is that of its memory."""
    return [
        kernel if kernel.name == "sieve" else replace(kernel, size=kernel.size * options.scale)
        for kernel in KERNELS.values()
    ]


def one_kernel(
    kernel: Kernel, agents: int, options: argparse.Namespace, report: Report
) -> list[dict[str, Any]]:
    """Time a kernel in every way; ratios above 1 are faster than what they are held against."""
    measured: dict[str, tuple[float, float | None]] = {}
    instructions = 0
    for engine in options.engines:
        try:
            with SwarmManager(engine, agents, kernel.memory_bytes) as swarm:
                row = measure_swarm(swarm, kernel, agents)
                report.devices[engine] = ", ".join(swarm.devices)
        except UnsupportedError as error:
            print(f"no {engine}: {error}", file=sys.stderr)
            continue
        measured[engine] = (row.seconds, row.first_s)
        instructions = row.instructions
    few = max(min(agents, PYTHON_AGENTS) // options.scale, 16)
    python = measure_python(kernel, few, instructions).seconds * agents / few
    # What is long is timed for some of the agents, and told for all.
    some = max(-(-agents // options.scale), os.cpu_count() or 1)
    native = measure_native(kernel, some, instructions).seconds * agents / some
    cores = os.cpu_count() or 1
    every = measure_native(kernel, some, instructions, threads=cores).seconds * agents / some
    measured["Python loop"] = (python, None)
    measured["wasmtime, one thread"] = (native, None)
    measured[f"wasmtime, {cores} threads"] = (every, None)
    hand = None
    if "gpu" in measured:
        hand = measure_handwritten(kernel, agents)
        measured["WGSL by hand"] = (hand, None)
    return [
        {
            "kernel": kernel.name,
            "agents": agents,
            "way": way,
            "seconds": seconds,
            "first_s": first,
            "per_second": instructions / seconds,
            "python": python / seconds,
            "native": native / seconds,
            "all": every / seconds,
            "hand": hand / seconds if hand else None,
        }
        for way, (seconds, first) in measured.items()
    ]


def first_call(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Time a fresh process until its first answer: the fewest of three, and the first."""
    told: dict[str, Any] = {}
    for engine in options.engines:
        found = [run_script("firstcall.py", engine) for _ in range(3)]
        best = min(found, key=lambda one: one["all_s"])
        told[engine] = {"first": found[0], "best": best}
        console.print(
            f"first call on {engine}: {best['all_s']:.2f} s, of which the import took "
            f"{best['import_s']:.2f} s; the first of three took {found[0]['all_s']:.2f} s"
        )
    return told


def spawning(console: Console) -> dict[str, float]:
    best = float("inf")
    for _ in range(5):
        with SwarmManager("cpu") as swarm:
            swarm.load_bytecode(KERNELS["xorshift"].module)
            begun = time.perf_counter()
            for number in range(1024):
                swarm.spawn_agent("xorshift", args=[number, 1])
            best = min(best, time.perf_counter() - begun)
    console.print(f"1,024 agents spawned one by one: {best * 1e3:.2f} ms")
    return {"seconds": best}


def million(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for engine in options.engines:
        if engine == "cpu" and options.million > 100_000:
            continue  # each is an instance of wasmtime: 15 KiB
        one = told[engine] = run_script("million.py", engine, str(options.million))
        console.print(
            f"{one['agents']:,} agents of 1 KiB on {engine}: spawn {one['spawn_s']:.2f} s, run "
            f"{one['run_s']:.2f} s, read {one['read_s']:.2f} s, all {one['all_s']:.2f} s; memory "
            f"grew by {one['grown_bytes'] / one['own_bytes']:.2f} of the agents' own"
        )
    return told


def peer(options: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    if not options.peer:
        console.print("no peer: name a Python that has wasmgpu with --peer")
        return []
    rows: list[dict[str, Any]] = []
    for kernel in KERNELS.values():
        with SwarmManager("gpu", PEER_AGENTS, kernel.memory_bytes) as swarm:
            ours = measure_swarm(swarm, kernel, PEER_AGENTS)
        order = {
            "wasm": to_binary(kernel.module).hex(),
            "name": kernel.name,
            "size": kernel.size,
            "agents": PEER_AGENTS,
            "checked": 16,
            "limit_s": PEER_LIMIT_S,
        }
        with console.status(f"{kernel.name} on wasmgpu, which takes minutes …"):
            done = subprocess.run(
                [options.peer, HERE / "peer.py"],
                input=json.dumps(order),
                capture_output=True,
                text=True,
                check=False,
                timeout=PEER_LIMIT_S * 4,
            )
        if done.returncode:
            console.print(f"{kernel.name} on wasmgpu: {done.stderr.strip()[-300:]}", markup=False)
            continue
        theirs = json.loads(done.stdout)
        assert theirs["answers"] == [kernel.expected(agent, kernel.size) for agent in range(16)]
        rows.append(
            {"kernel": kernel.name, "ours_s": ours.seconds, "ours_first_s": ours.first_s, **theirs}
        )
        warm = theirs["warm_s"]
        console.print(
            f"{kernel.name}, {PEER_AGENTS:,} agents: first {ours.first_s:.2f} s, wasmgpu "
            f"{theirs['first_s']:.1f} s; warm {ours.seconds * 1e3:.1f} ms, wasmgpu "
            + (
                "unknown"
                if warm is None
                else f"{warm * 1e3:.1f} ms: {warm / ours.seconds:.1f} times"
            )
        )
    return rows


def run_script(name: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, HERE / name, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--agents", type=int, nargs="+", default=[1_024, 65_536])
    parser.add_argument(
        "--scale", type=int, default=1, help="how many times as long each program is to run"
    )
    parser.add_argument("--million", type=int, default=1_000_000)
    parser.add_argument("--engines", nargs="+", choices=("cpu", "gpu"), default=["cpu", "gpu"])
    parser.add_argument("--peer", metavar="PYTHON", help="a Python that has wasmgpu 0.0.2")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"--only takes {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    main()
