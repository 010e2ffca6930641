"""`stig hive spawn`."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from stigmergy.cli.dry_run import show_plan
from stigmergy.cli.hive.folder import hives_of, strategy_folders
from stigmergy.cli.hive.shared import SharedUrl, shared_board
from stigmergy.cli.run import launch
from stigmergy.cli.run_options import (
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
from stigmergy.coding import preflight
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.hive import HiveSpec, check_hive_name, name_of
from stigmergy.coding.hive_board import on_board
from stigmergy.coding.plan.globs import pattern_fault
from stigmergy.coding.preflight import Prepared, Source
from stigmergy.coding.strategies.strategy import Strategy, WorkType, load_strategy
from stigmergy.config import Settings, load_settings
from stigmergy.errors import UsageError

__all__ = ["RESEARCH", "prepare_hive", "spawn"]

RESEARCH: Final = "research"
"""The type of the research step, and the strategy that has it where another has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a user asks of a hive beside its settings."""

    objective: str
    strategy: str
    name: str | None
    research: bool
    land: bool
    may_change: tuple[str, ...]


def spawn(
    objective: Annotated[str, typer.Argument(help="What the hive is to reach.")],
    *,
    strategy: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="development, testing, research, analysis or one of yours.",
            rich_help_panel=WORK,
        ),
    ] = "development",
    name: Annotated[
        str | None,
        typer.Option(help="What the hive is called; made of the objective.", rich_help_panel=WORK),
    ] = None,
    agents: Agents = None,
    parallel: Annotated[
        bool,
        typer.Option(
            "--parallel",
            help="They work at the same time; else they take turns.",
            rich_help_panel=WORKERS,
        ),
    ] = False,
    research: Annotated[
        bool,
        typer.Option(
            "--research",
            help="Research first; all others are told what was found.",
            rich_help_panel=WORK,
        ),
    ] = False,
    memory_namespace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NS",
            help="Of the memory: all are read, the first is written; the hive's name. Repeatable.",
            rich_help_panel=WORKERS,
        ),
    ] = None,
    memory: MemoryFile = None,
    model: Model = None,
    agent_command: AgentCommand = None,
    agent_shell: AgentShell = False,
    gate: Gate = None,
    target: Target = None,
    land: Annotated[
        bool,
        typer.Option(
            "--land", help="Land findings too, in findings/NAME/, as commits.", rich_help_panel=WORK
        ),
    ] = False,
    may_change: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Allow this beside what the strategy does; repeatable.",
            rich_help_panel=WORK,
        ),
    ] = None,
    budget_usd: BudgetUsd = None,
    budget_tokens: BudgetTokens = None,
    task_timeout: TaskTimeout = None,
    max_steps: MaxSteps = None,
    confine: Confine = None,
    network: Network = False,
    approve: Approve = None,
    board: SharedUrl = None,
    repo: Repo = Path(),
    dry_run: DryRun = False,
    serve: Serve = False,
    serve_port: ServePort = 0,
    plain: Plain = False,
    as_json: AsJson = False,
) -> None:
    """Set a hive to work on an objective, until it is reached.

    It is a run as `stig run` makes it: `stig status`, `watch`, `steer`, `report`
    and `resume` know it too. A hive that lands nothing leaves its findings as
    a report, and may work beside others on the same repository.

    [bold]Examples[/bold]

      stig hive spawn 'Add CSV export' --agents 4 --parallel --model ollama:qwen3-coder

      stig hive spawn 'Where can input reach a shell?' --strategy analysis --model …

      stig hive spawn 'Test the parser' --strategy testing --research --model …
    """
    settings = load_settings(
        agents=agents,
        parallel=parallel,
        model=model,
        agent_command=agent_command,
        agent_shell=agent_shell or None,
        gate=gate,
        target=target,
        budget_usd=budget_usd,
        budget_tokens=budget_tokens,
        task_timeout_s=task_timeout,
        max_steps=max_steps,
        memory_namespace=memory_namespace,
        memory=None if memory is None else memory.absolute(),
        sandbox_confine=confine,
        sandbox_network=network or None,
        approve=approve,
    )
    wish = Wish(
        objective=objective,
        strategy=strategy,
        name=name,
        research=research,
        land=land,
        may_change=tuple(may_change or ()),
    )
    prepared = prepare_hive(wish, settings, repo=repo, gate_asked=gate)
    if dry_run:
        show_plan(prepared, Console(), as_json=as_json)
        return
    hive = prepared.spec.hive
    assert hive is not None, "it was just prepared as one"
    typer.echo(f"hive {hive.name}: {hive.strategy.name}", err=True)
    with ExitStack() as stack:
        shared = None if board is None else stack.enter_context(shared_board(board, create=True))
        launch(
            prepared,
            serve=serve,
            serve_port=serve_port,
            plain=plain,
            as_json=as_json,
            also=None if shared is None else on_board(shared),
        )


def prepare_hive(
    wish: Wish, settings: Settings, *, repo: Path, gate_asked: str | None = None
) -> Prepared:
    """Check all that can be known to be wrong beforehand.

    Raises:
        UsageError: something is; the text says what to do.
    """
    found = load_strategy(wish.strategy, folders=strategy_folders()).strategy
    _check_wish(wish, found)
    spec = HiveSpec(
        name=_name(wish, repo),
        strategy=found,
        research=_research_type(found) if wish.research else None,
        land=wish.land,
        may_change=wish.may_change,
    )
    if gate_asked is not None and not spec.lands:
        raise UsageError(
            f"strategy {found.name} lands nothing, so no gate runs: leave --gate out, or --land"
        )
    if not settings.memory_namespace:
        settings = settings.model_copy(update={"memory_namespace": (spec.name,)})
    with Repository(repo) as repository:
        return preflight.prepare(
            repository,
            Source(kind="objective", text=wish.objective),
            settings,
            environ=dict(os.environ),
            now=time.time(),
            hive=spec,
        )


def _check_wish(wish: Wish, strategy: Strategy) -> None:
    for pattern in wish.may_change:
        if (fault := pattern_fault(pattern)) is not None:
            raise UsageError(f"--may-change {pattern[:80]!r} {fault}")
    if wish.may_change and not any(each.may_change for each in strategy.types):
        raise UsageError(
            f"strategy {strategy.name} does not limit what may change: leave --may-change out"
        )
    if wish.land and not wish.research and all(e.product != "findings" for e in strategy.types):
        raise UsageError(f"strategy {strategy.name} has no findings to land: leave --land out")


def _name(wish: Wish, repo: Path) -> str:
    hives = hives_of(repo)
    if wish.name is None:
        return name_of(wish.objective, taken=(hive.spec.name for hive in hives))
    check_hive_name(wish.name)
    alive = [hive for hive in hives if hive.spec.name == wish.name and hive.is_alive]
    if alive:
        raise UsageError(f"a hive {wish.name!r} is at work here already; give another --name")
    return wish.name


def _research_type(strategy: Strategy) -> WorkType:
    """The type of the research step: the strategy's own, or that of the research strategy."""
    for each in strategy.types:
        if each.name == RESEARCH:
            if each.product != "findings":
                raise UsageError(
                    f"strategy {strategy.name}: its type {RESEARCH!r} leaves commits, so it "
                    "cannot be the step of --research"
                )
            return each
    return load_strategy(RESEARCH, folders=()).strategy.type_of(RESEARCH)
