"""`stig memory export` and `stig memory import`: knowledge from one swarm to another."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from stigmergy.cli.board.reading import source
from stigmergy.cli.console import clean
from stigmergy.cli.exports import destination, talk
from stigmergy.cli.memory.place import AsJson, MemoryPath, open_memory
from stigmergy.memory import Imported, Policy
from stigmergy.memory.exporting import is_export

__all__ = ["export", "import_"]

_STREAM: Final = "-"
_SHOWN: Final = 20


def export(
    *,
    namespaces: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAMESPACE]...", help="What to export; all if not given."),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to; stdout if not given.")
    ] = _STREAM,
    as_json: AsJson = False,
    memory: MemoryPath = None,
) -> None:
    """Write namespaces as JSON lines, with history, tags, origins and vectors.

    Others may go on with the memory meanwhile. Only an export is overwritten.
    With --json, what was done is told so (on stderr where the export goes to stdout).

    [bold]Examples[/bold]

      stig memory export rust-wasm > rust-wasm.jsonl

      stig memory export --output everything.jsonl
    """
    with open_memory(memory) as opened, destination(output, is_export) as out:
        count = opened.export(out.write, namespaces=namespaces or None)
    if as_json:
        print(json.dumps({"entries": count}, indent=2), file=talk(output))
    else:
        print(f"exported {count:,} {_entries(count)}", file=talk(output))


def import_(
    *,
    namespace: Annotated[
        str | None,
        typer.Argument(
            metavar="NAMESPACE", help="Put all into this one; each into its own if not."
        ),
    ] = None,
    file: Annotated[
        str, typer.Option("--input", "-i", metavar="FILE", help="An export; stdin if not given.")
    ] = _STREAM,
    place: Annotated[
        str | None,
        typer.Option("--from", metavar="NAME", help="What to call where it comes from."),
    ] = None,
    on_conflict: Annotated[
        Policy, typer.Option(help="If a key holds something else: keep it, replace it, hold both.")
    ] = "keep",
    as_json: AsJson = False,
    memory: MemoryPath = None,
) -> None:
    """Take in what another memory exported: all of it or, if a line is wrong, nothing.

    Every entry is marked as imported from NAME (the file's name, if not given)
    and tagged `shared_from_NAME`. What the file itself says of where an entry
    comes from stays a claim; tags that forge an import are stripped, and told.

    [bold]Examples[/bold]

      stig memory import typescript-bridge < rust-wasm.jsonl

      stig memory import --input team.jsonl --from team-a --on-conflict both
    """
    name = place or ("stdin" if file == _STREAM else Path(file).name)
    with source(file) as lines, open_memory(memory, create=True) as opened:
        done = opened.import_(lines, source=name, namespace=namespace, policy=on_conflict)
    if as_json:
        print(json.dumps(done.to_json(), indent=2))
    else:
        _tell(done)


def _tell(done: Imported) -> None:
    parts = [f"imported {done.added:,} {_entries(done.added)} from {clean(done.source)}"]
    if done.same:
        parts.append(f"{done.same:,} {'was' if done.same == 1 else 'were'} here already")
    if done.expired:
        parts.append(f"{done.expired:,} had expired")
    typer.echo("; ".join(parts))
    for conflict in done.conflicts[:_SHOWN]:
        where = f"{clean(conflict.namespace)}/{clean(conflict.key)}"
        typer.echo(f"conflict: {where} holds something else here: {clean(conflict.done)}")
    if len(done.conflicts) > _SHOWN:
        typer.echo(f"… and {len(done.conflicts) - _SHOWN:,} more conflicts; --json lists all")
    for note in done.notes:
        print(f"note: {clean(note)}", file=sys.stderr)


def _entries(count: int) -> str:
    return "entry" if count == 1 else "entries"
