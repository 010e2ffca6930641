"""Reads a module from what a user has: bytes, text (WAT) or a file, and checks that it is valid."""

from contextlib import suppress
from pathlib import Path

from stigmergy.errors import UnsupportedError, UsageError
from stigmergy.wasm.module.bytesreader import MalformedModuleError
from stigmergy.wasm.module.decode import decode
from stigmergy.wasm.module.model import Module
from stigmergy.wasm.module.proposals import InvalidModuleError, check_proposals

__all__ = ["InvalidModuleError", "read_module", "read_module_file", "to_binary"]

_MAGIC = b"\0asm"
_COMPONENT = b"\1\0"


def read_module(source: bytes | str) -> Module:
    """Decode a module from its bytes, or from text (WAT) given as `str` or as bytes of it.

    Raises:
        InvalidModuleError: It is no valid module; the message has the reason.
        UnsupportedError: It is valid, but belongs to a proposal that no engine here runs, which is
            named.
    """
    wasm = to_binary(source)
    try:
        module = decode(wasm)
    except MalformedModuleError as error:
        with suppress(InvalidModuleError):
            check_proposals(wasm)  # what is not understood may be of one
        raise InvalidModuleError(str(error)) from error
    except UnsupportedError:
        if wasm[6:8] != _COMPONENT:
            check_proposals(wasm)
        raise
    check_proposals(wasm)
    return module


def read_module_file(path: Path) -> Module:
    """Decode a module from a `.wasm` or `.wat` file.

    Raises:
        UsageError: The file cannot be read, or is no valid module.
        UnsupportedError: It belongs to a proposal that no engine here runs.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"the module {path} cannot be read: {error.strerror}"
        raise UsageError(message) from error
    try:
        return read_module(content)
    except (InvalidModuleError, UnsupportedError) as error:
        raise type(error)(f"{path}: {error}") from error


def to_binary(source: bytes | str) -> bytes:
    """Return a module's bytes, translated from text where it is text.

    Raises:
        InvalidModuleError: It is text, and not of a module.
    """
    if isinstance(source, bytes) and (source.startswith(_MAGIC) or not _looks_like_text(source)):
        return source
    from wasmtime import WasmtimeError, wat2wasm

    try:
        return bytes(wat2wasm(source))
    except (WasmtimeError, UnicodeEncodeError) as error:
        reason = str(error).strip().replace("<anon>:", "line ")
        message = f"not a WebAssembly text module: {reason}"
        raise InvalidModuleError(message) from error


def _looks_like_text(source: bytes) -> bool:
    """Whether bytes could be WAT: it begins with a parenthesis, a comment or white space."""
    return source.lstrip()[:1] in (b"(", b";")
