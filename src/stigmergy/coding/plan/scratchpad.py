"""The planner's own memory between sprints: small, written by the model, kept by the run."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["MAX_SECTION_CHARS", "Scratchpad", "read_scratchpad"]

MAX_SECTION_CHARS: Final = 4_000
_CUT: Final = "\n[cut: keep this section shorter]"


def _bounded(value: object) -> object:
    if not isinstance(value, str) or len(value) <= MAX_SECTION_CHARS:
        return value
    return value[: MAX_SECTION_CHARS - len(_CUT)] + _CUT


Section = Annotated[str, BeforeValidator(_bounded)]


class Scratchpad(BaseModel):
    """Rewritten in every sprint. A section that is too long is cut, and says so to the model."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    goals: Section = Field(
        default="", description="What the objective comes down to; what is still open."
    )
    state: Section = Field(
        default="", description="What the repository now has, as far as it matters."
    )
    reasoning: Section = Field(
        default="", description="Why this sprint's items are the right ones now."
    )
    workers: Section = Field(
        default="",
        description="What was learnt about the workers: which items go well, which come back.",
    )

    def render(self) -> str:
        """As text for the model; empty when nothing was written yet."""
        sections = (
            ("Goals", self.goals),
            ("State", self.state),
            ("Reasoning", self.reasoning),
            ("Workers", self.workers),
        )
        return "\n\n".join(f"## {name}\n{text}" for name, text in sections if text)


def read_scratchpad(value: Any, *, before: Scratchpad) -> Scratchpad:
    """The scratchpad in a model's JSON. Pure; never raises.

    A bare text is taken as the state. A section that is missing or no text is as `before`.
    """
    if isinstance(value, str):
        return Scratchpad.model_validate(before.model_dump() | {"state": value})
    if not isinstance(value, dict):
        return before
    written: dict[Any, Any] = value  # pyright: ignore[reportUnknownVariableType] # JSON
    texts = {name: text for name, text in written.items() if isinstance(text, str)}
    return Scratchpad.model_validate(before.model_dump() | texts)
