"""`stig board`: the task board from the shell."""

from stigmergy.cli.board.app import board

__all__ = ["board"]
