"""The Agent seam: how an agent of some kind is started in a sandbox.

Whatever is started follows one protocol: `task.json` is in the workspace, progress comes as JSON
lines on stdout (`stigmergy.coding.work.inside.progress`), and `result.json` is there at the end.
The kinds `own` and `command` are the same program, which does the rest for them; a kind that
speaks another protocol (ACP, say) starts an adapter that speaks this one.
"""

from __future__ import annotations

import compileall
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from stigmergy.coding.work.handoff import Assignment
from stigmergy.errors import UnsupportedError

__all__ = ["AGENTS", "INSIDE", "AgentKind", "InsideAgent", "Start", "agent_kind"]

INSIDE: Final = Path(__file__).parent / "inside"
"""The folder of the program that runs in the sandbox; it needs nothing around it."""


@dataclass(frozen=True, slots=True)
class Start:
    """A command line for `Sandbox.run`, and what to add to its environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str])


class AgentKind(Protocol):
    """One kind of agent."""

    def start(self, assignment: Assignment, *, token: str | None) -> Start:
        """How to start it on an assignment.

        `token` gives access to models; it may stand in the environment and never in `argv`.
        """
        ...


@dataclass(frozen=True, slots=True)
class InsideAgent:
    """An agent that the program in `INSIDE` runs.

    Args:
        python: an interpreter as the sandbox sees it, 3.11 or newer.
        program: the folder as the sandbox sees it.
    """

    python: str = sys.executable
    program: str = str(INSIDE)

    def start(self, assignment: Assignment, *, token: str | None) -> Start:
        """Isolated (-I), without site packages (-S), and without writing bytecode (-B)."""
        del assignment  # it is in task.json
        if self.python == sys.executable and not sys.dont_write_bytecode:
            _compile(self.program)
        env = {} if token is None else {"OPENAI_API_KEY": token}
        return Start((self.python, "-I", "-S", "-B", self.program), env)


@cache
def _compile(program: str) -> None:
    """Leave bytecode beside the program, which started with -B would compile itself each time.

    Not every installer does it. Where the folder cannot be written to, starts are just slower.
    """
    compileall.compile_dir(program, maxlevels=0, quiet=2)


AGENTS: Final[Mapping[str, AgentKind]] = {"own": InsideAgent(), "command": InsideAgent()}
"""Every kind that an assignment can ask for."""


def agent_kind(name: str, kinds: Mapping[str, AgentKind] = AGENTS) -> AgentKind:
    """The kind of this name.

    Raises:
        UnsupportedError: there is none.
    """
    try:
        return kinds[name]
    except KeyError:
        known = ", ".join(kinds)
        raise UnsupportedError(f"there is no agent of kind {name!r}; there are {known}") from None
