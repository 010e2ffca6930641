"""What a report tells, put together from a run's journal and its specification. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from stigmergy.board import Event
from stigmergy.cli.journal import Journal, RunState, state_line
from stigmergy.cli.report_spent import TABLES
from stigmergy.coding.outcome import Outcome
from stigmergy.coding.spec import RunSpec
from stigmergy.monitor import RunView
from stigmergy.monitor.spans import Spans, spans_of

__all__ = ["Mending", "ModelUse", "Told", "told_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mending:
    """Work that came back, and what became of it."""

    at: float
    key: str
    kind: str
    detail: str
    fix: str | None
    came_to: str
    """`landed`, `came back`, `given up`, or the item's state where that is still open."""
    commit: str | None
    """As which it landed, if this mending was the last that it needed."""


@dataclass(slots=True, kw_only=True)
class ModelUse:
    """What one model was asked, and what that took.

    A sum is None where no call told its part; where some did not, it is known how many.
    """

    model: str
    provider: str
    calls: int = 0
    replayed: int = 0
    failed: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    calls_without_usage: int = 0
    cost_usd: float | None = None
    calls_without_price: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A report, before it is written in some form."""

    state: RunState
    headline: str
    view: RunView
    """Closed: `ended_at` is the end, or the moment up to which is reported."""
    spec: RunSpec
    outcome: Outcome | None
    """None while the run has not come to an end."""
    mendings: tuple[Mending, ...]
    models: tuple[ModelUse, ...]
    spans: Spans

    @property
    def duration_s(self) -> float | None:
        """By the clock on the wall, interruptions included."""
        if self.view.started_at is None or self.view.ended_at is None:
            return None
        return self.view.ended_at - self.view.started_at

    @property
    def gate_mean_s(self) -> float | None:
        """How long the gate took on average."""
        return self.view.gate_s / self.view.gate_runs if self.view.gate_runs else None

    @property
    def landings_per_hour(self) -> float | None:
        """Over the whole time."""
        return (
            None if self.view.ended_at is None else self.view.landings_per_hour(self.view.ended_at)
        )

    def document(self) -> dict[str, object]:
        """As JSON values: the run's own report, and what belongs to it. Unknown is null."""
        outcome = self.outcome or Outcome(exit_code=0, verdict=self.headline)
        document = outcome.report(self.view, self.spec)
        if self.outcome is None:
            document |= {"exit_code": None, "ended_at": None}
        return document | {
            "state": self.state,
            "gate_mean_s": self.gate_mean_s,
            "mendings": [asdict(mending) for mending in self.mendings],
            "models": [asdict(use) for use in self.models],
            "spent": {
                name: {key: asdict(spent) for key, spent in table(self.spans).items()}
                for name, table in TABLES.items()
            },
            "attempts": [asdict(span) for span in self.spans.attempts],
        }


def told_of(journal: Journal, spec: RunSpec, *, now: float) -> Told:
    """The report on a run as its journal stands."""
    view = journal.view
    ended = view.ended_at is not None
    until = view.ended_at or (now if journal.state == "running" else journal.last_at)
    outcome = None
    if ended:
        outcome = Outcome(exit_code=view.exit_code or 0, verdict=view.verdict)
    return Told(
        state=journal.state,
        headline=state_line(journal),
        view=replace(view, ended_at=until, label=view.label or spec.label),
        spec=spec,
        outcome=outcome,
        mendings=tuple(_mendings(view)),
        models=tuple(_models(journal.events)),
        spans=spans_of(journal.events, until=until),
    )


def _mendings(view: RunView) -> Iterable[Mending]:
    last = {back.key: index for index, back in enumerate(view.returns)}
    for index, back in enumerate(view.returns):
        item = view.items.get(back.key)
        commit = None
        if back.fix is None:
            came_to = "given up"
        elif last[back.key] != index:
            came_to = "came back"
        else:
            came_to = item.state if item else "unknown"
            commit = item.commit if item and item.state == "landed" else None
        yield Mending(
            at=back.at,
            key=back.key,
            kind=back.kind,
            detail=back.detail,
            fix=back.fix,
            came_to=came_to,
            commit=commit,
        )


def _models(events: Iterable[Event]) -> Iterable[ModelUse]:
    uses: dict[tuple[str, str], ModelUse] = {}
    for event in events:
        if event.kind != "model_call":
            continue
        model = str(event.data.get("model") or "unknown")
        nobody = "recording" if event.data.get("replayed") else "unknown"
        provider = str(event.data.get("provider") or nobody)
        use = uses.setdefault((model, provider), ModelUse(model=model, provider=provider))
        _count(use, event)
    return uses.values()


def _count(use: ModelUse, event: Event) -> None:
    use.calls += 1
    use.replayed += bool(event.data.get("replayed"))
    use.failed += bool(event.data.get("error"))
    prompt, completion, cost = (
        event.data.get(name) for name in ("prompt_tokens", "completion_tokens", "cost_usd")
    )
    if prompt is None and completion is None:
        use.calls_without_usage += 1
    else:
        use.prompt_tokens = (use.prompt_tokens or 0) + int(prompt or 0)
        use.completion_tokens = (use.completion_tokens or 0) + int(completion or 0)
    if cost is None:
        use.calls_without_price += 1
    else:
        use.cost_usd = (use.cost_usd or 0.0) + float(cost)
