"""The file that an export is written to: whole or not at all, and nothing else is overwritten."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from stigmergy.errors import UsageError

__all__ = ["destination", "talk"]

_STDOUT: Final = "-"


def talk(file: str) -> IO[str]:
    """Where to say what was done: not where the export goes."""
    return sys.stderr if file == _STDOUT else sys.stdout


@contextmanager
def destination(name: str, is_export: Callable[[bytes], bool]) -> Generator[IO[bytes]]:
    """A file that is there when all is written, and else as it was; stdout for `-`.

    Args:
        name: of the file.
        is_export: whether a file that begins so is one, which may be overwritten.

    Raises:
        UsageError: it cannot be written, or holds something else than an export.
    """
    if name == _STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        if path.exists() and not _may_be_replaced(path, is_export):
            raise UsageError(f"{name} is there and is no export: it is not overwritten")
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"{name}: cannot be written: {error.strerror or error}") from None
    finally:
        draft.unlink(missing_ok=True)


def _may_be_replaced(path: Path, is_export: Callable[[bytes], bool]) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return is_export(file.readline(200))
