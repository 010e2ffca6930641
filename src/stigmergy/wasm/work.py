"""What a `wasm` task asks for, and what is told of it: the task's payload and its result. Pure."""

import base64
import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stigmergy.board import JsonObject
from stigmergy.errors import UsageError
from stigmergy.wasm.values import Number

__all__ = ["WasmWork", "told_output", "told_result"]

DEFAULT_INSTRUCTIONS = 10_000_000


class _Part(BaseModel):
    """A part of an agent's memory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    offset: Annotated[int, Field(ge=0)] = 0
    size: Annotated[int, Field(ge=0, le=1 << 24)]


class WasmWork(BaseModel):
    """One agent's work. Exactly one of `wasm`, `wat` and `module` names its module.

    Unknown fields are refused, for a mistyped one would be ignored otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    wasm: str | None = None
    """The module, in base64."""
    wat: str | None = None
    """The module, as text."""
    module: str | None = None
    """A file below the folder of modules that the batch agent was given."""
    entry: int | str = 0
    args: tuple[int | float, ...] = ()
    max_instructions: Annotated[int, Field(ge=1, lt=1 << 62)] = DEFAULT_INSTRUCTIONS
    identity: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    """The number that the agent is told; its random values follow from it."""
    memory: str | None = None
    """Bytes for the start of its memory, in base64."""
    read: _Part | None = None
    """What of its memory the result shall hold."""

    @model_validator(mode="after")
    def _one_module(self) -> Self:
        given = [name for name in ("wasm", "wat", "module") if getattr(self, name) is not None]
        if len(given) != 1:
            message = "give the module as exactly one of wasm (base64), wat (text), module (a file)"
            raise ValueError(message)
        return self

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> Self:
        """Read a task's payload.

        Raises:
            UsageError: It does not say what to run; each fault is named.
        """
        try:
            return cls.model_validate(dict(payload))
        except ValidationError as error:
            faults = "; ".join(
                _told_fault(".".join(str(part) for part in fault["loc"]), fault["msg"])
                for fault in error.errors()
            )
            message = f"the payload of a wasm task is wrong: {faults}"
            raise UsageError(message) from error

    def memory_bytes(self) -> bytes | None:
        """Return what its memory begins with.

        Raises:
            UsageError: It is no base64.
        """
        return None if self.memory is None else decode_base64(self.memory, what="memory")


def decode_base64(text: str, *, what: str) -> bytes:
    """Return the bytes of a field.

    Raises:
        UsageError: It is no base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # binascii.Error is one, and text beyond ASCII another
        message = f"the payload's {what} is no base64: {error}"
        raise UsageError(message) from error


def _told_fault(where: str, what: str) -> str:
    if what == "Extra inputs are not permitted":
        what = f"there is no such field; there are {', '.join(WasmWork.model_fields)}"
    what = what.removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


def told_result(number: Number) -> Number | str:
    """Return a number as JSON can hold it: what is not finite becomes its name."""
    if isinstance(number, int) or math.isfinite(number):
        return number
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def told_output(output: bytes) -> JsonObject:
    """Return an agent's output as text, or in base64 where it is none; nothing if there is none."""
    if not output:
        return {}
    try:
        return {"output": output.decode()}
    except UnicodeDecodeError:
        return {"output_base64": base64.b64encode(output).decode()}
