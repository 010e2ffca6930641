"""The shader's own support functions in WGSL: memory, tables, segments, the call stack. Pure."""

from collections.abc import Iterable

__all__ = ["NEEDS_CONSTANTS", "NEEDS_MAIL", "NEEDS_MEMORY", "NEEDS_OUTPUT", "link_support"]

_FUNCTIONS: dict[str, tuple[tuple[str, ...], str]] = {}
"""Name: the functions that it calls, and its text."""


def _add(name: str, text: str, *needs: str) -> None:
    _FUNCTIONS[name] = (needs, text.strip() + "\n")


def link_support(names: Iterable[str], *, has_memory: bool) -> tuple[frozenset[str], str]:
    """Return the names of these functions and all that they need, and their text."""
    linked = {} if has_memory else dict(_WITHOUT_MEMORY)

    def add(name: str) -> None:
        if name in _FUNCTIONS and name not in linked:
            needs, text = _FUNCTIONS[name]
            for one in needs:
                add(one)
            linked[name] = text

    for name in sorted(names):
        add(name)
    return frozenset(linked), "".join(linked.values())


_WITHOUT_MEMORY = {
    "load8": "fn load8(a: u32) -> u32 { return a; }\n",
    "store8": "fn store8(a: u32, value: u32) { }\n",
}
"""For calls of the swarm that could touch a memory; each was checked to touch nothing."""

# --- linear memory: at(w) is the index of the agent's word w ---

_add("at", "fn at(word: u32) -> u32 { return memory_base + word * MEMORY_BLOCK; }")
_add(
    "load8",
    "fn load8(a: u32) -> u32 { return (memory[at(a >> 2u)] >> ((a & 3u) << 3u)) & 0xffu; }",
    "at",
)
_add(
    "load16",
    """
fn load16(a: u32) -> u32 {
  let shift = (a & 3u) << 3u;
  var bits = memory[at(a >> 2u)] >> shift;
  if (shift == 24u) { bits |= memory[at((a >> 2u) + 1u)] << 8u; }
  return bits & 0xffffu;
}
""",
    "at",
)
_add(
    "load32",
    """
fn load32(a: u32) -> u32 {
  let shift = (a & 3u) << 3u;
  var w = a >> 2u;
  var bits = memory[at(w)] >> shift;
  if (shift != 0u) { bits |= memory[at(w + 1u)] << (32u - shift); }
  return bits;
}
""",
    "at",
)
_add(
    "load64",
    """
fn load64(a: u32) -> vec2<u32> {
  let shift = (a & 3u) << 3u;
  let w = a >> 2u;
  let end = select(3u, 2u, shift == 0u);
  var bits = vec2<u32>();
  var last = 0u;
  // Each word once in a loop: a place that touches memory is much code on software adapters.
  for (var i = 0u; i < end; i += 1u) {
    bits = vec2<u32>(bits.y, last);
    last = memory[at(w + i)];
  }
  if (shift == 0u) { return vec2<u32>(bits.y, last); }
  let left = 32u - shift;
  return vec2<u32>((bits.x >> shift) | (bits.y << left), (bits.y >> shift) | (last << left));
}
""",
    "at",
)
_add(
    "store8",
    """
fn store8(a: u32, value: u32) {
  let shift = (a & 3u) << 3u;
  let i = at(a >> 2u);
  memory[i] = (memory[i] & ~(0xffu << shift)) | ((value & 0xffu) << shift);
}
""",
    "at",
)
_add(
    "store16",
    "fn store16(a: u32, value: u32) { store(a, vec2<u32>(value & 0xffffu, 0u), 2u); }",
    "store",
)
_add("store32", "fn store32(a: u32, value: u32) { store(a, vec2<u32>(value, 0u), 4u); }", "store")
_add("store64", "fn store64(a: u32, value: vec2<u32>) { store(a, value, 8u); }", "store")
_add(
    "store",
    """
fn store(a: u32, value: vec2<u32>, size: u32) {
  let shift = (a & 3u) << 3u;
  var i = at(a >> 2u);
  var bits = vec3<u32>(value, 0u);
  var left = (a & 3u) + size;
  var mask = 0xffffffffu << shift;
  if (shift != 0u) {
    let back = 32u - shift;
    bits = vec3<u32>(value.x << shift, (value.x >> back) | (value.y << shift), value.y >> back);
  }
  // A word at a time in a loop: a place that touches memory is much code on software adapters.
  loop {
    if (left < 4u) { mask &= (1u << (left << 3u)) - 1u; }
    var word = bits.x;
    if (mask != 0xffffffffu) { word = (memory[i] & ~mask) | (word & mask); }
    memory[i] = word;
    if (left <= 4u) { break; }
    left -= 4u;
    mask = 0xffffffffu;
    i += MEMORY_BLOCK;
    bits = vec3<u32>(bits.y, bits.z, 0u);
  }
}
""",
    "at",
)
_add(
    "memory_grow",
    """
fn memory_grow(delta: u32) -> u32 {
  let before = pages;
  if (delta > MOST_PAGES || before > MOST_PAGES - delta) { return 0xffffffffu; }
  pages = before + delta;
  memory_bytes = pages << 16u;
  return before;
}
""",
)
_add(
    "memory_fill",
    """
fn memory_fill(target_: u32, value: u32, length: u32) {
  let word = (value & 0xffu) * 0x01010101u;
  let end = target_ + length;
  var a = target_;
  // Bytes up to a whole word, words, and the bytes behind the last one.
  loop {
    if (a >= end || (a & 3u) == 0u) { break; }
    store8(a, value);
    a += 1u;
  }
  loop {
    if (a + 4u > end) { break; }
    memory[at(a >> 2u)] = word;
    a += 4u;
  }
  loop {
    if (a >= end) { break; }
    store8(a, value);
    a += 1u;
  }
}
""",
    "at",
    "store8",
)
_add(
    "memory_copy",
    """
fn memory_copy(target_: u32, source: u32, length: u32) {
  let step = select(1u, 4u, ((target_ | source | length) & 3u) == 0u);
  var done = 0u;
  loop {
    if (done >= length) { break; }
    // Backwards where the source would be overwritten before it is read.
    let i = select(done, length - step - done, target_ > source);
    if (step == 4u) {
      memory[at((target_ + i) >> 2u)] = memory[at((source + i) >> 2u)];
    } else {
      store8(target_ + i, load8(source + i));
    }
    done += step;
  }
}
""",
    "at",
    "load8",
    "store8",
)

