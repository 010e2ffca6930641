"""The hives of a repository, as the commands that look at them find them. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from stigmergy.cli.journal import is_held, state_folder
from stigmergy.coding.hive import HiveSpec
from stigmergy.coding.rundir import RunDirectory, StateFolder
from stigmergy.coding.spec import RunSpec
from stigmergy.errors import CorruptError, NotFoundError, UsageError

__all__ = ["Hive", "find_hive", "hives_of", "strategy_folders"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hive:
    """One hive of a repository."""

    state: StateFolder
    directory: RunDirectory
    run: RunSpec
    spec: HiveSpec

    @property
    def is_alive(self) -> bool:
        """A process works on it."""
        return is_held(self.directory, self.state.holder())


def strategy_folders() -> tuple[Path, ...]:
    """Where a user's own strategies lie."""
    return (Path(platformdirs.user_config_dir("stigmergy")) / "strategies",)


def hives_of(repo: Path) -> list[Hive]:
    """All hives of the repository, the latest last."""
    state = state_folder(repo)
    found: list[Hive] = []
    for directory in state.runs():
        try:
            run = directory.read_spec()
        except CorruptError:
            continue  # `stig status` tells of damaged runs
        if run.hive is not None:
            found.append(Hive(state=state, directory=directory, run=run, spec=run.hive))
    return found


def find_hive(hives: Sequence[Hive], name: str | None) -> Hive:
    """The latest hive of that name, or the one whose run has such an id; the latest of all.

    Raises:
        NotFoundError: there is none.
        UsageError: several have such an id.
    """
    if not hives:
        raise NotFoundError("no hive has been spawned here; start one with `stig hive spawn`")
    if name is None:
        return hives[-1]
    if named := [hive for hive in hives if hive.spec.name == name]:
        return named[-1]
    ids = [(hive, hive.directory.run_id) for hive in hives]
    found = [hive for hive, run_id in ids if run_id.startswith(name) or run_id.endswith(name)]
    if len(found) > 1:
        raise UsageError(f"{name!r} may be {', '.join(hive.directory.run_id for hive in found)}")
    if not found:
        known = ", ".join(dict.fromkeys(hive.spec.name for hive in reversed(hives[-10:])))
        raise NotFoundError(f"no hive {name!r} here; there are {known}")
    return found[0]
