"""Puts a shader together: declarations, library, functions, and `main`. Pure.

`main` runs the agent's call stack: the frame on top names a function that it enters. While agents
run, `frame` holds the frames of that function and of those it called in place, each at a fixed
word, callees below; when they stop, what lies from `first` on goes to the call stack in one piece.
A function that wants another through the call stack returns to `main` as if it had stopped.
`passed` holds arguments, then results (two words each), for the frame below or the host.

On software adapters every access to a buffer is much code, and functions are copied to where they
are called: so they touch `frame` and `passed` only, and `main` alone the stack.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stigmergy.wasm.engine import Status, TrapKind
from stigmergy.wasm.gpu.emit.choosing import choose
from stigmergy.wasm.gpu.emit.function import emit_function
from stigmergy.wasm.gpu.emit.names import FRESH, Halted, result_struct, words_of
from stigmergy.wasm.gpu.emit.support import (
    NEEDS_CONSTANTS,
    NEEDS_MAIL,
    NEEDS_MEMORY,
    NEEDS_OUTPUT,
    link_support,
)
from stigmergy.wasm.gpu.expressions import wgsl_type
from stigmergy.wasm.gpu.layout import Binding, Header, StateLayout
from stigmergy.wasm.gpu.library import link
from stigmergy.wasm.gpu.lowered import Lowered
from stigmergy.wasm.gpu.program import CompilerOptions
from stigmergy.wasm.gpu.surroundings import Surroundings
from stigmergy.wasm.module.model import PAGE_BYTES, FunctionType

__all__ = ["Assembled", "assemble"]


@dataclass(frozen=True, slots=True)
class Assembled:
    """A shader's text and the buffers that it declares."""

    wgsl: str
    uses_memory: bool
    uses_output: bool
    uses_mail: bool
    uses_constants: bool


def assemble(
    functions: Sequence[Lowered],
    entered: Sequence[int],
    around: Surroundings,
    layout: StateLayout,
    options: CompilerOptions,
    *,
    chains: Mapping[int, int],
) -> Assembled:
    """Write the shader of these functions; `entered` are those that `main` calls.

    `chains`: for each function the words of its frame and of those of all it calls in place.
    """
    used = set[str]().union(*(one.support for one in functions))
    support, support_text = link_support(used, has_memory=layout.memory_words > 0)
    library = set[str]().union(*(one.library for one in functions))
    structs = {result_struct(one.type) for one in functions}
    types = {one.function: one.type for one in functions}
    uses = {
        Binding.MEMORY: bool(support & NEEDS_MEMORY),
        Binding.OUTPUT: bool(support & NEEDS_OUTPUT),
        Binding.MAIL: bool(support & NEEDS_MAIL),
        Binding.CONSTANTS: bool(support & NEEDS_CONSTANTS),
    }
    globals_ = sorted(set[int]().union(*(one.globals for one in functions)))
    results = 2 * max((len(types[one].results) for one in entered), default=0)
    arguments = max((words_of(types[one].params) for one in entered), default=0)
    chain = max((chains[one] for one in entered), default=0)
    parts = [
        _bindings(uses),
        _constants(around, layout, options, stack_reserve=max(chain, arguments) + 1),
        _variables(around, globals_, max(results, arguments), chain),
        *sorted(structs),
        _STATE,
        _tables(layout) if any(name.startswith("table") for name in support) else "",
        support_text,
        link(library, floats=around.settings.floats) if library else "",
        *(emit_function(one, chains[one.function] - one.frame_words) for one in functions),
        _sizes(entered, types, chains),
        _enter(entered, types),
        _COUNTED,
        _main(around, layout, options, globals_, results),
    ]
    return Assembled(
        "\n".join(part for part in parts if part),
        uses[Binding.MEMORY],
        uses[Binding.OUTPUT],
        uses[Binding.MAIL],
        uses[Binding.CONSTANTS],
    )


