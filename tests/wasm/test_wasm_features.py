"""What a module uses beyond what runs here is refused by name when it is loaded."""

from __future__ import annotations

import pytest

from stigmergy.errors import UnsupportedError
from stigmergy.wasm import SwarmManager
from stigmergy.wasm.engines import EngineName
from stigmergy.wasm.module.proposals import InvalidModuleError

VECTOR = "(i32x4.extract_lane 0 (v128.const i32x4 5 6 7 8))"

NOWHERE = {
    "several memories": "(memory 1) (memory 1) (func)",
    "tail calls": "(func $g) (func (return_call $g))",
    "threads": "(memory 1 1 shared) (func)",
    "threads, in code": "(func (atomic.fence))",
    "exceptions": "(tag $e) (func (throw $e))",
    "exceptions, in code": "(func (block $b (try_table (catch_all $b))))",
    "garbage collection": "(type $s (struct (field i32))) (func)",
    "garbage collection, in code": "(func (drop (ref.i31 (i32.const 1))))",
    "typed function references": "(type $t (func)) (func (param (ref null $t)))",
    "typed function references, in code": """(type $t (func)) (func $g)
        (elem declare func $g) (func (call_ref $t (ref.func $g)))""",
    "custom page sizes": "(memory 1 (pagesize 1)) (func)",
    "stack switching": "(type $f (func)) (type $c (cont $f)) (func (param (ref null $c)))",
    "tail calls, several memories": """(memory 1) (memory 1) (func $g)
        (func (return_call $g))""",
}
NOT_ON_A_GPU = {
    "SIMD": f'(func (export "f") (result i32) {VECTOR})',
    "SIMD in a type": '(func (export "f") (param v128))',
    "SIMD at the start": f"""(func (export "f")) (func $s (drop {VECTOR})) (start $s)""",
    "SIMD in a callee": f"""(func $g (result i32) {VECTOR})
        (func (export "f") (result i32) (call $g))""",
    "64 bits": '(memory i64 1) (func (export "f"))',
    "wide arithmetic": """(func (export "f") (result i64 i64) (i64.add128
        (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1)))""",
}


@pytest.mark.parametrize("name", NOWHERE)
@pytest.mark.parametrize("engine", ["cpu", "gpu", "auto"])
def test_what_no_engine_runs_is_named_when_it_is_loaded(engine: EngineName, name: str) -> None:
    named = "tail calls, several memories" if name.startswith("tail calls,") else name
    with (
        SwarmManager(engine) as swarm,
        pytest.raises(UnsupportedError, match=named.partition(", in code")[0]),
    ):
        swarm.load_bytecode(f"(module {NOWHERE[name]})")
    assert not swarm.bytecode_loaded


@pytest.mark.parametrize("name", NOT_ON_A_GPU)
def test_what_a_gpu_cannot_run_is_named_when_it_is_loaded_and_runs_on_the_cpu(name: str) -> None:
    text = f"(module {NOT_ON_A_GPU[name]})"
    with (
        SwarmManager("gpu") as swarm,
        pytest.raises(UnsupportedError, match=name.partition(" in")[0].partition(" at")[0]),
    ):
        swarm.load_bytecode(text)
    if "param v128" not in text:
        with SwarmManager.from_wasm(text, "cpu") as swarm:
            agent = swarm.spawn_agent("f")
            assert swarm.dispatch().agent_results[agent] in (0, 2, 5)


@pytest.mark.needs_vulkan
def test_a_function_that_a_gpu_cannot_run_refuses_who_calls_it_and_nobody_else() -> None:
    text = f"""(module (memory 1)
      (func $vector (result i32) {VECTOR} (drop (memory.grow (i32.const 0))))
      (func $above (result i32) (call $vector))
      (func $deep (param i32) (result i32)
        (if (result i32) (local.get 0)
          (then (call $deep (i32.sub (local.get 0) (i32.const 1))))
          (else (i32.const 7))))
      (func (export "reaches") (result i32) (call $above))
      (func (export "plain") (result i32) (call $deep (i32.const 3))))"""
    with SwarmManager.from_wasm(text, "gpu") as swarm:
        for _ in range(2):
            with pytest.raises(UnsupportedError, match="SIMD"):
                swarm.spawn_agent("reaches")
        plain = swarm.spawn_agent("plain")
        assert swarm.dispatch().agent_results == {plain: 7}


def test_what_is_not_valid_is_so_whatever_else_it_uses() -> None:
    text = "(module (memory 1) (memory 1) (func (result i32) (return_call 0) (i64.const 1)))"
    with SwarmManager("cpu") as swarm, pytest.raises(InvalidModuleError, match="mismatch"):
        swarm.load_bytecode(text.replace("(return_call 0)", ""))
