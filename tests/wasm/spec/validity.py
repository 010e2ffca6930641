"""What is a valid module in WebAssembly 2.0: what was proposed since makes more of them valid."""

from __future__ import annotations

from wasmtime import Config, Engine, Module, WasmtimeError

_SINCE = (
    "wasm_threads",
    "wasm_tail_call",
    "wasm_multi_memory",
    "wasm_memory64",
    "wasm_relaxed_simd",
    "wasm_exceptions",
    "wasm_gc",
    "wasm_function_references",
    "wasm_wide_arithmetic",
    "wasm_custom_page_sizes",
    "wasm_stack_switching",
    "shared_memory",
)


class Validator:
    """Judges modules by the state of the language that the suite has."""

    def __init__(self) -> None:
        config = Config()
        for proposal in _SINCE:
            setattr(config, proposal, False)
        self._engine = Engine(config)

    def __call__(self, wasm: bytes) -> str | None:
        """Return what is wrong with a module, None if it is valid."""
        try:
            Module.validate(self._engine, wasm)
        except WasmtimeError as error:
            return str(error)
        return None