# --- segments: `constants` begins with two words for each, its first word there and its size:
# --- bytes of data, elements of element segments; the data segments come first ---

_add("drop_data", "fn drop_data(segment: u32) { state[state_at(DROPPED + segment)] = 1u; }")
_add(
    "data_size",
    """
fn data_size(segment: u32) -> u32 {
  if (state[state_at(DROPPED + segment)] != 0u) { return 0u; }
  return constants[2u * segment + 1u];
}
""",
)
_add(
    "memory_init",
    """
fn memory_init(segment: u32, target_: u32, source: u32, length: u32) {
  let first = constants[2u * segment];
  for (var i = 0u; i < length; i += 1u) {
    let from_ = source + i;
    store8(target_ + i, constants[first + (from_ >> 2u)] >> ((from_ & 3u) << 3u));
  }
}
""",
    "store8",
)
_add(
    "drop_element",
    "fn drop_element(segment: u32) { state[state_at(DROPPED + DATA_SEGMENTS + segment)] = 1u; }",
)
_add(
    "element_size",
    """
fn element_size(segment: u32) -> u32 {
  if (state[state_at(DROPPED + DATA_SEGMENTS + segment)] != 0u) { return 0u; }
  return constants[2u * (DATA_SEGMENTS + segment) + 1u];
}
""",
)
_add(
    "table_init",
    """
fn table_init(table: u32, segment: u32, target_: u32, source: u32, length: u32) {
  let first = constants[2u * (DATA_SEGMENTS + segment)];
  for (var i = 0u; i < length; i += 1u) {
    table_set(table, target_ + i, constants[first + source + i]);
  }
}
""",
    "table_set",
)

# --- tables ---

_add("table_size", "fn table_size(table: u32) -> u32 { return state[state_at(table_at(table))]; }")
_add(
    "table_get",
    """
fn table_get(table: u32, index: u32) -> u32 {
  return state[state_at(table_at(table) + 1u + index)];
}
""",
)
_add(
    "table_set",
    """
fn table_set(table: u32, index: u32, value: u32) {
  state[state_at(table_at(table) + 1u + index)] = value;
}
""",
)
_add(
    "table_fill",
    """
fn table_fill(table: u32, start: u32, value: u32, length: u32) {
  for (var i = 0u; i < length; i += 1u) { table_set(table, start + i, value); }
}
""",
    "table_set",
)
_add(
    "table_grow",
    """
fn table_grow(table: u32, value: u32, delta: u32) -> u32 {
  let before = table_size(table);
  let most = table_most(table);
  if (delta > most || before > most - delta) { return 0xffffffffu; }
  state[state_at(table_at(table))] = before + delta;
  table_fill(table, before, value, delta);
  return before;
}
""",
    "table_size",
    "table_fill",
)
_add(
    "table_copy",
    """
fn table_copy(table: u32, from_table: u32, target_: u32, source: u32, length: u32) {
  for (var done = 0u; done < length; done += 1u) {
    let i = select(done, length - 1u - done, target_ > source);
    table_set(table, target_ + i, table_get(from_table, source + i));
  }
}
""",
    "table_set",
    "table_get",
)

# --- the swarm's functions: see hostcalls.py ---

