"""`stig wasm run`: many agents of one module."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from stigmergy.cli.console import amount, clean, plural
from stigmergy.cli.wasm.options import AsJson, EngineOption, arguments_of, bytes_of, engine_of
from stigmergy.errors import UsageError

if TYPE_CHECKING:
    from stigmergy.wasm import SwarmManager, SwarmResult

__all__ = ["run"]

_SHOWN: Final = 10
_MOST_AGENTS: Final = 1 << 24
_FIRST_SLICE: Final = 100_000
_AIM_S: Final = 0.5
"""How long a slice shall take: so often the progress moves."""


def run(
    *,
    module: Annotated[Path, typer.Argument(metavar="MODULE", help="A .wasm or .wat file.")],
    agents: Annotated[
        int, typer.Option("--agents", "-n", min=1, max=_MOST_AGENTS, metavar="N", help="How many.")
    ] = 1,
    entry: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The export to call, or a function's index."),
    ] = None,
    args: Annotated[
        str, typer.Option(metavar="LIST", help="Arguments; i is the agent's number: i,1000.")
    ] = "",
    max_instructions: Annotated[
        int, typer.Option(min=1, metavar="N", help="The most that an agent may use.")
    ] = 1_000_000_000,
    engine: EngineOption = "auto",
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="The most memory of an agent: 512, 64k, 1M.")
    ] = "64k",
    seed: Annotated[int, typer.Option(metavar="N", help="What random numbers follow from.")] = 0,
    fast_floats: Annotated[
        bool,
        typer.Option("--fast-floats", help="Let a GPU use its own floats, not the exact ones."),
    ] = False,
    output: Annotated[
        bool, typer.Option("--output", help="Print what the agents wrote, agent by agent.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run agents of a WebAssembly module, each with memory of its own.

    Without --entry it is the export `run`, `main` or `_start`, or the only one.
    Ends with 1 when an agent trapped or did not finish. Ctrl-C and SIGTERM stop
    it (130 and 143), and it prints what the agents came to so far.

    [bold]Examples[/bold]

      stig wasm run ant.wat --agents 1000 --args i,500

      stig wasm run crc.wasm --entry checksum --engine gpu --json
    """
    from stigmergy.swarm.nursery import stop_on_signals
    from stigmergy.swarm.stop import Stop
    from stigmergy.wasm import SwarmManager
    from stigmergy.wasm.module.reading import read_module_file

    decoded = read_module_file(module)
    name = entry if entry is not None else _usual_entry(decoded.exported_functions, module)
    entry_point = int(name) if name.isdecimal() else name
    stop = Stop()
    with (
        SwarmManager(
            engine_of(engine),
            agents,
            bytes_of(memory, what="--memory"),
            floats="fast" if fast_floats else "strict",
            seed=seed,
            journal=engine != "cpu",  # for a GPU that is lost
        ) as swarm,
        # Engines may not be left in the middle of an agent: a signal is heeded between slices.
        stop_on_signals(stop) as signals,
    ):
        swarm.load_bytecode(decoded.wasm)
        swarm.spawn_agents(agents, entry_point, arguments_of(args, agents))
        begun = time.perf_counter()
        result = _dispatch(swarm, agents, max_instructions, stop, quiet=as_json)
        seconds = time.perf_counter() - begun
        if as_json:
            print(json.dumps(_document(swarm, result, seconds), indent=2))
        else:
            _show(swarm, result, seconds)
            if output:
                _show_outputs(result)
    raise typer.Exit(signals.exit_code(1 if result.traps or result.unfinished else 0))


def _usual_entry(exports: Iterable[str], module: Path) -> str:
    """Return the export that is meant where none is named."""
    names = list(exports)
    for usual in ("run", "main", "_start"):
        if usual in names:
            return usual
    if len(names) == 1:
        return names[0]
    offered = ", ".join(clean(name) for name in names[:8]) or "none; take --entry 0"
    message = f"{module} does not say what to run: name an export with --entry ({offered})"
    raise UsageError(message)


