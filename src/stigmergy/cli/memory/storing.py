"""`stig memory store` and `stig memory delete`."""

from __future__ import annotations

import json
from typing import Annotated, Final

import typer

from stigmergy.board.task import Json
from stigmergy.cli.board.reading import seconds, text_of
from stigmergy.cli.console import clean, day_time
from stigmergy.cli.memory.place import AsJson, MemoryPath, Namespace, open_memory
from stigmergy.errors import NotFoundError, UsageError
from stigmergy.memory import Entry, Kind, Origin

__all__ = ["delete", "store"]

_PERSON: Final = "person"
_REDACTED: Final = "[redacted]"


def store(
    *,
    namespace: Namespace,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="What to remember; - for stdin.")],
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Its name; a new one that sorts by time if not given."),
    ] = None,
    kind: Annotated[
        Kind, typer.Option(help="A `note` is text; a `value` or a `reflection` is JSON.")
    ] = "note",
    tags: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="To filter by; repeatable.")
    ] = None,
    ttl: Annotated[
        str | None, typer.Option(metavar="TIME", help="Forget it after so long: 12h, 30d.")
    ] = None,
    if_version: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Only if the key has this version; 0: none yet."),
    ] = None,
    agent: Annotated[str, typer.Option(metavar="ID", help="Who says so.")] = _PERSON,
    task: Annotated[str, typer.Option(metavar="ID", help="The task it was learned in.")] = "",
    run: Annotated[str, typer.Option(metavar="ID", help="The run it was learned in.")] = "",
    as_json: AsJson = False,
    memory: MemoryPath = None,
) -> None:
    """Remember something, and print its key. The memory is made if it is not there.

    Under a key that holds something else, it becomes the next version; earlier
    ones stay in the key's history. A reflection has the texts `category`,
    `description` and `outcome`, and a list `recommendations`.

    [bold]Examples[/bold]

      stig memory store build-tips 'pytest needs -p no:cacheprovider here' --tag tests

      stig memory store limits '{"rps": 5}' --kind value --key api.example.com --ttl 7d

      make lint 2>&1 | stig memory store lint - --key latest
    """
    said = text_of(value, what="VALUE")
    document: Json = said if kind == "note" else _decoded(said, kind)
    ttl_s = None if ttl is None else seconds(ttl, what="--ttl")
    with open_memory(memory, create=True) as opened:
        entry = opened.store(
            namespace,
            key,
            document,
            kind=kind,
            tags=tags or (),
            origin=Origin(agent_id=agent, task_id=task, run_id=run),
            ttl_s=ttl_s,
            if_version=if_version,
        )
    if _REDACTED in entry.text and _REDACTED not in said:
        typer.echo("what looked like a secret was not stored: it says [redacted] there", err=True)
    _tell(entry, as_json=as_json)


def delete(
    *,
    namespace: Namespace,
    key: Annotated[
        str | None, typer.Argument(metavar="KEY", help="What to forget, with its history.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Forget the whole namespace.")] = False,
    as_json: AsJson = False,
    memory: MemoryPath = None,
) -> None:
    """Forget a key and all its versions, or a whole namespace. There is no way back.

    [bold]Examples[/bold]

      stig memory delete limits api.example.com

      stig memory delete build-tips --all
    """
    if (key is None) is not everything:
        raise UsageError("give a KEY to forget, or --all for the whole namespace")
    with open_memory(memory) as opened:
        if key is None:
            gone = opened.delete_namespace(namespace)
        else:
            gone = int(opened.delete(namespace, key))
    if not gone:
        raise NotFoundError(f"there is nothing at {namespace}{'' if key is None else f'/{key}'}")
    if as_json:
        print(json.dumps({"deleted": gone}, indent=2))
    else:
        typer.echo(f"forgot {gone:,} {'entry' if gone == 1 else 'entries'}")


def _decoded(text: str, kind: Kind) -> Json:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"VALUE is not JSON, as a {kind} must be: {error}") from None


def _tell(entry: Entry, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"entry": entry.to_json()}, indent=2))
        return
    until = "" if entry.expires_at is None else f", until {day_time(entry.expires_at)}"
    typer.echo(f"{clean(entry.namespace)}/{clean(entry.key)} version {entry.version}{until}")
