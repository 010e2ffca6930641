"""A report as one HTML page with plots. It fetches nothing and runs nothing.

What comes from outside is escaped here, and by `plots`; the page's own policy forbids scripts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from stigmergy.cli.console import clean, clock_time, duration, first_line, plural, short_agent
from stigmergy.cli.plots import STYLE, Lane, Mark, bars, gantt, steps
from stigmergy.cli.report_content import Told
from stigmergy.cli.report_page import models_cells, summary_rows
from stigmergy.cli.report_spent import TABLES, shares
from stigmergy.monitor.spans import Span

__all__ = ["html_page"]

_LANES: Final = 60
_COLOURS: Final = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --dim: #59636e; --line: #d8dee4;
  --lane: #f3f5f7; --green: #2da44e; --red: #cf222e; --yellow: #bf8700; --blue: #0969da; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #e6edf3; --dim: #9198a1;
  --line: #30363d; --lane: #161b22; --green: #3fb950; --red: #f85149; --yellow: #d29922;
  --blue: #4493f8; } }
"""
_PAGE: Final = """
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  max-width: 1000px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 0.6rem; }
h3 { font-size: 0.95rem; margin: 1.2rem 0 0.4rem; color: var(--dim); font-weight: 600; }
.headline { font-weight: 600; margin: 0.3rem 0 1rem; }
.headline.good { color: var(--green); } .headline.bad { color: var(--red); }
.label { display: inline-block; background: var(--yellow); color: #000; padding: 0 0.5rem;
  border-radius: 4px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
th { text-align: left; color: var(--dim); font-weight: 600; }
th, td { padding: 0.25rem 0.8rem 0.25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
.scroll svg { min-width: 640px; }
th, .scroll td:not(:last-child) { white-space: nowrap; }
.scroll td:last-child:not(:first-child) { min-width: 14rem; }
.facts td:first-child { color: var(--dim); white-space: nowrap; width: 7rem; }
code { font-size: 0.9em; }
.key { color: var(--dim); font-size: 0.85rem; margin: 0.2rem 0 0.6rem; }
.key b { display: inline-block; width: 0.8em; height: 0.8em; border-radius: 2px;
  margin: 0 0.3em 0 0.8em; }
"""
_KEY: Final = (
    ("completed", "--green"),
    ("failed or lost", "--red"),
    ("given back or cancelled", "--yellow"),
    ("not finished", "--blue"),
)
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def html_page(told: Told) -> str:
    """The whole report, ending in a newline."""
    name = _text(told.view.run_id)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Stigmergy run {name}</title>",
        f"<style>{_COLOURS}{_PAGE}{STYLE}</style></head><body><main>",
        f"<h1>Stigmergy run {name}</h1>",
        *_head(told),
        *_plots(told),
        *_spent(told),
        *_tables(told),
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _head(told: Told) -> Iterable[str]:
    code = told.outcome.exit_code if told.outcome else None
    tone = {0: " good", None: ""}.get(code, " bad")
    yield f'<p class="headline{tone}">{_text(told.headline)}</p>'
    if told.view.label:
        yield f'<p><span class="label">{_text(told.view.label)}</span></p>'
    yield '<table class="facts">'
    for label, value in summary_rows(told):
        yield f"<tr><td>{_text(label)}</td><td>{_text(value)}</td></tr>"
    yield "</table>"


def _plots(told: Told) -> Iterable[str]:
    start, end = told.view.started_at, told.view.ended_at
    if start is None or end is None or end <= start:
        return
    lanes = _lanes(told)
    if lanes:
        yield "<h2>Who was at work</h2>"
        swatches = "".join(
            f'<b style="background:var({colour})"></b>{words}' for words, colour in _KEY
        )
        yield f'<p class="key">{swatches}</p>'
        shown = lanes[:_LANES]
        yield _plot(gantt(shown, start=start, end=end, title="Attempts of agents over time"))
        if len(lanes) > _LANES:
            yield f'<p class="key">… and {plural(len(lanes) - _LANES, "agent")} more</p>'
    if told.view.landings:
        yield "<h2>Landings over time</h2>"
        yield '<p class="key">Red dots: work that came back from the merge queue.</p>'
        backs = [
            Mark(start=it.at, end=it.at, kind="back", title=f"{it.key} came back: {it.kind}")
            for it in told.view.returns
        ]
        times = [landing.at for landing in told.view.landings]
        title = "Landings on the target over time"
        yield _plot(steps(times, backs, start=start, end=end, title=title))


def _plot(svg: str) -> str:
    return f'<div class="scroll">{svg}</div>'


def _lanes(told: Told) -> list[Lane]:
    by_name: dict[str, list[Span]] = {}
    for span in told.spans.attempts:
        by_name.setdefault(span.name, []).append(span)
    lanes = [_lane(short_agent(name), by_name[name]) for name in sorted(by_name, key=_natural)]
    if told.spans.gates:
        lanes.insert(0, _lane("gate", told.spans.gates))
    return lanes


def _lane(name: str, spans: Iterable[Span]) -> Lane:
    marks = [
        Mark(
            start=span.start,
            end=span.end,
            kind=span.outcome,
            title=f"{span.task_id}: {span.outcome} after {duration(span.duration_s)}",
        )
        for span in spans
    ]
    return Lane(name=name, marks=marks)


def _natural(name: str) -> tuple[str, int, str]:
    """`agent-10` comes after `agent-9`."""
    head = name.rstrip("0123456789")
    digits = name[len(head) :]
    return head, int(digits[:15] or 0), name


def _spent(told: Told) -> Iterable[str]:
    if not told.spans.by_task:
        return
    yield "<h2>Where time and money went</h2>"
    for heading, table in TABLES.items():
        for share in shares(table(told.spans)):
            title = f"{share.what} by {heading}".capitalize()
            yield f"<h3>{_text(title)}</h3>"
            yield _plot(bars(share.rows, title=title))
            if share.others:
                yield f'<p class="key">… and {share.others} with less</p>'


def _tables(told: Told) -> Iterable[str]:
    items = told.view.items
    if told.view.landings:
        yield "<h2>Landed, in order</h2>"
        yield _table(
            ("at", "item", "commit", "batch", "gate", "what"),
            (
                (
                    clock_time(landing.at),
                    landing.key,
                    landing.commit[:10],
                    str(landing.batch_size),
                    "none" if landing.gate_s is None else duration(landing.gate_s),
                    first_line(items[landing.key].description if landing.key in items else ""),
                )
                for landing in told.view.landings
            ),
        )
    if told.mendings:
        yield "<h2>Came back, and how it was mended</h2>"
        yield _table(
            ("at", "item", "why", "mended by", "came to", "detail"),
            (
                (
                    clock_time(mending.at),
                    mending.key,
                    mending.kind,
                    mending.fix or "nobody",
                    f"landed as {mending.commit[:10]}" if mending.commit else mending.came_to,
                    first_line(mending.detail),
                )
                for mending in told.mendings
            ),
        )
    if told.models:
        heads = ("model", "asked at", "calls", "replayed", "failed", "tokens in", "out", "cost")
        yield "<h2>Models</h2>"
        yield _table(heads, (models_cells(use) for use in told.models))
    if failed := [item for item in items.values() if item.error is not None]:
        yield "<h2>Failures</h2>"
        rows = ((item.key, item.state, first_line(item.error or "", 400)) for item in failed)
        yield _table(("item", "state", "reason"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    body = "\n".join(
        f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>\n{body}\n</table></div>'


def _text(words: str) -> str:
    return escape(clean(words), quote=True)
