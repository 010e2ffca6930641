"""What all documents are made of."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["LONGEST_WAIT_S", "MOST_AT_ONCE", "Given", "Name", "Names", "Seconds", "TaskId", "Told"]

LONGEST_WAIT_S: Final = 60.0
"""Of a claim that waits: proxies cut off what is silent for longer."""
MOST_AT_ONCE: Final = 1_000

Seconds = Annotated[float, Field(gt=0, le=366 * 24 * 3600, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
TaskId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Names = Annotated[list[Name], Field(max_length=1_000)]


class Given(BaseModel):
    """A request: what is not known in it is a mistake."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Told(BaseModel):
    """An answer; later versions may tell more."""
