"""What a swarm does and has done, read from the event journal of its board. Pure.

view = SwarmView()
view.take(board.events())
view.snapshot(now=time.time())
"""

from stigmergy.monitor.agents import AgentRow
from stigmergy.monitor.alerts import Alert, Thresholds
from stigmergy.monitor.changes import apply
from stigmergy.monitor.metrics import METRICS, Metric
from stigmergy.monitor.run import ItemView, Landing, Return, RunView
from stigmergy.monitor.view import SwarmView

__all__ = [
    "METRICS",
    "AgentRow",
    "Alert",
    "ItemView",
    "Landing",
    "Metric",
    "Return",
    "RunView",
    "SwarmView",
    "Thresholds",
    "apply",
]
