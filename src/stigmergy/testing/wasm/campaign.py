"""Judges many random modules in processes of their own, for a driver may end the one it is in."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stigmergy.errors import UnsupportedError
from stigmergy.testing.lavapipe import LAVAPIPE_IN_A_HURRY
from stigmergy.testing.wasm.cases import Case, draw_case
from stigmergy.testing.wasm.choices import SeededChoices
from stigmergy.testing.wasm.comparing import disagreements
from stigmergy.testing.wasm.dumping import describe
from stigmergy.testing.wasm.oracle import PlainWasmtime
from stigmergy.testing.wasm.plan import Features
from stigmergy.wasm.engine import Engine

__all__ = [
    "COMPACT",
    "Findings",
    "Verdict",
    "case_of",
    "describe_seed",
    "judge",
    "open_engine",
    "parse_features",
    "run_campaign",
    "work",
]

COMPACT = "floats=15,size=24,functions=3,entries=2"
"""Features of modules that a software driver compiles in about a second."""
_CHUNK = 20
_MODULE_S = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a module: what differs, or why it could not be compared."""

    seed: int
    lines: tuple[str, ...] = ()
    unsupported: str | None = None
    elapsed_s: float = 0.0


@dataclass(slots=True)
class Findings:
    """What came of many."""

    judged: int = 0
    differing: list[Verdict] = field(default_factory=list[Verdict])
    unsupported: Counter[str] = field(default_factory=Counter[str])

    def add(self, verdict: Verdict) -> None:
        """Count a module."""
        self.judged += 1
        if verdict.lines:
            self.differing.append(verdict)
        if verdict.unsupported:
            self.unsupported[verdict.unsupported] += 1

    def __str__(self) -> str:
        lines = [
            f"modules: {self.judged}, with differences: {len(self.differing)}",
            f"not supported by an engine: {self.unsupported.total()}",
            *(f"  {count} of them: {why}" for why, count in self.unsupported.most_common(8)),
        ]
        for verdict in self.differing[:20]:
            # A line of each kind: most agents differ in the same manner.
            kinds = {re.sub(r"[0-9]+", "", line): line for line in reversed(verdict.lines)}
            lines += [f"seed {verdict.seed}:", *(f"  {line}" for line in list(kinds.values())[:6])]
        return "\n".join(lines)


def parse_features(text: str) -> Features:
    """Read features, such as `floats=0,size=24`; what is not named is as it is by default."""
    pairs = [one.split("=") for one in text.split(",") if one]
    return Features(**{name: int(value) for name, value in pairs})


def open_engine(name: str, cache: Path) -> Engine:
    """Open an engine by its name; the cache is for verdicts on shaders."""
    if name == "gpu":
        from stigmergy.wasm.gpu.engine import GpuEngine

        return GpuEngine(cache=cache, trial="never")
    from stigmergy.wasm.cpu.engine import CpuEngine

    return CpuEngine(threads=1)


def judge(
    seed: int,
    engines: Sequence[Engine],
    oracle: PlainWasmtime,
    features: str = "",
) -> Verdict:
    """Draw a case from a seed, and compare what the engines and plain wasmtime make of it."""
    begun = time.monotonic()
    case = case_of(seed, features)
    try:
        lines = disagreements(case, engines, oracle)
    except UnsupportedError as error:
        return Verdict(seed, unsupported=str(error), elapsed_s=time.monotonic() - begun)
    except Exception as error:  # noqa: BLE001 - an engine that fails is a finding, not the end
        lines = [f"{type(error).__name__}: {error}"]
    return Verdict(seed, tuple(lines), elapsed_s=time.monotonic() - begun)


def work(seeds: Sequence[int], names: Sequence[str], features: str) -> None:
    """Judge some seeds in this process; on the standard output stands a JSON object for each."""
    oracle = PlainWasmtime()
    with ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory())
        engines = [stack.enter_context(closing(open_engine(one, Path(cache)))) for one in names]
        for seed in seeds:
            sys.stdout.write(json.dumps({"begins": seed}) + "\n")
            sys.stdout.flush()
            verdict = judge(seed, engines, oracle, features)
            sys.stdout.write(json.dumps(asdict(verdict)) + "\n")
            sys.stdout.flush()


def run_campaign(
    first: int,
    count: int,
    names: Sequence[str],
    *,
    processes: int,
    features: str = "",
) -> Iterator[Verdict]:
    """Judge the seeds from `first` on by several processes; yields verdicts as they come."""
    chunks = [
        range(start, min(start + _CHUNK, first + count))
        for start in range(first, first + count, _CHUNK)
    ]
    with ThreadPoolExecutor(processes) as pool:
        futures = [pool.submit(_chunk, chunk, names, features) for chunk in chunks]
        for future in as_completed(futures):
            yield from future.result()


def describe_seed(seed: int, features: str = "") -> str:
    """Return the case of a seed as text."""
    return describe(case_of(seed, features))


def case_of(seed: int, features: str = "") -> Case:
    """Return the case of a seed."""
    return draw_case(SeededChoices(seed), parse_features(features))


def _chunk(seeds: range, names: Sequence[str], features: str) -> list[Verdict]:
    """Judge some seeds in another process, and in one more what comes after one that ended it."""
    argv = [sys.executable, "-m", "stigmergy.testing.wasm", "--engines", ",".join(names), "--work"]
    argv += [str(seeds.start), str(seeds.stop), "--features", features]
    environment = {**LAVAPIPE_IN_A_HURRY, **os.environ}
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=_MODULE_S * len(seeds),
            env=environment,
            check=False,
        )
        output, end = done.stdout, f"the process ended with {done.returncode}: {done.stderr[-600:]}"
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else ""
        end = "it did not end in time"
    verdicts: list[Verdict] = []
    begun = seeds.start
    for line in output.splitlines():
        told: dict[str, Any] = json.loads(line)
        if "begins" in told:
            begun = told["begins"]
        else:
            told["lines"] = tuple(told["lines"])
            verdicts.append(Verdict(**told))
    if len(verdicts) == len(seeds):
        return verdicts
    verdicts.append(Verdict(begun, (end,)))
    rest = range(begun + 1, seeds.stop)
    return verdicts + (_chunk(rest, names, features) if rest else [])
