"""A report as Markdown. What comes from outside cannot form markup of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from stigmergy.cli.console import clean, clock_time, duration, first_line
from stigmergy.cli.report_content import Told
from stigmergy.cli.report_page import models_cells, summary_rows
from stigmergy.cli.report_spent import TABLES, shares, text_bar

__all__ = ["markdown"]

_MARKUP: Final = re.compile(r"([\\`*_\[\]|~$&])")
_ENTITIES: Final = {"<": "&lt;", ">": "&gt;", "://": "&#58;//", "www.": "www&#46;"}


def markdown(told: Told) -> str:
    """The whole report, ending in a newline."""
    parts = [f"# Stigmergy run {_escaped(told.view.run_id)}"]
    if told.view.label:
        parts.append(f"> **{_escaped(told.view.label)}**")
    parts.append(f"**{_escaped(told.headline)}**")
    parts.append(_table(("", ""), summary_rows(told)))
    if told.view.landings:
        parts += ["## Landed, in order", _table(*_landings(told))]
    if told.mendings:
        parts += ["## Came back, and how it was mended", _table(*_mendings(told))]
    parts += _spent(told)
    if told.models:
        heads = ("model", "asked at", "calls", "replayed", "failed", "tokens in", "out", "cost")
        parts += ["## Models", _table(heads, [models_cells(use) for use in told.models])]
    failed = [item for item in told.view.items.values() if item.error is not None]
    if failed:
        rows = [(item.key, item.state, first_line(item.error or "", 400)) for item in failed]
        parts += ["## Failures", _table(("item", "state", "reason"), rows)]
    return "\n\n".join(parts) + "\n"


def _spent(told: Told) -> Iterable[str]:
    """Bars of blocks: Markdown has no plots."""
    if not told.spans.by_task:
        return
    yield "## Where time and money went"
    for heading, table in TABLES.items():
        for share in shares(table(told.spans)):
            most = share.rows[0].value
            rows = [(row.name, row.text, text_bar(row, most)) for row in share.rows]
            if share.others:
                rows.append((f"… and {share.others} with less", "", ""))
            yield _table((heading, share.what, ""), rows)


def _landings(told: Told) -> tuple[Sequence[str], Iterable[Sequence[str]]]:
    rows: list[Sequence[str]] = []
    for landing in told.view.landings:
        item = told.view.items.get(landing.key)
        rows.append(
            (
                clock_time(landing.at),
                landing.key,
                landing.commit[:10],
                str(landing.batch_size),
                "none" if landing.gate_s is None else duration(landing.gate_s),
                first_line(item.description if item else ""),
            )
        )
    return ("at", "item", "commit", "batch", "gate", "what"), rows


def _mendings(told: Told) -> tuple[Sequence[str], Iterable[Sequence[str]]]:
    rows = [
        (
            clock_time(mending.at),
            mending.key,
            mending.kind,
            mending.fix or "nobody",
            f"landed as {mending.commit[:10]}" if mending.commit else mending.came_to,
            first_line(mending.detail),
        )
        for mending in told.mendings
    ]
    return ("at", "item", "why", "mended by", "came to", "detail"), rows


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(heads), _row(["---"] * len(heads), raw=True)]
    return "\n".join([*lines, *(_row(row) for row in rows)])


def _row(cells: Sequence[str], *, raw: bool = False) -> str:
    return f"| {' | '.join(cells if raw else map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    plain = _MARKUP.sub(r"\\\1", clean(text))
    # No tags, and no addresses that would become links by themselves.
    for found, entity in _ENTITIES.items():
        plain = plain.replace(found, entity)
    # Nobody is notified because a model wrote a name: a space of no width stands after the sign.
    return plain.replace("@", "@&#8203;")
