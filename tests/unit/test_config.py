"""Settings: where they come from, and that nothing wrong is passed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stigmergy.config import CONFIG_FILE, load_settings
from stigmergy.errors import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_later_sources_win(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / CONFIG_FILE).write_text("agents = 2\nmax_fixes = 2\nmax_steps = 2\n")
    monkeypatch.setenv("STIG_MAX_FIXES", "5")
    monkeypatch.setenv("STIG_MAX_STEPS", "5")
    settings = load_settings(max_steps=7)
    assert (settings.agents, settings.max_fixes, settings.max_steps) == (2, 5, 7)


@pytest.mark.parametrize("name", ["gate_timeout_s", "task_timeout_s", "reconcile_s", "lease_s"])
@pytest.mark.parametrize("value", ["inf", "nan", "1e300", "0"])
def test_a_time_that_no_clock_can_count_is_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=name):
        load_settings(**{name: float(value)})
    monkeypatch.setenv(f"STIG_{name.upper()}", value)
    with pytest.raises(UsageError, match=name):
        load_settings()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("STIG_AGENT", "STIG_AGENT, which is no setting; did you mean STIG_AGENTS"),
        ("stig_agent", "stig_agent, which is no setting; did you mean STIG_AGENTS"),
        ("STIG_", "see docs/reference/settings.md"),
        ("STIG_XYZZY", "see docs/reference/settings.md"),
    ],
)
def test_an_unknown_variable_is_an_error(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(UsageError, match=said):
        load_settings()


@pytest.mark.parametrize(
    "name",
    ["MODEL_KEY", "BOARD", "WORKSPACE", "SANDBOX_ID", "PATH", "TASK", "DESCRIPTION", "PROMPT"],
)
def test_what_agents_have_around_them_is_no_setting(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"STIG_{name}", "1")
    monkeypatch.setenv("STIGMA", "1")
    load_settings()


def test_an_unknown_name_in_the_file_is_an_error(folder: Path) -> None:
    (folder / CONFIG_FILE).write_text("agent = 2\n")
    with pytest.raises(UsageError, match="agent: Extra inputs"):
        load_settings()


def test_a_file_that_is_none_is_not_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / CONFIG_FILE
    os.mkfifo(file)
    with pytest.raises(UsageError, match=r"stigmergy\.toml is not a file"):
        load_settings()
    file.unlink()
    file.symlink_to("missing")
    with pytest.raises(UsageError, match=r"stigmergy\.toml is not a file"):
        load_settings()
    (folder / "other.toml").write_text("agents = 3\n")
    monkeypatch.setenv("STIG_CONFIG", "other.toml")
    assert load_settings().agents == 3
    monkeypatch.setenv("STIG_CONFIG", str(folder))
    with pytest.raises(UsageError, match="STIG_CONFIG names"):
        load_settings()
