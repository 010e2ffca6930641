"""What a run was started with: enough to go on with it in another process, no secret in it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from stigmergy.board import TaskType
from stigmergy.coding.hive import HiveSpec
from stigmergy.coding.plan.workitem import WorkItem
from stigmergy.coding.tasks import WORK_TYPES
from stigmergy.config import Settings

__all__ = ["RunSpec"]


class RunSpec(BaseModel):
    """Kept as `run.json`. Paths are absolute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    repository: Path
    target: str
    """The branch that the run lands on, as a full ref name."""
    start: str
    """The commit that the target stood at when the run began."""
    source: Literal["features", "each", "objective"]
    source_text: str
    """The features file's path, the glob, or the objective."""
    items: tuple[WorkItem, ...] = ()
    """What is known beforehand; empty for an objective."""
    gate: tuple[str, ...]
    """The gate's command; empty for none."""
    settings: Settings
    allow_empty: bool = False
    """An agent that says complete and changed nothing is believed: nothing was to be done."""
    created_at: float
    hive: HiveSpec | None = None
    """Set: the run is a hive, with a name and a strategy."""
    label: str = ""
    """Shown wherever the run is: what of it is replayed or simulated."""

    @property
    def lands(self) -> bool:
        """The run moves its target; one that does not leaves findings alone."""
        return self.hive is None or self.hive.lands

    @property
    def work_types(self) -> tuple[str, ...]:
        """What its agents take."""
        return WORK_TYPES if self.hive is None else (*self.hive.task_types, TaskType.FIX)

    def can_mend(self, reason: str) -> bool:
        """Whether the run's agent could do better when told why its work came back.

        A plain command does the same again. On another base that helps after a conflict, and
        after nothing else, unless the command reads `{task}`, where the reason stands.
        """
        command = self.settings.agent_command
        if command is None or self.settings.agent_shell or "{task}" in command:
            return True
        return reason == "conflict"
