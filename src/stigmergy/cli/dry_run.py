"""What `stig run --dry-run` prints: the plan, and what would run it."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stigmergy.cli.console import clean
from stigmergy.coding.plan.describe import Description, describe
from stigmergy.coding.preflight import Prepared

__all__ = ["show_plan"]


def show_plan(prepared: Prepared, console: Console, *, as_json: bool) -> None:
    """Print what the run would do; nothing has been started."""
    plan = describe(prepared.spec.items)
    if as_json:
        document = {
            "spec": prepared.spec.model_dump(mode="json"),
            "notes": list(prepared.notes),
            "plan": asdict(plan),
        }
        console.print_json(json.dumps(document))
        return
    for note in prepared.notes:
        console.print(Text(clean(note)))
    gate = shlex.join(prepared.spec.gate) if prepared.spec.gate else "none"
    console.print(Text(f"target: {prepared.spec.target}   gate: {clean(gate)}"))
    if (hive := prepared.spec.hive) is not None:
        types = ", ".join(hive.task_types)
        console.print(Text(f"hive: {hive.name}   strategy: {hive.strategy.name} ({clean(types)})"))
    if prepared.spec.source == "objective" and not prepared.spec.items:
        console.print("The planner makes the items when the run starts.")
        return
    console.print(_table(plan))
    console.print(
        Text(
            f"{len(plan.rows)} items in {len(plan.waves)} waves, at most {plan.widest_wave} at a "
            f"time; longest chain: {' -> '.join(plan.critical_path)}"
        )
    )
    for overlap in plan.overlaps:
        console.print(Text(clean(f"note: {overlap}")))


def _table(plan: Description) -> Table:
    table = Table()
    for heading in ("wave", "item", "prio", "what", "after", "scope"):
        table.add_column(heading, overflow="fold")
    for row in plan.rows:
        cells = (
            str(row.wave),
            row.key,
            str(row.priority),
            row.title,
            ", ".join(row.depends_on),
            ", ".join(row.scope),
        )
        table.add_row(*(Text(clean(cell)) for cell in cells))
    return table
