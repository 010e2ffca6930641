"""Lets cffi parse the names of wgpu's types in a tenth of the time.

For each name that it meets first, cffi has pycparser read every typedef of the header again,
though only those count whose names occur in it. That was a third of the first call of a process.
"""

import re
from typing import Any

__all__ = ["hasten"]

_WORD = re.compile(r"\w+")
_TYPEDEF = "typedef "


def hasten(ffi: Any) -> None:
    """Show cffi's parser no more typedefs than its source names. Another cffi is left as it is."""
    parser: Any = getattr(ffi, "_parser", None)
    parse: Any = getattr(parser, "_parse", None)
    if parse is None or not isinstance(getattr(parser, "_declarations", None), dict):
        return

    def parse_what_is_named(source: str) -> object:
        words = set(_WORD.findall(source))
        every = parser._declarations  # noqa: SLF001 - cffi offers no other way
        parser._declarations = {  # noqa: SLF001 - likewise
            name: one
            for name, one in every.items()
            if name.startswith(_TYPEDEF) and name.removeprefix(_TYPEDEF) in words
        }
        try:
            return parse(source)
        finally:
            parser._declarations = every  # noqa: SLF001 - likewise

    parser._parse = parse_what_is_named  # noqa: SLF001 - likewise
