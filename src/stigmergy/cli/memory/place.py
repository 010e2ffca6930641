"""Which memory a command works on, and that none is made by looking for it.

A memory is named by `--memory`, by `STIG_MEMORY`, or is `.stigmergy/memory.db` of the repository
around the working folder. Only what puts something into a memory begins one.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from stigmergy.errors import NotFoundError, UsageError
from stigmergy.memory import Memory
from stigmergy.memory.entry import KINDS

__all__ = ["AsJson", "Kinds", "MemoryPath", "Namespace", "Tags", "open_memory"]

MemoryPath = Annotated[
    Path | None,
    typer.Option(
        "--memory",
        envvar="STIG_MEMORY",
        metavar="PATH",
        help="The memory's file; `.stigmergy/memory.db` of this repository if not given.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="As one JSON object.")]
Namespace = Annotated[str, typer.Argument(metavar="NAMESPACE", help="Where it belongs.")]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", metavar="TAG", help="With this tag; repeatable.")
]
Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", metavar="|".join(KINDS), help="Of this kind; repeatable."),
]


@contextmanager
def open_memory(path: Path | None, *, create: bool = False) -> Generator[Memory]:
    """The memory, open.

    Raises:
        NotFoundError: there is none, and `create` does not ask for one.
        UsageError: what is there is no memory, or there is no repository to look for one in.
    """
    place = path or _of_repository(create=create)
    if not create and not place.exists():
        raise NotFoundError(
            f"there is no memory at {place} yet; `stig memory store NAMESPACE TEXT` begins one"
        )
    with Memory(place, create=create) as memory:
        yield memory


def _of_repository(*, create: bool) -> Path:
    # What runs are made of takes a tenth of a second to import.
    from stigmergy.coding.git.repository import Repository
    from stigmergy.coding.rundir import StateFolder, state_home

    try:
        with Repository(Path()) as repository:
            state = StateFolder(state_home(repository))
    except UsageError:
        raise UsageError(
            "this folder is in no git repository, so it has no memory of its own: name one with "
            "--memory PATH or STIG_MEMORY"
        ) from None
    if create:
        state.prepare()
    return state.memory()
