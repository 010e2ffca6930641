"""`stig report`: what a run did, from its journal: finished, stopped, crashed or still running."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stigmergy.cli.journal import open_board, read_journal, state_folder
from stigmergy.cli.report_content import told_of
from stigmergy.cli.report_html import html_page
from stigmergy.cli.report_markdown import markdown
from stigmergy.cli.report_page import page
from stigmergy.errors import UsageError

__all__ = ["report"]


def report(
    *,
    run: Annotated[
        str | None,
        typer.Argument(help="The run, or the beginning or end of its id; the latest if not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="For a pull request or a wiki.")
    ] = False,
    as_html: Annotated[
        bool, typer.Option("--html", help="As a page with plots, on stdout.")
    ] = False,
    repo: Annotated[Path, typer.Option("--repo", help="The repository.")] = Path(),
) -> None:
    """Report on a run: what landed, what came back and how it was mended, what it took.

    Every figure was measured by the run; what is not known is called unknown.
    A run that has not ended is reported as far as it came.

    [bold]Examples[/bold]

      stig report

      stig report 3fa2 --markdown > REPORT.md

      stig report --html > report.html
    """
    if as_json + as_markdown + as_html > 1:
        raise UsageError("give one of --json, --markdown and --html")
    state = state_folder(repo)
    directory = state.find(run)
    with open_board(directory) as board:
        journal = read_journal(state, directory, board)
    told = told_of(journal, directory.read_spec(), now=time.time())
    if as_json:
        print(json.dumps(told.document(), indent=2))
    elif as_markdown:
        print(markdown(told), end="")
    elif as_html:
        print(html_page(told), end="")
    else:
        Console().print(page(told))
