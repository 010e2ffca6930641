"""How a run ended, told truthfully: the exit code, one sentence, and the report. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from stigmergy.coding.spec import RunSpec
from stigmergy.monitor import RunView

__all__ = ["EXIT_BUDGET", "EXIT_FAILED", "EXIT_OK", "EXIT_STOPPED", "Outcome", "judge"]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_BUDGET: Final = 4
EXIT_STOPPED: Final = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended."""

    exit_code: int
    """0: every item landed and the target is green (or the user wanted no gate)."""
    verdict: str

    def report(self, view: RunView, spec: RunSpec) -> dict[str, object]:
        """What was asked for, and everything that the run measured, as JSON values."""
        return {
            "source": spec.source,
            "source_text": spec.source_text,
            "gate": list(spec.gate),
            "strategy": spec.settings.strategy,
            "agents": spec.settings.agents,
            "target": spec.target,
            "start": spec.start,
            **self.measured(view),
        }

    def measured(self, view: RunView) -> dict[str, object]:
        """Everything that the run measured, as JSON values. Unknown is null."""
        ended = view.ended_at or 0.0
        known_tokens = view.model_calls > view.calls_without_usage
        known_cost = view.model_calls > 0 and view.calls_without_price == 0
        return {
            "run_id": view.run_id,
            "label": view.label,
            "exit_code": self.exit_code,
            "verdict": self.verdict,
            "target_green": view.target_green,
            "started_at": view.started_at,
            "ended_at": view.ended_at,
            "duration_s": None if view.started_at is None else ended - view.started_at,
            "resumed": view.resumed,
            "items": len(view.items),
            "landed": view.landed,
            "unchanged": view.unchanged,
            "failed": view.failed,
            "landings": [asdict(landing) for landing in view.landings],
            "landings_per_hour": view.landings_per_hour(ended),
            "returned": [asdict(back) for back in view.returns],
            "gate_runs": view.gate_runs,
            "gate_red": view.gate_red,
            "gate_s": view.gate_s,
            "model_calls": view.model_calls,
            "replayed_calls": view.replayed_calls,
            "prompt_tokens": view.prompt_tokens if known_tokens else None,
            "completion_tokens": view.completion_tokens if known_tokens else None,
            "calls_without_usage": view.calls_without_usage,
            "cost_usd": view.cost_usd if known_cost else None,
            "failures": {
                item.key: item.error for item in view.items.values() if item.error is not None
            },
        }


def judge(
    view: RunView,
    *,
    finished: bool,
    gated: bool,
    green: bool | None,
    out_of_budget: bool,
    lands: bool = True,
) -> Outcome:
    """The outcome of a run whose threads have ended.

    Args:
        view: the whole journal.
        finished: nothing was left to do; False when the run was stopped.
        gated: there is a gate.
        green: what it last said of the target's tip.
        out_of_budget: a hard limit of the run or the fleet stopped it.
        lands: the run lands; one that does not leaves findings.
    """
    landed, total = view.landed, len(view.items)
    done = f"{landed} of {total} items {'landed' if lands else 'have findings'}"
    if view.unchanged:
        done += f" ({view.unchanged} needed no change)"
    if out_of_budget:
        return Outcome(
            exit_code=EXIT_BUDGET,
            verdict=f"stopped by the budget: {done}; raise it and `stig resume`",
        )
    if not finished:
        return Outcome(exit_code=EXIT_STOPPED, verdict=f"stopped: {done}; `stig resume` goes on")
    if gated and green is not True:
        state = "red" if green is False else "unproved"
        return Outcome(exit_code=EXIT_FAILED, verdict=f"{done}, and the target is {state}")
    if landed < total or total == 0:
        return Outcome(exit_code=EXIT_FAILED, verdict=f"{done}, {total - landed} did not")
    if not lands:
        return Outcome(exit_code=EXIT_OK, verdict=f"all {total} items have findings")
    proof = "the target is green" if gated else "no gate was run"
    done = done.replace(f"{landed} of {total}", f"all {total}")
    return Outcome(exit_code=EXIT_OK, verdict=f"{done} and {proof}")
