"""A swarm as a file: its settings, its modules, and its journal; what it came to, for a check.

A ZIP of numpy arrays (no pickles) with one JSON document in it.
"""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from stigmergy.errors import CorruptError, StigmergyError, UsageError
from stigmergy.wasm.journal import Operation

__all__ = ["Snapshot", "read_snapshot", "write_snapshot"]

_FORMAT: Final = "stigmergy swarm"
_VERSION: Final = 1
_DOCUMENT: Final = "document"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a swarm can be made from again."""

    settings: Mapping[str, Any]
    """Arguments of the SwarmManager, but for its engine and imports."""
    operations: list[Operation]
    first_agent: int
    state: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    """What the swarm came to, in arrays that are compared when it is made again."""


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a file, in the place of what is there, whole or not at all.

    Raises:
        UsageError: It cannot be written.
    """
    arrays: dict[str, np.ndarray] = {f"state_{name}": one for name, one in snapshot.state.items()}
    operations = [
        [one.verb, {key: _packed(value, arrays) for key, value in one.given.items()}]
        for one in snapshot.operations
    ]
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "settings": dict(snapshot.settings),
        "first_agent": snapshot.first_agent,
        "operations": operations,
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    arrays[_DOCUMENT] = np.frombuffer(text, dtype=np.uint8)
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        message = f"the swarm could not be saved to {path}: {error.strerror}"
        raise UsageError(message) from error


def read_snapshot(path: Path) -> Snapshot:
    """Read a file that `write_snapshot` wrote.

    Raises:
        UsageError: It cannot be read, or is of a later version.
        CorruptError: It is no such file, or a damaged one.
    """
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        document: dict[str, Any] = json.loads(arrays.pop(_DOCUMENT).tobytes())
        return _snapshot(document, arrays, path)
    except FileNotFoundError as error:
        message = f"there is no file {path}"
        raise UsageError(message) from error
    except StigmergyError:
        raise
    except (IsADirectoryError, PermissionError) as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise UsageError(message) from error
    except Exception as error:  # an archive can be damaged in a great many ways
        # What numpy says of a file that is none of its own would lead astray.
        reason = "" if "pickle" in str(error) else f" ({error})"
        message = f"{path} is no saved swarm, or it is damaged{reason}"
        raise CorruptError(message, where=str(path)) from error


def _snapshot(document: dict[str, Any], arrays: dict[str, np.ndarray], path: Path) -> Snapshot:
    if document["format"] != _FORMAT:
        message = f"{path} is no saved swarm"
        raise CorruptError(message, where=str(path))
    if document["version"] != _VERSION:
        message = f"{path} was saved by another version: its format is {document['version']}"
        raise UsageError(message)
    return Snapshot(
        document["settings"],
        [
            Operation(verb, {key: _unpacked(value, arrays) for key, value in given.items()})
            for verb, given in document["operations"]
        ],
        _first_agent(document["first_agent"]),
        {
            name.removeprefix("state_"): one
            for name, one in arrays.items()
            if name.startswith("state_")
        },
    )


def _first_agent(number: object) -> int:
    if not isinstance(number, int) or not 0 <= number < 1 << 62:
        message = f"the first agent's number is {number!r}"
        raise ValueError(message)
    return number


def _packed(value: object, arrays: dict[str, np.ndarray]) -> object:
    """Return a value as JSON has it; arrays of numbers are put beside it."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, np.generic):
        return cast("np.generic[Any]", value).item()
    if isinstance(value, list):
        return [_packed(one, arrays) for one in cast("list[object]", value)]
    if isinstance(value, np.ndarray):
        column = cast("npt.NDArray[Any]", value)
        if column.dtype == object:
            return {"rows": column.tolist()}
        name = f"array_{len(arrays)}"
        arrays[name] = column
        return {"array": name}
    return value


def _unpacked(value: object, arrays: Mapping[str, np.ndarray]) -> object:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = cast("dict[str, Any]", value).items()
    match kind:
        case "base64":
            return base64.b64decode(content, validate=True)
        case "array":
            return arrays[content]
        case "rows":
            return np.array(content, dtype=object)
        case _:
            message = f"a value of the kind {kind!r}"
            raise ValueError(message)
