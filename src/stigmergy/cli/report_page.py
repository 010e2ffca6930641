"""A report as a page for the terminal."""

from __future__ import annotations

import shlex

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from stigmergy.cli import figures
from stigmergy.cli.console import (
    amount,
    clean,
    clock_time,
    data,
    day_time,
    duration,
    first_line,
    money,
    plural,
)
from stigmergy.cli.report_content import Mending, ModelUse, Told

__all__ = ["models_cells", "page", "summary_rows"]


def page(told: Told) -> RenderableType:
    """The whole report."""
    parts: list[RenderableType] = [_head(told)]
    if told.view.landings:
        parts += [_title("Landed, in order"), _landings(told)]
    if told.mendings:
        parts += [_title("Came back, and how it was mended"), _mendings(told)]
    if told.models:
        parts += [_title("Models"), _models(told)]
    if failures := _failures(told):
        parts += [_title("Failures"), failures]
    return Group(*parts)


def summary_rows(told: Told) -> list[tuple[str, str]]:
    """The figures at the top, as label and value; outside data in them is clean."""
    view, spec = told.view, told.spec
    took = duration(told.duration_s)
    if view.resumed:
        took += f", resumed {plural(view.resumed, 'time')}: the time in between counts"
    rows = [
        ("source", clean(f"{spec.source}: {first_line(spec.source_text)}")),
        ("target", clean(spec.target.removeprefix("refs/heads/"))),
        ("sandbox", figures.protection(view)),
        ("items", figures.counts(view)),
        ("took", took),
        ("speed", _speed(told)),
        ("gate", _gate(told)),
    ]
    if view.started_at is not None:
        rows.insert(0, ("started", day_time(view.started_at)))
    if view.model_calls:
        models = (figures.calls(view), figures.tokens(view), figures.cost(view))
        rows.append(("models", ", ".join(models)))
    return rows


def models_cells(use: ModelUse) -> list[str]:
    """A row for one model. Of a sum that lacks calls only a lower bound is known."""
    usage = "≥ " if use.calls_without_usage and use.prompt_tokens is not None else ""
    price = "≥ " if use.calls_without_price and use.cost_usd is not None else ""
    return [
        clean(use.model),
        clean(use.provider),
        amount(use.calls),
        amount(use.replayed),
        amount(use.failed),
        usage + amount(use.prompt_tokens),
        usage + amount(use.completion_tokens),
        "nothing paid" if use.replayed == use.calls else price + money(use.cost_usd),
    ]


def _speed(told: Told) -> str:
    if told.landings_per_hour is None:
        return "nothing landed"
    mean = duration(told.gate_mean_s) if told.gate_mean_s is not None else "unknown"
    speed = f"{told.landings_per_hour:,.0f} landings/h"
    return (
        f"{speed}, with a gate of {mean} on average"
        if told.spec.gate
        else f"{speed}, without a gate"
    )


def _gate(told: Told) -> str:
    if not told.spec.gate:
        return "none: nothing proves what landed"
    after = {True: "target green", False: "target RED", None: "target unproved"}
    command = clean(shlex.join(told.spec.gate))
    return f"{command}: {figures.gate(told.view)}; {after[told.view.target_green]}"


def _head(told: Told) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in summary_rows(told):
        grid.add_row(label, Text(value))
    style = {0: "green", None: "yellow"}.get(
        told.outcome.exit_code if told.outcome else None, "red"
    )
    parts: list[RenderableType] = [Text(clean(told.headline), style=f"bold {style}")]
    if told.view.label:
        parts.insert(0, Text(clean(told.view.label), style="black on yellow"))
    title = Text(f"stigmergy run {clean(told.view.run_id)}", style="bold")
    return Panel(Group(*parts, Text(), grid), title=title, border_style=style, padding=(1, 2))


def _title(text: str) -> RenderableType:
    return Group(Text(), Rule(Text(text, style="bold"), align="left", style="dim"))


def _table(*columns: str, right: tuple[str, ...] = (), fold: str = "") -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        justify = "right" if name in right else "left"
        # The one column that may wrap is the one that gives way.
        table.add_column(name, justify=justify, no_wrap=name != fold, overflow="fold")
    return table


def _landings(told: Told) -> Table:
    table = _table("at", "item", "commit", "batch", "gate", "what", right=("batch",), fold="what")
    for landing in told.view.landings:
        item = told.view.items.get(landing.key)
        table.add_row(
            Text(clock_time(landing.at), style="dim"),
            data(landing.key, "bold green"),
            data(landing.commit[:10], "cyan"),
            amount(landing.batch_size),
            "none" if landing.gate_s is None else duration(landing.gate_s),
            data(first_line(item.description if item else "")),
        )
    return table


def _mendings(told: Told) -> Table:
    table = _table("at", "item", "why", "mended by", "came to", "detail", fold="detail")
    for mending in told.mendings:
        table.add_row(
            Text(clock_time(mending.at), style="dim"),
            data(mending.key, "bold yellow"),
            data(mending.kind),
            data(mending.fix or "nobody"),
            _came_to(mending),
            Text(first_line(mending.detail), style="dim"),
        )
    return table


def _came_to(mending: Mending) -> Text:
    if mending.came_to == "landed":
        commit = f" as {clean(mending.commit)[:10]}" if mending.commit else ""
        return Text(f"landed{commit}", style="green")
    return Text(mending.came_to, style="red" if mending.came_to == "given up" else "")


def _models(told: Told) -> Table:
    right = ("calls", "replayed", "failed", "tokens in", "out", "cost")
    table = _table("model", "asked at", *right, right=right)
    for use in told.models:
        table.add_row(*(Text(cell) for cell in models_cells(use)))
    return table


def _failures(told: Told) -> RenderableType | None:
    failed = [item for item in told.view.items.values() if item.error is not None]
    if not failed:
        return None
    table = _table("item", "state", "reason", fold="reason")
    for item in failed:
        table.add_row(
            data(item.key, "bold red"), item.state, Text(first_line(item.error or "", limit=400))
        )
    return table
