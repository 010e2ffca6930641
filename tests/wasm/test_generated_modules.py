"""The generator of modules: what it writes is valid, can be read back, and runs where it should."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import event, given, settings

from stigmergy.testing.wasm.cases import draw_case
from stigmergy.testing.wasm.choices import SeededChoices
from stigmergy.testing.wasm.comparing import BUDGET
from stigmergy.testing.wasm.dumping import describe
from stigmergy.testing.wasm.encoding import encode, signed_leb128, unsigned_leb128
from stigmergy.testing.wasm.oracle import PlainWasmtime
from stigmergy.testing.wasm.spec import ModuleSpec
from stigmergy.testing.wasm.statistics import Statistics
from stigmergy.testing.wasm.strategies import cases, modules
from stigmergy.wasm.module.bytesreader import BytesReader
from stigmergy.wasm.module.decode import decode
from stigmergy.wasm.module.instructions import INSTRUCTIONS, PREFIXED
from stigmergy.wasm.module.model import FunctionBody


@pytest.fixture(scope="module")
def oracle() -> PlainWasmtime:
    return PlainWasmtime()


@given(modules())
def test_every_module_is_valid(spec: ModuleSpec) -> None:
    assert PlainWasmtime().validate(encode(spec)) is None


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
def test_twenty_thousand_modules_are_valid(oracle: PlainWasmtime) -> None:
    for seed in range(20_000):
        assert oracle.validate(draw_case(SeededChoices(seed)).wasm) is None, f"seed {seed}"


@given(modules())
@settings(max_examples=50)
def test_decoding_gives_back_what_was_encoded(spec: ModuleSpec) -> None:
    module = decode(encode(spec))
    assert module.types == spec.types
    assert module.imports == spec.imports
    assert (module.tables, module.memories) == (spec.tables, spec.memories)
    assert (module.exports, module.start) == (spec.exports, spec.start)
    assert [one.mode for one in module.elements] == [one.mode for one in spec.elements]
    assert [one.content for one in module.data] == [one.content for one in spec.data]
    first = spec.imported_functions
    for number, function in enumerate(spec.functions):
        body = module.body(first + number)
        assert module.function_types[number] == function.type
        assert without_offsets(body) == FunctionBody(function.locals, function.body)


def without_offsets(body: FunctionBody) -> FunctionBody:
    return replace(body, instructions=tuple(replace(one, offset=0) for one in body.instructions))


@pytest.mark.parametrize("value", [0, 1, 63, 64, 127, 128, 300, 2**31 - 1, 2**32 - 1, 2**63 - 1])
def test_numbers_are_read_back(value: int) -> None:
    assert BytesReader(unsigned_leb128(value)).unsigned(64) == value
    for one in (value, -value, -value - 1):
        assert BytesReader(signed_leb128(one)).signed(64) == one


def test_the_same_seed_draws_the_same_case() -> None:
    assert draw_case(SeededChoices(7)) == draw_case(SeededChoices(7))
    assert draw_case(SeededChoices(7)).wasm != draw_case(SeededChoices(8)).wasm


@given(cases(agents=2))
@settings(max_examples=10)
def test_a_case_can_be_described(case: object) -> None:
    from stigmergy.testing.wasm.cases import Case

    assert isinstance(case, Case)
    text = describe(case)
    assert "i32" in text
    for one in PlainWasmtime().run(case, BUDGET):
        event(one.status.name if one.trap is None else str(one.trap.kind))


def test_most_of_what_is_generated_runs(oracle: PlainWasmtime) -> None:
    found = Statistics()
    for seed in range(120):
        found.add(oracle, draw_case(SeededChoices(seed)), budget=BUDGET)
    print(found)
    assert len(found.never_reached()) < 8
    assert 0.10 < found.share_trapped < 0.45
    assert found.share_cut < 0.05
    assert found.share_functions_entered > 0.75
    assert len(found.traps) >= 6
    assert found.median_count > 100


def test_every_instruction_can_be_written() -> None:
    names = {name for name, _ in (*INSTRUCTIONS.values(), *PREFIXED.values())}
    seen = {
        one.name
        for seed in range(300)
        for function in draw_case(SeededChoices(seed)).spec.functions
        for one in function.body
    }
    assert names - seen == set()
