"""`stig hive`: runs that have a name and a strategy."""

from stigmergy.cli.hive.app import hive

__all__ = ["hive"]
