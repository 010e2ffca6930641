"""The options that several commands start runs with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

__all__ = [
    "LANDING",
    "SANDBOXES",
    "WATCHING",
    "WORK",
    "WORKERS",
    "AgentCommand",
    "AgentShell",
    "Agents",
    "Approve",
    "AsJson",
    "BudgetTokens",
    "BudgetUsd",
    "Confine",
    "DryRun",
    "Gate",
    "MaxSteps",
    "MemoryFile",
    "Model",
    "Network",
    "Plain",
    "Repo",
    "Serve",
    "ServePort",
    "Target",
    "TaskTimeout",
    "check_port",
]

WORK: Final = "What to do"
WORKERS: Final = "Agents and models"
LANDING: Final = "Proving and landing"
SANDBOXES: Final = "Sandboxes"
WATCHING: Final = "Watching"
_MOST_PORT: Final = 65_535


def check_port(port: int) -> int:
    """Return a port that can be listened on; 0 stands for a free one.

    Raises:
        BadParameter: it is none.
    """
    if not 0 <= port <= _MOST_PORT:
        raise typer.BadParameter(f"a port is a number from 0 to {_MOST_PORT}")
    return port


def _check_agents(agents: int | None) -> int | None:
    """Return how many agents are asked for.

    Raises:
        BadParameter: it is nobody.
    """
    if agents is not None and agents < 1:
        raise typer.BadParameter("at least one agent is needed")
    return agents


Agents = Annotated[
    int | None,
    typer.Option(callback=_check_agents, help="Agents at work at a time.", rich_help_panel=WORKERS),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="PRESET:MODEL, URL#MODEL, or replay:FILE for a recording.", rich_help_panel=WORKERS
    ),
]
AgentCommand = Annotated[
    str | None,
    typer.Option(
        help="Do tasks with this program instead: 'black {path}'. No shell.",
        rich_help_panel=WORKERS,
    ),
]
AgentShell = Annotated[
    bool,
    typer.Option(
        "--agent-shell", help="Give --agent-command to /bin/sh -c.", rich_help_panel=WORKERS
    ),
]
Gate = Annotated[
    str | None,
    typer.Option(
        help="The command that proves a change; `none` for no proof. Found if not given.",
        rich_help_panel=LANDING,
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        help="The branch to land on; the checked-out one if not given.", rich_help_panel=LANDING
    ),
]
BudgetUsd = Annotated[
    float | None, typer.Option(help="Hard limit for the run.", rich_help_panel=WORKERS)
]
BudgetTokens = Annotated[
    int | None, typer.Option(help="Hard limit for the run.", rich_help_panel=WORKERS)
]
TaskTimeout = Annotated[
    float | None, typer.Option(help="Seconds for one task.", rich_help_panel=WORKERS)
]
MaxSteps = Annotated[
    int | None,
    typer.Option(help="Model calls in one task, of the built-in agent.", rich_help_panel=WORKERS),
]
MemoryFile = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="The memory's file; the repository's own if not given.",
        rich_help_panel=WORKERS,
    ),
]
Confine = Annotated[
    Literal["auto", "bubblewrap", "none"] | None,
    typer.Option(
        metavar="HOW",
        help="How sandboxes are confined: bubblewrap, none, or auto: what works here.",
        rich_help_panel=SANDBOXES,
    ),
]
Network = Annotated[
    bool,
    typer.Option(
        "--network", help="Grant agents and gates the network.", rich_help_panel=SANDBOXES
    ),
]
Approve = Annotated[
    Literal["none", "plan", "landings"] | None,
    typer.Option(
        metavar="WHAT",
        help="What a person is to approve: each plan, landings, or none.",
        rich_help_panel=LANDING,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, show the plan, start nothing.")
]
Repo = Annotated[Path, typer.Option("--repo", help="The git repository to work on.")]
Plain = Annotated[
    bool, typer.Option("--plain", help="Lines instead of the live table.", rich_help_panel=WATCHING)
]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object a line on stdout.", rich_help_panel=WATCHING)
]
Serve = Annotated[
    bool,
    typer.Option(
        "--serve",
        help="Serve the run while it works: its address is printed.",
        rich_help_panel=WATCHING,
    ),
]
ServePort = Annotated[
    int,
    typer.Option(
        metavar="PORT",
        callback=check_port,
        help="For --serve; 0 takes a free one.",
        rich_help_panel=WATCHING,
    ),
]
