"""A run's figures in words. What is not known is called unknown, and never shown as 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, cast

from stigmergy.board import JsonObject
from stigmergy.board.rules import ALL
from stigmergy.cli.console import amount, clean, duration, money, plural
from stigmergy.monitor import AgentRow, RunView

__all__ = [
    "agents_at_work",
    "calls",
    "calls_for_you",
    "cost",
    "counts",
    "gate",
    "idle_agents",
    "open_protection",
    "protection",
    "rate",
    "target",
    "tokens",
]

_CONFINED: Final = {
    "writes_confined": "writes",
    "network_confined": "network",
    "processes_confined": "processes",
}
_STATES: Final = ("landed", "failed", "cancelled", "landing", "queued", "fixing", "coding")


def target(view: RunView) -> str:
    """The branch that the run lands on; a hive that only finds lands on nothing."""
    hive = view.facts.get("hive")
    if isinstance(hive, dict) and cast("JsonObject", hive).get("lands") is False:
        return "nothing"
    return clean(str(view.facts.get("target", "?")).removeprefix("refs/heads/"))


def protection(view: RunView) -> str:
    """What the sandboxes confine: `overlay, confined`, `worktree, network OPEN`."""
    facts = _sandbox(view)
    if not facts:
        return "protection unknown"
    open_ways = open_protection(view)
    how = f"{' and '.join(open_ways)} OPEN" if open_ways else "all confined"
    return clean(f"{facts.get('view', '?')}, {how}")


def open_protection(view: RunView) -> list[str]:
    """What the sandboxes do not confine."""
    facts = _sandbox(view)
    return [name for key, name in _CONFINED.items() if facts.get(key) is not True]


def _sandbox(view: RunView) -> Mapping[str, object]:
    facts = view.facts.get("sandbox")
    return cast("Mapping[str, object]", facts) if isinstance(facts, dict) else {}


def counts(view: RunView) -> str:
    """`12 of 20 landed, 1 failed, 2 queued, 5 coding`."""
    if not view.items:
        return "no items yet"
    by_state = Counter(item.state for item in view.items.values())
    parts = [f"{view.landed} of {plural(len(view.items), 'item')} landed"]
    parts += [f"{by_state[name]} {name}" for name in _STATES[1:] if by_state[name]]
    return ", ".join(parts)


def agents_at_work(view: RunView) -> list[AgentRow]:
    """Those that hold a task, the longest at it first."""
    busy = [agent for agent in view.agents.values() if agent.held and not agent.is_lander]
    return sorted(busy, key=lambda agent: (agent.since, agent.name))


def idle_agents(view: RunView) -> int:
    """How many have nothing to do; those that have never had anything are among them."""
    busy = len(agents_at_work(view))
    if view.agents_wanted is not None:
        return max(0, view.agents_wanted - busy)
    asked = view.facts.get("agents")
    seen = sum(not agent.is_lander and not agent.gone for agent in view.agents.values())
    return max(asked if isinstance(asked, int) else 0, seen) - busy


def calls_for_you(view: RunView) -> list[str]:
    """What only the person who watches can do: let a paused run go on, approve what waits."""
    lines: list[str] = []
    if view.ended_at is not None:
        return lines
    if ALL in view.paused:
        lines.append("PAUSED: nothing new is taken; `stig steer go` lets it go on")
    if view.approvals:
        one = next(iter(view.approvals))
        rest = f" and {len(view.approvals) - 1:,} more" if len(view.approvals) > 1 else ""
        wait = "wait" if rest else "waits"
        lines.append(clean(f"{one}{rest} {wait} for you: `stig steer waiting`"))
    return lines


def gate(view: RunView) -> str:
    """`31 runs, 4 red, mean 3.1 s`."""
    if view.gate_runs == 0:
        return "not run yet" if view.facts.get("gate") else "no gate: nothing proves what lands"
    mean = duration(view.gate_s / view.gate_runs)
    return f"{plural(view.gate_runs, 'run')}, {view.gate_red} red, mean {mean}"


def rate(view: RunView, now: float) -> str:
    """`240 landings/h`."""
    per_hour = view.landings_per_hour(now)
    return "none landed yet" if per_hour is None else f"{per_hour:,.0f} landings/h"


def calls(view: RunView) -> str:
    """`132 calls, all replayed`."""
    if view.model_calls == 0:
        return "no calls"
    text = plural(view.model_calls, "call")
    if view.replayed_calls == view.model_calls:
        return f"{text}, all replayed"
    return f"{text}, {view.replayed_calls:,} replayed" if view.replayed_calls else text


def tokens(view: RunView) -> str:
    """`345,221 tokens in, 12,001 out`; a part that is unknown is told."""
    missing = view.calls_without_usage
    if missing == view.model_calls:
        return "tokens unknown"
    known = f"{amount(view.prompt_tokens)} tokens in, {amount(view.completion_tokens)} out"
    return f"≥ {known} ({plural(missing, 'call')} unknown)" if missing else known


def cost(view: RunView) -> str:
    """`cost $1.20`; a part that is unknown is told, and so is a replay, for which nobody paid."""
    missing = view.calls_without_price
    if missing == view.model_calls:
        return "cost unknown"
    if missing:
        return f"cost unknown, ≥ {money(view.cost_usd)}"
    if view.replayed_calls == view.model_calls:
        return "nothing paid"
    return f"cost {money(view.cost_usd)}"