def _bindings(uses: dict[Binding, bool]) -> str:
    lines = [
        "struct Parameters {",
        "  agents: u32, stride: u32, most: u32, row: u32, clock: vec2<u32>, seed: vec2<u32>,",
        "}",
    ]
    for binding in Binding:
        if not uses.get(binding, True):
            continue
        kind, type_ = "storage, read_write", "array<u32>"
        if binding in (Binding.AGENTS, Binding.CONSTANTS):
            kind = "storage, read"
        elif binding is Binding.PARAMETERS:
            kind, type_ = "uniform", "Parameters"
        name = binding.name.lower()
        lines.append(f"@group(0) @binding({int(binding)}) var<{kind}> {name}: {type_};")
    return "\n".join(lines) + "\n"


def _constants(
    around: Surroundings, layout: StateLayout, options: CompilerOptions, *, stack_reserve: int
) -> str:
    module, settings = around.module, around.settings
    most_pages = settings.memory_bytes // PAGE_BYTES
    for memory in module.all_memories:
        if memory.limits.maximum is not None:
            most_pages = min(most_pages, memory.limits.maximum)
    values = {
        "MEMORY_BLOCK": options.memory_block,
        "MOST_PAGES": most_pages,
        "DROPPED": layout.dropped,
        "DATA_SEGMENTS": len(module.data),
        "STACK": layout.stack,
        "STACK_WORDS": layout.stack_words,
        "STACK_RESERVE": stack_reserve,
        "STACK_OVERFLOW": int(TrapKind.STACK_OVERFLOW),
        "AGENT_ID": int(Header.AGENT_ID),
        "RANDOM_DRAWS": int(Header.RANDOM_DRAWS),
        "COUNT_LOW": int(Header.COUNT_LOW),
        "COUNT_HIGH": int(Header.COUNT_HIGH),
        "OUTPUT_USED": int(Header.OUTPUT_BYTES),
        "OUTPUT_BYTES": settings.output_bytes,
        "OUTPUT_WORDS": layout.output_words,
        "BOX_WORDS": layout.box_words,
        "MESSAGE_WORDS": layout.message_words,
        "MESSAGE_BYTES": settings.message_bytes,
        "MAILBOX_MESSAGES": layout.mailbox_messages,
    }
    return "".join(f"const {name} = {value}u;\n" for name, value in values.items())


def _variables(around: Surroundings, globals_: Sequence[int], passed: int, chain: int) -> str:
    names = ["slot", "memory_base", "pages", "memory_bytes", "fuel", "saved", "limit", "top"]
    names += ["halted", "trap_kind", "trap_offset", "callee", "first"]
    lines = [f"var<private> {name}: u32;" for name in names]
    lines.append("var<private> rewinding: bool;")
    lines.append(f"var<private> frame: array<u32, {max(chain, 1)}>;")
    lines.append(f"var<private> passed: array<u32, {max(passed, 1)}>;")
    for index in globals_:
        type_ = wgsl_type(around.module.all_globals[index].value)
        lines.append(f"var<private> g{index}: {type_};")
    return "\n".join(lines) + "\n"


_STATE = f"""\
fn state_at(word: u32) -> u32 {{ return word * parameters.stride + slot; }}

fn stack_at(word: u32) -> u32 {{ return state_at(STACK + word); }}

fn trap(kind: u32, offset: u32) {{
  halted = {Halted.TRAP}u;
  trap_kind = kind;
  trap_offset = offset;
}}
"""


def _tables(layout: StateLayout) -> str:
    """Return where tables lie and how large they can be."""
    places = _table("table_at", dict(enumerate(layout.tables)))
    return places + _table("table_most", dict(enumerate(layout.table_capacities)))


def _sizes(
    entered: Sequence[int], types: Mapping[int, FunctionType], chains: Mapping[int, int]
) -> str:
    """Return how many words functions have in `frame`, and what their arguments take."""
    arguments = {one: words_of(types[one].params) for one in entered}
    return _table("chain_of", {one: chains[one] for one in entered}) + _table(
        "arguments_of", arguments
    )


