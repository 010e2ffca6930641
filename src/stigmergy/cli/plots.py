"""Plots as SVG that stands in a page by itself: no script, colours by the page's style. Pure.

Whatever is written into a plot is outside data, and escaped here. Hovering shows what a mark is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from stigmergy.cli.console import clean, duration

__all__ = ["STYLE", "Bar", "Lane", "Mark", "bars", "gantt", "steps"]

_WIDTH: Final = 960
_LABEL: Final = 150
_ROW: Final = 22
_AXIS: Final = 26
_TICKS: Final = 6
_NICE_S: Final = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400)

STYLE: Final = """
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); }
svg .dim { fill: var(--dim); }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .lane { fill: var(--lane); }
svg .completed { fill: var(--green); }
svg .failed, svg .lost { fill: var(--red); }
svg .cancelled, svg .given-back { fill: var(--yellow); }
svg .unfinished, svg .bar { fill: var(--blue); }
svg .line { fill: none; stroke: var(--green); stroke-width: 2; }
svg .area { fill: var(--green); opacity: 0.15; }
svg .back { fill: var(--red); }
"""
"""Rules for the plots; the page defines the colours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A stretch of time in a lane."""

    start: float
    end: float
    kind: str
    """The style's class."""
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A row of a Gantt chart."""

    name: str
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A row of a bar chart."""

    name: str
    value: float
    text: str
    """The value in words."""


def gantt(lanes: Sequence[Lane], *, start: float, end: float, title: str) -> str:
    """Who was at what, over time."""
    span = max(end - start, 1e-9)
    height = len(lanes) * _ROW + _AXIS
    parts = [*_grid(span, height - _AXIS)]
    for number, lane in enumerate(lanes):
        top = number * _ROW
        parts.append(_label(lane.name, top))
        parts.append(
            f'<rect class="lane" x="{_LABEL}" y="{top + 3}" width="{_WIDTH - _LABEL}" '
            f'height="{_ROW - 6}"/>'
        )
        for mark in lane.marks:
            left = _x((mark.start - start) / span)
            width = max(1.0, _x((mark.end - start) / span) - left)
            parts.append(
                f'<rect class="{_name(mark.kind)}" x="{left:.1f}" y="{top + 3}" '
                f'width="{width:.1f}" height="{_ROW - 6}" rx="2">'
                f"<title>{_text(mark.title)}</title></rect>"
            )
    return _svg(parts, height, title)


def steps(
    times: Sequence[float], marks: Iterable[Mark], *, start: float, end: float, title: str
) -> str:
    """How many had happened by when; marks stand at the foot."""
    span = max(end - start, 1e-9)
    height = 180
    foot, top = height - _AXIS, 14
    most = max(1, len(times))
    points = [(_x(0.0), float(foot))]
    for count, at in enumerate(times, start=1):
        x = _x((at - start) / span)
        points += [(x, points[-1][1]), (x, foot - (foot - top) * count / most)]
    points.append((_x(1.0), points[-1][1]))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = [
        *_grid(span, foot),
        f'<text class="dim" x="{_LABEL - 8}" y="{top + 4}" text-anchor="end">{most}</text>',
        f'<text class="dim" x="{_LABEL - 8}" y="{foot}" text-anchor="end">0</text>',
        f'<polygon class="area" points="{path} {_x(1.0):.1f},{foot}"/>',
        f'<polyline class="line" points="{path}"/>',
    ]
    for mark in marks:
        x = _x((mark.start - start) / span)
        parts.append(
            f'<circle class="{_name(mark.kind)}" cx="{x:.1f}" cy="{foot - 5}" r="4">'
            f"<title>{_text(mark.title)}</title></circle>"
        )
    return _svg(parts, height, title)


def bars(rows: Sequence[Bar], *, title: str) -> str:
    """Values beside one another."""
    most = max((row.value for row in rows), default=0.0) or 1.0
    room = _WIDTH - _LABEL - 190
    parts: list[str] = []
    for number, row in enumerate(rows):
        top = number * _ROW
        width = max(1.0, room * row.value / most)
        parts.append(_label(row.name, top))
        parts.append(
            f'<rect class="bar" x="{_LABEL}" y="{top + 4}" width="{width:.1f}" '
            f'height="{_ROW - 8}" rx="2"/>'
        )
        after = _LABEL + width + 8
        parts.append(f'<text class="dim" x="{after:.1f}" y="{top + 15}">{_text(row.text)}</text>')
    return _svg(parts, len(rows) * _ROW, title)


def _grid(span: float, foot: float) -> Iterable[str]:
    step = next((s for s in _NICE_S if span / s <= _TICKS), max(_NICE_S[-1], span / _TICKS))
    at = 0.0
    while at <= span:
        x = _x(at / span)
        yield f'<line class="grid" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{foot}"/>'
        # The last label would run out of the picture.
        anchor = "end" if x > _WIDTH - 40 else "middle"
        words = "0" if at == 0 else _text(duration(at))
        yield f'<text class="dim" x="{x:.1f}" y="{foot + 17}" text-anchor="{anchor}">{words}</text>'
        at += step


def _x(part: float) -> float:
    return _LABEL + (_WIDTH - _LABEL) * min(1.0, max(0.0, part))


def _label(name: str, top: int) -> str:
    shown = clean(name)
    short = shown if len(shown) <= 22 else f"{shown[:21]}…"
    return (
        f'<text x="{_LABEL - 8}" y="{top + 15}" text-anchor="end">{_text(short)}'
        f"<title>{_text(shown)}</title></text>"
    )


def _name(kind: str) -> str:
    return _text(kind.replace(" ", "-"))


def _text(words: str) -> str:
    return escape(clean(words), quote=True)


def _svg(parts: Iterable[str], height: float, title: str) -> str:
    body = "\n".join(parts)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{_text(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">\n{body}\n</svg>'
    )
