"""The commands of `stig hive`."""

from __future__ import annotations

from typing import Final

import typer

from stigmergy.cli.hive import looking, spawn, stop, wizard

__all__ = ["hive"]

hive: Final = typer.Typer(
    name="hive",
    help="Spawn hives: swarms with a name, a strategy and a memory of their own.",
    no_args_is_help=True,
    add_completion=False,  # `stig` has it for all
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_PANELS: Final = {
    "Start and stop": (spawn.spawn, wizard.wizard, stop.stop),
    "Look": (looking.status, looking.logs, looking.strategies),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        hive.command(name=_command.__name__, rich_help_panel=_panel)(_command)


@hive.callback()
def options() -> None:
    """Spawn hives: swarms with a name, a strategy and a memory of their own.

    A hive is a run as `stig run` makes it. Its strategy says what the agents are told and
    what they leave: code that lands, tests, or a report of what they found.
    """