def _dispatch(
    swarm: SwarmManager,
    agents: int,
    max_instructions: int,
    stop: threading.Event,
    *,
    quiet: bool,
) -> SwarmResult:
    """Dispatch in slices, so that the progress moves; the slices change nothing else."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    used, size = 0, _FIRST_SLICE
    with bar:
        shown = bar.add_task("agents made and run", total=agents)

        def begun_so_far(count: int, _: int) -> None:
            if not used:
                bar.update(shown, completed=count)

        while True:
            begun = time.perf_counter()
            size = min(size, max_instructions - used)
            result = swarm.dispatch(max_instructions=size, stop=stop, progress=begun_so_far)
            used += size
            finished = agents - len(result.unfinished)
            bar.update(shown, description="agents finished", completed=finished)
            if not result.unfinished or used >= max_instructions or stop.is_set():
                return result
            took = time.perf_counter() - begun
            if took < _AIM_S:
                size *= 4
            elif took > 4 * _AIM_S:
                size = max(1, size // 4)


def _document(swarm: SwarmManager, result: SwarmResult, seconds: float) -> dict[str, object]:
    from stigmergy.wasm.work import told_output, told_result

    return {
        "placements": swarm.placements,
        "seconds": round(seconds, 6),
        "agents": {
            str(agent): {
                "result": told_result(result.agent_results[agent])
                if agent in result.agent_results
                else None,
                "instructions": count,
                "trap": str(result.traps[agent]) if agent in result.traps else None,
                **told_output(result.agent_outputs[agent]),
            }
            for agent, count in result.instruction_counts.items()
        },
        "unfinished": result.unfinished,
        "undeliverable": swarm.undeliverable,
        "losses": list(swarm.losses),
    }


def _show(swarm: SwarmManager, result: SwarmResult, seconds: float) -> None:
    console = Console()
    total = result.instructions
    ends = [f"{result.finished:,} finished"]
    ends += [f"{len(result.traps):,} trapped"] if result.traps else []
    ends += [f"{len(result.unfinished):,} unfinished"] if result.unfinished else []
    lost = swarm.undeliverable
    ends += [f"{plural(lost, 'message')} to nobody"] if lost else []
    agents = len(result.instruction_counts)
    console.print(Text(f"{plural(agents, 'agent')}: {', '.join(ends)}", style="bold"))
    speed = f", {amount(total / seconds)} a second" if seconds else ""
    console.print(f"{amount(total)} instructions in {seconds:.3f} s{speed}")
    for placement in swarm.placements:
        console.print(Text(clean(placement), style="dim"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("agent", "result", "instructions"):
        table.add_column(column, justify="right")
    for agent, count in list(result.instruction_counts.items())[:_SHOWN]:
        table.add_row(str(agent), _result_text(result, agent), f"{count:,}")
    console.print(table)
    if agents > _SHOWN:
        console.print(Text(f"… and {agents - _SHOWN:,} more: --json has all", style="dim"))
        _show_traps(console, result)


def _show_traps(console: Console, result: SwarmResult) -> None:
    """Tell the kinds of traps, which may be those of agents that the table leaves out."""
    first: dict[str, int] = {}
    for agent, trap in result.traps.items():
        first.setdefault(str(trap), agent)
    counts = Counter(str(trap) for trap in result.traps.values())
    for trap, count in counts.most_common(_SHOWN):
        whose = f"{plural(count, 'agent')}, the first is {first[trap]}"
        console.print(Text(f"{trap}: {whose}", style="red"))


def _result_text(result: SwarmResult, agent: int) -> Text:
    if agent in result.traps:
        return Text(f"trap: {result.traps[agent]}", style="red")
    if agent not in result.agent_results:
        return Text("unfinished", style="yellow")
    return Text(str(result.agent_results[agent]))


def _show_outputs(result: SwarmResult) -> None:
    console = Console()
    for agent, content in result.agent_outputs.items():
        if content:
            console.print(Text(f"agent {agent}:", style="bold"))
            for line in content.decode(errors="replace").splitlines():
                console.print(Text(f"  {clean(line)}"))
