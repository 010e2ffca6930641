"""`link` gives the functions that are needed, each once, callees first, always alike."""

from __future__ import annotations

import random
import re

import pytest

from stigmergy.errors import NotFoundError
from stigmergy.wasm.gpu.library import SIGNATURES, Signature, link

BOTH = ["strict", "fast"]


def defined(text):
    return re.findall(r"^fn (\w+)\(", text, re.MULTILINE)


def bodies(text):
    parts = re.split(r"^fn (\w+)\(", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def called(body, names):
    return {name for name in re.findall(r"\b(\w+)\(", body) if name in names}


def test_nothing_asked_for_is_nothing_linked():
    assert link([]) == ""


def test_a_function_that_calls_none_comes_alone():
    assert link(["i64_add"]) == (
        "fn i64_add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {\n"
        "    let low = a.x + b.x;\n"
        "    return vec2<u32>(low, a.y + b.y + u32(low < a.x));\n"
        "}\n"
    )


def test_a_function_brings_what_it_calls_before_it():
    assert defined(link(["i64_mul"])) == ["_u32_mul_wide", "i64_mul"]


@pytest.mark.parametrize("floats", BOTH)
@pytest.mark.parametrize("name", SIGNATURES)
def test_what_is_linked_is_the_least_closure_callees_first(name, floats):
    everything = set(defined(link(SIGNATURES)))
    found = bodies(link([name], floats=floats))
    order = list(found)
    needed, open_ends = {name}, [name]
    while open_ends:
        caller = open_ends.pop()
        for callee in called(found[caller], everything):
            assert order.index(callee) < order.index(caller)
            if callee not in needed:
                needed.add(callee)
                open_ends.append(callee)
    assert set(order) == needed


@pytest.mark.parametrize("floats", BOTH)
def test_each_function_is_linked_once(floats):
    names = defined(link([*SIGNATURES, *SIGNATURES], floats=floats))
    assert len(names) == len(set(names))
    assert set(SIGNATURES) <= set(names)


def test_the_order_of_the_names_does_not_matter(rng: random.Random):
    names = rng.sample(sorted(SIGNATURES), 20)
    shuffled = rng.sample(names, len(names))
    assert link(names) == link(shuffled) == link([*names, *shuffled])


def test_comments_are_not_linked():
    assert "//" not in link(SIGNATURES)


@pytest.mark.parametrize("name", ["f32_fma", "_u64_shl", "f32.add", ""])
def test_a_name_that_the_library_does_not_have_is_refused(name):
    with pytest.raises(NotFoundError, match=re.escape(repr(name))):
        link(["i64_add", name])


@pytest.mark.parametrize("floats", BOTH)
def test_signatures_are_those_of_the_text(floats):
    text = link(SIGNATURES, floats=floats)
    for name, signature in SIGNATURES.items():
        params = ", ".join(
            f"{letter}: {param}" for letter, param in zip("ab", signature.params, strict=False)
        )
        assert f"fn {name}({params}) -> {signature.result} {{\n" in text


def test_signatures_are_immutable_values():
    assert SIGNATURES["i64_eqz"] == Signature(params=("vec2<u32>",), result="bool")
    with pytest.raises(TypeError):
        SIGNATURES["mine"] = SIGNATURES["i64_eqz"]


def numeric_instructions():
    """What WebAssembly computes with, less what a u32 operator says and what changes no bit."""
    both = ["lt", "gt", "le", "ge"]
    signed = [f"{op}_{sign}" for op in ["div", "rem", "shr", *both] for sign in "su"]
    integer = ["add", "sub", "mul", "and", "or", "xor", "shl", "rotl", "rotr", "eq", "ne"]
    integer += ["clz", "ctz", "popcnt", "eqz", "extend8_s", "extend16_s", *signed]
    plain = {"add", "sub", "mul", "and", "or", "xor", "eq", "ne", "eqz", "div_u", "rem_u"}
    plain |= {f"{op}_{sign}" for op in both for sign in "su"}
    yield from (f"i32_{op}" for op in integer if op not in plain)
    yield from (f"i64_{op}" for op in [*integer, "extend32_s", "extend_i32_s", "extend_i32_u"])
    real = ["add", "sub", "mul", "div", "sqrt", "min", "max", "ceil", "floor", "trunc", "nearest"]
    real += ["abs", "neg", "copysign", "eq", "ne", *both]
    for f in ("f32", "f64"):
        yield from (f"{f}_{op}" for op in real)
        for i in ("i32", "i64"):
            for sign in "su":
                yield f"{f}_convert_{i}_{sign}"
                yield f"{i}_trunc_{f}_{sign}"
                yield f"{i}_trunc_{f}_{sign}_trap"
                yield f"{i}_trunc_sat_{f}_{sign}"
    yield from ("i32_wrap_i64", "f32_demote_f64", "f64_promote_f32")


def test_every_numeric_instruction_has_its_function_and_there_is_no_other():
    assert sorted(numeric_instructions()) == sorted(SIGNATURES)
