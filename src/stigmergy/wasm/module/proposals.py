"""Which proposals to WebAssembly a module belongs to: wasmtime's validator is asked, with each on.

Its settings know the bodies of functions, too, and are quick; no text of its messages is read.
"""

from collections.abc import Collection, Iterable
from typing import Final

from stigmergy.errors import UnsupportedError, UsageError

__all__ = ["InvalidModuleError", "check_proposals", "is_plain"]

_REFUSED: Final = {
    "threads": ("threads", "shared_memory"),
    "tail calls": ("tail_call",),
    "several memories": ("multi_memory",),
    "typed function references": ("function_references",),
    "garbage collection": ("function_references", "gc"),
    "exceptions": ("exceptions",),
    "custom page sizes": ("custom_page_sizes",),
    "stack switching": ("stack_switching", "function_references", "exceptions"),
}
"""What no engine here runs, and the settings that allow it: the first that is enough names it."""
_CPU_ONLY: Final = ("memory64", "relaxed_simd", "simd", "wide_arithmetic")


class InvalidModuleError(UsageError):
    """Bytes that are no valid module; the message says what is wrong, and where if known."""


def check_proposals(wasm: bytes) -> None:
    """See that a module is valid, and of WebAssembly as an engine here runs it.

    Raises:
        InvalidModuleError: It is not valid, whatever is allowed.
        UnsupportedError: It uses something that no engine here runs, which is named.
    """
    if _fault(wasm, on=(), off=()) is None:
        return
    for name, settings in _REFUSED.items():
        if _fault(wasm, on=settings, off=()) is None:
            raise _unsupported([name])
    every = _every()
    fault = _fault(wasm, on=every, off=())
    if fault is not None:
        message = f"not a valid WebAssembly module: {fault}"
        raise InvalidModuleError(message)
    raise _unsupported(
        name
        for name, settings in _REFUSED.items()
        if _fault(wasm, on=every - set(settings), off=()) is not None
    )


def is_plain(wasm: bytes) -> bool:
    """Whether a module that an engine here runs uses nothing of what the CPU alone runs."""
    return _fault(wasm, on=(), off=_CPU_ONLY) is None


def _unsupported(names: Iterable[str]) -> UnsupportedError:
    message = f"the module uses {', '.join(names)}, which no engine here runs"
    return UnsupportedError(message)


def _every() -> set[str]:
    return {setting for settings in _REFUSED.values() for setting in settings}


def _fault(wasm: bytes, *, on: Collection[str], off: Collection[str]) -> str | None:
    """Return what is not valid with these settings, None where nothing is."""
    from wasmtime import Config, Engine, Module, WasmtimeError

    config = Config()
    for setting in _every():
        name = setting if setting == "shared_memory" else f"wasm_{setting}"
        setattr(config, name, setting in on)
    for setting in _CPU_ONLY:
        setattr(config, f"wasm_{setting}", setting not in off)
    # An engine takes microseconds; one that is kept cannot be freed when Python ends.
    engine = Engine(config)
    try:
        Module.validate(engine, wasm)
    except WasmtimeError as error:
        return str(error).strip()
    finally:
        engine.close()
    return None
