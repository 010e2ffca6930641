"""The checks of `stig doctor`. Each asks the machine itself, and changes nothing on it."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from stigmergy.coding.git.process import MINIMUM_VERSION, git_version
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.merge.find_gate import find_gate
from stigmergy.coding.rundir import StateFolder, state_home
from stigmergy.coding.sandbox.choice import choose
from stigmergy.coding.sandbox.sandbox import SandboxSettings
from stigmergy.config import Settings, load_settings
from stigmergy.errors import NotFoundError, StigmergyError, UsageError
from stigmergy.models import PRESETS

__all__ = ["Check", "check_machine", "check_repository"]

_PYTHON: Final = (3, 11)
_FREE_BYTES: Final = 1024**3
"""Below it the sandboxes of a few agents are enough to fill the disk."""
_EXTRA: Final = re.compile(r"([A-Za-z0-9._-]+).*;\s*extra\s*==\s*['\"]([^'\"]+)['\"]\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was found. `missing` stands in the way of every run, a `note` only of some."""

    name: str
    state: Literal["ok", "missing", "note"]
    found: str
    advice: tuple[str, ...] = ()
    """What to do, or to know, one sentence each."""


def check_machine(environ: Mapping[str, str]) -> Iterable[Check]:
    """What does not depend on a repository."""
    yield _python()
    yield _git()
    yield _models(environ)
    yield from _extras()


def check_repository(path: Path) -> Iterable[Check]:
    """What depends on a repository, and on the disk that it is on."""
    try:
        settings = load_settings()
    except UsageError as error:
        yield Check(name="settings", state="missing", found=str(error))
        settings = Settings.model_construct()
    folder = path if path.is_dir() else Path(tempfile.gettempdir())
    try:
        with Repository(path) as repository:
            yield from _in_repository(repository, settings)
            folder = _probing_folder(repository)
    except StigmergyError as error:
        yield Check(name="repository", state="missing", found=str(error))
    yield _sandbox(settings, folder)
    yield _disk(folder)


def _python() -> Check:
    have = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= _PYTHON:
        return Check(name="python", state="ok", found=have)
    wanted = ".".join(map(str, _PYTHON))
    return Check(
        name="python", state="missing", found=have, advice=(f"install Python {wanted} or newer",)
    )


def _git() -> Check:
    wanted = ".".join(map(str, MINIMUM_VERSION))
    advice = (f"install git {wanted} or newer: merging without a checkout needs it",)
    try:
        version = git_version()
    except StigmergyError as error:
        return Check(name="git", state="missing", found=str(error), advice=advice)
    have = ".".join(map(str, version))
    if version < MINIMUM_VERSION:
        return Check(name="git", state="missing", found=have, advice=advice)
    return Check(name="git", state="ok", found=have)


def _models(environ: Mapping[str, str]) -> Check:
    """Which presets can be used, by the names of their keys; no value is shown."""
    reachable = {
        name: preset
        for name, preset in PRESETS.items()
        if preset.base_url is not None or environ.get(preset.base_url_env)
    }
    keyed = [name for name, preset in reachable.items() if environ.get(preset.key_env)]
    keyless = [name for name, preset in reachable.items() if not preset.key_required]
    without = f"without a key: {', '.join(keyless)} (not asked whether they run), replay:FILE"
    if keyed:
        found = ", ".join(f"{name} ({PRESETS[name].key_env} is set)" for name in keyed)
        return Check(name="models", state="ok", found=f"{found}; {without}")
    names = ", ".join(preset.key_env for preset in reachable.values() if preset.key_required)
    return Check(
        name="models",
        state="note",
        found=f"no key is set; {without}",
        advice=(f"for a hosted model set one of {names}",),
    )


def _extras() -> Iterable[Check]:
    """The optional parts, as the installed package itself lists them."""
    needed: dict[str, list[str]] = {}
    for requirement in metadata.requires("stigmergy") or ():
        if found := _EXTRA.match(requirement):
            needed.setdefault(found[2], []).append(found[1])
    have = [extra for extra, names in needed.items() if all(map(_is_installed, names))]
    lack = [extra for extra in needed if extra not in have]
    if have:
        yield Check(name="extras", state="ok", found=", ".join(have))
    if lack:
        yield Check(
            name="extras",
            state="note",
            found=", ".join(lack),
            advice=(f"if you want one: pip install 'stigmergy[{lack[0]}]'",),
        )


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _in_repository(repository: Repository, settings: Settings) -> Iterable[Check]:
    try:
        head = repository.rev_parse("HEAD")
    except NotFoundError:
        yield Check(
            name="repository",
            state="missing",
            found=f"{repository.path} has no commit yet",
            advice=("commit something first; `git commit --allow-empty -m start` will do",),
        )
        return
    kind = "bare repository" if repository.is_bare else "working tree"
    yield Check(name="repository", state="ok", found=f"{kind}, HEAD is {head[:10]}")
    yield _gate(repository, head, settings)


def _gate(repository: Repository, commit: str, settings: Settings) -> Check:
    if settings.gate is not None:
        return Check(name="gate", state="ok", found=f"{settings.gate} (by the settings)")
    paths = [entry.path for entry in repository.ls_tree(commit)]
    guess = find_gate(paths, lambda path: repository.read_file(commit, path))
    if guess is not None:
        return Check(name="gate", state="ok", found=f"{shlex.join(guess.argv)} ({guess.why})")
    return Check(
        name="gate",
        state="note",
        found="nothing here tells how a change is proved",
        advice=("give each run --gate 'COMMAND', or --gate none to land without any proof",),
    )


def _probing_folder(repository: Repository) -> Path:
    """Where sandboxes will be, or on the same disk; the probe needs a folder to write to."""
    state = StateFolder(state_home(repository)).path
    return state if state.is_dir() else repository.git_dir


def _sandbox(settings: Settings, folder: Path) -> Check:
    wanted = SandboxSettings(
        view=settings.sandbox_view,
        confine=settings.sandbox_confine,
        network=settings.sandbox_network,
    )
    try:
        protection = choose(wanted, folder).protection
    except (StigmergyError, OSError) as error:
        return Check(name="sandbox", state="missing", found=str(error))
    ways = {
        "writes": protection.writes_confined,
        "network": protection.network_confined,
        "processes": protection.processes_confined,
    }
    closed = [name for name, confined in ways.items() if confined]
    left_open = [name for name, confined in ways.items() if not confined]
    found = f"{protection.view}; confined: {', '.join(closed) or 'nothing'}"
    if left_open:
        found += f"; NOT confined: {', '.join(left_open)}"
    # Runs go on without confinement, if the user lets them: that is told, and is no fault.
    return Check(
        name="sandbox",
        state="note" if left_open else "ok",
        found=found,
        advice=protection.notes,
    )


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    found = f"{free / 1024**3:,.1f} GiB free"
    if free >= _FREE_BYTES:
        return Check(name="disk", state="ok", found=found)
    advice = (f"free at least {_FREE_BYTES / 1024**3:.0f} GiB on the disk that holds {folder}",)
    return Check(name="disk", state="missing", found=found, advice=advice)
