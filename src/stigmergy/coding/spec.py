"""What a run was started with: enough to go on with it in another process, no secret in it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from stigmergy.coding.plan.workitem import WorkItem
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
    created_at: float
    label: str = ""
    """Shown wherever the run is: what of it is replayed or simulated."""
