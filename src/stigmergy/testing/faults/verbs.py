"""Every verb of the board with something to do it to, at fixed times: the same each time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stigmergy.board import Backoff, Lease, Task, TaskBoard, open_store
from stigmergy.errors import StigmergyError

__all__ = ["VERBS", "VerbCase", "open_at", "prepare", "tune"]

_POSTED_AT: Final = 1_000_000.0
_CLAIMED_AT: Final = 1_000_100.0
_DONE_AT: Final = 1_000_200.0
_LONG_S: Final = 1_000.0
_SHORT_S: Final = 50.0
"""Leases of so long have run out when the verb is done."""


def open_at(url: str | Path, now: float = _DONE_AT) -> TaskBoard:
    """A board whose clock stands still."""
    store = open_store(url, clock=lambda: now)
    return TaskBoard(store=store, lease_s=_LONG_S, backoff=Backoff(first_s=1.0))


@dataclass(frozen=True, slots=True)
class VerbCase:
    """One verb. `ready` brings the board to where it can be done, at the time of claims."""

    ready: Callable[[TaskBoard], object]
    bind: Callable[[TaskBoard], Callable[[], object]]
    """Looks up what the verb needs, and returns the call to be disturbed."""


def prepare(*, url: str, verb: str) -> None:
    """A board that is ready for the verb; none for `open`, which makes it."""
    if verb == "open":
        return
    with open_at(url, _POSTED_AT) as board:
        board.post_many(
            [
                Task(task_type="work", task_id="a", payload={"text": "ä" * 300}),
                Task(task_type="work", task_id="b", requires=("gpu",), parent_id="p"),
                Task(task_type="work", task_id="after", depends_on=("a", "b")),
                Task(task_type="work", task_id="later", depends_on=("after",)),
                Task(task_type="rest", task_id="other", priority=9),
            ]
        )
    with open_at(url, _CLAIMED_AT) as board:
        VERBS[verb].ready(board)


def tune(*, journal_bytes: int, log_pages: int) -> None:
    """In this process: how large the stores let their journals and logs grow before they tidy up.

    Raises:
        StigmergyError: the stores do it in another way by now, so this proves nothing.
    """
    from stigmergy.board.stores import files
    from stigmergy.board.stores.sqlite import log

    settings = ((files, "_JOURNAL_BYTES", journal_bytes), (log, "_CHECKPOINT_PAGES", log_pages))
    for module, name, value in settings:
        if not hasattr(module, name):
            raise StigmergyError(f"{module.__name__} has no {name} any more")
        setattr(module, name, value)


def _claim(board: TaskBoard, lease_s: float = _LONG_S) -> list[Task]:
    return board.claim_many("ann", 2, capabilities=["gpu"], task_types=["work"], lease_s=lease_s)


def _fail_first(board: TaskBoard) -> None:
    board.fail(_claim(board)[0], "broken", retry=False)


def _leases(board: TaskBoard) -> list[Lease]:
    tasks = [board.get(name) for name in ("a", "b")]
    return [task.lease for task in tasks if task is not None and task.lease is not None]


def _on_leases(
    act: Callable[[TaskBoard, list[Lease]], object],
) -> Callable[[TaskBoard], Callable[[], object]]:
    def bind(board: TaskBoard) -> Callable[[], object]:
        leases = _leases(board)
        return lambda: act(board, leases)

    return bind


def _plainly(act: Callable[[TaskBoard], object]) -> Callable[[TaskBoard], Callable[[], object]]:
    return lambda board: lambda: act(board)


def _post(board: TaskBoard) -> object:
    return board.post_many(
        [
            Task(task_type="new", task_id="n1", depends_on=("n2", "other")),
            Task(task_type="new", task_id="n2", payload={"n": [1, 2.5, None]}),
            Task(task_type="new", task_id="n3", priority=1),
        ]
    )


def _release(board: TaskBoard, leases: list[Lease]) -> object:
    helper = Task(task_type="help", task_id="helper")
    return board.release(leases[0], wait_for=["helper", "other"], post=[helper], reason="stuck")


def _complete_and_claim(board: TaskBoard, leases: list[Lease]) -> object:
    results = [(lease, {"by": lease.task_id}) for lease in leases]
    return board.complete_and_claim("ann", results, 2)


VERBS: Final[dict[str, VerbCase]] = {
    "open": VerbCase(_plainly(lambda board: board.url), _plainly(lambda board: board.url)),
    "post": VerbCase(_claim, _plainly(_post)),
    "claim": VerbCase(
        lambda board: _claim(board, _SHORT_S),  # it reaps them first
        _plainly(lambda board: board.claim_many("bob", 3, capabilities=["gpu"])),
    ),
    "start": VerbCase(_claim, _on_leases(lambda board, leases: board.start(leases[0]))),
    "renew": VerbCase(_claim, _on_leases(lambda board, leases: board.renew(leases[0]))),
    "complete": VerbCase(
        _claim,
        _on_leases(
            lambda board, leases: board.complete_many(
                [(lease, {"by": lease.task_id}) for lease in leases]
            )
        ),
    ),
    "complete and claim": VerbCase(_claim, _on_leases(_complete_and_claim)),
    "fail": VerbCase(
        _claim, _on_leases(lambda board, leases: board.fail(leases[0], "no", retry=False))
    ),
    "fail and retry": VerbCase(
        _claim, _on_leases(lambda board, leases: board.fail(leases[1], "not yet"))
    ),
    "release": VerbCase(_claim, _on_leases(_release)),
    "release all": VerbCase(
        _claim, _plainly(lambda board: board.release_all(bool, reason="they died"))
    ),
    "reap": VerbCase(lambda board: _claim(board, _SHORT_S), _plainly(lambda board: board.reap())),
    "cancel": VerbCase(_claim, _plainly(lambda board: board.cancel("b", reason="a whim"))),
    "retry": VerbCase(_fail_first, _plainly(lambda board: board.retry("a"))),
    "record": VerbCase(
        _claim, _plainly(lambda board: board.record("landed", task_id="a", data={"n": 1}))
    ),
}
"""By name. `open` is done by whoever opens; its call has nothing left to do."""
