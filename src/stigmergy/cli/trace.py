"""`stig trace export`: a run's journal as an OpenTelemetry trace."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

import typer

from stigmergy.board import Event, TaskBoard
from stigmergy.cli.board.place import open_board
from stigmergy.cli.console import plural
from stigmergy.cli.journal import open_board as open_run
from stigmergy.cli.journal import state_folder
from stigmergy.errors import UsageError
from stigmergy.monitor.tracing import TraceSpan, spans_of

__all__ = ["COLLECTOR", "trace"]

COLLECTOR: Final = "http://127.0.0.1:4318"
"""Where a collector on this machine listens."""

trace: Final = typer.Typer(
    name="trace",
    help="A run's journal as an OpenTelemetry trace.",
    no_args_is_help=True,
    add_completion=False,  # `stig` has it for all
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@trace.callback()
def options() -> None:
    """A run's journal as an OpenTelemetry trace."""


@trace.command()
def export(
    *,
    run: Annotated[
        str | None, typer.Argument(help="The run, or the beginning or end of its id; the latest.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="URL", help=f"A collector that takes OTLP: {COLLECTOR}."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Instead of stdout.")
    ] = None,
    board: Annotated[
        str | None, typer.Option("--board", metavar="URL", help="A board instead of a run.")
    ] = None,
    repo: Annotated[Path, typer.Option("--repo", help="The repository.")] = Path(),
) -> None:
    """Make the trace of a run from its journal: one JSON object a span, or OTLP to a collector.

    A run that was traced while it went on (`stig run --otel`) has the same spans
    with the same ids, so sending it again completes it.

    [bold]Examples[/bold]

      stig trace export > trace.jsonl

      stig trace export 3fa2 --to http://127.0.0.1:4318
    """
    if to is not None and out is not None:
        raise UsageError("give --to or --out, not both")
    if board is not None and run is not None:
        raise UsageError("name a run or a --board, not both")
    spans = _spans(run, board, repo)
    if to is not None:
        from stigmergy.monitor.tracing.export import open_exporter, send

        exporter = open_exporter(to)
        try:
            count = send(exporter, spans)
        finally:
            exporter.shutdown()
        typer.echo(f"sent {plural(count, 'span')} to {to}")
    elif out is not None:
        with out.open("w") as file:
            file.writelines(_lines(spans))
        typer.echo(f"wrote {plural(len(spans), 'span')} to {out}")
    else:
        sys.stdout.writelines(_lines(spans))


def _lines(spans: Iterable[TraceSpan]) -> Iterable[str]:
    return (json.dumps(span.to_json()) + "\n" for span in spans)


def _spans(run: str | None, board: str | None, repo: Path) -> list[TraceSpan]:
    if board is not None:
        with open_board(board) as opened:
            return spans_of(_journal(opened), board=opened.url)
    directory = state_folder(repo).find(run)
    with open_run(directory) as opened:
        return spans_of(_journal(opened), run=directory.run_id)


def _journal(board: TaskBoard) -> Iterable[Event]:
    after = 0
    while events := board.events(after=after):
        yield from events
        after = events[-1].seq
