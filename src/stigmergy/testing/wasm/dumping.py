"""Writes a case so that people can read it."""

import subprocess
import tempfile
from pathlib import Path

from stigmergy.testing.wasm.cases import Case
from stigmergy.wasm.module.decode import decode
from stigmergy.wasm.module.instructions import Instruction

__all__ = ["describe"]

_OPENING = frozenset({"block", "loop", "if", "else"})
_CLOSING = frozenset({"end", "else"})


def describe(case: Case) -> str:
    """Return a case as text: calls, settings, and the module as WAT where wabt is installed."""
    settings = case.settings
    lines = [
        *(f"call {one.function} {' '.join(map(hex, one.arguments))}" for one in case.calls),
        f"memory {settings.memory_bytes} bytes, begins with {case.memory_start.hex() or 'nothing'}",
        f"tables of {settings.table_elements}, seed {settings.seed}, inbox {case.inbox}",
        *(f"{'.'.join(key)} = {value:#x}" for key, (_, value) in settings.imports.globals.items()),
        _text(case.wasm),
    ]
    return "\n".join(lines)


def _text(wasm: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "module.wasm")
        file.write_bytes(wasm)
        command = ["wasm2wat", "--enable-all", "--no-check", str(file)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            return _instructions(wasm)
    return done.stdout


def _instructions(wasm: bytes) -> str:
    module = decode(wasm)
    lines: list[str] = []
    first = len(module.imported_functions)
    for function in range(first, len(module.functions)):
        body = module.body(function)
        lines.append(f"function {function}: {module.functions[function]}, locals {body.locals}")
        depth = 1
        for one in body.instructions:
            depth -= one.name in _CLOSING
            lines.append(_line(one, depth))
            depth += one.name in _OPENING
    return "\n".join(lines)


def _line(one: Instruction, depth: int) -> str:
    return f"{one.offset:6} {'  ' * depth}{one}"
