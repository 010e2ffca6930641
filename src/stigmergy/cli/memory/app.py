"""The commands of `stig memory`."""

from __future__ import annotations

from typing import Final

import typer

from stigmergy.cli.memory import looking, moving, storing

__all__ = ["memory"]

memory: Final = typer.Typer(
    name="memory",
    help="What the swarm has learned: store, find, share and forget it.",
    no_args_is_help=True,
    add_completion=False,  # `stig` has it for all
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_PANELS: Final = {
    "Remember and forget": (storing.store, storing.delete),
    "Look": (looking.get, looking.search, looking.list_entries, looking.stats),
    "Share": (moving.export, moving.import_),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        memory.command(
            name=_command.__name__.removesuffix("_entries").removesuffix("_"),
            rich_help_panel=_panel,
        )(_command)


@memory.callback()
def options() -> None:
    """What the swarm has learned: store, find, share and forget it.

    Entries lie in namespaces, each under a key: notes, values and reflections, with
    tags, a time to live, who said it and when, and the versions before.

    The memory is named by --memory or STIG_MEMORY, or is that of this repository.
    """
