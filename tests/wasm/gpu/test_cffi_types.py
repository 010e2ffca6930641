"""cffi's types are the same when its parser is hastened, and it reads less for each."""

from typing import Any

import cffi
import pytest

from stigmergy.wasm.gpu.cffitypes import hasten

DECLARATIONS = """
typedef int Number;
typedef enum { RED = 3, BLUE } Colour;
typedef struct Point { Number x; Number y; } Point;
typedef struct { Point at; Colour colour; void (*call)(Point *, Number); } Dot;
"""
NAMES = [
    "Number",
    "Point *",
    "Dot[3]",
    "Colour",
    "void (*)(Dot *, Number)",
    "struct Point *",
    "int",
]


def described(ffi: Any, name: str) -> list[object]:
    ctype = ffi.typeof(name)
    inner = getattr(ctype, "item", ctype)
    fields = [(each, field.type.cname) for each, field in getattr(inner, "fields", None) or ()]
    return [ctype.cname, ctype.kind, fields]


def fresh() -> Any:
    ffi: Any = cffi.FFI()
    ffi.cdef(DECLARATIONS)
    return ffi


@pytest.mark.parametrize("name", NAMES)
def test_a_type_is_what_it_was(name: str) -> None:
    plain, hastened = fresh(), fresh()
    hasten(hastened)
    assert described(hastened, name) == described(plain, name)


def test_only_the_named_types_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    ffi = fresh()
    hasten(ffi)
    read: list[str] = []
    parser = cffi.cparser._get_parser()
    parse = parser.parse

    def spy(source: str, *rest: Any) -> Any:
        read.append(source)
        return parse(source, *rest)

    monkeypatch.setattr(parser, "parse", spy)
    monkeypatch.setattr(cffi.cparser, "_get_parser", lambda: parser)
    ffi.typeof("Point **")
    assert "typedef int Point;" in read[0]
    assert "typedef int Dot;" not in read[0]


def test_what_is_wrong_is_still_refused_and_can_be_declared_later() -> None:
    ffi = fresh()
    hasten(ffi)
    with pytest.raises(cffi.CDefError, match="Later"):
        ffi.typeof("Later *")
    ffi.cdef("typedef struct { int z; } Later;")
    assert described(ffi, "Later *")[2] == [("z", "int")]


def test_another_cffi_is_left_alone() -> None:
    hasten(object())
