"""Decides what a random module holds before any of its functions is written."""

from dataclasses import dataclass, field

from stigmergy.testing.wasm.choices import Choices
from stigmergy.testing.wasm.constants import NUMBERS, NumberType, interesting_bits
from stigmergy.testing.wasm.spec import op
from stigmergy.wasm.hostcalls import HOST_MODULE, HostCall
from stigmergy.wasm.module.instructions import Instruction
from stigmergy.wasm.module.model import (
    PAGE_BYTES,
    Data,
    Element,
    FunctionType,
    Global,
    GlobalType,
    Import,
    Limits,
    MemoryType,
    TableType,
    ValueType,
)

__all__ = ["Features", "ModulePlan", "constant", "draw_plan"]

_SHAPES = ((1, 0), (1, 1), (2, 1), (0, 1), (3, 1), (0, 0), (2, 2), (1, 2), (4, 1), (2, 0), (1, 3))
_MAILED = (HostCall.SEND, HostCall.RECEIVE, HostCall.WAIT)
_NO_TYPE = FunctionType((), ())
IMPORTED = "given"
"""The module that imported globals, memories and tables come from."""


@dataclass(frozen=True, slots=True)
class Features:
    """What modules may use, each a percentage of them.

    `danger`: of modules, those whose instructions trap now and then; the others hardly ever do.
    `size`: about how many instructions a function has.
    """

    floats: int = 45
    references: int = 25
    danger: int = 60
    bulk: int = 80
    host_calls: int = 35
    endless: int = 4
    size: int = 60
    functions: int = 5
    entries: int = 3


@dataclass(slots=True)
class ModulePlan:
    """The parts that functions may use. Index spaces hold the imports first."""

    features: Features
    numbers: tuple[NumberType, ...]
    references: bool
    danger: int
    """Of a hundred instructions that can trap, how many are written without care."""
    endless: bool
    bulk: bool
    """Whether memories and tables are filled, copied, initialised and grown."""
    types: list[FunctionType] = field(default_factory=list[FunctionType])
    imports: list[Import] = field(default_factory=list[Import])
    host_calls: list[HostCall] = field(default_factory=list[HostCall])
    functions: list[int] = field(default_factory=list[int])
    """The index of the type of each function of the module's own; the last ones are entries."""
    entries: int = 0
    has_start: bool = False
    imported_globals: list[tuple[GlobalType, int]] = field(
        default_factory=list[tuple[GlobalType, int]]
    )
    globals: list[Global] = field(default_factory=list[Global])
    memory: MemoryType | None = None
    tables: list[TableType] = field(default_factory=list[TableType])
    contents: list[list[int | None]] = field(default_factory=list[list[int | None]])
    """What each table begins with: the indices of functions."""
    elements: list[Element] = field(default_factory=list[Element])
    data: list[Data] = field(default_factory=list[Data])
    referenced: list[int] = field(default_factory=list[int])
    """Functions that references may be made to."""
    called: set[int] = field(default_factory=set[int])
    """Functions that a function calls."""

    @property
    def all_globals(self) -> list[GlobalType]:
        """The types of all globals."""
        return [type_ for type_, _ in self.imported_globals] + [one.type for one in self.globals]

    @property
    def calls_global(self) -> int:
        """The global that counts recursive calls; functions do not write to it otherwise."""
        return len(self.imported_globals)

    @property
    def memory_bytes(self) -> int:
        """What the memory has at the least."""
        return self.memory.limits.minimum * PAGE_BYTES if self.memory else 0

    def type_index(self, type_: FunctionType) -> int:
        """Return the index of a type, which is added where it is new."""
        if type_ not in self.types:
            self.types.append(type_)
        return self.types.index(type_)

    def type_of(self, function: int) -> FunctionType:
        """Return the type of a function by its index among all."""
        if function < len(self.host_calls):
            return self.host_calls[function].type
        return self.types[self.functions[function - len(self.host_calls)]]

    def first_entry(self) -> int:
        """Return the index of the first function that the outside calls."""
        return len(self.host_calls) + len(self.functions) - self.entries


def constant(type_: ValueType, bits: int) -> Instruction:
    """Make the instruction for a constant, given its bits; a reference is null."""
    match type_:
        case "i32":
            return op("i32.const", bits - (1 << 32) if bits >> 31 else bits)
        case "i64":
            return op("i64.const", bits - (1 << 64) if bits >> 63 else bits)
        case "f32" | "f64":
            return op(f"{type_}.const", bits)
        case _:
            return op("ref.null", type_)


def draw_plan(choices: Choices, features: Features) -> ModulePlan:
    """Choose the parts of a module."""
    plan = ModulePlan(
        features=features,
        numbers=NUMBERS if choices.chance(features.floats) else NUMBERS[:2],
        references=choices.chance(features.references),
        danger=choices.pick((4, 10, 25)) if choices.chance(features.danger) else 0,
        endless=choices.chance(features.endless),
        bulk=choices.chance(features.bulk),
    )
    _draw_types(plan, choices)
    if choices.chance(features.host_calls):
        _draw_host_calls(plan, choices)
    _draw_functions(plan, choices)
    _draw_globals(plan, choices)
    _draw_memory(plan, choices)
    _draw_tables(plan, choices)
    _draw_elements(plan, choices)
    return plan


def _draw_types(plan: ModulePlan, choices: Choices) -> None:
    for _ in range(2 + choices.below(5)):
        params, results = choices.pick(_SHAPES)
        plan.types.append(
            FunctionType(_types(plan, choices, params), _types(plan, choices, results))
        )
    if choices.chance(30):  # the same type twice: calls through a table go by structure
        plan.types.append(plan.types[0])


