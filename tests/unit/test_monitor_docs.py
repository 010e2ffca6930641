"""docs/reference/metrics.md says of every figure, alert and threshold what the program says."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from stigmergy.monitor import METRICS, Metric, Thresholds
from stigmergy.monitor.agents import AgentState
from stigmergy.monitor.alerts import KINDS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md").read_text()

FIGURES = PAGE.split("## Figures")[1].split("\n## ")[0]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_figure_is_documented_as_it_is(metric: Metric) -> None:
    (row,) = (line for line in FIGURES.splitlines() if line.startswith(f"| `{metric.name}` |"))
    family = metric.series.partition("{")[0]
    total = "_total" if metric.kind == "counter" else ""
    assert row.startswith(f"| `{metric.name}` | {metric.text} | {metric.kind} | ")
    assert f"`stigmergy_{family}{total}" in row


def test_the_page_has_no_figure_that_there_is_not() -> None:
    rows = [line.split("`")[1] for line in FIGURES.splitlines() if line.startswith("| `")]
    assert rows == [metric.name for metric in METRICS]


def test_every_alert_and_every_state_is_documented() -> None:
    for name in (*KINDS, *get_args(AgentState)):
        assert f"\n| `{name}` | " in PAGE


def test_every_threshold_is_documented_with_its_default() -> None:
    for field in fields(Thresholds):
        assert f"| `{field.name}` | {field.default} |" in PAGE
