"""`python -m stigmergy.testing.faults`: break things, and print what came of it.

The exit code is 1 if a promise was broken. What was not run is no promise kept.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stigmergy.errors import StigmergyError
from stigmergy.testing.faults.catalogue import FAULTS, boards
from stigmergy.testing.faults.checker import Violation
from stigmergy.testing.faults.table import (
    HEADER,
    Fault,
    Row,
    Setting,
    format_row,
    row_to_json,
)

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _options(arguments)
    if options.list:
        for fault in FAULTS:
            _say(f"{fault.name}: {', '.join(fault.stores)}")
        return 0
    chosen = [fault for fault in FAULTS if not options.only or options.only in fault.name]
    if not chosen:
        _say(f"no fault has {options.only!r} in its name; --list shows all")
        return 2
    _say(f"seed {options.seed} (--seed {options.seed} draws the same again)\n{HEADER}")
    records = [
        _run(fault, store, seed=options.seed, short=options.short)
        for fault in chosen
        for store in fault.stores
        if options.store in {None, store}
    ]
    if options.json:
        document = {"seed": options.seed, "short": options.short, "rows": records}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return _conclude(records)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="seconds a fault instead of minutes")
    parser.add_argument("--only", metavar="NAME", help="the faults with this in their name")
    parser.add_argument("--store", help="sqlite, files or postgres alone")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--list", action="store_true", help="name the faults and do nothing")
    return parser.parse_args(arguments)


def _run(fault: Fault, store: str, *, seed: int, short: bool) -> dict[str, Any]:
    began = time.monotonic()
    row: Row | None = None
    with boards(store) as (url, none_because):
        why = none_because or fault.missing() or ""
        folder = Path(tempfile.mkdtemp(prefix="faults-"))
        if not why:
            row = _outcome(
                fault,
                Setting(
                    store=store,
                    server=url,
                    folder=folder,
                    seed=f"{seed} {fault.name} {store}",
                    short=short,
                ),
            )
    seconds = time.monotonic() - began
    _say(format_row(fault.name, store, row, seconds=seconds, why=why))
    if row is not None and row.violations:
        for violation in row.violations[:20]:
            _say(f"    {violation}")
        _say(f"    what is left of it: {folder}")
    else:
        shutil.rmtree(folder)
    return row_to_json(fault.name, store, row, seconds=seconds, why=why)


def _outcome(fault: Fault, setting: Setting) -> Row:
    try:
        return fault.run(setting)
    except StigmergyError as error:  # it could not go on, and the other rows can
        broken = Violation(rule="the run itself", harm="other", task_id="", what=str(error))
        return Row(injected=0, violations=[broken])


def _conclude(records: Sequence[dict[str, Any]]) -> int:
    counts = dict.fromkeys(("holds", "limit", "not run", "BROKEN"), 0)
    for record in records:
        counts[record["verdict"]] += 1
    _say(", ".join(f"{number} {word}" for word, number in counts.items() if number))
    return 1 if counts["BROKEN"] else 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a program for people who wait


if __name__ == "__main__":
    sys.exit(main())
