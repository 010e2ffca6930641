"""Writes instructions that leave the stack as it was: what changes state, and control."""

from collections.abc import Callable, Sequence

from stigmergy.testing.wasm.body import Label
from stigmergy.testing.wasm.operations import OPERATIONS, STORES
from stigmergy.testing.wasm.values import Values
from stigmergy.wasm.module.model import ValueType

__all__ = ["Statements"]

_DEEPEST_LABEL = 6
_Write = Callable[[int], bool]


class Statements(Values):
    """A body that can write statements."""

    def write(self) -> None:
        """Write the whole body."""
        for _ in range(2):
            if self.choices.chance(70):
                self.call(2)
        self._body(self.type.results, 3)
        self.emit("end")

    def statement(self, depth: int) -> None:
        """Write one statement."""
        if not self.choices.weighted(self._statements())(depth):
            self._set_local(depth)

    def _statements(self) -> list[tuple[int, _Write]]:
        plan = self.plan
        found: list[tuple[int, _Write]] = [
            (22, self._set_local),
            (10, self._set_global),
            (3, self._drop),
            (1, self._nop),
            (14, self._call_statement),
            (6, self._call_indirect_statement),
        ]
        if plan.memory:
            found += [(20, self._store)]
        if plan.memory and plan.bulk:
            found += [(3, self._bulk)]
        if plan.tables:
            found += [(4, self._table_statement)]
        if plan.data or plan.elements:
            found += [(1, self._drop_segment)]
        if len(self.labels) < _DEEPEST_LABEL and not self.exhausted:
            found += [(14, self._if), (8, self._block), (9, self._loop)]
        found += [(7, self._branch_if), (4, self._leave_if), (3, self._branch_table)]
        return found

    # --- what changes state ---

    def _set_local(self, depth: int) -> bool:
        type_ = self._any_type()
        self.value(type_, depth)
        self.emit("local.set", self.target(type_))
        return True

    def _any_type(self) -> ValueType:
        if self.plan.references and self.choices.chance(8):
            return "funcref"
        return self.choices.pick(self.plan.numbers)

    def _set_global(self, depth: int) -> bool:
        found = [
            at
            for at, one in enumerate(self.plan.all_globals)
            if one.mutable and at != self.plan.calls_global
        ]
        if not found:
            return False
        index = self.choices.pick(found)
        self.value(self.plan.all_globals[index].value, depth)
        self.emit("global.set", index)
        return True

    def _drop(self, depth: int) -> bool:
        self.value(self._any_type(), depth)
        self.emit("drop")
        return True

    def _nop(self, _depth: int) -> bool:
        self.emit("nop")
        return True

    def _call_statement(self, depth: int) -> bool:
        return self.call(depth)

    def _call_indirect_statement(self, depth: int) -> bool:
        return self.call_indirect(depth)

    def _store(self, depth: int) -> bool:
        stores = [one for one in STORES if one.value in self.plan.numbers]
        one = self.choices.pick(stores)
        offset = self.address(one.width, depth)
        if offset is None:
            return False
        self.value(one.value, depth)
        self.emit(one.name, self.alignment(one.width), offset)
        return True

    def _bulk(self, depth: int) -> bool:
        length = min(self.choices.pick((0, 1, 3, 4, 8, 30, 128, 129, 300)), self.plan.memory_bytes)
        kinds = ["memory.fill", "memory.copy", *(["memory.init"] if self.plan.data else [])]
        match self.choices.pick(kinds):
            case "memory.fill":
                self._place(length, depth)
                self.value("i32", depth)
                self.length(length, depth)
                self.emit("memory.fill", 0)
            case "memory.copy":
                self._place(length, depth)
                self._place(length, depth)
                self.length(length, depth)
                self.emit("memory.copy", 0, 0)
            case _:
                self._memory_init(depth)
        return True

    def _memory_init(self, depth: int) -> None:
        segment = self.choices.below(len(self.plan.data))
        one = self.plan.data[segment]
        size = len(one.content) if one.mode == "passive" else 0
        length = min(self.choices.below(size + 1), self.plan.memory_bytes)
        self._place(length, depth)
        self.constant("i32", self.choices.below(size - length + 1) + (20 * self.is_careless()))
        self.length(length, depth)
        self.emit("memory.init", segment, 0)

    def _place(self, length: int, depth: int) -> None:
        """Write an address where so many bytes have room, as a rule."""
        if self.is_careless():
            self.value("i32", depth)
        else:
            at = self.choices.pick((0, 1, 2, 5, 64, 65, 200))
            self.constant("i32", at if at + length <= self.plan.memory_bytes else 0)

    def _table_statement(self, depth: int) -> bool:
        table = self.choices.below(len(self.plan.tables))
        element = self.plan.tables[table].element
        count = self.table_count(table)
        kinds = ["table.set", "table.fill", "table.copy"] if self.plan.bulk else ["table.set"]
        passive = [at for at, one in enumerate(self.plan.elements) if one.mode == "passive"]
        kinds += ["table.init"] if self.plan.bulk and passive and element == "funcref" else []
        match self.choices.pick(kinds):
            case "table.set":
                self.table_index(table, 1, depth)
                self.value(element, depth)
                self.emit("table.set", table)
            case "table.fill":
                self.table_index(table, count, depth)
                self.value(element, depth)
                self.length(count, depth)
                self.emit("table.fill", table)
            case "table.copy":
                same = [at for at, one in enumerate(self.plan.tables) if one.element == element]
                source = self.choices.pick(same)
                count = min(count, self.plan.tables[source].limits.minimum)
                self.table_index(table, count, depth)
                self.table_index(source, count, depth)
                self.length(count, depth)
                self.emit("table.copy", table, source)
            case _:
                segment = self.choices.pick(passive)
                count = min(count, len(self.plan.elements[segment].items))
                self.table_index(table, count, depth)
                room = len(self.plan.elements[segment].items) - count
                self.constant("i32", self.choices.below(room + 1) + (9 * self.is_careless()))
                self.length(count, depth)
                self.emit("table.init", segment, table)
        return True

    def _drop_segment(self, _depth: int) -> bool:
        if self.plan.data and self.choices.chance(50):
            self.emit("data.drop", self.choices.below(len(self.plan.data)))
        elif self.plan.elements:
            self.emit("elem.drop", self.choices.below(len(self.plan.elements)))
        else:
            self.emit("data.drop", self.choices.below(len(self.plan.data)))
        return True

    # --- blocks ---

    def begin_block(
        self, kind: str, params: Sequence[ValueType], results: Sequence[ValueType]
    ) -> None:
        """Write the begin of a block or an if, and add its label."""
        self.emit(kind, self.block_type(params, results))
        self.labels.append(Label(tuple(results)))

    def end_block(self) -> None:
        """Write a block's end, and take its label away."""
        self.emit("end")
        self.labels.pop()

    def block_value(self, type_: ValueType, depth: int) -> bool:
        """Write a block, a loop or an if that gives a value, with statements in it."""
        if len(self.labels) >= _DEEPEST_LABEL:
            return False
        more = (self._any_type(),) if self.choices.chance(15) else ()
        params = self._some_types() if self.choices.chance(25) else ()
        match self.choices.weighted(((45, "block"), (40, "if"), (15, "loop"))):
            case "loop":
                self._write_loop((type_, *more), depth)
            case kind:
                self._write_block(kind, params, (type_, *more), depth)
        for one in more:
            if self.choices.chance(50):
                self.emit("local.set", self.target(one))
            else:
                self.emit("drop")
        return True

    def _some_types(self) -> tuple[ValueType, ...]:
        return tuple(self._any_type() for _ in range(1 + self.choices.below(2)))

    def _if(self, depth: int) -> bool:
        self._write_block("if", self._params(), (), depth)
        return True

    def _block(self, depth: int) -> bool:
        params = self._params()
        results = self._some_types() if self.choices.chance(20) else ()
        self._write_block("block", params, results, depth)
        for type_ in reversed(results):
            self.emit("local.set", self.target(type_))
        return True

    def _params(self) -> tuple[ValueType, ...]:
        return self._some_types() if self.choices.chance(15) else ()

    def _write_block(
        self,
        kind: str,
        params: tuple[ValueType, ...],
        results: tuple[ValueType, ...],
        depth: int,
    ) -> None:
        self.values(params, depth)
        if kind == "if":
            self.condition(depth)
        self.begin_block(kind, params, results)
        self._after_params(params, results, depth)
        if kind == "if" and (params != results or self.choices.chance(50)):
            self.emit("else")
            self._after_params(params, results, depth)
        self.end_block()

    def _after_params(
        self, params: tuple[ValueType, ...], results: tuple[ValueType, ...], depth: int
    ) -> None:
        """Write a block's inside, which begins with its parameters on the stack."""
        if params and params == results and self.choices.chance(50):
            self._statements_of_block(depth)
            return
        for type_ in reversed(params):
            if self.choices.chance(70):
                self.emit("local.set", self.target(type_))
            else:
                self.emit("drop")
        self._body(results, depth)

    def _body(self, results: tuple[ValueType, ...], depth: int) -> None:
        """Write statements, then the results, or a branch and what is never reached."""
        self._statements_of_block(depth)
        if self.choices.chance(10) and self._leave(depth):
            self._dead_code(results)
        else:
            self.values(results, depth)

    def _statements_of_block(self, depth: int) -> None:
        outermost = len(self.labels) == 1
        for _ in range(1 + self.choices.below(8 if outermost else 3)):
            if self.exhausted:
                break
            self.statement(depth)

    # --- loops ---

    def _loop(self, depth: int) -> bool:
        if self.plan.endless and self.choices.chance(20):
            self._endless_loop(depth)
            return True
        types = self._some_types() if self.choices.chance(25) else ()
        self._write_loop(types, depth)
        for type_ in reversed(types):
            self.emit("local.set", self.target(type_))
        return True

    def _write_loop(self, types: tuple[ValueType, ...], depth: int) -> None:
        """Write a loop that takes values, and gives those of the last time round."""
        counter = self.new_local("i32")
        self.counters.add(counter)
        times = self.choices.pick((2, 3, 1, 5, 8, 17))
        while times > 1 and times * self.multiplier * 20 > self.limit - self.cost:
            times //= 2
        if self.choices.chance(30):
            self.value("i32", depth)
            self.constant("i32", 3 if times < 8 else 7)
            self.emit("i32.and")
            times = max(times, 4 if times < 8 else 8)
        else:
            self.constant("i32", times)
        self.emit("local.set", counter)
        self.values(types, depth)
        self.emit("loop", self.block_type(types, types))
        self.labels.append(Label(types, counter))
        before = self.multiplier
        self.multiplier *= times
        for type_ in reversed(types):
            self.emit("local.set", self.target(type_))
        self._statements_of_block(depth)
        self.values(types, min(depth, 1))
        self._count_down(counter)
        self.emit("br_if", 0)
        self.multiplier = before
        self.end_block()

    def _count_down(self, counter: int) -> None:
        """Write whether a loop may begin anew."""
        self.emit("local.get", counter)
        self.constant("i32", 1)
        self.emit("i32.sub")
        self.emit("local.tee", counter)
        self.constant("i32", 0)
        self.emit("i32.gt_s")

    def _endless_loop(self, depth: int) -> None:
        """Write a loop that only a budget ends, entered under a condition."""
        self.value("i32", depth)
        self.begin_block("if", (), ())
        self.emit("loop", None)
        self.labels.append(Label((), self.new_local("i32")))
        self._set_local(1)
        self.emit("br", 0)
        self.end_block()
        self.end_block()

    # --- branches ---

    def _branch_if(self, depth: int) -> bool:
        """Write a branch under a condition: out of blocks, or to a loop's head."""
        depth_of = self.choices.below(len(self.labels))
        label = self.labels[-1 - depth_of]
        if len(label.types) > 3:
            return False
        self.values(label.types, depth)
        if label.counter is None:
            self.condition(depth, seldom=True)
        else:
            self._count_down(label.counter)
            if self.choices.chance(70):
                self.value("i32", min(depth, 1))
                self.constant("i32", 1)
                self.emit("i32.and")
                self.emit("i32.and")
        self.emit("br_if", depth_of)
        for type_ in reversed(label.types):
            if self.choices.chance(50):
                self.emit("local.set", self.target(type_))
            else:
                self.emit("drop")
        return True

    def _leave_if(self, depth: int) -> bool:
        """Write an if that ends with a branch."""
        self.condition(depth, seldom=True)
        self.begin_block("if", (), ())
        if not self._leave(depth):
            self.emit("nop")
        elif self.choices.chance(60):
            self._dead_code(())
        self.end_block()
        return True

    def _leave(self, depth: int) -> bool:
        """Write an instruction that nothing comes after; False: there is none to be had."""
        match self.choices.weighted(((60, "br"), (12, "return"), (12, "table"), (16, "trap"))):
            case "return":
                self.values(self.type.results, min(depth, 1))
                self.emit("return")
            case "table":
                self._write_branch_table(depth, guarded=False)
            case "trap":
                if not self.is_careless():
                    return False
                self.emit("unreachable")
            case _:
                ends = [at for at, one in enumerate(reversed(self.labels)) if one.counter is None]
                at = self.choices.pick(ends)
                self.values(self.labels[-1 - at].types, min(depth, 1))
                self.emit("br", at)
        return True

    def _branch_table(self, depth: int) -> bool:
        """Write a table of branches in an if, so that what follows is reached too."""
        self._write_branch_table(depth, guarded=True)
        return True

    def _write_branch_table(self, depth: int, *, guarded: bool) -> None:
        types = self.choices.pick(self.labels).types
        if not guarded and not any(
            one.types == types and one.counter is None for one in self.labels
        ):
            types = self.labels[0].types
        fitting = [
            at
            for at, one in enumerate(reversed(self.labels))
            if one.types == types and (guarded or one.counter is None)
        ]
        targets = [self.choices.pick(fitting) for _ in range(1 + self.choices.below(4))]
        outermost = [
            one.counter
            for one in (self.labels[-1 - at] for at in sorted(set(targets), reverse=True))
            if one.counter is not None
        ]
        if guarded:
            if outermost:
                self._count_down(outermost[0])
            else:
                self.condition(depth, seldom=True)
            self.begin_block("if", (), ())
        self.values(types, min(depth, 1))
        self.value("i32", depth)
        if self.choices.chance(70):
            self.constant("i32", 3)
            self.emit("i32.and")
        self.emit("br_table", *(at + guarded for at in targets))
        if guarded:
            self.end_block()

    # --- what is never reached ---

    def _dead_code(self, results: Sequence[ValueType]) -> None:
        """Write code after a branch: operands may come from nowhere."""
        cost = self.cost
        stack: list[ValueType] = []
        for _ in range(self.choices.below(4)):
            match self.choices.below(5):
                case 0:
                    self.emit("drop")
                    if stack:
                        stack.pop()
                case 1:
                    self.statement(1)
                case 2:
                    type_ = self._any_type()
                    self.value(type_, 2)
                    stack.append(type_)
                case 3:
                    self._dead_operation(stack)
                case _:
                    self._dead_branch(stack)
        for _ in stack:
            self.emit("drop")
        if self.choices.chance(50):
            self.values(results, 1)
        self.cost = cost

    def _dead_branch(self, stack: list[ValueType]) -> None:
        """Write a branch whose values come from nowhere."""
        while stack:
            self.emit("drop")
            stack.pop()
        depth_of = self.choices.below(len(self.labels))
        if self.choices.chance(50):
            self.emit("br", depth_of)
        else:
            self.emit("br_if", depth_of)
            stack.extend(self.labels[-1 - depth_of].types)

    def _dead_operation(self, stack: list[ValueType]) -> None:
        """Write an operation whose operands may lie on the stack, in part or not at all."""
        one = self.choices.pick(
            [
                one
                for one in OPERATIONS[self.choices.pick(self.plan.numbers)]
                if set(one.operands) <= set(self.plan.numbers)
            ]
        )
        there = min(len(stack), len(one.operands))
        if stack[len(stack) - there :] != list(one.operands)[len(one.operands) - there :]:
            for _ in stack:
                self.emit("drop")
            stack.clear()
            there = 0
        del stack[len(stack) - there :]
        self.emit(one.name)
        stack.append(one.result)
