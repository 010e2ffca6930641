"""Runs the commands of one file of the suite, as wast2json writes it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spec.drivers import Driver, RefusedError, UnlinkableError
from spec.values import argument, is_as_expected

from stigmergy.errors import StigmergyError, UnsupportedError
from stigmergy.wasm.cpu.linked import TrappedError, Value
from stigmergy.wasm.engine import TrapKind
from stigmergy.wasm.module.model import Module
from stigmergy.wasm.module.reading import InvalidModuleError, read_module

_TRAPS: Mapping[str, TrapKind] = {
    "unreachable": TrapKind.UNREACHABLE,
    "out of bounds memory access": TrapKind.MEMORY_OUT_OF_BOUNDS,
    "out of bounds table access": TrapKind.TABLE_OUT_OF_BOUNDS,
    "undefined element": TrapKind.TABLE_OUT_OF_BOUNDS,
    "uninitialized element": TrapKind.INDIRECT_CALL_TO_NULL,
    "indirect call type mismatch": TrapKind.BAD_SIGNATURE,
    "integer overflow": TrapKind.INTEGER_OVERFLOW,
    "integer divide by zero": TrapKind.INTEGER_DIVISION_BY_ZERO,
    "invalid conversion to integer": TrapKind.BAD_CONVERSION_TO_INTEGER,
    "call stack exhausted": TrapKind.STACK_OVERFLOW,
}
"""The kind of trap, by how its message begins."""

Command = Mapping[str, Any]
Validate = Callable[[bytes], str | None]
"""Says what is wrong with a module, None if it is valid."""


class FailedError(Exception):
    """A command did not do what it must; the message has what it did."""


@dataclass
class FileResult:
    """How one file's commands went."""

    name: str
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def refused(self) -> int:
        return self.refusals.total()


def run_file(path: Path, driver: Driver, validate: Validate) -> FileResult:
    """Run all commands of a file."""
    result = FileResult(path.stem)
    script = _Script(path.parent, driver, validate)
    for command in json.loads(path.read_text())["commands"]:
        try:
            script.run(command)
        except RefusedError as refusal:
            result.refusals[str(refusal)] += 1
        except FailedError as failure:
            result.failures.append(f"line {command['line']}: {command['type']}: {failure}")
        except (StigmergyError, UnlinkableError) as error:
            kind = type(error).__name__
            result.failures.append(f"line {command['line']}: {command['type']}: {kind}: {error}")
        else:
            result.passed += 1
    return result


class _Script:
    """The instances that a file has made so far."""

    def __init__(self, folder: Path, driver: Driver, validate: Validate) -> None:
        self._folder = folder
        self._driver = driver
        self._validate = validate
        self._named: dict[str | None, object | RefusedError] = {}

    def run(self, command: Command) -> None:
        """Run a command. Raises unless it does what it must."""
        match command["type"]:
            case "module":
                self._module(command)
            case "register":
                self._driver.register(command["as"], self._named[command.get("name")])
                self._instance(command.get("name"))
            case "action":
                self._act(command["action"])
            case "assert_return":
                self._assert_return(command)
            case "assert_trap" | "assert_exhaustion":
                self._must_trap(command, lambda: self._act(command["action"]))
            case "assert_uninstantiable":
                self._must_trap(command, lambda: self._driver.try_instance(self._read(command)))
            case "assert_unlinkable":
                self._assert_unlinkable(command)
            case "assert_invalid" | "assert_malformed":
                self._assert_rejected(command)
            case other:
                message = f"there is no command {other}"
                raise FailedError(message)

    def _module(self, command: Command) -> None:
        try:
            instance: object | RefusedError = self._instantiate(command)
        except RefusedError as refusal:
            instance = refusal
        except Exception:
            self._named[None] = self._named[command.get("name")] = RefusedError("it was not made")
            raise
        self._named[None] = instance
        if "name" in command:
            self._named[command["name"]] = instance
        if isinstance(instance, RefusedError):
            raise instance

    def _instantiate(self, command: Command) -> object:
        return self._driver.instantiate(self._read(command))

    def _read(self, command: Command) -> Module:
        return read_module((self._folder / command["filename"]).read_bytes())

    def _instance(self, name: str | None) -> object:
        instance = self._named[name]
        if isinstance(instance, RefusedError):
            raise instance
        return instance

    def _act(self, action: Command) -> list[Value]:
        instance = self._instance(action.get("module"))
        if action["type"] == "get":
            return [self._driver.global_value(instance, action["field"])]
        arguments = [argument(one) for one in action["args"]]
        return self._driver.call(instance, action["field"], arguments)

    def _assert_return(self, command: Command) -> None:
        try:
            values = self._act(command["action"])
        except TrappedError as error:
            message = f"it trapped: {error.trap}"
            raise FailedError(message) from error
        expected = command["expected"]
        if len(values) != len(expected) or not all(map(is_as_expected, values, expected)):
            message = f"it gave {values}, not {expected}"
            raise FailedError(message)

    @staticmethod
    def _must_trap(command: Command, do: Callable[[], object]) -> None:
        kinds = [kind for text, kind in _TRAPS.items() if command["text"].startswith(text)]
        try:
            given = do()
        except TrappedError as error:
            if error.trap.kind in kinds:
                return
            message = f"it trapped with {error.trap}, not {command['text']!r}"
            raise FailedError(message) from error
        message = f"it did not trap ({command['text']!r}), it gave {given}"
        raise FailedError(message)

    def _assert_unlinkable(self, command: Command) -> None:
        try:
            self._instantiate(command)
        except UnlinkableError:
            return
        message = f"it was linked, despite of: {command['text']}"
        raise FailedError(message)

    def _assert_rejected(self, command: Command) -> None:
        """Text that cannot be translated, or is translated to something invalid, is rejected."""
        content = (self._folder / command["filename"]).read_bytes()
        source = content.decode() if command["module_type"] == "text" else content
        try:
            module = read_module(source)
        except (InvalidModuleError, UnsupportedError):
            return
        if self._validate(module.wasm) is None:
            message = f"it was accepted, despite of: {command['text']}"
            raise FailedError(message)
