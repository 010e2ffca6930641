"""Writes instructions that leave values on the stack."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from stigmergy.testing.wasm.body import Body
from stigmergy.testing.wasm.constants import NumberType, interesting_bits
from stigmergy.testing.wasm.operations import INTEGERS, LOADS, OPERATIONS, Operation
from stigmergy.wasm.hostcalls import HostCall
from stigmergy.wasm.module.model import FunctionType, ValueType

__all__ = ["RECURSIVE_CALLS", "Values"]

RECURSIVE_CALLS = 10
"""How many calls that may come back to their own function one call from outside makes."""
_MEMORY_CALLS = (HostCall.OUTPUT, HostCall.LOG, HostCall.SEND, HostCall.RECEIVE)
_HUGE_OFFSETS = (0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF)

_Write = Callable[[ValueType, int], bool]


class Values(Body, ABC):
    """A body that can write values: each method leaves what it names, and nothing else."""

    @abstractmethod
    def block_value(self, type_: ValueType, depth: int) -> bool:
        """Write a block, a loop or an if that gives a value, with statements in it."""

    def value(self, type_: ValueType, depth: int) -> None:
        """Write what leaves one value; `depth` bounds how deep operands are nested."""
        if depth <= 0 or self.exhausted:
            self.leaf(type_)
            return
        write = self.choices.weighted(self._ways(type_))
        if not write(type_, depth - 1):
            self.leaf(type_)

    def values(self, types: Sequence[ValueType], depth: int) -> None:
        """Write one value after the other."""
        for type_ in types:
            self.value(type_, depth)

    def _ways(self, type_: ValueType) -> list[tuple[int, _Write]]:
        ways: list[tuple[int, _Write]] = [
            (8, self._leaf),
            (4, self._tee),
            (5, self._select),
            (7, self.block_value),
            (5, self._call),
            (4, self._call_indirect),
            (3, self._branch_with),
        ]
        match type_:
            case "i32":
                ways += [(30, self._operation), (9, self._load), (6, self._number_of_something)]
            case "i64" | "f32" | "f64":
                ways += [(30, self._operation), (9, self._load)]
            case "funcref":
                ways += [(12, self._table_get), (10, self._function_reference)]
            case _:
                pass
        return ways

    # --- values without operands ---

    def leaf(self, type_: ValueType) -> None:
        """Write a value by one instruction."""
        globals_ = [at for at, one in enumerate(self.plan.all_globals) if one.value == type_]
        locals_ = self.readable(type_)
        if locals_ and self.choices.chance(60):
            self.emit("local.get", self.choices.pick(locals_))
        elif globals_ and self.choices.chance(25):
            self.emit("global.get", self.choices.pick(globals_))
        elif type_ == "funcref" and self.plan.referenced and self.choices.chance(70):
            self.emit("ref.func", self.choices.pick(self.plan.referenced))
        elif type_ in ("funcref", "externref"):
            self.emit("ref.null", type_)
        else:
            self.constant(type_, interesting_bits(self.choices, type_))

    def _leaf(self, type_: ValueType, _depth: int) -> bool:
        self.leaf(type_)
        return True

    def _function_reference(self, _type: ValueType, _depth: int) -> bool:
        if not self.plan.referenced:
            return False
        self.emit("ref.func", self.choices.pick(self.plan.referenced))
        return True

    # --- computing ---

    def condition(self, depth: int, *, seldom: bool = False) -> None:
        """Write an i32 that is 0 at times, or most of the time."""
        params = [at for at, one in enumerate(self.type.params) if one == "i32"]
        if params and self.choices.chance(35):
            self.emit("local.get", self.choices.pick(params))
        else:
            self.value("i32", depth)
        match self.choices.below(4):
            case 0 if not seldom:
                pass
            case 1:
                self.constant("i32", self.choices.pick((1, 2, 4, 0x80)))
                self.emit("i32.and")
            case 2 if not seldom:
                self.emit("i32.eqz")
            case _:
                self.constant("i32", 3 if seldom else self.choices.pick((0, 1, -1, 7)))
                if seldom:
                    self.emit("i32.and")
                    self.emit("i32.eqz")
                else:
                    self.emit(self.choices.pick(("i32.gt_s", "i32.lt_u", "i32.ne", "i32.le_s")))

    def _tee(self, type_: ValueType, depth: int) -> bool:
        self.value(type_, depth)
        self.emit("local.tee", self.target(type_))
        return True

    def _select(self, type_: ValueType, depth: int) -> bool:
        self.values((type_, type_), depth)
        self.condition(depth)
        if type_ in ("funcref", "externref") or self.choices.chance(25):
            self.emit("select_t", type_)
        else:
            self.emit("select")
        return True

    def _operation(self, type_: ValueType, depth: int) -> bool:
        operations = [
            one for one in OPERATIONS[_number(type_)] if set(one.operands) <= set(self.plan.numbers)
        ]
        if self.plan.danger and self.choices.chance(15):
            operations = [one for one in operations if one.can_trap] or operations
        one = self.choices.pick(operations)
        if one.can_trap and self.is_careless():
            self._careless(one, depth)
        elif one.can_trap:
            self._careful(one, depth)
        else:
            self.values(one.operands, depth)
        self.emit(one.name)
        return True

    def _careless(self, one: Operation, depth: int) -> None:
        """Write operands that may well make it trap."""
        first = one.operands[0]
        for type_ in one.operands[:-1]:
            if self.choices.chance(30):
                self.constant(type_, 1 << (31 if type_ == "i32" else 63))
            else:
                self.value(type_, depth)
        if first in INTEGERS and self.choices.chance(50):
            self.value(first, depth)
            self.constant(first, self.choices.pick((1, 3)))
            self.emit(f"{first}.and")
        elif self.choices.chance(40):
            bits = -1 if first in INTEGERS else interesting_bits(self.choices, first)
            self.constant(first, bits)
        else:
            self.value(first, depth)

    def _careful(self, one: Operation, depth: int) -> None:
        """Write operands that do not make it trap, as a rule."""
        first = one.operands[0]
        if len(one.operands) == 2:
            self.values(one.operands, depth)
            if "div_s" in one.name:
                self.constant(first, 0x7FFF)
                self.emit(f"{first}.and")
            self.constant(first, 1)
            self.emit(f"{first}.or")
            return
        # A truncation: of a float that was a small integer.
        self.value("i32", depth)
        self.constant("i32", self.choices.pick((0xFF, 0x7FFF, 0xFFFFFF)))
        self.emit("i32.and")
        self.emit(f"{first}.convert_i32_s")
        if self.choices.chance(50):
            self.constant(first, 0x3FC00000 if first == "f32" else 0x3FF8000000000000)
            self.emit(f"{first}.mul")

    def _number_of_something(self, _type: ValueType, depth: int) -> bool:
        """Write the size of the memory or of a table, what growing them gives, or a null test."""
        kinds: list[str] = ["memory.size"] if self.plan.memory else []
        kinds += ["memory.grow"] if self.plan.memory and self.plan.bulk else []
        kinds += ["table.size", "ref.is_null"] if self.plan.tables else []
        kinds += ["table.grow"] if self.plan.tables and self.plan.bulk else []
        if not kinds:
            return False
        match self.choices.pick(kinds):
            case "memory.size":
                self.emit("memory.size", 0)
            case "memory.grow":
                self.length(self.choices.pick((0, 1, 0, 1, 2, -1, 0x10000, 0xFFFF)), depth)
                self.emit("memory.grow", 0)
            case "table.size":
                self.emit("table.size", self.choices.below(len(self.plan.tables)))
            case "table.grow":
                table = self.choices.below(len(self.plan.tables))
                self.value(self.plan.tables[table].element, depth)
                self.length(self.choices.pick((0, 1, 2, 3, -1, 1000)), depth)
                self.emit("table.grow", table)
            case _:
                self.value("funcref", depth)
                self.emit("ref.is_null")
        return True

    # --- memory and tables ---

    def _load(self, type_: ValueType, depth: int) -> bool:
        one = self.choices.pick(LOADS[_number(type_)])
        offset = self.address(one.width, depth)
        if offset is None:
            return False
        self.emit(one.name, self.alignment(one.width), offset)
        return True

    def alignment(self, width: int) -> int:
        """Choose an alignment that an access of so many bytes may name."""
        return self.choices.below(width.bit_length())

    def address(self, width: int, depth: int) -> int | None:
        """Write an address and return the offset to go with it; None: there is no memory."""
        if self.plan.memory is None:
            return None
        size = self.plan.memory_bytes
        careless = self.is_careless()
        if not careless and size < width:
            return None
        if careless:
            return self._careless_address(width, depth)
        match self.choices.weighted(((50, "near"), (20, "fixed"), (20, "far"), (10, "edge"))):
            case "near":
                self.value("i32", depth)
                self.constant("i32", self.choices.pick((0x1F, 0xFF, 0x1FC)))
                self.emit("i32.and")
                return self.choices.pick((0, 4, 1, 8, 16, 100))
            case "fixed":
                self.constant("i32", self.choices.below(64))
                return self.choices.below(16)
            case "far":
                self.value("i32", depth)
                self.constant("i32", 0xFFF8 if self.choices.chance(50) else 0xFFF0)
                self.emit("i32.and")
                return 0
            case _:
                offset = self.choices.pick((0, 0, 1, 100, 65_000))
                self.constant("i32", size - width - offset)
                return offset

    def _careless_address(self, width: int, depth: int) -> int:
        size = self.plan.memory_bytes
        match self.choices.below(6):
            case 4:
                self.constant("i32", max(0, size - width))
                return 0
            case 5:
                self.value("i32", depth)
                self.constant("i32", 0xFFFF)
                self.emit("i32.and")
                return self.choices.pick((0, 1, 0xFF))
            case 0:
                self.constant("i32", size - width + 1 + self.choices.below(width))
                return 0
            case 1:
                self.value("i32", depth)
                return self.choices.pick((0, 1, 4, 8))
            case 2:
                self.value("i32", depth)
                return self.choices.pick(_HUGE_OFFSETS)
            case _:
                self.constant("i32", -self.choices.below(9))
                return self.choices.pick((0, 1, 8, 16))

    def table_index(self, table: int, count: int, depth: int) -> None:
        """Write where in a table `count` elements begin."""
        if self.is_careless():
            self.value("i32", depth)
        else:
            self.constant("i32", self.choices.below(self._table_minimum(table) - count + 1))

    def table_count(self, table: int) -> int:
        """Choose how many elements of a table to name."""
        return self.choices.below(min(4, self._table_minimum(table)) + 1)

    def length(self, most: int, depth: int) -> None:
        """Write how many bytes or elements: a constant, one in a local, or what is not known."""
        match self.choices.weighted(((55, "constant"), (15, "local"), (30, "masked"))):
            case "constant":
                self.constant("i32", most)
            case "local":
                self.constant("i32", most)
                self.emit("local.tee", self.target("i32"))
            case _:
                self.value("i32", depth)
                self.constant("i32", most)
                self.emit("i32.and")

    def _table_minimum(self, table: int) -> int:
        return self.plan.tables[table].limits.minimum

    def _table_get(self, _type: ValueType, depth: int) -> bool:
        tables = [at for at, one in enumerate(self.plan.tables) if one.element == "funcref"]
        if not tables:
            return False
        table = self.choices.pick(tables)
        self.table_index(table, 1, depth)
        self.emit("table.get", table)
        return True

    # --- branches that pass a value on ---

    def _branch_with(self, type_: ValueType, depth: int) -> bool:
        """Write a value that goes to a label if a condition holds, and stays here otherwise."""
        labels = [
            at
            for at, label in enumerate(reversed(self.labels))
            if label.types == (type_,) and label.counter is None
        ]
        if not labels:
            return False
        self.value(type_, depth)
        self.condition(depth, seldom=True)
        self.emit("br_if", self.choices.pick(labels))
        return True

    # --- calls ---

    def _call(self, type_: ValueType, depth: int) -> bool:
        return self.call(depth, wanted=type_)

    def call(self, depth: int, wanted: ValueType | None = None) -> bool:
        """Write a call, keeping one value of the wanted type, or none."""
        host = len(self.plan.host_calls)
        last = self.plan.first_entry()

        def gives(function: int) -> bool:
            return wanted is None or wanted in self.plan.type_of(function).results

        plain = [
            at
            for at in range(min(self.function, last))
            if gives(at) and self.cost + self._cost_of(at) * self.multiplier <= self.limit
        ]
        again = [at for at in range(max(self.function, host), last) if gives(at)]
        if again and self.function < last and self.choices.chance(35 if plain else 100):
            function = self.choices.pick(again)
            self._recursive(wanted, depth, lambda: self._write_call(function, wanted, depth))
            return True
        if not plain:
            return False
        fresh = [at for at in plain if at not in self.plan.called]
        function = self.choices.pick(fresh if fresh and self.choices.chance(70) else plain)
        self.plan.called.add(function)
        self._write_call(function, wanted, depth)
        self.cost += self._cost_of(function) * self.multiplier
        return True

    def _cost_of(self, function: int) -> int:
        return self.costs[function]

    def _write_call(self, function: int, wanted: ValueType | None, depth: int) -> None:
        type_ = self.plan.type_of(function)
        if function < len(self.plan.host_calls):
            self._host_arguments(self.plan.host_calls[function], depth)
        else:
            self.values(type_.params, depth)
        self.emit("call", function)
        self._keep(type_.results, wanted)

    def _host_arguments(self, call: HostCall, depth: int) -> None:
        if call not in _MEMORY_CALLS:
            self.values(call.type.params, depth)
            return
        if call is HostCall.SEND:
            self.value("i32", depth)
        if self.is_careless():
            self.values(("i32", "i32"), depth)
            return
        length = self.choices.pick((0, 1, 4, 5, 12, 33, 64)) if self.plan.memory_bytes else 0
        self.constant("i32", self.choices.below(64) if self.plan.memory_bytes else 0)
        self.constant("i32", length)

    def _recursive(self, wanted: ValueType | None, depth: int, write: Callable[[], None]) -> None:
        """Write what is only done so many times in one call from outside, else another value."""
        self.emit("global.get", self.plan.calls_global)
        self.constant("i32", RECURSIVE_CALLS)
        self.emit("i32.lt_u")
        self.begin_block("if", (), () if wanted is None else (wanted,))
        self.emit("global.get", self.plan.calls_global)
        self.constant("i32", 1)
        self.emit("i32.add")
        self.emit("global.set", self.plan.calls_global)
        write()
        if wanted is not None:
            self.emit("else")
            self.value(wanted, min(depth, 1))
        self.end_block()

    @abstractmethod
    def begin_block(
        self, kind: str, params: Sequence[ValueType], results: Sequence[ValueType]
    ) -> None:
        """Write the begin of a block or an if, and add its label."""

    @abstractmethod
    def end_block(self) -> None:
        """Write a block's end, and take its label away."""

    def _keep(self, results: Sequence[ValueType], wanted: ValueType | None) -> None:
        """Write what drops all results but one of the wanted type."""
        if wanted is None:
            for type_ in reversed(results):
                if self.choices.chance(50):
                    self.emit("local.set", self.target(type_))
                else:
                    self.emit("drop")
            return
        at = len(results) - 1 - list(reversed(results)).index(wanted)
        for type_ in reversed(results[at + 1 :]):
            if self.choices.chance(60):
                self.emit("local.set", self.target(type_))
            else:
                self.emit("drop")
        if at:
            kept = self.new_local(wanted)
            self.emit("local.set", kept)
            for _ in range(at):
                self.emit("drop")
            self.emit("local.get", kept)

    def _call_indirect(self, type_: ValueType, depth: int) -> bool:
        return self.call_indirect(depth, wanted=type_)

    def call_indirect(self, depth: int, wanted: ValueType | None = None) -> bool:
        """Write a call through a table, of a function that is there at the begin as a rule."""
        found = [
            (table, at, function)
            for table, content in enumerate(self.plan.contents)
            for at, function in enumerate(content)
            if function is not None
            and (wanted is None or wanted in self.plan.type_of(function).results)
        ]
        if not found:
            return False
        table, at, function = self.choices.pick(found)
        type_ = self.plan.type_of(function)
        most = max(self.plan.referenced)
        if self.is_careless():
            others = [one for one in self.plan.types if wanted is None or wanted in one.results]
            type_ = self.choices.pick(others)

        def write() -> None:
            self._write_call_indirect(type_, table, at, wanted, depth)

        if most >= self.function:
            self._recursive(wanted, depth, write)
            return True
        dearest = max(self._cost_of(one) for one in self.plan.referenced)
        if self.cost + dearest * self.multiplier > self.limit:
            return False
        write()
        self.cost += dearest * self.multiplier
        return True

    def _write_call_indirect(
        self, type_: FunctionType, table: int, at: int, wanted: ValueType | None, depth: int
    ) -> None:
        self.values(type_.params, depth)
        if self.is_careless():
            self.value("i32", depth)
        else:
            self.constant("i32", at)
        same = [index for index, one in enumerate(self.plan.types) if one == type_]
        self.emit("call_indirect", self.choices.pick(same), table)
        self._keep(type_.results, wanted)


def _number(type_: ValueType) -> NumberType:
    assert type_ in (*INTEGERS, "f32", "f64")
    return type_
