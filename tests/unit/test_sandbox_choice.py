"""What is in force is the best that settings and machine allow, and nothing less than demanded."""

from __future__ import annotations

from pathlib import Path

import pytest

from stigmergy.coding.sandbox import probe
from stigmergy.coding.sandbox.choice import choose
from stigmergy.coding.sandbox.local import LocalSandboxes
from stigmergy.coding.sandbox.sandbox import SandboxSettings
from stigmergy.errors import UnsupportedError, UsageError
from stigmergy.testing.sandboxes import commit_all, git


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without bubblewrap and with an overlay that cannot be mounted."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(probe, "python", lambda: "/bin/false")
    monkeypatch.setattr("stigmergy.coding.sandbox.places.python", lambda: "/bin/false")
    probe.bubblewrap.cache_clear()
    probe.overlay.cache_clear()
    yield
    probe.bubblewrap.cache_clear()
    probe.overlay.cache_clear()


def test_where_nothing_works_it_says_so_and_what_to_install(
    nothing_installed: None, tmp_path: Path
) -> None:
    protection = choose(SandboxSettings(), tmp_path).protection
    assert protection.view == "worktree"
    assert not protection.writes_confined
    assert "install bubblewrap" in " ".join(protection.notes)
    assert "checkouts are copied" in " ".join(protection.notes)


def test_what_is_demanded_and_missing_is_an_error(nothing_installed: None, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="install bubblewrap"):
        choose(SandboxSettings(confine="bubblewrap"), tmp_path)
    with pytest.raises(UnsupportedError, match="overlays cannot be used"):
        choose(SandboxSettings(view="overlay"), tmp_path)


@pytest.mark.parametrize("wrong", [{"view": "zfs"}, {"confine": "yes"}])
def test_a_setting_with_no_such_value_is_refused(tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="is not one of"):
        choose(SandboxSettings(**wrong), tmp_path)


def test_a_state_folder_serves_one_factory_and_shared_paths_must_exist(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init", "--quiet")
    commit_all(repository)
    with (
        LocalSandboxes(repository, tmp_path / "state"),
        pytest.raises(UsageError, match="in use"),
    ):
        LocalSandboxes(repository, tmp_path / "state")
    missing = SandboxSettings(share=(tmp_path / "missing",))
    with pytest.raises(UsageError, match="does not exist"):
        LocalSandboxes(repository, tmp_path / "state", missing)
