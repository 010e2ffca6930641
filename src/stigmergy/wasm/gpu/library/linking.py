"""Which functions of the WGSL sources a shader needs, and their text.

The sources beside this module hold nothing but functions, each from a `fn` to a `}` at the start of
a line, and `//` comments. Who calls whom is read from their text. A function whose name begins with
`_` is the library's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final, Literal

from stigmergy.errors import CorruptError, NotFoundError

__all__ = ["SIGNATURES", "Floats", "Signature", "link"]

Floats = Literal["strict", "fast"]

_STRICT: Final = ("int32.wgsl", "int64.wgsl", "float32.wgsl", "float64.wgsl", "convert.wgsl")
# What is defined again takes the place of the function of the same name.
_FAST: Final = (*_STRICT, "float32_fast.wgsl")

_FUNCTION: Final = re.compile(r"^fn (\w+)\((.*?)\) -> (\S+) \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
_COMMENT: Final = re.compile(r"^ *//.*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Signature:
    """The WGSL types that a function takes and gives: `u32`, `vec2<u32>` or `bool`."""

    params: tuple[str, ...]
    result: str


@dataclass(frozen=True, slots=True)
class _Function:
    signature: Signature
    text: str
    calls: tuple[str, ...]


def link(names: Iterable[str], *, floats: Floats = "strict") -> str:
    """The WGSL text of these functions and of all that they call, each once, callees first.

    The same set of names gives the same text, whatever their order. Safe to call from any thread.

    Raises:
        NotFoundError: a name is not in `SIGNATURES`.
    """
    wanted = sorted(set(names))
    unknown = [name for name in wanted if name not in SIGNATURES]
    if unknown:
        raise NotFoundError(
            f"the WGSL library has no function {', '.join(map(repr, unknown))}; "
            "SIGNATURES names those it has"
        )
    functions = _functions(floats)
    linked: dict[str, str] = {}

    def add(name: str) -> None:
        # WGSL forbids recursion, so that this ends.
        if name not in linked:
            for callee in functions[name].calls:
                add(callee)
            linked[name] = functions[name].text

    for name in wanted:
        add(name)
    return "\n".join(linked.values())


@cache
def _functions(floats: Floats) -> Mapping[str, _Function]:
    sources = _STRICT if floats == "strict" else _FAST
    found: dict[str, re.Match[str]] = {}
    for source in sources:
        text = files("stigmergy.wasm.gpu.library").joinpath(source).read_text("utf-8")
        code = _COMMENT.sub("", text)
        if _FUNCTION.sub("", code).strip():
            raise CorruptError(
                f"{source} holds something other than functions and comments", where=source
            )
        found.update({match[1]: match for match in _FUNCTION.finditer(code)})
    return {name: _function(match, set(found)) for name, match in found.items()}


def _function(match: re.Match[str], known: set[str]) -> _Function:
    params = tuple(param.split(": ")[1] for param in match[2].split(", ") if param)
    called = set(re.findall(r"\b(\w+)\(", match[0])) & known - {match[1]}
    return _Function(Signature(params, match[3]), match[0], tuple(sorted(called)))


SIGNATURES: Final[Mapping[str, Signature]] = MappingProxyType(
    {
        name: function.signature
        for name, function in sorted(_functions("strict").items())
        if not name.startswith("_")
    }
)
