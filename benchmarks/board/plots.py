"""Pictures of two tables, as SVG: throughput over processes, and claims over the board's size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from board.report import Figure, Report

__all__ = ["draw"]

_OURS = "stigmergy"
_COLOURS = ("#4c78a8", "#72b7b2", "#b279a2", "#9d755d", "#7f7f7f", "#bab0ac")
_OUR_COLOURS = ("#d62728", "#ff9896")


def draw(report: Report, folder: Path) -> list[Path]:
    """Write a picture of each section that has one; where.

    Raises:
        ImportError: matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []
    sections = dict.fromkeys(figure.section for figure in report.figures)
    for section in sections:
        figures = [figure for figure in report.figures if figure.section == section]
        name = section.partition(":")[0].lower()
        if section.endswith(": tasks a second"):
            figures = [one for one in figures if one.measure.startswith("take")]
            labels = ("processes", "tasks taken and finished a second")
            drawn.append(_plot(figures, folder / f"board-throughput-{name}.svg", labels, log=False))
        elif section.endswith("claim p50 by tasks on the board"):
            labels = ("tasks on the board", "claim p50, ms")
            drawn.append(_plot(figures, folder / f"board-claims-{name}.svg", labels, log=True))
    return drawn


def _plot(figures: Sequence[Figure], path: Path, labels: tuple[str, str], *, log: bool) -> Path:
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    # The same picture from the same figures, and text that stays text.
    mpl.rcParams.update({"svg.hashsalt": "board", "svg.fonttype": "none"})
    figure, axes = plt.subplots(figsize=(7.2, 4.2))
    ticks: list[float] = []
    ours, theirs = iter(_OUR_COLOURS), iter(_COLOURS)
    for system in dict.fromkeys(one.system for one in figures):
        points = _points(figures, system)
        if not points:
            continue
        mine = system.startswith(_OURS)
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            label=system,
            marker="o",
            color=next(ours if mine else theirs),
            linewidth=2.4 if mine else 1.4,
            zorder=3 if mine else 2,
        )
        ticks += [x for x, _ in points]
    _dress(axes, sorted(set(ticks)), labels, log=log)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return path


def _dress(axes: Any, ticks: Sequence[float], labels: tuple[str, str], *, log: bool) -> None:
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    if log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.set_ylim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))
    else:
        axes.set_ylim(bottom=0)
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(visible=True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, bbox_to_anchor=(1.01, 1), loc="upper left")


def _points(figures: Sequence[Figure], system: str) -> list[tuple[float, float]]:
    """The figures of a system over the number that its measure names."""
    return [
        (float("".join(filter(str.isdigit, one.measure))), one.value)
        for one in figures
        if one.system == system and one.value
    ]
