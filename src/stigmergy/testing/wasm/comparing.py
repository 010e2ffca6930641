"""Compares what engines, slicings and plain wasmtime make of one case."""

from collections.abc import Sequence

from stigmergy.testing.wasm.cases import Case
from stigmergy.testing.wasm.observing import Observation, differences
from stigmergy.testing.wasm.oracle import PlainWasmtime
from stigmergy.testing.wasm.slicing import SLICINGS, differences_between_slicings, run_case
from stigmergy.wasm.engine import Engine, Status

__all__ = ["BUDGET", "disagreements"]

BUDGET = 12_000
"""Instructions of each agent. Most end by themselves, long before."""
_MORE = 20_000


def disagreements(
    case: Case, engines: Sequence[Engine], oracle: PlainWasmtime | None = None
) -> list[str]:
    """Return what differs, a line each: between slicings, engines, and one engine and the oracle.

    Raises:
        UnsupportedError: An engine cannot run the module.
    """
    runs = [run_case(engine, case, budget=BUDGET) for engine in engines]
    found: list[str] = []
    for engine, run in zip(engines, runs, strict=True):
        found += [f"{engine.name}: {line}" for line in differences_between_slicings(run)]
    for engine, run in zip(engines[1:], runs[1:], strict=True):
        for slicing, one, other in zip(SLICINGS, runs[0], run, strict=True):
            names = f"{engines[0].name} and {engine.name}, steps of {slicing.step or BUDGET}"
            found += [f"{names}: {line}" for line in differences(one, other)]
    if oracle is not None:
        judged = oracle.run(case, BUDGET + _MORE)
        lines = differences(runs[0][0], _cut(judged, runs[0][0]))
        found += [f"{engines[0].name} and plain wasmtime: {line}" for line in lines]
    return found


def _cut(judged: Sequence[Observation], run: Sequence[Observation]) -> list[Observation]:
    """Know no more of an agent that used up its budget than that."""
    return [
        Observation(Status.READY)
        if engine.status is Status.READY and (one.count is None or one.count >= BUDGET)
        else one
        for one, engine in zip(judged, run, strict=True)
    ]
