"""`stig watch`: a swarm in a terminal, live, with keys to steer it."""

from stigmergy.cli.watch.command import watch

__all__ = ["watch"]
