"""The generator as Hypothesis strategies: what fails is made small."""

from hypothesis import strategies as st

from stigmergy.testing.wasm.cases import Case, draw_case, draw_module
from stigmergy.testing.wasm.choices import Choices
from stigmergy.testing.wasm.plan import Features
from stigmergy.testing.wasm.spec import ModuleSpec

__all__ = ["cases", "modules"]


class _DrawnChoices(Choices):
    """Decisions that Hypothesis makes, and makes anew while it shrinks."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def below(self, bound: int) -> int:
        """Choose one of 0 … bound - 1."""
        return self._draw(st.integers(0, bound - 1)) if bound > 1 else 0


@st.composite
def modules(draw: st.DrawFn, features: Features | None = None) -> ModuleSpec:
    """Draw modules that are valid."""
    return draw_module(_DrawnChoices(draw), features)


@st.composite
def cases(draw: st.DrawFn, features: Features | None = None, *, agents: int = 4) -> Case:
    """Draw modules with calls of their entries, each by so many agents."""
    return draw_case(_DrawnChoices(draw), features, agents=agents)
