"""What became of an agent, so that two ways of running it can be compared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

from stigmergy.wasm.engine import Status, Trap

__all__ = ["Observation", "differences"]


@dataclass(frozen=True, slots=True)
class Observation:
    """An agent after a call. None stands for what is not known, and is equal to everything."""

    status: Status
    count: int | None = None
    results: tuple[int, ...] | None = None
    trap: Trap | None = None
    """None too where an agent did not trap; of a trap, a function or offset of None is unknown."""
    memory: bytes | None = None
    globals: tuple[int, ...] | None = None
    """References are 0."""
    output: bytes | None = None
    outbox: tuple[tuple[int, bytes], ...] | None = None
    inbox: tuple[tuple[int, bytes], ...] | None = None
    stops: tuple[tuple[Status, int], ...] | None = field(default=None)
    """The status and the count after each slice."""


def differences(one: Sequence[Observation], other: Sequence[Observation]) -> list[str]:
    """Return what differs between the same agents run in two ways, a line each."""
    return [
        f"agent {agent}: {line}"
        for agent, (left, right) in enumerate(zip(one, other, strict=True))
        for line in _differences(left, right)
    ]


def _differences(one: Observation, other: Observation) -> Iterator[str]:
    for part in fields(Observation):
        left, right = getattr(one, part.name), getattr(other, part.name)
        if left is None or right is None or left == right:
            continue
        match part.name:
            case "trap" if _same_trap(left, right):
                continue
            case "memory":
                yield _memory_difference(left, right)
            case "stops":
                pairs = enumerate(zip(left, right, strict=False))
                at = next((at for at, (a, b) in pairs if a != b), None)
                where = "in number" if at is None else f"at {at}: {left[at]} and {right[at]}"
                yield f"the stops differ {where}"
            case "results" | "globals":
                yield f"{part.name}: {_hexadecimal(left)} and {_hexadecimal(right)}"
            case name:
                yield f"{name}: {left!s} and {right!s}"


def _same_trap(one: Trap, other: Trap) -> bool:
    return (
        one.kind == other.kind
        and (one.function == other.function or None in (one.function, other.function))
        and (one.offset == other.offset or None in (one.offset, other.offset))
    )


def _memory_difference(one: bytes, other: bytes) -> str:
    if len(one) != len(other):
        return f"the memory's size: {len(one)} and {len(other)}"
    different = [at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    at = different[0]
    here = f"{one[at : at + 8].hex()} and {other[at : at + 8].hex()}"
    return f"the memory differs in {len(different)} bytes, first at {at}: {here}"


def _hexadecimal(values: Sequence[int]) -> str:
    return "(" + ", ".join(f"{value:#x}" for value in values) + ")"
