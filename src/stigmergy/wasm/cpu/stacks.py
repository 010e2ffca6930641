"""Stacks for agents that stop in the midst of a call.

wasmtime would map each stack by itself with a page before it that faults, and the kernel allows a
process about 65,000 mappings, so about 32,000 stacks. These stacks lie side by side in a few large
mappings. They need no such page: compiled code checks that it stays in its part, and below that is
room for the functions of the host, which do not recurse.
"""

from mmap import mmap

from stigmergy.wasm.cpu import binding

__all__ = ["STACK_BYTES", "Stacks"]

STACK_BYTES = 1 << 20
"""Of each stack; 512 KiB of it are for WebAssembly. What is not used takes no room."""
_STACKS_MAPPED = 64


class Stacks:
    """Hands out stacks and takes them back. Outlives the engine that it is given to."""

    def __init__(self) -> None:
        self._mappings: list[mmap] = []
        self._free: list[int] = []
        self._callbacks = (
            binding.StackCallback(self._new),
            binding.StackEndCallback(self._end),
            binding.StackFreeCallback(self._give_back),
        )
        self._addresses = tuple(binding.address_of(one) for one in self._callbacks)

    def use_in(self, config: binding.Pointer) -> None:
        """Let an engine of this configuration use these stacks."""
        creator = binding.Cell(3)
        creator[1] = self._addresses[0]
        binding.config_host_stack_creator(config, creator.address)

    @property
    def free(self) -> int:
        """How many stacks are mapped and not in use."""
        return len(self._free)

    def _new(
        self,
        _environment: int | None,
        size: int,
        _zeroed: bool,  # noqa: FBT001 - the order is wasmtime's
        description: int,
    ) -> int | None:
        """Describe a stack to wasmtime, or return an error: C code is between here and run."""
        assert size <= STACK_BYTES
        try:
            stack = self._take()
        except (OSError, MemoryError) as error:
            return binding.error_new(f"there is no room for the stack of an agent: {error}")
        binding.poke_word(description, stack)
        binding.poke_word(description + 8, self._addresses[1])
        binding.poke_word(description + 16, self._addresses[2])
        return None

    def _take(self) -> int:
        try:
            return self._free.pop()
        except IndexError:  # asking first whether one is there would be a race between threads
            return self._map()

    def _map(self) -> int:
        mapping, start = binding.map_memory(_STACKS_MAPPED * STACK_BYTES)
        self._mappings.append(mapping)
        self._free.extend(start + STACK_BYTES * at for at in range(1, _STACKS_MAPPED))
        return start

    @staticmethod
    def _end(stack: int, size: int) -> int:
        binding.poke_word(size, STACK_BYTES)
        return stack + STACK_BYTES

    def _give_back(self, stack: int) -> None:
        self._free.append(stack)
