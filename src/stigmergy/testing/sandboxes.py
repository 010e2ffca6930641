"""The contract of the Sandbox seam: subclass it, say how a factory is made, run it with pytest.

class TestMySandboxes(SandboxContract):
    @pytest.fixture
    def make_factory(self, repository, tmp_path):
        return lambda settings, model: MySandboxes(repository, tmp_path / "s", settings, model)

A kind that confines programs keeps `ConfinedSandboxContract`; one that does not must say so.
"""

from __future__ import annotations

from stigmergy.testing.sandboxcontract.checkouts import CheckoutContract
from stigmergy.testing.sandboxcontract.confined import ConfinementContract
from stigmergy.testing.sandboxcontract.gateway import GatewayContract
from stigmergy.testing.sandboxcontract.programs import ProgramContract
from stigmergy.testing.sandboxcontract.shared import (
    COMMIT,
    MakeFactory,
    commit_all,
    git,
    on_loopback,
    shell,
)

__all__ = [
    "COMMIT",
    "ConfinedSandboxContract",
    "MakeFactory",
    "SandboxContract",
    "commit_all",
    "git",
    "on_loopback",
    "shell",
]


class SandboxContract(CheckoutContract, ProgramContract, GatewayContract):
    """What every kind of sandbox does. `make_factory` is the subclass's fixture."""


class ConfinedSandboxContract(SandboxContract, ConfinementContract):
    """What a kind does besides that confines writes, network and processes."""

    confined = True
