"""`stig memory`: what the swarm has learned, from the shell."""

from stigmergy.cli.memory.app import memory

__all__ = ["memory"]
