"""What instructions take from the stack and leave on it, from their names. Pure."""

from functools import cache

from stigmergy.wasm.module.model import FunctionType, ValueType

__all__ = ["numeric_type"]

_BITS_OF_SAME_TYPE = frozenset(
    [
        "clz",
        "ctz",
        "popcnt",
        "abs",
        "neg",
        "ceil",
        "floor",
        "trunc",
        "nearest",
        "sqrt",
        "extend8_s",
        "extend16_s",
        "extend32_s",
    ]
)
_COMPARISONS = frozenset(["eq", "ne", "lt", "gt", "le", "ge"])
_CONVERSIONS = frozenset(["wrap", "trunc", "extend", "convert", "demote", "promote", "reinterpret"])
_TYPES: tuple[ValueType, ...] = ("i32", "i64", "f32", "f64")


@cache
def numeric_type(name: str) -> FunctionType:
    """Return the type of a numeric or memory access instruction: `i32.add` is (i32, i32) -> i32."""
    prefix, _, operation = name.partition(".")
    own = _value_type(prefix)
    words = operation.split("_")
    if operation == "const":
        return FunctionType((), (own,))
    if operation.startswith("load"):
        return FunctionType(("i32",), (own,))
    if operation.startswith("store"):
        return FunctionType(("i32", own), ())
    if operation == "eqz":
        return FunctionType((own,), ("i32",))
    if words[0] in _COMPARISONS:
        return FunctionType((own, own), ("i32",))
    if operation in _BITS_OF_SAME_TYPE:
        return FunctionType((own,), (own,))
    if words[0] in _CONVERSIONS:
        source = next(word for word in words if word in _TYPES)
        return FunctionType((_value_type(source),), (own,))
    return FunctionType((own, own), (own,))


def _value_type(name: str) -> ValueType:
    return _TYPES[_TYPES.index(name)]  # pyright: ignore[reportArgumentType] - one of them
