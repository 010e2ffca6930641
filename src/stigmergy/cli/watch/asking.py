"""Questions that `stig watch` asks before it does what is dear to undo."""

from __future__ import annotations

from typing import ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

__all__ = ["Confirm", "Question"]

_BOX: Final = """
    { align: center middle; }
    #box { width: 64; max-width: 95%; height: auto; border: round $accent; padding: 1 2;
           background: $surface; }
    Input { margin-top: 1; }
"""


class Confirm(ModalScreen[bool]):
    """Yes or no; only `y` is a yes."""

    DEFAULT_CSS = f"Confirm {_BOX}"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question."""
        with Vertical(id="box"):
            yield Static(Text(self._question))
            yield Static(Text("\ny yes   n no", style="dim"))

    def action_answer(self, answer: bool) -> None:
        """Close with it."""
        self.dismiss(answer)


class Question(ModalScreen[str | None]):
    """A line of text; None when it is given up."""

    DEFAULT_CSS = f"Question {_BOX}"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "give_up", "Back")]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question and the line."""
        with Vertical(id="box"):
            yield Static(Text(self._question))
            yield Input()
            yield Static(Text("enter sends   escape goes back", style="dim"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Close with the line."""
        self.dismiss(event.value.strip())

    def action_give_up(self) -> None:
        """Close without."""
        self.dismiss(None)
