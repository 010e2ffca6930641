"""Compiles a module for the GPU: what is refused, what is constant, shaders for the entries in use.

The stages are functions of their own: module.body (decode), structure.build_tree, lower.lower,
emit.emit_function; this module joins them.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.engine import CohortSettings, Words
from stigmergy.wasm.gpu.callgraph import CallGraph, operations
from stigmergy.wasm.gpu.emit.function import emit_function
from stigmergy.wasm.gpu.emit.names import FRESH, words_of
from stigmergy.wasm.gpu.emit.shader import assemble
from stigmergy.wasm.gpu.expressions import constant, wgsl_type
from stigmergy.wasm.gpu.instantiate import Instance, constant_words, global_values, instantiate
from stigmergy.wasm.gpu.layout import HEADER_WORDS, StateLayout
from stigmergy.wasm.gpu.lower import lower
from stigmergy.wasm.gpu.lowered import Lowered, show_lowered
from stigmergy.wasm.gpu.program import CompilerOptions, Shader
from stigmergy.wasm.gpu.surroundings import Surroundings
from stigmergy.wasm.gpu.tree import show_tree
from stigmergy.wasm.hostcalls import resolve_imports, with_given_types
from stigmergy.wasm.module.model import PAGE_BYTES, Module

__all__ = ["CompiledModule", "Explained", "check_module", "compile_module", "explain"]

_MOST_FUNCTIONS = 0xFFFF
_MOST_STATE_WORDS = 1 << 20
_MOST_INSTRUCTIONS = 60_000
_MOST_PLACES = 60_000
# A number may be written with more bytes than it needs.
_SIZE = re.compile(rb"\x3f\x80*\x00")
_GROW = re.compile(rb"\x40\x80*\x00")
_TABLE_GROW = re.compile(rb"\xfc(?:\x0f|\x8f\x80*\x00)")
_SMALL_CODE_BYTES = 1 << 17
"""Up to here, all functions of a module are lowered to learn how deep its call stack can be."""


def compile_module(
    module: Module, settings: CohortSettings, options: CompilerOptions
) -> "CompiledModule":
    """Make a module ready; its shaders are written when they are asked for.

    Raises:
        UnsupportedError: The GPU cannot run the module, for the reason given.
    """
    return CompiledModule(with_given_types(module, settings.imports), settings, options)


def check_module(module: Module, settings: CohortSettings) -> None:
    """See whether what a module declares is anything that a GPU can run; bodies are not read.

    Raises:
        UnsupportedError: It is not, for the reason given.
    """
    _refuse(with_given_types(module, settings.imports), settings)


@dataclass(frozen=True, slots=True)
class Explained:
    """What becomes of a function, stage by stage, as text for people."""

    structure: str
    lowered: str
    wgsl: str


def explain(module: Module, function: int) -> Explained:
    """Return a function's stages on its way to the GPU.

    Raises:
        UnsupportedError: It cannot be said in WGSL.
    """
    compiled = CompiledModule(module, CohortSettings(), CompilerOptions())
    lowered = compiled.lowered(function)
    return Explained(
        show_tree(compiled.graph.tree(function)), show_lowered(lowered), emit_function(lowered)
    )


class CompiledModule:
    """A module made ready for one set of options. Implements program.Compiled."""

    def __init__(self, module: Module, settings: CohortSettings, options: CompilerOptions) -> None:
        _refuse(module, settings)
        self._module = module
        self._settings = settings
        self._options = options
        resolved = resolve_imports(module, settings.imports)
        self._values = global_values(module, resolved.globals)
        self.graph = CallGraph(module)
        self._grows = self._has("memory.grow", _GROW)
        self._memory_bytes = self._start_bytes()
        known = {
            index: constant(self._values[index], type_.value)
            for index, type_ in enumerate(module.all_globals)
            if not type_.mutable
        }
        self._around = Surroundings(
            module,
            self.graph,
            settings,
            resolved.functions,
            known,
            self._memory_bytes,
            self._grows,
        )
        self._lowered: dict[int, Lowered] = {}
        self._chains: dict[int, int] = {}
        self._below: dict[int, int] = {}

    # --- the contract ---

    @property
    def layout(self) -> StateLayout:
        """Where an agent's words lie; the same for every shader of the module."""
        return self._layout

    @cached_property
    def _layout(self) -> StateLayout:
        module, settings = self._module, self._settings
        at = HEADER_WORDS
        results = at
        at += 2 * max((len(one.results) for one in module.functions), default=0)
        globals_ = tuple(range(at, at + 2 * len(module.all_globals), 2))
        at += 2 * len(globals_)
        capacities = self._table_capacities()
        tables: list[int] = []
        for capacity in capacities:
            tables.append(at)
            at += 1 + capacity
        dropped = at
        at += len(module.data) + len(module.elements)
        stack_words = self._stack_words()
        if at + stack_words > _MOST_STATE_WORDS:
            message = f"an agent's tables and call stack take {4 * (at + stack_words)} bytes"
            raise UnsupportedError(message)
        most = self._most_memory_bytes()
        return StateLayout(
            results=results,
            globals=globals_,
            tables=tuple(tables),
            table_capacities=capacities,
            dropped=dropped,
            stack=at,
            stack_words=stack_words,
            words=at + stack_words,
            # A memory of no bytes is bound too where a shader names it.
            memory_words=max(1, -(-most // 4)) if module.all_memories else 0,
            output_words=-(-settings.output_bytes // 4),
            mailbox_messages=settings.mailbox_messages,
            message_words=2 + -(-settings.message_bytes // 4),
        )

    def initial_state(self) -> npt.NDArray[np.uint32]:
        """Return the words of a fresh instance before its stack."""
        return self._instance.state.copy()

    def initial_memory(self) -> npt.NDArray[np.uint8]:
        """Return the bytes of a fresh memory up to the last that is not 0."""
        return self._instance.memory.copy()

    def entry_frames(
        self, function: int, arguments: Words, *, start: bool
    ) -> npt.NDArray[np.uint32]:
        """Return the stack that begins a call: shape (n, words)."""
        columns: list[npt.NDArray[np.uint32]] = []
        for at, type_ in enumerate(self._module.functions[function].params):
            columns.append((arguments[:, at] & np.uint64(0xFFFFFFFF)).astype(np.uint32))
            if wgsl_type(type_) == "vec2<u32>":
                columns.append((arguments[:, at] >> np.uint64(32)).astype(np.uint32))
        begun = [function]
        if start and self._module.start is not None:
            begun.append(self._module.start)
        columns += [np.full(len(arguments), one << 16 | FRESH, np.uint32) for one in begun]
        return np.stack(columns, axis=1)

    def shader(self, entries: frozenset[int]) -> Shader:
        """Return a shader that can begin and resume these functions.

        Raises:
            UnsupportedError: One of them reaches code that cannot be said in WGSL.
        """
        imported = len(self._module.imported_functions)
        for one in sorted(entries):
            if one < imported:
                message = f"function {one} is imported: the GPU cannot begin a call with it"
                raise UnsupportedError(message)
        start = self._module.start
        begun = set(entries)
        if start is not None and start >= imported:
            begun.add(start)
        reached = self.graph.reachable(begun)
        instructions = sum(self.graph.instructions(one) for one in reached)
        if instructions > _MOST_INSTRUCTIONS:
            message = (
                f"the call reaches {instructions} instructions, more than the {_MOST_INSTRUCTIONS} "
                "that a shader may have"
            )
            raise UnsupportedError(message)
        self._check_places(reached)
        functions = [self.lowered(one) for one in reached]
        entered = sorted({*begun, *(one for one in reached if self.graph.is_stacked(one))})
        chains = {one: self._chain_words(one) for one in reached}
        self._check_stack(entered, chains)
        assembled = assemble(
            functions, entered, self._around, self.layout, self._options, chains=chains
        )
        constants = np.zeros(0, np.uint32)
        if assembled.uses_constants:
            constants = constant_words(self._module, self._values)
        return Shader(
            assembled.wgsl,
            assembled.uses_memory,
            assembled.uses_output,
            assembled.uses_mail,
            constants,
        )

    def _check_places(self, functions: Iterable[int]) -> None:
        places = sum(self.graph.places(one) for one in functions)
        if places > _MOST_PLACES:
            message = (
                f"its calls, and those through tables to all that a table may name, are {places}, "
                f"more than the {_MOST_PLACES} that a shader may have"
            )
            raise UnsupportedError(message)

    def _check_stack(self, entered: Sequence[int], chains: Mapping[int, int]) -> None:
        """Raise where one that begins could need more of the call stack than there is.

        A shader checks before a call only: what lies beyond would be another agent's.
        """
        functions = self._module.functions
        waiting = max(words_of(functions[one].params) + 1 for one in entered)
        needed = max(waiting, *(chains[one] + 1 for one in entered))
        needed += waiting if self._module.start is not None else 0
        if needed > self.layout.stack_words:
            message = (
                f"the call needs {4 * needed} bytes of call stack, and agents have "
                f"{4 * self.layout.stack_words}"
            )
            raise UnsupportedError(message)

    # --- for `explain` too ---

    def lowered(self, function: int) -> Lowered:
        """Return the lowered form of a function of the module's own.

        Raises:
            UnsupportedError: It cannot be said in WGSL.
        """
        if function not in self._lowered:
            self._check_places((function,))
            self._lowered[function] = lower(self.graph.tree(function), self._around)
        return self._lowered[function]

    # --- sizes ---

    @cached_property
    def _instance(self) -> Instance:
        return instantiate(self._module, self.layout, self._values, self._memory_bytes)

    def _start_bytes(self) -> int:
        """Return the size of the memory at the start; refuse what its size would tell."""
        for memory in self._module.all_memories:
            declared = memory.limits.minimum * PAGE_BYTES
            most = self._settings.memory_bytes
            if declared > most and (self._grows or self._has("memory.size", _SIZE)):
                message = (
                    f"the module declares {declared} bytes of memory and looks at its size, and "
                    f"agents have {most}"
                )
                raise UnsupportedError(message)
            return min(declared, most)
        return 0

    def _most_memory_bytes(self) -> int:
        if not self._grows:
            return self._memory_bytes
        most = self._settings.memory_bytes
        for memory in self._module.all_memories:
            if memory.limits.maximum is not None:
                most = min(most, memory.limits.maximum * PAGE_BYTES)
        return most

    def _table_capacities(self) -> tuple[int, ...]:
        grows = self._has("table.grow", _TABLE_GROW)
        capacities: list[int] = []
        for table in self._module.all_tables:
            most = table.limits.minimum
            if grows:
                most = max(most, self._settings.table_elements)
                if table.limits.maximum is not None:
                    most = min(most, table.limits.maximum)
            capacities.append(most)
        return tuple(capacities)

    def _has(self, name: str, code: re.Pattern[bytes]) -> bool:
        """Whether any function holds an instruction, which is encoded so."""
        module = self._module
        if not any(code.search(module.wasm, one.start, one.end) for one in module.code):
            return False
        if self._is_large:
            return True
        imported = len(module.imported_functions)
        return any(self._holds(one, name) for one in range(imported, len(module.functions)))

    def _holds(self, function: int, name: str) -> bool:
        try:
            nodes = self.graph.tree(function).root.body
        except UnsupportedError:
            return False  # it never runs here
        return any(one.name == name for one in operations(nodes))

    @cached_property
    def _is_large(self) -> bool:
        return sum(one.end - one.start for one in self._module.code) > _SMALL_CODE_BYTES

    def _stack_words(self) -> int:
        """Return the words that the call stack needs at most, or has where calls are recursive."""
        module, most = self._module, self._settings.call_stack_bytes // 4
        imported = len(module.imported_functions)
        functions = range(imported, len(module.functions))
        if self._is_large:
            return most
        # What cannot be lowered is refused when it is called, and so is what calls it.
        usable, _ = self.graph.usable(functions, self.lowered)
        waiting = max((words_of(module.functions[one].params) + 1 for one in functions), default=0)
        deepest = max([waiting, *(self._chain_words(one) + 1 for one in usable)])
        # An entry waits while the start function runs, and a call leaves room for the next.
        waiting = waiting if module.start is not None else 0
        if any(self.graph.is_recursive(one) for one in usable):
            return max(most, waiting + 2 * deepest)
        if any(self.graph.is_stacked(one) for one in usable):
            return waiting + deepest + max((self._stacked_below(one) for one in usable), default=0)
        return waiting + deepest

    def _stacked_below(self, function: int) -> int:
        """Return what stacked calls leave on the call stack at most, where none is recursive."""
        return self._deepest(
            function,
            self._below,
            own=lambda one: self.lowered(one).frame_words + 1,
            follows=self.graph.is_stacked,
        )

    def _chain_words(self, function: int) -> int:
        """Return the words of a function's frame and of those that it calls in place."""
        return self._deepest(
            function,
            self._chains,
            own=lambda one: self.lowered(one).frame_words,
            follows=lambda one: not self.graph.is_stacked(one),
        )

    def _deepest(
        self,
        function: int,
        found: dict[int, int],
        *,
        own: Callable[[int], int],
        follows: Callable[[int], bool],
    ) -> int:
        """Return what a function takes with the callee that takes most, of those that it follows.

        `found` keeps what is known. Chains of calls may be longer than Python recurses.
        """
        waiting = [function]
        while waiting:
            one = waiting[-1]
            called = [callee for callee in self.graph.callees(one) if follows(callee)]
            missing = [callee for callee in called if callee not in found]
            if missing and one not in found:
                waiting.extend(missing)
                continue
            waiting.pop()
            if one not in found:
                found[one] = own(one) + max((found[callee] for callee in called), default=0)
        return found[function]


def _refuse(module: Module, settings: CohortSettings) -> None:
    """Raise for what no shader can say."""
    if len(module.all_memories) > 1:
        message = "it uses several memories"
        raise UnsupportedError(message)
    for memory in module.all_memories:
        if memory.shared:
            message = "it shares its memory between threads"
            raise UnsupportedError(message)
        if memory.is_64_bit:
            message = "its memory has addresses of 64 bits"
            raise UnsupportedError(message)
    if settings.memory_bytes >= 1 << 31:
        message = "the GPU engine gives an agent less than 2 GiB of memory"
        raise UnsupportedError(message)
    if any("v128" in (*one.params, *one.results) for one in module.functions) or any(
        one.value == "v128" for one in module.all_globals
    ):
        message = "it uses vectors (SIMD): values of v128"
        raise UnsupportedError(message)
    if len(module.functions) > _MOST_FUNCTIONS:
        message = f"it has {len(module.functions)} functions, more than {_MOST_FUNCTIONS}"
        raise UnsupportedError(message)
