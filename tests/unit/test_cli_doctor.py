"""`stig doctor`: what it checks, and that it changes nothing and shows no key."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from stigmergy.cli.checks import Check, check_machine, check_repository
from stigmergy.cli.doctor import doctor
from stigmergy.coding.git.process import git_version
from stigmergy.models import PRESETS

MakeRepository = Callable[[Mapping[str, str]], Path]

app = typer.Typer()
app.command()(doctor)


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def models(**environ: str) -> Check:
    return by_name(list(check_machine(environ)))["models"]


def test_a_repository_with_a_commit_is_fit_for_runs(make_repository: MakeRepository) -> None:
    repo = make_repository({"Makefile": "test:\n\ttrue\n"})
    result = CliRunner().invoke(app, ["--repo", str(repo), "--json"])
    told = json.loads(result.stdout)
    assert (result.exit_code, told["runs_possible"]) == (0, True)
    gate = next(check for check in told["checks"] if check["name"] == "gate")
    assert gate["found"] == "make test (Makefile has the target 'test')"
    assert not (repo / ".stigmergy").exists()
    status = subprocess.run(["git", "status", "--porcelain"], cwd=repo, capture_output=True)
    assert status.stdout == b"", "nothing was changed"


def test_the_sandbox_says_what_is_open(
    make_repository: MakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STIG_SANDBOX_CONFINE", "none")
    sandbox = by_name(list(check_repository(make_repository({}))))["sandbox"]
    assert sandbox.state == "note", "a run is possible, but nobody is told that it is safe"
    assert "NOT confined: writes, network, processes" in sandbox.found
    assert any("all your rights" in advice for advice in sandbox.advice)


@pytest.mark.parametrize("kind", ["no repository", "no commit", "no folder"])
def test_without_a_commit_to_start_from_no_run_is_possible(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "here"
    if kind != "no folder":
        folder.mkdir()
    if kind == "no commit":
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    assert by_name(list(check_repository(folder)))["repository"].state == "missing"
    result = CliRunner().invoke(app, ["--repo", str(folder)])
    assert result.exit_code == 1
    assert "no run is possible here yet" in result.stdout


def test_an_unguessable_gate_is_told_with_what_to_do(make_repository: MakeRepository) -> None:
    gate = by_name(list(check_repository(make_repository({"a.txt": "a"}))))["gate"]
    assert gate.state == "note"
    assert "--gate none" in gate.advice[0]


def test_a_broken_setting_is_named(
    make_repository: MakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STIG_AGENTS", "many")
    settings = by_name(list(check_repository(make_repository({}))))["settings"]
    assert settings.state == "missing"
    assert "agents" in settings.found


def test_keys_are_named_and_never_shown() -> None:
    secret = "sk-this-must-not-be-shown"
    found = models(OPENROUTER_API_KEY=secret)
    assert found.state == "ok"
    assert "openrouter (OPENROUTER_API_KEY is set)" in found.found
    assert secret not in repr(found)
    assert "openai" not in found.found


def test_a_preset_without_an_address_is_not_offered() -> None:
    assert PRESETS["modal"].base_url is None
    assert "modal" not in models().found
    assert "modal" in models(MODAL_BASE_URL="https://modal.invalid/v1").found


def test_git_that_is_missing_stops_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("git") is None
    git_version.cache_clear()
    try:
        checks = by_name([*check_machine({}), *check_repository(tmp_path)])
    finally:
        git_version.cache_clear()
    assert checks["git"].state == "missing"
    assert "2.38" in checks["git"].advice[0]


def test_extras_that_are_not_installed_are_told_with_the_command() -> None:
    extras = [check for check in check_machine({}) if check.name == "extras"]
    assert extras, "the package lists its extras"
    told = {name for check in extras for name in check.found.split(", ")}
    assert {"postgres", "wasm", "gpu"} <= told
    assert all("pip install 'stigmergy[" in c.advice[0] for c in extras if c.state == "note")
