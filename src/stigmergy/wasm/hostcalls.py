"""What a module may import from its swarm: the functions of the module named `stigmergy`.

Every answer follows from the agent's number, the swarm's seed and what the agent did before, so a
run repeats itself, on every engine and however it is sliced. Engines implement these functions;
this module says what they mean, and computes what can be computed without an engine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.module.model import (
    FunctionType,
    GlobalType,
    Import,
    Limits,
    MemoryType,
    Module,
    TableType,
)

__all__ = [
    "HOST_MODULE",
    "NO_MESSAGE",
    "HostCall",
    "Imports",
    "ResolvedImports",
    "SendAnswer",
    "clock_ns",
    "random_bits",
    "resolve_imports",
    "with_given_types",
]

HOST_MODULE = "stigmergy"
"""The name that modules import the swarm's functions from."""

NO_MESSAGE = -1
"""What `receive` answers when the mailbox is empty."""

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


class HostCall(Enum):
    """A function that a module may import; its value is the name and the type of it.

    Memory that a call names and that is not there is a trap, MEMORY_OUT_OF_BOUNDS, at the call.
    """

    AGENT_ID = ("agent_id", FunctionType((), ("i32",)))
    """The agent's number, which is also its address for messages."""
    OUTPUT = ("output", FunctionType(("i32", "i32"), ("i32",)))
    """(pointer, length): append to the agent's output; answers how many bytes fitted."""
    LOG = ("log", FunctionType(("i32", "i32"), ()))
    """(pointer, length): append a line to the agent's output; what has no room is cut off."""
    CLOCK = ("clock", FunctionType((), ("i64",)))
    """Nanoseconds of the swarm's own time: see `clock_ns`."""
    RANDOM = ("random", FunctionType((), ("i64",)))
    """The next 64 random bits of this agent: see `random_bits`."""
    SEND = ("send", FunctionType(("i32", "i32", "i32"), ("i32",)))
    """(recipient, pointer, length): put a message into the outbox; answers a SendAnswer.

    It arrives when every agent of the swarm has finished, trapped or called `wait`.
    """
    RECEIVE = ("receive", FunctionType(("i32", "i32"), ("i64",)))
    """(pointer, capacity): take the oldest message; answers sender << 32 | length, or NO_MESSAGE.

    Of a message longer than the capacity the rest is lost; the length is that of the message.
    """
    WAIT = ("wait", FunctionType((), ()))
    """Stop until messages are delivered next."""
    NOTHING = ("nothing", FunctionType((), ()))
    """Does nothing, whatever it is given; only for imports that a user maps to it by hand."""

    @property
    def import_name(self) -> str:
        """The name under which modules import it."""
        return self.value[0]

    @property
    def type(self) -> FunctionType:
        """The type that the import must have."""
        return self.value[1]


class SendAnswer:
    """What `send` answers."""

    SENT = 0
    OUTBOX_FULL = 1
    TOO_LONG = 2


@dataclass(frozen=True, slots=True)
class Imports:
    """What else modules may import, each by (module, name).

    A global's value is its bits. Memories and tables are each agent's own, as large as the types
    given here say; a module may ask for less, and may not forbid the growth that they allow.
    """

    functions: Mapping[tuple[str, str], HostCall] = field(
        default_factory=dict[tuple[str, str], HostCall]
    )
    globals: Mapping[tuple[str, str], tuple[GlobalType, int]] = field(
        default_factory=dict[tuple[str, str], tuple[GlobalType, int]]
    )
    memories: Mapping[tuple[str, str], MemoryType] = field(
        default_factory=dict[tuple[str, str], MemoryType]
    )
    tables: Mapping[tuple[str, str], TableType] = field(
        default_factory=dict[tuple[str, str], TableType]
    )


@dataclass(frozen=True, slots=True)
class ResolvedImports:
    """A module's imports, in the order of its index spaces."""

    functions: tuple[HostCall, ...]
    globals: tuple[int, ...]
    """The bits of each imported global."""


def resolve_imports(module: Module, imports: Imports) -> ResolvedImports:
    """Find what each import of a module stands for.

    Raises:
        UnsupportedError: There is no such import, or it has another type; it is named.
    """
    functions: list[HostCall] = []
    values: list[int] = []
    for one in module.imports:
        key = (one.module, one.name)
        match one.type:
            case FunctionType():
                functions.append(_resolve_function(one, imports))
            case GlobalType() if key in imports.globals and imports.globals[key][0] == one.type:
                values.append(imports.globals[key][1])
            case MemoryType() if key in imports.memories and _is_memory(
                imports.memories[key], one.type
            ):
                pass
            case TableType() if key in imports.tables and _is_table(imports.tables[key], one.type):
                pass
            case _:
                message = f"there is no {one.module}.{one.name} of the type that the module imports"
                raise UnsupportedError(message)
    return ResolvedImports(tuple(functions), tuple(values))


def _is_memory(given: MemoryType, wanted: MemoryType) -> bool:
    same_kind = (given.shared, given.is_64_bit) == (wanted.shared, wanted.is_64_bit)
    return same_kind and _are_within(given.limits, wanted.limits)


def _is_table(given: TableType, wanted: TableType) -> bool:
    return given.element == wanted.element and _are_within(given.limits, wanted.limits)


def _are_within(given: Limits, wanted: Limits) -> bool:
    """Source: WebAssembly Core Specification 2.0, section 3.4.8 (Import Subtyping)."""
    if given.minimum < wanted.minimum:
        return False
    if wanted.maximum is None:
        return True
    return given.maximum is not None and given.maximum <= wanted.maximum


def with_given_types(module: Module, imports: Imports) -> Module:
    """Return a module whose imported memories and tables are as large as what is given for them.

    A module says what it needs at least; what it gets is `imports`' to say.
    """
    given = {**imports.memories, **imports.tables}
    return replace(
        module,
        imports=tuple(
            replace(one, type=given.get((one.module, one.name), one.type))
            if isinstance(one.type, MemoryType | TableType)
            else one
            for one in module.imports
        ),
    )


def _resolve_function(one: Import, imports: Imports) -> HostCall:
    call = imports.functions.get((one.module, one.name))
    if call is HostCall.NOTHING:
        return call
    if call is None and one.module == HOST_MODULE:
        by_name = {call.import_name: call for call in HostCall if call is not HostCall.NOTHING}
        call = by_name.get(one.name)
    if call is None:
        offered = ", ".join(call.import_name for call in HostCall if call is not HostCall.NOTHING)
        message = (
            f"the module imports the function {one.module}.{one.name}, which is not there; "
            f"{HOST_MODULE} offers {offered}"
        )
        raise UnsupportedError(message)
    if one.type != call.type:
        message = f"{one.module}.{one.name} has the type {call.type}; the module imports {one.type}"
        raise UnsupportedError(message)
    return call


def random_bits(seed: int, agent_id: int, draw: int) -> int:
    """Return the draw'th (from 0) 64 random bits of an agent.

    SplitMix64 with a key from the seed and the agent's number. Source: Steele, Lea, Flood, "Fast
    splittable pseudorandom number generators", OOPSLA 2014, figure 14.
    """
    key = _mix((seed & _MASK) ^ _mix(agent_id + 1))
    return _mix((key + (draw + 1) * _GOLDEN) & _MASK)


def clock_ns(start_ns: int, count: int) -> int:
    """Return what `clock` answers when an agent has used so many instructions, the call included.

    The swarm's own time: an instruction takes a nanosecond. The real time would differ from run to
    run, and from engine to engine.
    """
    return (start_ns + count) & _MASK


def _mix(bits: int) -> int:
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
    return bits ^ (bits >> 31)