def _table(name: str, values: Mapping[int, int]) -> str:
    """Return a function from numbers to numbers."""
    # Not a return in each case, for Mesa nests what follows a return.
    choice = choose("key", {key: [f"value = {one}u;"] for key, one in values.items()})
    lines = [f"fn {name}(key: u32) -> u32 {{", "  var value = 0u;"]
    lines += [*(f"  {line}" for line in choice), "  return value;", "}"]
    return "\n".join(lines) + "\n"


def _enter(entered: Sequence[int], types: Mapping[int, FunctionType]) -> str:
    # A frame of another shader: the host sees that the agent makes no progress.
    other = [f"halted = {Halted.STOP}u;"]
    cases = {one: _enter_one(one, types[one]) for one in entered}
    lines = [f"  {line}" for line in choose("function", cases, other)]
    return "\n".join(["fn enter(function: u32) {", *lines, "}"]) + "\n"


def _enter_one(function: int, type_: FunctionType) -> list[str]:
    arguments: list[str] = []
    at = 0
    for param in type_.params:
        if wgsl_type(param) == "u32":
            arguments.append(f"passed[{at}]")
            at += 1
        else:
            arguments.append(f"vec2<u32>(passed[{at}], passed[{at + 1}])")
            at += 2
    call = f"f{function}({', '.join(arguments)})"
    if not type_.results:
        return [f"{call};"]
    lines = [f"let given = {call};"]
    # A call that it wants has its arguments there.
    lines.append("if (halted == 0u) {")
    for at, result in enumerate(type_.results):
        given = "given" if len(type_.results) == 1 else f"given.r{at}"
        low, high = f"passed[{2 * at}]", f"passed[{2 * at + 1}]"
        if wgsl_type(result) == "u32":
            lines.append(f"  {low} = {given}; {high} = 0u;")
        else:
            lines.append(f"  {low} = {given}.x; {high} = {given}.y;")
    return [*lines, "}"]


_RUN = f"""\
  var function = 0u;
  loop {{
    if (halted == {Halted.CALL}u) {{
      halted = 0u;
      rewinding = false;
      function = callee;
    }} else {{
      if (top == 0u) {{ break; }}
      top -= 1u;
      let header = state[stack_at(top)];
      function = header >> 16u;
      let from_ = header & {FRESH}u;
      rewinding = from_ != {FRESH}u;
      if (rewinding) {{
        let size = chain_of(function) - from_;
        top -= size;
        for (var i = 0u; i < size; i += 1u) {{ frame[from_ + i] = state[stack_at(top + i)]; }}
      }} else {{
        let size = arguments_of(function);
        top -= size;
        for (var i = 0u; i < size; i += 1u) {{ passed[i] = state[stack_at(top + i)]; }}
      }}
    }}
    enter(function);
    if (halted == 0u) {{ continue; }}
    if (halted == {Halted.TRAP}u) {{ break; }}
    let size = chain_of(function) - first;
    for (var i = 0u; i < size; i += 1u) {{ state[stack_at(top + i)] = frame[first + i]; }}
    top += size;
    state[stack_at(top)] = (function << 16u) | first;
    top += 1u;
    if (halted != {Halted.CALL}u) {{ break; }}
  }}
"""


_COUNTED = """\
fn counted(count: vec2<u32>, more: u32) -> vec2<u32> {
  let low = count.x + more;
  return vec2<u32>(low, count.y + select(0u, 1u, low < more));
}
"""

_NOT_SAVED = 0xFFFFFFFF
"""Of `saved`: no function was called or left in this dispatch."""


