"""A board over HTTP: what `stig serve` serves, as agents and those who steer know boards."""

from stigmergy.addresses import is_remote
from stigmergy.swarm.remote.board import RemoteBoard

__all__ = ["RemoteBoard", "is_remote"]
