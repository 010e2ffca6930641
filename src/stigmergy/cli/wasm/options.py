"""What the commands of `stig wasm` share: options, and how they are read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

import typer

from stigmergy.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from stigmergy.wasm.engines import EngineName

__all__ = ["AsJson", "EngineOption", "arguments_of", "bytes_of", "check_extra", "engine_of"]

AsJson = Annotated[bool, typer.Option("--json", help="As one JSON object.")]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine", metavar="NAME", help="cpu, gpu, or auto: a hardware GPU where there is one."
    ),
]
_SIZE: Final = re.compile(r"(\d+)\s*(|[kKmMgG])(?:i?[bB])?")
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def check_extra() -> None:
    """See whether the packages of the extra `wasm` are there.

    Raises:
        UnsupportedError: One is not; the message says how to have it.
    """
    import stigmergy.wasm

    _ = stigmergy.wasm.SwarmManager


def engine_of(name: str) -> EngineName:
    """Return the engine that an option names.

    Raises:
        UsageError: There is none such.
    """
    if name not in ("auto", "cpu", "gpu"):
        message = f"--engine is {name!r}; it is auto, cpu or gpu"
        raise UsageError(message)
    return name


def bytes_of(text: str, *, what: str) -> int:
    """Return a size such as 512, 64k or 1M.

    Raises:
        UsageError: It is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    size = int(match[1]) * _UNITS[match[2].lower()] if match else 0
    if not 1 <= size < 1 << 62:
        message = f"{what} is {text!r}; wanted a size such as 512, 64k or 1M"
        raise UsageError(message)
    return size


def arguments_of(text: str, agents: int) -> np.ndarray | None:
    """Return the arguments of each agent from a text such as `i,1000`: `i` is the agent's number.

    None where there are none.

    Raises:
        UsageError: A part is neither a number nor `i`.
    """
    if not text.strip():
        return None
    import numpy as np

    parts = [_argument(part.strip()) for part in text.split(",")]
    whole = all(part is None or (isinstance(part, int) and abs(part) < 1 << 63) for part in parts)
    columns = np.empty((agents, len(parts)), dtype=np.int64 if whole else object)
    for position, part in enumerate(parts):
        columns[:, position] = range(agents) if part is None else part
    return columns


def _argument(part: str) -> int | float | None:
    if part == "i":
        return None
    for read in (lambda: int(part, 0), lambda: float(part)):
        try:
            return read()
        except ValueError:
            continue
    message = f"--args has {part!r}; wanted numbers, or i for the agent's number: --args i,1000"
    raise UsageError(message)
