"""Which view and confinement a factory uses: the settings, against what the machine can do."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stigmergy.coding.sandbox import probe
from stigmergy.coding.sandbox.sandbox import Protection, SandboxSettings
from stigmergy.errors import UnsupportedError, UsageError

__all__ = ["Choice", "choose"]

_VIEWS = ("auto", "overlay", "worktree")
_CONFINES = ("auto", "bubblewrap", "none")


@dataclass(frozen=True, slots=True)
class Choice:
    """What is in force."""

    protection: Protection
    bubblewrap: str | None
    """The path of `bwrap`, when programs are confined with it."""


def choose(settings: SandboxSettings, state: Path) -> Choice:
    """Take the best that the settings allow and the machine can do.

    Raises:
        UnsupportedError: the settings demand what does not work here; the text says why.
        UsageError: a setting has no such value.
    """
    _check("view", settings.view, _VIEWS)
    _check("confine", settings.confine, _CONFINES)
    notes: list[str] = []
    bwrap = _bubblewrap(settings, notes)
    view = _view(settings, state, bwrap, notes)
    confined = bwrap is not None
    if settings.network and confined:
        notes.append("the host's network is granted, by the setting `network`")
    if not confined:
        notes.append(
            "programs run with all your rights: they can read and change your files and use your "
            "network; memory, process and time limits hold for what does not try to escape them"
        )
    else:
        notes.append(
            "the memory limit holds for each process at once, for all of them together within "
            "250 ms; disk space is not limited but for the size of a file"
        )
    protection = Protection(
        kind="local",
        view=view,
        writes_confined=confined,
        network_confined=confined and not settings.network,
        processes_confined=confined,
        notes=tuple(notes),
    )
    return Choice(protection, bwrap)


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{name} = {value!r} is not one of {', '.join(known)}.")


def _bubblewrap(settings: SandboxSettings, notes: list[str]) -> str | None:
    if settings.confine == "none":
        notes.append("confinement is off, by the setting `confine`")
        return None
    ability = probe.bubblewrap()
    if ability.available:
        return ability.reason
    if settings.confine == "bubblewrap":
        raise UnsupportedError(f"programs cannot be confined: {ability.reason}.")
    notes.append(ability.reason)
    return None


def _view(settings: SandboxSettings, state: Path, bwrap: str | None, notes: list[str]) -> str:
    if settings.view == "worktree":
        return "worktree"
    ability = probe.overlay(state, bwrap)
    if ability.available:
        return "overlay"
    if settings.view == "overlay":
        raise UnsupportedError(f"overlays cannot be used in {state}: {ability.reason}.")
    who = "" if os.geteuid() == 0 else " for an ordinary user"
    notes.append(
        f"checkouts are copied, which is slower: overlays do not work{who} ({ability.reason})"
    )
    return "worktree"
