"""Every kind of local sandbox keeps the contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stigmergy.coding.sandbox.local import LocalSandboxes

pytest.register_assert_rewrite("stigmergy.testing.sandboxcontract")

from stigmergy.testing.sandboxes import (  # noqa: E402 # its asserts are rewritten first
    ConfinedSandboxContract,
    MakeFactory,
    SandboxContract,
)


class LocalMixin:
    view = "auto"
    confine = "auto"

    @pytest.fixture
    def make_factory(self, repository: Path, tmp_path: Path) -> MakeFactory:
        def make(settings, model):
            chosen = replace(settings, view=self.view, confine=self.confine)
            return LocalSandboxes(repository, tmp_path / "state", chosen, model)

        return make

    def test_the_demanded_view_is_in_force(self, factory: LocalSandboxes) -> None:
        assert factory.protection.view == self.view


@pytest.mark.needs_overlay
@pytest.mark.needs_bwrap
class TestOverlayUnderBubblewrap(LocalMixin, ConfinedSandboxContract):
    view, confine = "overlay", "bubblewrap"


@pytest.mark.needs_bwrap
class TestWorktreeUnderBubblewrap(LocalMixin, ConfinedSandboxContract):
    view, confine = "worktree", "bubblewrap"


@pytest.mark.needs_overlay
class TestOverlayAlone(LocalMixin, SandboxContract):
    view, confine = "overlay", "none"


class TestWorktreeAlone(LocalMixin, SandboxContract):
    view, confine = "worktree", "none"
