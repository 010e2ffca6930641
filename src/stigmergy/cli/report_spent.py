"""Where a run's time and money went, as rows for people: the largest first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stigmergy.cli.console import amount, duration, money, plural, short_agent
from stigmergy.cli.plots import Bar
from stigmergy.monitor.spans import Spans, Spent

__all__ = ["TABLES", "Share", "shares", "text_bar"]

_MOST: Final = 15
_BLOCKS: Final = 20

TABLES: Final[Mapping[str, Callable[[Spans], Mapping[str, Spent]]]] = {
    "task": lambda spans: spans.by_task,
    "agent": lambda spans: {short_agent(name): spent for name, spent in spans.by_agent.items()},
    "model": lambda spans: spans.by_model,
}
"""What something can be spent on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One measure of one table."""

    what: str
    rows: Sequence[Bar]
    """The largest, the very largest first."""
    others: int
    """How many more there are."""


def shares(table: Mapping[str, Spent]) -> list[Share]:
    """Time, tokens and cost of a table; what is not known has no row, and no share if none is."""
    found = (
        _share("time", table, lambda spent: spent.time_s or None, _time),
        _share("tokens", table, lambda spent: spent.tokens, _tokens),
        _share("cost", table, lambda spent: spent.cost_usd or None, _cost),
    )
    return [share for share in found if share.rows]


def text_bar(row: Bar, most: float) -> str:
    """The row's value beside the largest one, in blocks."""
    return "█" * max(1, round(_BLOCKS * row.value / most)) if most > 0 else ""


def _share(
    what: str,
    table: Mapping[str, Spent],
    value: Callable[[Spent], float | None],
    words: Callable[[Spent], str],
) -> Share:
    known = [
        Bar(name=name, value=found, text=words(spent))
        for name, spent in table.items()
        if (found := value(spent))
    ]
    known.sort(key=lambda row: (-row.value, row.name))
    return Share(what=what, rows=known[:_MOST], others=len(known[_MOST:]))


def _time(spent: Spent) -> str:
    count = spent.attempts
    return duration(spent.time_s) + (f", {plural(count, 'attempt')}" if count else "")


def _tokens(spent: Spent) -> str:
    at_least = "≥ " if spent.calls_without_usage else ""
    return f"{at_least}{amount(spent.tokens)}, {plural(spent.calls, 'call')}"


def _cost(spent: Spent) -> str:
    return ("≥ " if spent.calls_without_price else "") + money(spent.cost_usd)
