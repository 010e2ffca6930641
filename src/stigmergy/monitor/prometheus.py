"""The figures of a swarm in Prometheus' text format, for `/metrics`.

Names end in their unit, counters in `_total`. Labels take their values from closed sets, and from
the one run that a board has, so that no agent, task or model can make a series of its own. What is
not known is left out, as Prometheus wants it, never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from stigmergy.board import TaskStatus
from stigmergy.monitor import metrics
from stigmergy.monitor.agents import AgentState
from stigmergy.monitor.alerts import KINDS
from stigmergy.monitor.view import SwarmView

__all__ = ["CONTENT_TYPE", "exposition"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `exposition` returns."""

_PREFIX: Final = "stigmergy"


def exposition(view: SwarmView, now: float) -> bytes:
    """All figures at that time. The view is read, and ticks."""
    view.tick(now)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Swarm(view, now))
    return generate_latest(registry)


class _Swarm(Collector):
    def __init__(self, view: SwarmView, now: float) -> None:
        self._view = view
        self._now = now

    def collect(self) -> Iterator[Metric]:
        values = self._view.metrics(self._now)
        for metric in metrics.METRICS:
            value = values[metric.name]
            if "{" not in metric.series and value is not None:
                make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                yield make(f"{_PREFIX}_{metric.series}", metric.text, value=value)
        yield from self._labelled(values)
        yield from self._about()

    def _labelled(self, values: Mapping[str, float | None]) -> Iterator[Metric]:
        counts = {status.value: values[f"tasks_{status.value}"] for status in TaskStatus}
        yield _gauges("tasks", "Tasks of the board; finished ones pruned or not.", "status", counts)
        by_state = Counter(row.state for row in self._view.agents.rows.values())
        agents = {state: by_state[state] for state in get_args(AgentState)}
        yield _gauges("agents", "Agents that the journal knows.", "state", agents)
        by_kind = Counter(alert.kind for alert in self._view.alerts.values())
        alerts = {kind: by_kind[kind] for kind in KINDS}
        yield _gauges("alerts", "Alerts that stand.", "kind", alerts)
        tokens = CounterMetricFamily(
            f"{_PREFIX}_tokens", "Tokens of model calls, as far as known.", labels=["direction"]
        )
        for direction in ("prompt", "completion"):
            if (used := values[f"tokens_{direction}"]) is not None:
                tokens.add_metric([direction], used)
        if tokens.samples:
            yield tokens

    def _about(self) -> Iterator[Metric]:
        view = self._view
        seq = f"{_PREFIX}_journal_events"
        yield CounterMetricFamily(seq, "Number of the journal's latest event.", value=view.seq)
        if view.at is not None:
            name = f"{_PREFIX}_journal_last_event_timestamp_seconds"
            yield GaugeMetricFamily(name, "When it was written.", value=view.at)
        if view.run.run_id:
            about = {"run_id": view.run.run_id, "label": view.run.label, "state": view.state}
            yield InfoMetricFamily(f"{_PREFIX}_run", "The run of this board.", value=about)


def _gauges(
    name: str, text: str, label: str, values: Mapping[str, float | None]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=[label])
    for key, value in values.items():
        if value is not None:
            family.add_metric([key], value)
    return family
