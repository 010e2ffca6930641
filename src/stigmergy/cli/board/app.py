"""The commands of `stig board`."""

from __future__ import annotations

from typing import Final

import typer

from stigmergy.cli.board import (
    deciding,
    looking,
    moving,
    posting,
    ruling,
    stats,
    steering,
    upkeep,
    watching,
    working,
)
from stigmergy.cli.board.reach import over_http

__all__ = ["board"]

board: Final = typer.Typer(
    name="board",
    help="Post, take, watch and steer tasks on a board, from the shell.",
    no_args_is_help=True,
    add_completion=False,  # `stig` has it for all
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_PANELS: Final = {
    "Look": (looking.list_tasks, looking.show, stats.stats, watching.watch),
    "Post and steer": (
        posting.post,
        steering.retry,
        steering.cancel,
        steering.pause,
        steering.resume,
        steering.priority,
        deciding.waiting,
        deciding.approve,
        deciding.refuse,
    ),
    "Be an agent": (
        working.claim,
        working.complete,
        working.fail,
        working.release,
        working.renew,
        working.report,
    ),
    "Set rules": (
        ruling.rules,
        ruling.limit,
        ruling.unlimit,
        ruling.schedule,
        ruling.unschedule,
        ruling.retain,
        ruling.fair,
    ),
    "Keep in order": (
        upkeep.doctor,
        upkeep.prune,
        upkeep.migrate,
        moving.export,
        moving.import_,
    ),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        board.command(
            name=_command.__name__.removesuffix("_tasks").removesuffix("_"), rich_help_panel=_panel
        )(over_http(_command))


@board.callback()
def options() -> None:
    """Post, take, watch and steer tasks on a board, from the shell.

    The board is named by --board or STIG_BOARD, or is `board.db` in this folder.
    """
