"""WGSL expressions of numeric instructions. Pure.

An i32, f32 or reference is a `u32`, an i64 or f64 a `vec2<u32>` with the low half first; a
comparison is a `bool` until something needs a number of it. What is one operator of WGSL is written
in place; the rest are functions of the library.
"""

from collections.abc import Callable, Sequence
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
        kind, write = written
        return Expression(write(*texts), kind, reads), ""
    function = library_name(name)
    kind = "bool" if _is_comparison(name) else wgsl_type(result)
    return Expression(f"{function}({', '.join(texts)})", kind, reads), function


def _is_comparison(name: str) -> bool:
    operation = name.partition(".")[2]
    return operation == "eqz" or operation.partition("_")[0] in ("eq", "ne", "lt", "gt", "le", "ge")


def _signed(operator: str) -> Callable[..., str]:
    return lambda a, b: f"(bitcast<i32>({a}) {operator} bitcast<i32>({b}))"


def _plain(operator: str) -> Callable[..., str]:
    return lambda a, b: f"({a} {operator} {b})"


def _amount(text: str) -> str:
    """Mask a shift; a constant one here, for WGSL refuses constants of 32 and more."""
    if text[:-1].isdigit():
        return f"{int(text[:-1]) & 31}u"
    return f"({text} & 31u)"


_SIGN_8 = "bitcast<u32>((bitcast<i32>({}) << 24u) >> 24u)"
_SIGN_16 = "bitcast<u32>((bitcast<i32>({}) << 16u) >> 16u)"

_IN_PLACE: dict[str, tuple[WgslType, Callable[..., str]]] = {
    "i32.add": ("u32", _plain("+")),
    "i32.sub": ("u32", _plain("-")),
    "i32.mul": ("u32", _plain("*")),
    "i32.div_u": ("u32", _plain("/")),
    "i32.rem_u": ("u32", _plain("%")),
    "i32.and": ("u32", _plain("&")),
    "i32.or": ("u32", _plain("|")),
    "i32.xor": ("u32", _plain("^")),
    "i32.shl": ("u32", lambda a, b: f"({a} << {_amount(b)})"),
    "i32.shr_u": ("u32", lambda a, b: f"({a} >> {_amount(b)})"),
    "i32.shr_s": ("u32", lambda a, b: f"bitcast<u32>(bitcast<i32>({a}) >> {_amount(b)})"),
    "i32.eqz": ("bool", lambda a: f"({a} == 0u)"),
    "i32.eq": ("bool", _plain("==")),
    "i32.ne": ("bool", _plain("!=")),
    "i32.lt_u": ("bool", _plain("<")),
    "i32.gt_u": ("bool", _plain(">")),
    "i32.le_u": ("bool", _plain("<=")),
    "i32.ge_u": ("bool", _plain(">=")),
    "i32.lt_s": ("bool", _signed("<")),
    "i32.gt_s": ("bool", _signed(">")),
    "i32.le_s": ("bool", _signed("<=")),
    "i32.ge_s": ("bool", _signed(">=")),
    "i32.extend8_s": ("u32", _SIGN_8.format),
    "i32.extend16_s": ("u32", _SIGN_16.format),
    "i64.and": ("vec2<u32>", _plain("&")),
    "i64.or": ("vec2<u32>", _plain("|")),
    "i64.xor": ("vec2<u32>", _plain("^")),
    "i64.eq": ("bool", lambda a, b: f"all({a} == {b})"),
    "i64.ne": ("bool", lambda a, b: f"any({a} != {b})"),
    "i64.extend_i32_u": ("vec2<u32>", lambda a: f"vec2<u32>({a}, 0u)"),
    "i32.wrap_i64": ("u32", lambda a: f"{a}.x"),
    "i32.reinterpret_f32": ("u32", lambda a: a),
    "f32.reinterpret_i32": ("u32", lambda a: a),
    "i64.reinterpret_f64": ("vec2<u32>", lambda a: a),
    "f64.reinterpret_i64": ("vec2<u32>", lambda a: a),
}
