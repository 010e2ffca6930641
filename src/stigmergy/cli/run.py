"""`stig run` and `stig resume`."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console

from stigmergy.board import TaskBoard
from stigmergy.cli.dry_run import show_plan
from stigmergy.cli.journal import is_held
from stigmergy.cli.live import make_display
from stigmergy.cli.programlog import LogFormat, LogLevel, write_log
from stigmergy.cli.run_options import (
    LANDING,
    WATCHING,
    WORK,
    WORKERS,
    AgentCommand,
    Agents,
    AgentShell,
    Approve,
    AsJson,
    BudgetTokens,
    BudgetUsd,
    Confine,
    DryRun,
    Gate,
    MaxSteps,
    MemoryFile,
    Model,
    Network,
    Plain,
    Repo,
    Serve,
    ServePort,
    Target,
    TaskTimeout,
)
from stigmergy.cli.serve import beside
from stigmergy.cli.steer import lift_pause
from stigmergy.cli.trace import COLLECTOR
from stigmergy.coding import preflight
from stigmergy.coding import run as coding_run
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.outcome import EXIT_STOPPED, Outcome
from stigmergy.coding.preflight import Prepared, Source
from stigmergy.coding.run import Beside
from stigmergy.coding.rundir import RunDirectory, StateFolder
from stigmergy.coding.spec import RunSpec
from stigmergy.config import load_settings
from stigmergy.errors import UsageError
from stigmergy.swarm import Signalled, Stop, stop_on_signals

__all__ = ["launch", "resume", "run"]


def run(
    *,
    repo: Repo = Path(),
    features: Annotated[
        Path | None,
        typer.Option(
            help="A FEATURES.json: id, description, files, acceptance, depends_on …",
            rich_help_panel=WORK,
        ),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="What is to be built; a model plans it, sprint by sprint.", rich_help_panel=WORK
        ),
    ] = None,
    each: Annotated[
        str | None,
        typer.Option(
            help="A glob: one task for each tracked file that matches.", rich_help_panel=WORK
        ),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            help="With --each: what to do; {path} stands for the file.", rich_help_panel=WORK
        ),
    ] = "",
    agents: Agents = None,
    model: Model = None,
    agent_command: AgentCommand = None,
    agent_shell: AgentShell = False,
    gate: Gate = None,
    gate_timeout: Annotated[
        float | None, typer.Option(help="Seconds.", rich_help_panel=LANDING)
    ] = None,
    strategy: Annotated[
        Literal["fast-forward", "rebase", "merge-commit"] | None,
        typer.Option(
            metavar="HOW",
            help="How branches land: fast-forward, rebase or merge-commit.",
            rich_help_panel=LANDING,
        ),
    ] = None,
    target: Target = None,
    budget_usd: BudgetUsd = None,
    budget_tokens: BudgetTokens = None,
    task_timeout: TaskTimeout = None,
    max_steps: MaxSteps = None,
    record: Annotated[
        Path | None,
        typer.Option(
            help="Append what the model says to this file, for replay.", rich_help_panel=WORKERS
        ),
    ] = None,
    memory_namespace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NS",
            help="Tell planner and agents what is known there; repeatable.",
            rich_help_panel=WORKERS,
        ),
    ] = None,
    memory: MemoryFile = None,
    confine: Confine = None,
    network: Network = False,
    allow_empty: Annotated[
        bool | None,
        typer.Option(
            "--allow-empty/--no-allow-empty",
            help="Believe an agent that changed nothing; by default only a command over --each.",
            rich_help_panel=LANDING,
        ),
    ] = None,
    approve: Approve = None,
    otel: Annotated[
        bool,
        typer.Option(
            "--otel",
            help=f"Send a trace to otel_endpoint, or {COLLECTOR}.",
            rich_help_panel=WATCHING,
        ),
    ] = False,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    dry_run: DryRun = False,
    serve: Serve = False,
    serve_port: ServePort = 0,
    plain: Plain = False,
    as_json: AsJson = False,
) -> None:
    """Let many agents work on a repository until all is landed and proved.

    Each task is done in a sandbox of its own. What comes back is stacked,
    proved by the gate and landed, or sent back with the reason.
    Ctrl-C stops cleanly, and `stig resume` goes on.

    [bold]Examples[/bold]

      stig run --features FEATURES.json --model ollama:qwen3-coder --agents 8

      stig run --each 'src/**/*.py' --agent-command 'pyupgrade {path}'

      stig run --objective 'Add CSV export' --model anthropic:claude-sonnet-4-5
    """
    source = _source(features=features, objective=objective, each=each, task=task)
    settings = load_settings(
        agents=agents,
        model=model,
        agent_command=agent_command,
        agent_shell=agent_shell or None,
        gate=gate,
        gate_timeout_s=gate_timeout,
        strategy=strategy,
        target=target,
        budget_usd=budget_usd,
        budget_tokens=budget_tokens,
        task_timeout_s=task_timeout,
        max_steps=max_steps,
        record=None if record is None else record.absolute(),
        memory_namespace=memory_namespace,
        memory=None if memory is None else memory.absolute(),
        sandbox_confine=confine,
        sandbox_network=network or None,
        allow_empty=allow_empty,
        approve=approve,
        log_format=log_format,
        log_level=log_level,
    )
    if otel and settings.otel_endpoint is None:
        settings = settings.model_copy(update={"otel_endpoint": COLLECTOR})
    write_log(settings.log_format, settings.log_level, environ=os.environ)
    with Repository(repo) as repository:
        prepared = preflight.prepare(
            repository, source, settings, environ=dict(os.environ), now=time.time()
        )
    if dry_run:
        show_plan(prepared, Console(), as_json=as_json)
        return
    launch(prepared, serve=serve, serve_port=serve_port, plain=plain, as_json=as_json)


def launch(
    prepared: Prepared,
    *,
    serve: bool,
    serve_port: int,
    plain: bool,
    as_json: bool,
    also: Beside | None = None,
) -> NoReturn:
    """Start what was prepared, show it, and end with its exit code.

    `also` is open while it works, beside a server of it.
    """
    others = [each for each in (also, beside(serve_port) if serve else None) if each is not None]
    for note in prepared.notes:
        typer.echo(note, err=True)
    stop = Stop()
    with (
        stop_on_signals(stop) as signals,
        make_display(as_json=as_json, plain=plain) as display,
    ):
        outcome = coding_run.start(
            prepared, stop=stop, watch=display.update, beside=_all_of(others) if others else None
        )
    raise typer.Exit(_exit_code(outcome, signals))


def _exit_code(outcome: Outcome, signals: Signalled) -> int:
    """What the run came to; where it was stopped, by which signal, if it was one."""
    code = outcome.exit_code
    return signals.exit_code(code) if code == EXIT_STOPPED else code


def _all_of(others: Sequence[Beside]) -> Beside:
    @contextmanager
    def together(board: TaskBoard, directory: RunDirectory, spec: RunSpec) -> Generator[None]:
        with ExitStack() as stack:
            for each in others:
                stack.enter_context(each(board, directory, spec))
            yield

    return together


def resume(
    *,
    run: Annotated[
        str | None, typer.Argument(help="The run, or the beginning or end of its id.")
    ] = None,
    repo: Repo = Path(),
    retry: Annotated[
        bool,
        typer.Option(
            "--retry",
            help="Begin anew all that failed, was refused or was cancelled, also in a run that "
            "has ended.",
        ),
    ] = False,
    serve: Serve = False,
    serve_port: ServePort = 0,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    plain: Plain = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was stopped or killed: the latest one, if none is named.

    Nothing that landed lands twice, and no item is lost.
    What agents were just doing is done anew.
    A run that is alive and paused goes on where it runs.
    One that has ended goes on with --retry, if something in it failed.

    [bold]Examples[/bold]

      stig resume

      stig resume --retry --serve
    """
    with Repository(repo) as repository:
        state = StateFolder(coding_run.state_home(repository))
    directory = state.find(run)
    if is_held(directory, state.holder()) and lift_pause(directory):
        typer.echo(f"run {directory.run_id} was paused, and goes on where it runs")
        return
    settings = directory.read_spec().settings
    write_log(
        log_format or settings.log_format, log_level or settings.log_level, environ=os.environ
    )
    stop = Stop()
    with (
        stop_on_signals(stop) as signals,
        make_display(as_json=as_json, plain=plain) as display,
    ):
        outcome = coding_run.resume(
            state,
            directory,
            stop=stop,
            watch=display.update,
            beside=beside(serve_port) if serve else None,
            retry=retry,
        )
    raise typer.Exit(_exit_code(outcome, signals))


def _source(*, features: Path | None, objective: str | None, each: str | None, task: str) -> Source:
    given = [name for name in (features, objective, each) if name is not None]
    if len(given) != 1:
        raise UsageError("give one of --features FILE, --objective TEXT and --each GLOB")
    if features is not None:
        return Source(kind="features", text=str(features.absolute()))
    if objective is not None:
        return Source(kind="objective", text=objective)
    return Source(kind="each", text=each or "", description=task)
