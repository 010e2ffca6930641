"""`stig wasm bench`: engines against wasmtime by itself, in one run."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from stigmergy.cli.console import amount, plural
from stigmergy.cli.wasm.options import AsJson, check_extra
from stigmergy.errors import UnsupportedError, UsageError

if TYPE_CHECKING:
    from stigmergy.wasm.bench import Kernel, Measured

__all__ = ["bench"]

_PYTHON_AGENTS: Final = 4_096
"""The Python loop is timed for so many at most, and its time told for as many as the others."""


def bench(
    *,
    agents: Annotated[
        int, typer.Option("--agents", "-n", min=1, max=1 << 24, metavar="N", help="How many.")
    ] = 16_384,
    engine: Annotated[
        list[str] | None,
        typer.Option("--engine", metavar="NAME", help="cpu or gpu; repeatable. Both by default."),
    ] = None,
    kernel: Annotated[
        list[str] | None,
        typer.Option("--kernel", metavar="NAME", help="xorshift, collatz, fib, sieve; repeatable."),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, metavar="N", help="The best of so many counts.")
    ] = 3,
    as_json: AsJson = False,
) -> None:
    """Time small programs on each engine, and wasmtime by itself, and print the ratios.

    A swarm's time is from spawning to having the results. It is held against
    a loop in Python (an instance and a call for each agent), and against
    wasmtime at its own speed on one thread, with no Python in the loop.
    Every answer is checked against the program's own in Python. The columns:
    the best round, the first one with all that is made ready in it, and how
    many times as fast as the loop in Python and as wasmtime by itself it is.

    [bold]Example[/bold]

      stig wasm bench --agents 65536 --engine gpu
    """
    check_extra()
    from stigmergy.wasm.bench import KERNELS

    for name in engine or ():
        if name not in ("cpu", "gpu"):
            message = f"--engine is {name!r}; it is cpu or gpu"
            raise UsageError(message)
    unknown = [name for name in kernel or () if name not in KERNELS]
    if unknown:
        message = f"there is no kernel {unknown[0]!r}; there are {', '.join(KERNELS)}"
        raise UsageError(message)
    chosen = [KERNELS[name] for name in kernel or KERNELS]
    console = Console(stderr=as_json)
    document: dict[str, list[dict[str, object]]] = {}
    for one in chosen:
        with console.status(f"timing {one.name} …"):
            rows = _measure(one, agents, engine or ["cpu", "gpu"], rounds, console)
        document[one.name] = [asdict(row) for row in rows]
        console.print(_table(one, rows))
    if as_json:
        print(json.dumps({"agents": agents, "kernels": document}, indent=2))


def _measure(
    kernel: Kernel, agents: int, engines: list[str], rounds: int, console: Console
) -> list[Measured]:
    from stigmergy.cli.wasm.options import engine_of
    from stigmergy.wasm import SwarmManager
    from stigmergy.wasm.bench import Measured, measure_native, measure_python, measure_swarm

    rows: list[Measured] = []
    for name in engines:
        try:
            with SwarmManager(engine_of(name), agents, kernel.memory_bytes) as swarm:
                row = measure_swarm(swarm, kernel, agents, rounds=rounds)
                devices = swarm.devices
        except UnsupportedError as error:
            console.print(f"no {name}: {error}", style="yellow", markup=False)
            continue
        rows.append(Measured(name, *_figures(row)))
        console.print(f"{name}: {', '.join(devices)}", style="dim", markup=False)
    if not rows:
        return rows
    instructions = rows[0].instructions
    few = min(agents, _PYTHON_AGENTS)
    python = measure_python(kernel, few, instructions)
    scale = agents / few
    if few < agents:
        console.print(f"the loop in Python is timed for {few:,} agents", style="dim")
    rows.append(
        Measured(python.way, agents, python.seconds * scale, python.first_s * scale, instructions)
    )
    rows.append(measure_native(kernel, agents, instructions))
    return rows


def _figures(row: Measured) -> tuple[int, float, float, int]:
    return row.agents, row.seconds, row.first_s, row.instructions


def _table(kernel: Kernel, rows: list[Measured]) -> Table:
    """Make the table of one kernel: the last two rows are what the others are held against."""
    count = rows[0].agents if rows else 0
    title = f"{kernel.name}({kernel.size}), {plural(count, 'agent')}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("way")
    for column in ("ms", "first ms", "instructions/s", "x Python", "x native"):
        table.add_column(column, justify="right", no_wrap=True)
    if not rows:
        return table
    python, native = rows[-2], rows[-1]
    for row in rows:
        table.add_row(
            row.way,
            f"{row.seconds * 1000:.1f}",
            f"{row.first_s * 1000:.0f}",
            amount(row.per_second),
            f"{python.seconds / row.seconds:.1f}",
            f"{native.seconds / row.seconds:.2f}",
        )
    return table
