"""A random module with what is asked of it: settings, and calls with their arguments."""

from dataclasses import dataclass, field

from stigmergy.testing.wasm.choices import Choices
from stigmergy.testing.wasm.constants import interesting_bits
from stigmergy.testing.wasm.encoding import encode
from stigmergy.testing.wasm.plan import Features, ModulePlan, draw_plan
from stigmergy.testing.wasm.spec import FunctionSpec, ModuleSpec, op
from stigmergy.testing.wasm.statements import Statements
from stigmergy.wasm.engine import CohortSettings
from stigmergy.wasm.hostcalls import HostCall, Imports
from stigmergy.wasm.module.model import (
    PAGE_BYTES,
    Export,
    GlobalType,
    MemoryType,
    TableType,
)

__all__ = ["Call", "Case", "draw_case", "draw_module"]

_INNER_LIMIT = 500
_ENTRY_LIMIT = 2_500
_START_DANGER = 2
CALL_STACK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Call:
    """A function by its index among all, and the bits of its arguments."""

    function: int
    arguments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A module and what agents do with it. Each call is made by an agent of its own."""

    spec: ModuleSpec
    calls: tuple[Call, ...]
    settings: CohortSettings = field(default_factory=CohortSettings)
    memory_start: bytes = b""
    """What the host writes to the begin of each agent's memory before the call."""
    inbox: tuple[tuple[int, bytes], ...] = ()
    """The sender and the content of what lies in each agent's inbox before the call."""

    @property
    def wasm(self) -> bytes:
        """The module's bytes."""
        return encode(self.spec)


def draw_case(choices: Choices, features: Features | None = None, *, agents: int = 4) -> Case:
    """Choose a module, and for each of its entries so many agents with their arguments."""
    plan, spec = _draw(choices, features or Features())
    calls: list[Call] = []
    for entry in range(plan.first_entry(), plan.first_entry() + plan.entries):
        params = spec.type_of(entry).params
        for _ in range(agents):
            arguments = tuple(interesting_bits(choices, type_) for type_ in params)
            calls.append(Call(entry, arguments))
    settings = _settings(plan, choices)
    return Case(
        spec,
        tuple(calls),
        settings,
        memory_start=_memory_start(plan, choices),
        inbox=_inbox(plan, choices, settings),
    )


def draw_module(choices: Choices, features: Features | None = None) -> ModuleSpec:
    """Choose a module that is valid."""
    return _draw(choices, features or Features())[1]


def _draw(choices: Choices, features: Features) -> tuple[ModulePlan, ModuleSpec]:
    plan = draw_plan(choices, features)
    functions = _draw_functions(plan, choices)
    imported = [one.type for one in plan.imports]
    return plan, ModuleSpec(
        types=tuple(plan.types),
        imports=tuple(plan.imports),
        functions=functions,
        tables=tuple(one for at, one in enumerate(plan.tables) if at or one not in imported),
        memories=(plan.memory,) if plan.memory and plan.memory not in imported else (),
        globals=tuple(plan.globals),
        exports=_exports(plan, choices),
        start=len(plan.host_calls) if plan.has_start else None,
        elements=tuple(plan.elements),
        data=tuple(plan.data),
    )


def _draw_functions(plan: ModulePlan, choices: Choices) -> tuple[FunctionSpec, ...]:
    """Write the functions, each after those that it may call without a bound."""
    costs = [1] * len(plan.host_calls)
    written: list[FunctionSpec] = []
    for number, type_ in enumerate(plan.functions):
        function = len(plan.host_calls) + number
        is_entry = function >= plan.first_entry()
        limit = _ENTRY_LIMIT if is_entry else _INNER_LIMIT
        body = Statements(plan, choices, function, costs, limit)
        danger = plan.danger
        if plan.has_start and number == 0:
            plan.danger = min(plan.danger, _START_DANGER)
        if is_entry and choices.chance(80):
            body.instructions += [op("i32.const", 0), op("global.set", plan.calls_global)]
            body.cost += 2
        body.write()
        plan.danger = danger
        costs.append(body.cost)
        own_locals = body.local_types[len(body.type.params) :]
        written.append(FunctionSpec(type_, tuple(own_locals), tuple(body.instructions)))
    return tuple(written)


def _exports(plan: ModulePlan, choices: Choices) -> tuple[Export, ...]:
    first = plan.first_entry()
    exports = [Export(f"run{at}", "func", first + at) for at in range(plan.entries)]
    if choices.chance(20):
        return tuple(exports)
    exports += [Export(f"global{at}", "global", at) for at in range(len(plan.all_globals))]
    exports += [Export(f"table{at}", "table", at) for at in range(len(plan.tables))]
    exports += [Export(f"inner{at}", "func", at) for at in range(len(plan.host_calls), first, 2)]
    if plan.memory:
        exports.append(Export("memory", "memory", 0))
    return tuple(exports)


def _settings(plan: ModulePlan, choices: Choices) -> CohortSettings:
    most = plan.memory_bytes + choices.pick((0, 0, 1, 2)) * PAGE_BYTES
    imported = {(one.module, one.name): one.type for one in plan.imports}
    values = iter(plan.imported_globals)
    return CohortSettings(
        memory_bytes=max(most, PAGE_BYTES),
        output_bytes=choices.pick((256, 64, 7)),
        mailbox_messages=choices.pick((4, 1)),
        message_bytes=choices.pick((32, 8)),
        call_stack_bytes=CALL_STACK_BYTES,
        table_elements=choices.pick((32, 16)),
        seed=choices.below(5),
        clock_start_ns=choices.pick((0, 1 << 40)),
        imports=Imports(
            globals={
                key: next(values)
                for key, type_ in imported.items()
                if isinstance(type_, GlobalType)
            },
            memories={
                key: type_ for key, type_ in imported.items() if isinstance(type_, MemoryType)
            },
            tables={key: type_ for key, type_ in imported.items() if isinstance(type_, TableType)},
        ),
    )


def _memory_start(plan: ModulePlan, choices: Choices) -> bytes:
    if not plan.memory_bytes or choices.chance(50):
        return b""
    return bytes(choices.below(256) for _ in range(choices.below(48)))


def _inbox(
    plan: ModulePlan, choices: Choices, settings: CohortSettings
) -> tuple[tuple[int, bytes], ...]:
    if HostCall.RECEIVE not in plan.host_calls:
        return ()
    return tuple(
        (choices.below(4), bytes(choices.below(256) for _ in range(choices.below(9))))
        for _ in range(choices.below(settings.mailbox_messages + 1))
    )