_add("host_agent_id", "fn host_agent_id() -> u32 { return state[state_at(AGENT_ID)]; }")
_add(
    "add64",
    """
fn add64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}
""",
)
_add(
    "host_clock",
    """
fn host_clock() -> vec2<u32> {
  let count = vec2<u32>(state[state_at(COUNT_LOW)], state[state_at(COUNT_HIGH)]);
  return add64(parameters.clock, add64(count, vec2<u32>(fuel, 0u)));
}
""",
    "add64",
)
_add(
    "mul64",
    """
fn mul64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let al = a.x & 0xffffu;
  let ah = a.x >> 16u;
  let bl = b.x & 0xffffu;
  let bh = b.x >> 16u;
  let middle = ah * bl + ((al * bl) >> 16u);
  let other = al * bh + (middle & 0xffffu);
  let high = ah * bh + (middle >> 16u) + (other >> 16u);
  return vec2<u32>(a.x * b.x, high + a.x * b.y + a.y * b.x);
}
""",
)
_add(
    "mix64",
    """
fn mix64(start: vec2<u32>) -> vec2<u32> {
  var bits = start ^ vec2<u32>((start.x >> 30u) | (start.y << 2u), start.y >> 30u);
  bits = mul64(bits, vec2<u32>(0x1ce4e5b9u, 0xbf58476du));
  bits ^= vec2<u32>((bits.x >> 27u) | (bits.y << 5u), bits.y >> 27u);
  bits = mul64(bits, vec2<u32>(0x133111ebu, 0x94d049bbu));
  return bits ^ vec2<u32>((bits.x >> 31u) | (bits.y << 1u), bits.y >> 31u);
}
""",
    "mul64",
)
_add(
    "host_random",
    """
fn host_random() -> vec2<u32> {
  let draw = state[state_at(RANDOM_DRAWS)] + 1u;
  state[state_at(RANDOM_DRAWS)] = draw;
  let number = add64(vec2<u32>(state[state_at(AGENT_ID)], 0u), vec2<u32>(1u, 0u));
  let key = mix64(parameters.seed ^ mix64(number));
  let step = mul64(vec2<u32>(draw, 0u), vec2<u32>(0x7f4a7c15u, 0x9e3779b9u));
  return mix64(add64(key, step));
}
""",
    "add64",
    "mul64",
    "mix64",
)
_add(
    "append",
    """
fn append(byte: u32) {
  let used = state[state_at(OUTPUT_USED)];
  if (used < OUTPUT_BYTES) {
    let i = slot * OUTPUT_WORDS + (used >> 2u);
    let shift = (used & 3u) << 3u;
    output[i] = (output[i] & ~(0xffu << shift)) | ((byte & 0xffu) << shift);
    state[state_at(OUTPUT_USED)] = used + 1u;
  }
}
""",
)
_add(
    "host_output",
    """
fn host_output(pointer: u32, length: u32) -> u32 {
  let before = state[state_at(OUTPUT_USED)];
  let fits = min(length, OUTPUT_BYTES - before);
  for (var i = 0u; i < fits; i += 1u) { append(load8(pointer + i)); }
  return fits;
}
""",
    "append",
    "load8",
)
_add(
    "host_log",
    """
fn host_log(pointer: u32, length: u32) {
  host_output(pointer, length);
  append(10u);
}
""",
    "host_output",
    "append",
)
_add(
    "host_send",
    """
fn host_send(recipient: u32, pointer: u32, length: u32) -> u32 {
  if (length > MESSAGE_BYTES) { return 2u; }
  let box = slot * 2u * BOX_WORDS + BOX_WORDS;
  let held = mail[box];
  if (held >= MAILBOX_MESSAGES) { return 1u; }
  let first = box + 1u + held * MESSAGE_WORDS;
  mail[first] = recipient;
  mail[first + 1u] = length;
  for (var w = 2u; w < MESSAGE_WORDS; w += 1u) { mail[first + w] = 0u; }
  for (var i = 0u; i < length; i += 1u) {
    mail[first + 2u + (i >> 2u)] |= load8(pointer + i) << ((i & 3u) << 3u);
  }
  mail[box] = held + 1u;
  return 0u;
}
""",
    "load8",
)
_add(
    "host_receive",
    """
fn host_receive(pointer: u32, capacity: u32) -> vec2<u32> {
  let box = slot * 2u * BOX_WORDS;
  let held = mail[box];
  if (held == 0u) { return vec2<u32>(0xffffffffu, 0xffffffffu); }
  let first = box + 1u;
  let sender = mail[first];
  let length = mail[first + 1u];
  for (var i = 0u; i < min(length, capacity); i += 1u) {
    store8(pointer + i, mail[first + 2u + (i >> 2u)] >> ((i & 3u) << 3u));
  }
  let rest = (held - 1u) * MESSAGE_WORDS;
  for (var w = 0u; w < rest; w += 1u) { mail[first + w] = mail[first + w + MESSAGE_WORDS]; }
  for (var w = 0u; w < MESSAGE_WORDS; w += 1u) { mail[first + rest + w] = 0u; }
  mail[box] = held - 1u;
  return vec2<u32>(length, sender);
}
""",
    "store8",
)

NEEDS_MEMORY = frozenset({"at"})
NEEDS_OUTPUT = frozenset({"append"})
NEEDS_MAIL = frozenset({"host_send", "host_receive"})
NEEDS_CONSTANTS = frozenset({"data_size", "memory_init", "element_size", "table_init"})