def _types(plan: ModulePlan, choices: Choices, count: int) -> tuple[ValueType, ...]:
    def one() -> ValueType:
        if plan.references and choices.chance(8):
            return "funcref"
        return "i32" if choices.chance(35) else choices.pick(plan.numbers)

    return tuple(one() for _ in range(count))


def _draw_host_calls(plan: ModulePlan, choices: Choices) -> None:
    for call in HostCall:
        likely = 12 if call in _MAILED else 40
        if call is not HostCall.NOTHING and choices.chance(likely):
            plan.type_index(call.type)
            plan.host_calls.append(call)
            plan.imports.append(Import(HOST_MODULE, call.import_name, call.type))


def _draw_functions(plan: ModulePlan, choices: Choices) -> None:
    if choices.chance(12):
        plan.has_start = True
        plan.functions.append(plan.type_index(_NO_TYPE))
    for _ in range(1 + choices.below(plan.features.functions)):
        plan.functions.append(choices.below(len(plan.types)))
    plan.entries = 1 + choices.below(plan.features.entries)
    for _ in range(plan.entries):
        params = _numbers(plan, choices, 1 + choices.below(4))
        results = _numbers(plan, choices, choices.pick((1, 1, 2, 0, 3)))
        plan.functions.append(plan.type_index(FunctionType(params, results)))


def _numbers(plan: ModulePlan, choices: Choices, count: int) -> tuple[ValueType, ...]:
    return tuple(choices.pick(plan.numbers) for _ in range(count))


def _draw_globals(plan: ModulePlan, choices: Choices) -> None:
    if choices.chance(12):
        for number in range(1 + choices.below(2)):
            given = GlobalType(choices.pick(plan.numbers), mutable=False)
            plan.imported_globals.append((given, interesting_bits(choices, given.value)))
            plan.imports.append(Import(IMPORTED, f"global{number}", given))
    plan.globals.append(Global(GlobalType("i32", mutable=True), (constant("i32", 0),)))
    for _ in range(choices.below(5)):
        type_: ValueType = choices.pick(plan.numbers)
        if plan.references and choices.chance(15):
            type_ = "funcref"
        same = [at for at, (one, _) in enumerate(plan.imported_globals) if one.value == type_]
        start = (
            op("global.get", choices.pick(same))
            if same
            else constant(type_, 0 if type_ == "funcref" else interesting_bits(choices, type_))
        )
        plan.globals.append(Global(GlobalType(type_, mutable=choices.chance(85)), (start,)))


def _draw_memory(plan: ModulePlan, choices: Choices) -> None:
    minimum = choices.weighted(((84, 1), (6, 0), (5, 2), (5, None)))
    if minimum is None:
        return
    maximum = choices.weighted(((40, None), (30, minimum), (30, minimum + 1)))
    plan.memory = MemoryType(Limits(minimum, maximum))
    if choices.chance(8):
        plan.imports.append(Import(IMPORTED, "memory", plan.memory))
    for _ in range(choices.below(4)):
        content = bytes(choices.below(256) for _ in range(choices.below(24)))
        if choices.chance(60):
            plan.data.append(Data("passive", content))
            continue
        room = max(0, plan.memory_bytes - len(content))
        at = choices.pick((0, 3, 16, 200, room, room // 2))
        if choices.chance(plan.danger // 8):
            at = room + 1 + choices.below(9)
        offset = constant("i32", min(at, room) if not plan.danger else at)
        if not plan.danger and not plan.memory_bytes:
            content = b""
        plan.data.append(Data("active", content, offset=(offset,)))


def _draw_tables(plan: ModulePlan, choices: Choices) -> None:
    for number in range(choices.weighted(((20, 0), (60, 1), (20, 2)))):
        minimum = 1 + choices.below(10)
        maximum = choices.weighted(((50, None), (30, minimum + choices.below(6)), (20, minimum)))
        element: ValueType = "funcref"
        if number and choices.chance(20):
            element = "externref"
        plan.tables.append(TableType(element, Limits(minimum, maximum)))
        plan.contents.append([None] * minimum)
    if plan.tables and choices.chance(8):
        plan.imports.append(Import(IMPORTED, "table", plan.tables[0]))
    first = len(plan.host_calls) + plan.has_start
    plan.referenced = [one for one in range(first, plan.first_entry()) if choices.chance(70)]


def _draw_elements(plan: ModulePlan, choices: Choices) -> None:
    if not plan.referenced:
        return
    plan.elements.append(
        Element("declarative", "funcref", tuple((op("ref.func", at),) for at in plan.referenced))
    )
    if not plan.tables:
        return
    for number in range(1 + choices.below(4)):
        table = choices.below(len(plan.tables))
        if plan.tables[table].element != "funcref":
            continue
        size = plan.tables[table].limits.minimum
        items = [
            None if choices.chance(12) else choices.pick(plan.referenced)
            for _ in range(size if number == 0 else choices.below(size + 1))
        ]
        written = tuple(
            (op("ref.null", "funcref") if item is None else op("ref.func", item),) for item in items
        )
        if number and choices.chance(60):
            plan.elements.append(Element("passive", "funcref", written))
            continue
        at = choices.below(size - len(items) + 1)
        offset = (constant("i32", at),)
        plan.elements.append(Element("active", "funcref", written, table, offset))
        plan.contents[table][at : at + len(items)] = items
