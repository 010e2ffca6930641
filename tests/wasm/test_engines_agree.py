"""Random modules give the same on every engine, however their agents are sliced.

The same are: results (their bits), memories, globals, traps (kind, function, byte), counts,
outputs, mailboxes, and after each slice the status and the count.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings

from stigmergy.errors import UnsupportedError
from stigmergy.testing.wasm.campaign import (
    COMPACT,
    Findings,
    judge,
    open_engine,
    parse_features,
    run_campaign,
)
from stigmergy.testing.wasm.cases import Case
from stigmergy.testing.wasm.comparing import disagreements
from stigmergy.testing.wasm.dumping import describe
from stigmergy.testing.wasm.oracle import PlainWasmtime
from stigmergy.testing.wasm.strategies import cases
from stigmergy.wasm.engine import Engine

ON_CPU = 250
ON_GPU = 60
PARTS = 4
"""A software driver takes half a second to compile one: the parts are shared among processes."""
NIGHTLY = 20_000
SUPPORTED = 0.95
"""The least part of the modules that the GPU engine must be able to run."""


@pytest.fixture(scope="module")
def oracle() -> PlainWasmtime:
    return PlainWasmtime()


@pytest.fixture(scope="module")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = open_engine("cpu", tmp_path_factory.mktemp("none"))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def both(cpu: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Engine]]:
    engine = open_engine("gpu", tmp_path_factory.mktemp("verdicts"))
    yield [cpu, engine]
    engine.close()


def test_the_cpu_engine_agrees_with_plain_wasmtime(cpu: Engine, oracle: PlainWasmtime) -> None:
    findings = Findings()
    for seed in range(ON_CPU):
        findings.add(judge(seed, [cpu], oracle))
    assert not findings.differing, str(findings)
    assert not findings.unsupported, str(findings)


# A fault that Hypothesis finds, it makes small; the seeds above are not made small.
@given(case=cases(agents=2))
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_cpu_engine_agrees_on_what_hypothesis_draws(
    case: Case, cpu: Engine, oracle: PlainWasmtime
) -> None:
    check(case, [cpu], oracle)


@pytest.mark.needs_vulkan
@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_the_engines_agree(part: int, both: Sequence[Engine], oracle: PlainWasmtime) -> None:
    findings = Findings()
    for seed in range(part, ON_GPU, PARTS):
        findings.add(judge(seed, both, oracle, COMPACT))
    assert not findings.differing, str(findings)
    assert findings.unsupported.total() <= (1 - SUPPORTED) * ON_GPU / PARTS + 1, str(findings)


@pytest.mark.needs_vulkan
@pytest.mark.nightly
@given(case=cases(parse_features(COMPACT), agents=2))
@settings(
    max_examples=200,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_engines_agree_on_what_hypothesis_draws(
    case: Case, both: Sequence[Engine], oracle: PlainWasmtime
) -> None:
    check(case, both, oracle)


@pytest.mark.needs_vulkan
@pytest.mark.nightly
@pytest.mark.timeout(12 * 3_600)
def test_the_engines_agree_on_twenty_thousand(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first = int(request.config.option.hypothesis_seed)
    findings = Findings()
    processes = os.cpu_count() or 1
    for verdict in run_campaign(
        first, NIGHTLY, ["cpu", "gpu"], processes=processes, features=COMPACT
    ):
        findings.add(verdict)
        if findings.judged % 100 == 0:
            with capsys.disabled():
                print(f"\n{findings.judged} of {NIGHTLY}: {len(findings.differing)} differ")
    assert not findings.differing, str(findings)
    assert findings.unsupported.total() <= (1 - SUPPORTED) * NIGHTLY, str(findings)


def check(case: Case, engines: Sequence[Engine], oracle: PlainWasmtime) -> None:
    try:
        found = disagreements(case, engines, oracle)
    except UnsupportedError as error:
        event(f"not supported: {error}")
        return
    assert not found, "\n".join([*found[:8], describe(case)])
