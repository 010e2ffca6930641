"""Everything that can be known to be wrong before a run starts, said before anything starts.

Reads the repository and the settings; writes nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from stigmergy.coding.git.process import run_git
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.hive import HiveSpec, single_item
from stigmergy.coding.merge.find_gate import find_gate
from stigmergy.coding.plan.each import items_for_each
from stigmergy.coding.plan.features import read_features
from stigmergy.coding.plan.workitem import WorkItem
from stigmergy.coding.rundir import StateFolder, state_home
from stigmergy.coding.spec import RunSpec
from stigmergy.coding.work.handoff import AgentSpec, CommandAgent, OwnAgent
from stigmergy.config import Settings
from stigmergy.errors import UsageError
from stigmergy.memory import Memory
from stigmergy.memory.entry import check_namespace
from stigmergy.models import ReplayModel, gateway_config, load_recording, parse_model
from stigmergy.models.providers import open_provider
from stigmergy.models.reach import check_reachable

__all__ = [
    "Prepared",
    "Source",
    "agent_of",
    "check_model",
    "check_traces",
    "prepare",
    "replay_label",
]

_HEADS: Final = "refs/heads/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the work comes from."""

    kind: Literal["features", "each", "objective"]
    text: str
    """The features file's path, the glob, or the objective."""
    description: str = ""
    """For `each`: what to do with a file; `{path}` in it is replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run that may start."""

    spec: RunSpec
    notes: tuple[str, ...]
    """What the user should know, though nothing is wrong."""


def prepare(
    repository: Repository,
    source: Source,
    settings: Settings,
    *,
    environ: dict[str, str],
    now: float,
    hive: HiveSpec | None = None,
) -> Prepared:
    """Check everything and settle what the run is; with a hive, what its strategy makes of it.

    Raises:
        UsageError: something is wrong; the text says what to do.
    """
    target = _target(repository, settings.target)
    start = repository.tip(target)
    if start is None:
        raise UsageError(
            f"{target.removeprefix(_HEADS)} has no commit yet: commit something first "
            "(`git commit --allow-empty -m start` will do)"
        )
    agent_of(settings)
    check_model(settings, environ)
    check_traces(settings)
    settings = _with_memory(settings, state_home(repository))
    items, notes = _items(repository, start, source)
    if hive is not None and settings.model is None:
        items = [single_item(source.text, hive.strategy)]
        notes = ["no model plans: the objective is one item"]
    gate, why = (
        _gate(repository, start, settings.gate) if hive is None or hive.lands else ((), None)
    )
    notes = [*notes, *_dirty_notes(repository)]
    if why:
        notes.insert(0, why)
    spec = RunSpec(
        repository=repository.path.absolute(),
        target=target,
        start=start,
        source=source.kind,
        source_text=source.text,
        items=tuple(items),
        gate=gate,
        settings=settings,
        allow_empty=_allow_empty(source, settings),
        created_at=now,
        hive=hive,
        label=replay_label(settings, environ),
    )
    return Prepared(spec=spec, notes=tuple(notes))


def agent_of(settings: Settings) -> AgentSpec:
    """The agent that the settings ask for.

    Raises:
        UsageError: there is neither a command nor a model, or the command has no words.
    """
    if settings.agent_command is not None:
        if settings.agent_shell:
            words = (settings.agent_command,)
            shell = True  # the user asked for one; the values come to it by the environment
            return CommandAgent(argv=words, shell=shell, wall_s=settings.task_timeout_s)
        words = _split(settings.agent_command, "agent_command")
        return CommandAgent(argv=words, wall_s=settings.task_timeout_s)
    if settings.model is None:
        raise UsageError(
            "no agent: give --model PRESET:MODEL (as `openrouter:qwen/qwen3-coder`), "
            "--model URL#MODEL, --model replay:FILE, or --agent-command 'PROGRAM {path}'"
        )
    return OwnAgent(model="default", max_steps=settings.max_steps, wall_s=settings.task_timeout_s)


def replay_label(settings: Settings, environ: dict[str, str]) -> str:
    """What must be said wherever the run is shown, because its model's words are not live."""
    if settings.model is None:
        return ""
    model = parse_model(settings.model, environ=environ)
    if not isinstance(model, ReplayModel):
        return ""
    recording = load_recording(model.path)
    label = recording.label or model.path.name
    return f"replay: the model's words come from a recording ({label})"


