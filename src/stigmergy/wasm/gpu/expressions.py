"""WGSL expressions of numeric instructions. Pure.

An i32, f32 or reference is a `u32`, an i64 or f64 a `vec2<u32>` with the low half first; a
comparison is a `bool` until something needs a number of it. What is one operator of WGSL is written
in place; the rest are functions of the library.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from stigmergy.wasm.module.model import ValueType

__all__ = [
    "ZERO",
    "Expression",
    "WgslType",
    "constant",
    "library_name",
    "numeric",
    "wgsl_type",
    "zero",
]

WgslType: TypeAlias = Literal["u32", "vec2<u32>", "bool"]


@dataclass(frozen=True, slots=True)
class Expression:
    """Text that can stand anywhere an operand can, and the variables that it reads."""

    text: str
    type: WgslType
    reads: frozenset[str] = frozenset()
    constant: bool = False
    settled: bool = False
    """It is a name whose value does not change any more."""

    @property
    def number(self) -> "Expression":
        """The same as a number."""
        if self.type != "bool":
            return self
        return Expression(f"select(0u, 1u, {self.text})", "u32", self.reads)

    @property
    def condition(self) -> "Expression":
        """Whether it is true, or not 0."""
        if self.type == "bool":
            return self
        return Expression(f"({self.text} != 0u)", "bool", self.reads)


def wgsl_type(type_: ValueType) -> WgslType:
    """Return the WGSL type of a value's bits."""
    return "vec2<u32>" if type_ in ("i64", "f64") else "u32"


def constant(bits: int, type_: ValueType) -> Expression:
    """Return a value by its bits."""
    if wgsl_type(type_) == "u32":
        return Expression(f"{bits & 0xFFFFFFFF}u", "u32", constant=True)
    bits &= 0xFFFFFFFFFFFFFFFF
    text = f"vec2<u32>({bits & 0xFFFFFFFF}u, {bits >> 32}u)"
    return Expression(text, "vec2<u32>", constant=True)


def zero(type_: ValueType) -> Expression:
    """Return 0, or null."""
    return constant(0, type_)


ZERO = constant(0, "i32")


def library_name(name: str) -> str:
    """Return the library's function for an instruction."""
    return name.replace(".", "_")


def numeric(name: str, operands: Sequence[Expression], result: ValueType) -> tuple[Expression, str]:
    """Return an instruction that cannot trap as an expression, and the library function it needs.

    The name is empty where none is needed. At least one operand is no constant: WGSL computes what
    is constant itself, and refuses what overflows.
    """
    reads = frozenset[str]().union(*(one.reads for one in operands))
    if name == "i32.eqz" and operands[0].type == "bool":
        return Expression(f"(!{operands[0].text})", "bool", reads), ""
    texts = [one.number.text for one in operands]
    written = _IN_PLACE.get(name)
    if written is not None:
        kind, template = written
        first, second = texts[0], texts[-1]
        text = template.format(a=first, b=second, amount=_amount(second))
        return Expression(text, kind, reads), ""
    function = library_name(name)
    kind = "bool" if _is_comparison(name) else wgsl_type(result)
    return Expression(f"{function}({', '.join(texts)})", kind, reads), function


def _is_comparison(name: str) -> bool:
    operation = name.partition(".")[2]
    return operation == "eqz" or operation.partition("_")[0] in ("eq", "ne", "lt", "gt", "le", "ge")


def _amount(text: str) -> str:
    """Mask a shift; a constant one here, for WGSL refuses constants of 32 and more."""
    if text[:-1].isdigit():
        return f"{int(text[:-1]) & 31}u"
    return f"({text} & 31u)"


_U32 = {
    "i32.add": "({a} + {b})",
    "i32.sub": "({a} - {b})",
    "i32.mul": "({a} * {b})",
    "i32.div_u": "({a} / {b})",
    "i32.rem_u": "({a} % {b})",
    "i32.and": "({a} & {b})",
    "i32.or": "({a} | {b})",
    "i32.xor": "({a} ^ {b})",
    "i32.shl": "({a} << {amount})",
    "i32.shr_u": "({a} >> {amount})",
    "i32.shr_s": "bitcast<u32>(bitcast<i32>({a}) >> {amount})",
    "i32.extend8_s": "bitcast<u32>((bitcast<i32>({a}) << 24u) >> 24u)",
    "i32.extend16_s": "bitcast<u32>((bitcast<i32>({a}) << 16u) >> 16u)",
    "i32.wrap_i64": "{a}.x",
    "i32.reinterpret_f32": "{a}",
    "f32.reinterpret_i32": "{a}",
}
_VECTOR = {
    "i64.and": "({a} & {b})",
    "i64.or": "({a} | {b})",
    "i64.xor": "({a} ^ {b})",
    "i64.extend_i32_u": "vec2<u32>({a}, 0u)",
    "i64.reinterpret_f64": "{a}",
    "f64.reinterpret_i64": "{a}",
}
_BOOL = {
    "i32.eqz": "({a} == 0u)",
    "i32.eq": "({a} == {b})",
    "i32.ne": "({a} != {b})",
    "i32.lt_u": "({a} < {b})",
    "i32.gt_u": "({a} > {b})",
    "i32.le_u": "({a} <= {b})",
    "i32.ge_u": "({a} >= {b})",
    "i32.lt_s": "(bitcast<i32>({a}) < bitcast<i32>({b}))",
    "i32.gt_s": "(bitcast<i32>({a}) > bitcast<i32>({b}))",
    "i32.le_s": "(bitcast<i32>({a}) <= bitcast<i32>({b}))",
    "i32.ge_s": "(bitcast<i32>({a}) >= bitcast<i32>({b}))",
    "i64.eq": "all({a} == {b})",
    "i64.ne": "any({a} != {b})",
}
_IN_PLACE: dict[str, tuple[WgslType, str]] = {
    **{name: ("u32", text) for name, text in _U32.items()},
    **{name: ("vec2<u32>", text) for name, text in _VECTOR.items()},
    **{name: ("bool", text) for name, text in _BOOL.items()},
}
