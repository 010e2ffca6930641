"""WebAssembly agents: thousands of them in one dispatch, on the CPU and on the GPU.

The names below are loaded when first used, for they need numpy and wasmtime (the extra `wasm`).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stigmergy.wasm.batch import BatchAgent
    from stigmergy.wasm.engine import DeviceLostError, Trap, TrapKind
    from stigmergy.wasm.manager import SwarmManager
    from stigmergy.wasm.result import SwarmResult
    from stigmergy.wasm.runtime import WASMRuntime

__all__ = [
    "BatchAgent",
    "DeviceLostError",
    "SwarmManager",
    "SwarmResult",
    "Trap",
    "TrapKind",
    "WASMRuntime",
]

_HOMES = {
    "BatchAgent": "batch",
    "DeviceLostError": "engine",
    "SwarmManager": "manager",
    "SwarmResult": "result",
    "Trap": "engine",
    "TrapKind": "engine",
    "WASMRuntime": "runtime",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    import importlib

    try:
        module = importlib.import_module(f"stigmergy.wasm.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if error.name not in ("numpy", "wasmtime"):
            raise
        from stigmergy.errors import UnsupportedError

        message = f"WebAssembly agents need {error.name}: pip install 'stigmergy[wasm]'"
        raise UnsupportedError(message) from error
    return getattr(module, name)
