"""How `stig` begins and ends as a process: streams, exit codes, how an error reaches the user."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from stigmergy.cli.console import clean_lines
from stigmergy.errors import StigmergyError, UsageError

__all__ = ["run_app"]

_READER_GONE: Final = 141
"""What a shell reports of a program that SIGPIPE ended."""
_INTERRUPTED: Final = 130
"""What it reports of one that SIGINT ended."""


def run_app() -> None:
    """Run the command that `sys.argv` names; ends the process.

    Errors on purpose become one message and their exit code; others keep their traceback, since
    they are ours to mend.
    """
    _open_missing_streams()
    try:
        code = _run_command()
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered goes nowhere, or Python would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _READER_GONE
    sys.exit(code)


def _open_missing_streams() -> None:
    """Give streams that were closed (`>&-`) to the null device.

    In this order each gets its own number back: no file of the run can take it, to be written
    to by a child that believes it to be its stdout.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - open to the end
            setattr(sys, name, stream)


def _run_command() -> str | int | None:
    """The command's exit code.

    Raises:
        BrokenPipeError: nobody reads stdout any more.
    """
    try:
        _check_encoding(sys.argv[1:])
        _start_command(sys.argv)
    except StigmergyError as error:
        # Its text may quote a file, a model or a program.
        sys.stderr.write("stig: " + "\n".join(clean_lines(str(error))) + "\n")
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED  # it came before the command began, or it does not heed signals itself
    except SystemExit as ended:
        # Both typer and rich turn a broken pipe into an exit with 1.
        if isinstance(ended.__context__, BrokenPipeError):
            raise ended.__context__ from None
        return ended.code
    return 0


def _start_command(argv: Sequence[str]) -> None:
    """Run what was typed.

    A script calls `stig board` for every task, and an agent `stig memory`, so they load no other
    command: with them they would start in 0.5 s instead of 0.2 s.
    """
    if argv[1:2] == ["board"]:
        from stigmergy.cli.board import board

        board(argv[2:], prog_name="stig board")
    elif argv[1:2] == ["memory"]:
        from stigmergy.cli.memory import memory

        memory(argv[2:], prog_name="stig memory")
    else:
        from stigmergy.cli.app import app

        app()


def _check_encoding(words: Sequence[str]) -> None:
    """See that all arguments are text, as they go into JSON and onto the terminal.

    Raises:
        UsageError: one is not.
    """
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"the argument {word!a} is not valid UTF-8") from None
