"""wasmtime's C interface, as far as the CPU engine calls it: the only place that knows ctypes.

Pointers are addresses (int, None or 0 where null). The structures of the interface are laid out in
64-bit words, so numpy arrays serve for them. Functions that run an agent, or may wait, release
Python's lock; the others are shorter than taking it again.

Source: wasmtime's C API, crates/c-api/include/wasmtime/*.h (version 50: the structures and the
asynchronous functions are not stable between major versions, which pyproject.toml pins).
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from typing import Any, Final

__all__ = [
    "EXTERN_WORDS",
    "VALUE_KINDS",
    "VALUE_WORDS",
    "AsyncCallback",
    "Cell",
    "ContinuationCallback",
    "HostCallback",
    "Pointer",
    "StackCallback",
    "StackEndCallback",
    "StackFreeCallback",
    "address_of",
    "error_new",
    "functype",
    "map_memory",
    "peek",
    "peek_word",
    "poke",
    "poke_word",
    "take_message",
]

VALUE_WORDS: Final = 4
"""A `wasmtime_val_t`: its kind in the first byte, its content from the second word on."""
EXTERN_WORDS: Final = 5
"""A `wasmtime_extern_t`: its kind in the first byte, the thing itself from the second word on."""
VALUE_KINDS: Final = {
    "i32": 0,
    "i64": 1,
    "f32": 2,
    "f64": 3,
    "v128": 4,
    "funcref": 5,
    "externref": 6,
}

Pointer = int
"""An address."""

_P = ctypes.c_void_p
_SIZE = ctypes.c_size_t
_U64 = ctypes.c_uint64
_I64 = ctypes.c_int64
_BOOL = ctypes.c_bool

HostCallback = ctypes.CFUNCTYPE(_SIZE, _P, _P, _P, _SIZE)
"""(environment, caller, arguments and results, how many) -> a trap or 0."""
AsyncCallback = ctypes.CFUNCTYPE(None, _P, _P, _P, _SIZE, _P, _SIZE, _P, _P)
"""(environment, caller, arguments, n, results, n, where a trap goes, the continuation)."""
ContinuationCallback = ctypes.CFUNCTYPE(_BOOL, _P)
"""(environment) -> whether the call is over."""
StackCallback = ctypes.CFUNCTYPE(_P, _P, _SIZE, _BOOL, _P)
"""(environment, size, zeroed, where the stack's description goes) -> an error or null."""
StackEndCallback = ctypes.CFUNCTYPE(_P, _P, _P)
"""(the stack, where its size goes) -> the end of it."""
StackFreeCallback = ctypes.CFUNCTYPE(None, _P)
"""(the stack)."""


def _libraries() -> tuple[ctypes.CDLL, ctypes.PyDLL]:
    """Open wasmtime's library anew: function objects of our own, with types of our own."""
    from wasmtime._ffi import filename

    return ctypes.CDLL(str(filename)), ctypes.PyDLL(str(filename))


_RELEASING, _HOLDING = _libraries()


def _function(name: str, result: Any, *arguments: Any, releasing: bool = False) -> Any:
    function = getattr(_RELEASING if releasing else _HOLDING, name)
    function.restype = result
    function.argtypes = arguments
    return function


def _setting(name: str, kind: Any) -> Callable[[Pointer, int], None]:
    return _function(f"wasmtime_config_{name}_set", None, _P, kind)


# Configuration and engine.
config_new: Callable[[], Pointer] = _function("wasm_config_new", _P)
config_consume_fuel = _setting("consume_fuel", _BOOL)
config_nan_canonicalization = _setting("cranelift_nan_canonicalization", _BOOL)
config_memory_reservation = _setting("memory_reservation", _U64)
config_memory_guard_size = _setting("memory_guard_size", _U64)
config_memory_reservation_for_growth = _setting("memory_reservation_for_growth", _U64)
config_memory_init_cow = _setting("memory_init_cow", _BOOL)
config_async_stack_size = _setting("async_stack_size", _SIZE)
config_concurrency_support = _setting("concurrency_support", _BOOL)
config_relaxed_simd_deterministic = _setting("wasm_relaxed_simd_deterministic", _BOOL)
config_custom_page_sizes = _setting("wasm_custom_page_sizes", _BOOL)
config_threads = _setting("wasm_threads", _BOOL)
config_tail_call = _setting("wasm_tail_call", _BOOL)
config_gc = _setting("wasm_gc", _BOOL)
config_function_references = _setting("wasm_function_references", _BOOL)
config_multi_memory = _setting("wasm_multi_memory", _BOOL)
config_exceptions = _setting("wasm_exceptions", _BOOL)
config_host_stack_creator: Callable[[Pointer, Pointer], None] = _function(
    "wasmtime_config_host_stack_creator_set", None, _P, _P
)
engine_new: Callable[[Pointer], Pointer] = _function(
    "wasm_engine_new_with_config", _P, _P, releasing=True
)
engine_delete: Callable[[Pointer], None] = _function("wasm_engine_delete", None, _P)

# Modules.
module_new: Callable[[Pointer, bytes, int, Pointer], Pointer | None] = _function(
    "wasmtime_module_new", _P, _P, ctypes.c_char_p, _SIZE, _P, releasing=True
)
module_clone: Callable[[Pointer], Pointer] = _function("wasmtime_module_clone", _P, _P)
module_delete: Callable[[Pointer], None] = _function("wasmtime_module_delete", None, _P)

# Linkers.
linker_new: Callable[[Pointer], Pointer] = _function("wasmtime_linker_new", _P, _P)
linker_delete: Callable[[Pointer], None] = _function("wasmtime_linker_delete", None, _P)
linker_allow_shadowing: Callable[[Pointer, int], None] = _function(
    "wasmtime_linker_allow_shadowing", None, _P, _BOOL
)
linker_define_function: Callable[
    [Pointer, bytes, int, bytes, int, Pointer, Any, int, None], Pointer | None
] = _function(
    "wasmtime_linker_define_func_unchecked",
    _P, _P, ctypes.c_char_p, _SIZE, ctypes.c_char_p, _SIZE, _P, HostCallback, _P, _P,
)  # fmt: skip
linker_define_async_function: Callable[
    [Pointer, bytes, int, bytes, int, Pointer, Any, int, None], Pointer | None
] = _function(
    "wasmtime_linker_define_async_func",
    _P, _P, ctypes.c_char_p, _SIZE, ctypes.c_char_p, _SIZE, _P, AsyncCallback, _P, _P,
)  # fmt: skip
linker_instantiate_pre: Callable[[Pointer, Pointer, Pointer], Pointer | None] = _function(
    "wasmtime_linker_instantiate_pre", _P, _P, _P, _P
)
linker_define_instance: Callable[[Pointer, Pointer, bytes, int, Pointer], Pointer | None] = (
    _function("wasmtime_linker_define_instance", _P, _P, _P, ctypes.c_char_p, _SIZE, _P)
)
linker_instantiate_async: Callable[
    [Pointer, Pointer, Pointer, Pointer, Pointer, Pointer], Pointer
] = _function("wasmtime_linker_instantiate_async", _P, _P, _P, _P, _P, _P, _P)

# Types of functions.
_valtype_new: Callable[[int], Pointer] = _function("wasm_valtype_new", _P, ctypes.c_uint8)
_valtype_vec_new: Callable[[Pointer, int, Pointer], None] = _function(
    "wasm_valtype_vec_new", None, _P, _SIZE, _P
)
_functype_new: Callable[[Pointer, Pointer], Pointer] = _function("wasm_functype_new", _P, _P, _P)
functype_delete: Callable[[Pointer], None] = _function("wasm_functype_delete", None, _P)

# Stores and instances.
store_new: Callable[[Pointer, int | None, None], Pointer] = _function(
    "wasmtime_store_new", _P, _P, _P, _P
)
store_context: Callable[[Pointer], Pointer] = _function("wasmtime_store_context", _P, _P)
store_delete: Callable[[Pointer], None] = _function("wasmtime_store_delete", None, _P)
context_get_data: Callable[[Pointer], int | None] = _function("wasmtime_context_get_data", _P, _P)
set_fuel: Callable[[Pointer, int], Pointer | None] = _function(
    "wasmtime_context_set_fuel", _P, _P, _U64
)
get_fuel: Callable[[Pointer, Pointer], Pointer | None] = _function(
    "wasmtime_context_get_fuel", _P, _P, _P
)
set_yield_interval: Callable[[Pointer, int], Pointer | None] = _function(
    "wasmtime_context_fuel_async_yield_interval", _P, _P, _U64
)
instance_pre_delete: Callable[[Pointer], None] = _function("wasmtime_instance_pre_delete", None, _P)
instance_pre_instantiate: Callable[[Pointer, Pointer, Pointer, Pointer], Pointer | None] = (
    _function("wasmtime_instance_pre_instantiate", _P, _P, _P, _P, _P)
)
instance_pre_instantiate_async: Callable[[Pointer, Pointer, Pointer, Pointer, Pointer], Pointer] = (
    _function("wasmtime_instance_pre_instantiate_async", _P, _P, _P, _P, _P, _P)
)
instance_export_get: Callable[[Pointer, Pointer, bytes, int, Pointer], bool] = _function(
    "wasmtime_instance_export_get", _BOOL, _P, _P, ctypes.c_char_p, _SIZE, _P
)

# Calls.
call_async: Callable[[Pointer, Pointer, Pointer, int, Pointer, int, Pointer, Pointer], Pointer] = (
    _function("wasmtime_func_call_async", _P, _P, _P, _P, _SIZE, _P, _SIZE, _P, _P)
)
future_poll: Callable[[Pointer], bool] = _function(
    "wasmtime_call_future_poll", _BOOL, _P, releasing=True
)
future_delete: Callable[[Pointer], None] = _function("wasmtime_call_future_delete", None, _P)
caller_context: Callable[[Pointer], Pointer] = _function("wasmtime_caller_context", _P, _P)

# Memories, globals, tables, references.
memory_data: Callable[[Pointer, Pointer], int | None] = _function(
    "wasmtime_memory_data", _P, _P, _P
)
memory_data_size: Callable[[Pointer, Pointer], int] = _function(
    "wasmtime_memory_data_size", _SIZE, _P, _P
)
global_get: Callable[[Pointer, Pointer, Pointer], None] = _function(
    "wasmtime_global_get", None, _P, _P, _P
)
global_set: Callable[[Pointer, Pointer, Pointer], Pointer | None] = _function(
    "wasmtime_global_set", _P, _P, _P, _P
)
externref_new: Callable[[Pointer, int | None, None, Pointer], bool] = _function(
    "wasmtime_externref_new", _BOOL, _P, _P, _P, _P
)
externref_data: Callable[[Pointer, Pointer], int | None] = _function(
    "wasmtime_externref_data", _P, _P, _P
)
value_unroot: Callable[[Pointer], None] = _function("wasmtime_val_unroot", None, _P)

# Traps and errors.
trap_code: Callable[[Pointer, Pointer], bool] = _function("wasmtime_trap_code", _BOOL, _P, _P)
trap_origin: Callable[[Pointer], Pointer | None] = _function("wasm_trap_origin", _P, _P)
trap_new_code: Callable[[int], Pointer] = _function("wasmtime_trap_new_code", _P, ctypes.c_uint8)
trap_delete: Callable[[Pointer], None] = _function("wasm_trap_delete", None, _P)
_trap_message: Callable[[Pointer, Pointer], None] = _function("wasm_trap_message", None, _P, _P)
frame_function: Callable[[Pointer], int] = _function("wasm_frame_func_index", ctypes.c_uint32, _P)
frame_offset: Callable[[Pointer], int] = _function("wasm_frame_module_offset", _SIZE, _P)
frame_delete: Callable[[Pointer], None] = _function("wasm_frame_delete", None, _P)
_error_new: Callable[[bytes], Pointer] = _function("wasmtime_error_new", _P, ctypes.c_char_p)
_error_message: Callable[[Pointer, Pointer], None] = _function(
    "wasmtime_error_message", None, _P, _P
)
_error_delete: Callable[[Pointer], None] = _function("wasmtime_error_delete", None, _P)
_bytes_delete: Callable[[Pointer], None] = _function("wasm_byte_vec_delete", None, _P)

peek: Callable[[Pointer, int], bytes] = ctypes.string_at
"""(address, size) -> the bytes there."""
poke: Callable[[Pointer, bytes | Pointer, int], int] = ctypes.memmove
"""(address, bytes or the address of some, size)."""


class Cell:
    """A few 64-bit words with an address."""

    __slots__ = ("_words", "address")

    def __init__(self, words: int = 1) -> None:
        self._words = (_U64 * words)()
        self.address: Pointer = ctypes.addressof(self._words)

    def __getitem__(self, word: int) -> int:
        return self._words[word]

    def __setitem__(self, word: int, value: int) -> None:
        self._words[word] = value


def peek_word(address: Pointer) -> int:
    """Return the 64-bit word at an address."""
    return _U64.from_address(address).value


def poke_word(address: Pointer, value: int) -> None:
    """Write a 64-bit word to an address."""
    _U64.from_address(address).value = value


def address_of(callback: Any) -> Pointer:
    """Return the address of the machine code of a callback."""
    address = ctypes.cast(callback, _P).value
    assert address
    return address


def functype(parameters: list[int], results: list[int]) -> Pointer:
    """Make a `wasm_functype_t` from kinds of values; the caller deletes it."""
    vectors = Cell(4)
    for at, kinds in ((0, parameters), (2, results)):
        items = (_P * len(kinds))(*(_valtype_new(_WASM_KINDS[kind]) for kind in kinds))
        _valtype_vec_new(vectors.address + 8 * at, len(kinds), ctypes.addressof(items))
    return _functype_new(vectors.address, vectors.address + 16)


_WASM_KINDS: Final = {0: 0, 1: 1, 2: 2, 3: 3, 5: 129, 6: 128}
"""The kinds of `wasm_valtype_t`, by those of `wasmtime_val_t`."""


def error_new(message: str) -> Pointer:
    """Make an error for a callback to return, which gives it to wasmtime."""
    return _error_new(message.encode())


def take_message(*, error: Pointer = 0, trap: Pointer = 0) -> str:
    """Return what an error or a trap says, and delete it."""
    vector = Cell(2)
    if error:
        _error_message(error, vector.address)
        _error_delete(error)
    else:
        _trap_message(trap, vector.address)
        trap_delete(trap)
    text = peek(vector[1], vector[0]) if vector[0] else b""
    _bytes_delete(vector.address)
    return text.decode(errors="replace").rstrip("\0").strip()


def map_memory(size: int) -> tuple[mmap.mmap, Pointer]:
    """Map memory that takes no room until it is used; it is unmapped with the object."""
    no_reserve = getattr(mmap, "MAP_NORESERVE", 0)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve
    mapped = mmap.mmap(-1, size, flags=flags)
    return mapped, ctypes.addressof(ctypes.c_char.from_buffer(mapped))
