"""The programs that engines are measured with, and what they must answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["KERNELS", "Kernel"]

_MASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Kernel:
    """An export of a module, the size that it is measured with, and its answer in Python."""

    name: str
    size: int
    expected: Callable[[int, int], int]
    """(agent, size) -> the result as an unsigned number."""
    file: str = "kernels.wat"
    memory_bytes: int = 1_024
    """The memory that an agent is given; it needs no more."""

    @property
    def module(self) -> str:
        """The module that has it, as text."""
        return _text(self.file)


@cache
def _text(file: str) -> str:
    return files("stigmergy.wasm.bench").joinpath(file).read_text()


@cache
def _xorshift(agent: int, size: int) -> int:
    x = (agent * 0x9E3779B1) & _MASK | 1
    for _ in range(size):
        x ^= (x << 13) & _MASK
        x ^= x >> 17
        x ^= (x << 5) & _MASK
    return x


@cache
def _collatz(agent: int, size: int) -> int:
    longest = 0
    for start in range(agent + 2, agent + size + 2):
        x, steps = start, 0
        while x > 1:
            x = (x * 3 + 1) & _MASK if x & 1 else x >> 1
            steps += 1
        longest = max(longest, steps)
    return longest


@cache
def _fib(agent: int, size: int) -> int:
    a, b = agent, 1
    for _ in range(size):
        a, b = b, (a + b) & ((1 << 64) - 1)
    return a & _MASK


@cache
def _sieve(agent: int, size: int) -> int:
    size += agent & 7
    composite = bytearray(size)
    count = 0
    for i in range(2, size):
        if not composite[i]:
            count += 1
            composite[2 * i :: i] = b"\1" * len(range(2 * i, size, i))
    return count


KERNELS: Mapping[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        Kernel("xorshift", 1_000, _xorshift),
        Kernel("collatz", 10, _collatz),
        Kernel("fib", 1_000, _fib),
        Kernel("sieve", 512, _sieve, "sieve.wat"),
    )
}
"""By name; a run takes between 10,000 and 30,000 instructions."""
