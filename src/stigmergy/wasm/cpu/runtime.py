"""wasmtime configured as the engine's rules demand, and modules compiled by it."""

from __future__ import annotations

from hashlib import sha256
from threading import Lock

from stigmergy.errors import StigmergyError
from stigmergy.wasm.cpu import binding
from stigmergy.wasm.cpu.binding import Cell, Pointer
from stigmergy.wasm.cpu.stacks import STACK_BYTES, Stacks

__all__ = ["CompiledModule", "Runtime"]

_MODULES_KEPT = 16
_SETTINGS = (
    (binding.config_consume_fuel, 1),
    (binding.config_nan_canonicalization, 1),
    (binding.config_relaxed_simd_deterministic, 1),
    # What memories of less than a page are made with.
    (binding.config_custom_page_sizes, 1),
    (binding.config_threads, 0),
    (binding.config_tail_call, 0),
    # Constants may name a global of the module's own, which an imported one becomes.
    (binding.config_gc, 1),
    (binding.config_function_references, 1),
    (binding.config_multi_memory, 0),
    (binding.config_exceptions, 0),
    (binding.config_concurrency_support, 0),
    (binding.config_memory_reservation, 0),
    (binding.config_memory_guard_size, 0),
    (binding.config_memory_reservation_for_growth, 0),
    (binding.config_memory_init_cow, 0),
    (binding.config_async_stack_size, STACK_BYTES),
)


class Runtime:
    """One wasmtime engine. Safe to share between threads.

    It counts fuel, and gives NaNs and relaxed vectors that are the same on every machine. Memories
    are bounds-checked by code, not by pages that fault: that is what lets 100,000 of them fit into
    an address space, and keeps the kernel from counting each as a mapping (so there are no
    copy-on-write images of data either).
    """

    def __init__(self) -> None:
        self.stacks = Stacks()
        self._lock = Lock()
        self._kept: dict[bytes, Pointer] = {}
        config = binding.config_new()
        for setting, value in _SETTINGS:
            setting(config, value)
        self.stacks.use_in(config)
        self.address: Pointer = binding.engine_new(config)

    def compile(self, wasm: bytes) -> CompiledModule:
        """Compile a module, or take it from those that were compiled last.

        Raises:
            StigmergyError: It is not valid.
        """
        digest = sha256(wasm).digest()
        with self._lock:
            kept = self._kept.pop(digest, 0) or self._compile(wasm)
            self._kept[digest] = kept
            if len(self._kept) > _MODULES_KEPT:
                binding.module_delete(self._kept.pop(next(iter(self._kept))))
            return CompiledModule(self.stacks, binding.module_clone(kept))

    def _compile(self, wasm: bytes) -> Pointer:
        found = Cell()
        error = binding.module_new(self.address, wasm, len(wasm), found.address)
        if error:
            message = f"wasmtime cannot compile the module: {binding.take_message(error=error)}"
            raise StigmergyError(message)
        return found[0]

    def close(self) -> None:
        """Free the engine; modules and stores made of it keep what they need. Idempotent."""
        with self._lock:
            while self._kept:
                binding.module_delete(self._kept.popitem()[1])
            address, self.address = self.address, 0
        if address:
            binding.engine_delete(address)


class CompiledModule:
    """A module's machine code. What is instantiated of it keeps it from being freed."""

    def __init__(self, stacks: Stacks, address: Pointer) -> None:
        # The stacks must live as long as anything of their engine.
        self._stacks = stacks
        self.address = address

    def close(self) -> None:
        """Let go of the code. Idempotent."""
        address, self.address = self.address, 0
        if address:
            binding.module_delete(address)
