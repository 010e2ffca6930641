"""`stig board stats`: the board in figures. What is not known is called unknown."""

from __future__ import annotations

import json
import time

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from stigmergy.board import TaskStatus
from stigmergy.board.figures import COUNTED, Figures
from stigmergy.cli.board.place import AsJson
from stigmergy.cli.board.reach import Place, open_any
from stigmergy.cli.console import amount, data, duration, plural

__all__ = ["stats"]


def stats(*, as_json: AsJson = False, board: Place) -> None:
    """Show the board in figures: tasks by type and status, leases, throughput.

    Throughput is counted in the journal. Unknown means that the journal has
    been pruned since, and is not the same as 0.

    [bold]Example[/bold]

      stig board stats --json
    """
    with open_any(board) as opened:
        figures = opened.figures(now=time.time())
    if as_json:
        print(json.dumps(_document(figures), indent=2))
    else:
        Console(highlight=False).print(_page(figures))


def _document(figures: Figures) -> dict[str, object]:
    return {
        "by_status": {str(status): _of_status(figures, status) for status in TaskStatus},
        "by_type": {
            kind: {str(status): number for status, number in counts.items()}
            for kind, counts in figures.by_type.items()
        },
        "oldest_ready_s": figures.oldest_ready_s,
        "held": figures.held,
        "overdue": figures.overdue,
        "throughput": dict(figures.throughput),
    }


def _of_status(figures: Figures, status: TaskStatus) -> int:
    return sum(counts.get(status, 0) for counts in figures.by_type.values())


def _page(figures: Figures) -> Group:
    if not figures.by_type:
        return Group(Text("no task"))
    parts: list[RenderableType] = [_tasks(figures), Text()]
    if figures.oldest_ready_s is None:
        parts.append(Text("no task is ready to be taken"))
    else:
        parts.append(Text(f"the oldest ready task waits for {duration(figures.oldest_ready_s)}"))
    late = f", {amount(figures.overdue)} overdue" if figures.overdue else ""
    style = "yellow" if figures.overdue else ""
    parts.append(Text(f"{plural(figures.held, 'task')} held by agents{late}", style=style))
    parts += [Text(), _rates(figures)]
    return Group(*parts)


def _tasks(figures: Figures) -> Table:
    present = [status for status in TaskStatus if _of_status(figures, status)]
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("type", no_wrap=True)
    for heading in (*(status.value.replace("_", " ") for status in present), "all"):
        table.add_column(heading, justify="right")
    for kind, counts in sorted(figures.by_type.items()):
        cells = [amount(counts[status]) if status in counts else "" for status in present]
        table.add_row(data(kind), *cells, amount(sum(counts.values())))
    if len(figures.by_type) > 1:
        sums = [_of_status(figures, status) for status in present]
        table.add_row(Text("all", style="dim"), *map(amount, sums), amount(sum(sums)))
    return table


def _rates(figures: Figures) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("in the last", no_wrap=True)
    for heading in COUNTED:
        table.add_column(heading.replace("_", " "), justify="right")
    for name, counts in figures.throughput.items():
        cells = ["unknown" if counts is None else amount(counts[word]) for word in COUNTED]
        table.add_row(name, *cells)
    return table