def _allow_empty(source: Source, settings: Settings) -> bool:
    """A plain command over each file may well find nothing to do; a model that does nothing not."""
    if settings.allow_empty is not None:
        return settings.allow_empty
    return source.kind == "each" and settings.agent_command is not None


def _with_memory(settings: Settings, home: Path) -> Settings:
    """The settings with the memory's whole path, which another process may go on with.

    Raises:
        UsageError: a namespace can be none, or what is there is no memory.
    """
    if not settings.memory_namespace:
        return settings
    for name in settings.memory_namespace:
        check_namespace(name)
    path = settings.memory.absolute() if settings.memory else StateFolder(home).memory()
    if path.exists():
        Memory(path, create=False).close()
    return settings.model_copy(update={"memory": path})


def _target(repository: Repository, wanted: str | None) -> str:
    if wanted is not None:
        ref = wanted if wanted.startswith(_HEADS) else f"{_HEADS}{wanted}"
        if repository.tip(ref) is None:
            raise UsageError(f"there is no branch {wanted!r} to land on")
        return ref
    # Asked where the user stands: a linked working tree has a branch of its own.
    head = run_git(("symbolic-ref", "-q", "HEAD"), cwd=repository.path, accept=(0, 1))
    if head.code != 0:
        raise UsageError("no branch is checked out (HEAD is detached): name one with --target")
    return head.stdout.decode().strip()


def check_traces(settings: Settings) -> None:
    """See that the run's trace can be sent, if it is to be.

    Raises:
        UnsupportedError: the extra `otel` is missing.
        UsageError: the endpoint is no address.
    """
    if settings.otel_endpoint is not None:
        from stigmergy.monitor.tracing.export import open_exporter

        open_exporter(settings.otel_endpoint).shutdown()


def check_model(settings: Settings, environ: dict[str, str]) -> None:
    """See that the recording is whole, or that the keys are there and a server answers.

    Raises:
        UsageError: it is not so.
    """
    if settings.model is None:
        return
    config = gateway_config(
        settings.model, environ=environ, spillover=settings.spillover, record=settings.record
    )
    if config.replay is not None:
        load_recording(config.replay)
    opened = [open_provider(provider, environ=environ) for provider in config.providers]
    for provider in opened:
        if provider.config.role == "primary":  # a spillover may be down while nobody needs it
            check_reachable(provider)


def _items(
    repository: Repository, commit: str, source: Source
) -> tuple[Sequence[WorkItem], list[str]]:
    match source.kind:
        case "features":
            features = read_features(Path(source.text))
            return features.items, list(features.notes)
        case "each":
            return items_for_each(
                repository, commit, source.text, description=source.description
            ), []
        case "objective":
            if not source.text.strip():
                raise UsageError("the objective is empty: say what is to be built")
            return (), []


def _gate(
    repository: Repository, commit: str, wanted: str | None
) -> tuple[tuple[str, ...], str | None]:
    if wanted == "none":
        return (), "no gate: nothing proves what lands but git itself"
    if wanted is not None:
        return _split(wanted, "gate"), None
    paths = [entry.path for entry in repository.ls_tree(commit)]
    guess = find_gate(paths, lambda path: repository.read_file(commit, path))
    if guess is None:
        raise UsageError(
            "no gate was found (pytest, cargo test, go test, npm test, unittest, make test): give "
            "--gate 'COMMAND' that proves a change, or --gate none to land without any proof"
        )
    return guess.argv, f"gate: {shlex.join(guess.argv)} ({guess.why})"


def _split(text: str, name: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"{name} {text!r} cannot be split into words: {error}") from None
    if not words:
        raise UsageError(f"{name} is empty")
    return words


def _dirty_notes(repository: Repository) -> list[str]:
    if repository.is_bare:
        return []
    status = run_git(("status", "--porcelain", "-z", "--untracked-files=no"), cwd=repository.path)
    changed = len([record for record in status.stdout.split(b"\0") if record])
    if not changed:
        return []
    note = f"{changed} files have uncommitted changes: agents do not see them, and they stay"
    return [note]
