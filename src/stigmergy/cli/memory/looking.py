"""`stig memory get`, `search`, `list` and `stats`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from stigmergy.cli.board.telling import pretty
from stigmergy.cli.console import clean, clean_lines, data, day_time, duration, first_line
from stigmergy.cli.memory.place import AsJson, Kinds, MemoryPath, Namespace, Tags, open_memory
from stigmergy.errors import NotFoundError
from stigmergy.memory import Entry, Found, MemoryStats
from stigmergy.memory.entry import check_kind

__all__ = ["get", "list_entries", "search", "stats"]


def get(
    *,
    namespace: Namespace,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Which.")],
    history: Annotated[
        bool, typer.Option("--history", help="With the earlier versions that are kept.")
    ] = False,
    as_json: AsJson = False,
    memory: MemoryPath = None,
) -> None:
    """Show what a key holds, who said so and when.

    [bold]Examples[/bold]

      stig memory get limits api.example.com

      stig memory get limits api.example.com --history --json
    """
    with open_memory(memory) as opened:
        versions = opened.history(namespace, key)
    if not versions:
        raise NotFoundError(
            f"there is nothing at {namespace}/{key}; `stig memory list {namespace}` shows what is"
        )
    if as_json:
        document: dict[str, object] = {"entry": versions[0].to_json()}
        if history:
            document["history"] = [entry.to_json() for entry in versions[1:]]
        print(json.dumps(document, indent=2))
        return
    shown = versions if history else versions[:1]
    Console(highlight=False).print(*map(_page, shown), sep="\n\n")


def search(
    *,
    text: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="Words, in any form and order.")
    ],
    namespaces: Annotated[
        list[str] | None,
        typer.Option("--namespace", "-n", metavar="NS", help="In this one; repeatable."),
    ] = None,
    tags: Tags = None,
    kinds: Kinds = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many at most.")] = 10,
    as_json: AsJson = False,
    memory: MemoryPath = None,
) -> None:
    """Find what has some of the words, the best first.

    The rarest words count most; those that every text has are passed over.
    Nothing in the text is taken for syntax.

    [bold]Examples[/bold]

      stig memory search retry after timeout

      stig memory search 'flaky tests' -n build-tips --kind reflection --limit 3
    """
    with open_memory(memory) as opened:
        found = opened.search(
            " ".join(text),
            namespaces=namespaces,
            tags=tags or (),
            kinds=[check_kind(kind) for kind in kinds or ()],
            limit=limit,
        )
    if as_json:
        print(json.dumps({"found": [each.to_json() for each in found]}, indent=2))
        return
    console = Console(highlight=False)
    if not found:
        console.print("nothing found")
    console.print(*map(_hit, found), sep="\n\n", end="\n" if found else "")


def list_entries(
    *,
    namespace: Annotated[
        str | None, typer.Argument(metavar="NAMESPACE", help="Of this one; of all if not given.")
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="Whose keys begin so.")] = "",
    tags: Tags = None,
    kinds: Kinds = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many at most.")] = 50,
    after: Annotated[
        str | None, typer.Option(metavar="NAMESPACE/KEY", help="Those that come after this one.")
    ] = None,
    as_json: AsJson = False,
    memory: MemoryPath = None,
) -> None:
    """List entries by namespace and key.

    [bold]Examples[/bold]

      stig memory list

      stig memory list build-tips --tag tests --json
    """
    with open_memory(memory) as opened:
        listing = opened.list(
            namespace,
            prefix=prefix,
            tags=tags or (),
            kinds=[check_kind(kind) for kind in kinds or ()],
            limit=limit,
            after=after,
        )
    if as_json:
        print(json.dumps(listing.to_json(), indent=2))
        return
    console = Console(highlight=False)
    if not listing.entries:
        console.print("no entry")
        return
    console.print(_table(listing.entries, now=time.time()))
    if listing.next is not None:
        console.print(Text(f"… and more: --after {clean(listing.next)}", style="dim"))


def stats(*, as_json: AsJson = False, memory: MemoryPath = None) -> None:
    """Show what the memory holds, by namespace.

    [bold]Example[/bold]

      stig memory stats --json
    """
    with open_memory(memory) as opened:
        found = opened.stats()
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        Console(highlight=False).print(_figures(found, now=time.time()))


def _page(entry: Entry) -> Group:
    parts: list[RenderableType] = [_head(entry), Text(_story(entry), style="dim")]
    if isinstance(entry.value, str):
        parts += [Text(line) for line in clean_lines(entry.value)]
    else:
        parts.append(pretty({"value": entry.value}))
    return Group(*parts)


def _hit(found: Found) -> Group:
    entry = found.entry
    return Group(_head(entry), Text(_story(entry), style="dim"), Text(_gist(entry, 300)))


def _head(entry: Entry) -> Text:
    parts: list[str | tuple[str, str]] = [
        (f"{clean(entry.namespace)}/{clean(entry.key)}", "bold"),
        f"  {entry.kind}",
    ]
    if entry.tags:
        parts.append((f"  {clean(' '.join(entry.tags))}", "cyan"))
    return Text.assemble(*parts)


def _story(entry: Entry) -> str:
    """Who said it, when, and for what; of an imported entry that is a claim."""
    origin = entry.origin
    who = clean(origin.agent_id) or "unknown"
    parts = [f"version {entry.version}", day_time(entry.updated_at), f"by {who}"]
    if origin.task_id:
        parts.append(f"task {clean(origin.task_id)}")
    if origin.run_id:
        parts.append(f"run {clean(origin.run_id)}")
    if origin.imported_from is not None:
        parts.append(f"imported from {clean(origin.imported_from)}, which says so")
    if entry.expires_at is not None:
        parts.append(f"until {day_time(entry.expires_at)}")
    return ", ".join(parts)


def _gist(entry: Entry, limit: int) -> str:
    if entry.kind == "reflection":
        value = entry.value
        more = "; ".join([value["description"], *value["recommendations"]])
        return first_line(f"{value['category']}, {value['outcome']}: {more}", limit)
    if isinstance(entry.value, str):
        return first_line(entry.value, limit)
    return first_line(json.dumps(entry.value, ensure_ascii=False), limit)


def _table(entries: Sequence[Entry], *, now: float) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("key", "kind", "changed"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what", ratio=1)
    for entry in entries:
        table.add_row(
            data(f"{entry.namespace}/{entry.key}", "bold"),
            entry.kind,
            f"{duration(now - entry.updated_at)} ago",
            data(_gist(entry, 160), "dim"),
        )
    return table


def _figures(stats: MemoryStats, *, now: float) -> Group:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("namespace", overflow="fold")
    for heading in ("entries", "imported", "vectors", "bytes", "changed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in stats.namespaces:
        changed = "unknown" if each.updated_at is None else f"{duration(now - each.updated_at)} ago"
        table.add_row(
            data(each.namespace, "bold"),
            f"{each.entries:,}",
            f"{each.imported:,}",
            f"{each.vectors:,}",
            f"{each.size_bytes:,}",
            changed,
        )
    kept = f"entries: {stats.entries:,}; earlier versions: {stats.versions:,}"
    file = f"{clean(stats.path)}, {stats.file_bytes:,} bytes"
    return Group(table, Text(f"\n{kept}\n{file}", style="dim"))