def _main(
    around: Surroundings,
    layout: StateLayout,
    options: CompilerOptions,
    globals_: Sequence[int],
    results: int,
) -> str:
    def word(at: int) -> str:
        return f"state[state_at({int(at)}u)]"

    block, size = options.memory_block, options.workgroup_size
    lines = [
        f"@compute @workgroup_size({size})",
        "fn main(@builtin(global_invocation_id) id: vec3<u32>) {",
        f"  let index = id.x + id.y * parameters.row * {size}u;",
        "  if (index >= parameters.agents) { return; }",
        "  slot = agents[index];",
        f"  if ({word(Header.STATUS)} != {int(Status.READY)}u) {{ return; }}",
        f"  memory_base = (slot / {block}u) * {layout.memory_words * block}u + slot % {block}u;",
        f"  pages = {word(Header.PAGES)};",
        "  memory_bytes = pages << 16u;",
        f"  top = {word(Header.STACK_WORDS)};",
        f"  let count = vec2<u32>({word(Header.COUNT_LOW)}, {word(Header.COUNT_HIGH)});",
        f"  let target_ = vec2<u32>({word(Header.TARGET_LOW)}, {word(Header.TARGET_HIGH)});",
        "  let left_low = target_.x - count.x;",
        "  let borrow = select(0u, 1u, target_.x < count.x);",
        "  let past = target_.y < count.y || (target_.y == count.y && borrow != 0u);",
        "  let left_high = target_.y - count.y - borrow;",
        "  limit = select(parameters.most, min(left_low, parameters.most), left_high == 0u);",
        "  if (past || limit == 0u) { return; }",
        f"  saved = {_NOT_SAVED}u;",
    ]
    for index in globals_:
        low, high = word(layout.globals[index]), word(layout.globals[index] + 1)
        if wgsl_type(around.module.all_globals[index].value) == "u32":
            lines.append(f"  g{index} = {low};")
        else:
            lines.append(f"  g{index} = vec2<u32>({low}, {high});")
    lines += [
        _RUN,
        f"  var status = {int(Status.FINISHED)}u;",
        f"  if (halted == {Halted.STOP}u) {{ status = {int(Status.READY)}u; }}",
        f"  if (halted == {Halted.WAIT}u) {{ status = {int(Status.WAITING)}u; }}",
        f"  if (halted == {Halted.TRAP}u) {{",
        f"    status = {int(Status.TRAPPED)}u;",
        "    top = 0u;",
        f"    {word(Header.TRAP_KIND)} = trap_kind;",
        f"    {word(Header.TRAP_OFFSET)} = trap_offset;",
        "  }",
        f"  {word(Header.STATUS)} = status;",
        f"  {word(Header.STACK_WORDS)} = top;",
        f"  var settled = vec2<u32>({word(Header.SETTLED_LOW)}, {word(Header.SETTLED_HIGH)});",
        f"  if (saved != {_NOT_SAVED}u) {{ settled = counted(count, saved); }}",
        "  var reached = counted(count, fuel);",
        f"  if (status == {int(Status.TRAPPED)}u) {{",
        "    reached = settled;",
        "  } else if (reached.y > target_.y",
        "    || (reached.y == target_.y && reached.x >= target_.x)) {",
        "    settled = reached;",
        "  }",
        f"  {word(Header.COUNT_LOW)} = reached.x;",
        f"  {word(Header.COUNT_HIGH)} = reached.y;",
        f"  {word(Header.SETTLED_LOW)} = settled.x;",
        f"  {word(Header.SETTLED_HIGH)} = settled.y;",
    ]
    if around.memory_grows:
        lines.append(f"  {word(Header.PAGES)} = pages;")
    for index in globals_:
        if not around.module.all_globals[index].mutable:
            continue
        if wgsl_type(around.module.all_globals[index].value) == "u32":
            lines.append(f"  {word(layout.globals[index])} = g{index};")
        else:
            lines.append(f"  {word(layout.globals[index])} = g{index}.x;")
            lines.append(f"  {word(layout.globals[index] + 1)} = g{index}.y;")
    if results:
        lines.append(f"  if (status == {int(Status.FINISHED)}u) {{")
        lines.append(f"    for (var i = 0u; i < {results}u; i += 1u) {{")
        lines.append(f"      state[state_at({layout.results}u + i)] = passed[i];")
        lines += ["    }", "  }"]
    lines.append("}")
    return "\n".join(lines) + "\n"
