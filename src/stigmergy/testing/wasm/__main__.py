"""Compare engines on random modules: python -m stigmergy.testing.wasm --modules 1000.

--engines cpu,gpu    which ones; plain wasmtime judges the first
--first N            the first seed
--show SEED          print a module instead
--statistics         print what the modules do when they run, instead
--compact            small modules, for software drivers
"""

import argparse
import os
import sys

from stigmergy.testing.wasm.campaign import (
    COMPACT,
    Findings,
    case_of,
    describe_seed,
    run_campaign,
    work,
)
from stigmergy.testing.wasm.comparing import BUDGET
from stigmergy.testing.wasm.oracle import PlainWasmtime
from stigmergy.testing.wasm.statistics import Statistics

__all__ = ["main"]

_TELL_EVERY = 100


def main() -> int:
    """Run; 1 where engines differ."""
    options = _arguments()
    names = options.engines.split(",")
    if options.work:
        first, end = options.work
        work(range(first, end), names, options.features)
        return 0
    if options.show is not None:
        sys.stdout.write(describe_seed(options.show, options.features) + "\n")
        return 0
    if options.statistics:
        statistics, oracle = Statistics(), PlainWasmtime()
        for seed in range(options.first, options.first + options.modules):
            statistics.add(oracle, case_of(seed, options.features), budget=BUDGET)
        sys.stdout.write(f"{statistics}\n")
        return 0
    return _campaign(options, names)


def _campaign(options: argparse.Namespace, names: list[str]) -> int:
    findings = Findings()
    verdicts = run_campaign(
        options.first,
        options.modules,
        names,
        processes=options.processes,
        features=options.features,
    )
    for verdict in verdicts:
        findings.add(verdict)
        if verdict.lines:
            sys.stdout.write(f"seed {verdict.seed}: {verdict.lines[0]}\n")
        if findings.judged % _TELL_EVERY == 0:
            sys.stdout.write(f"{findings.judged} of {options.modules}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{findings}\n")
    return 1 if findings.differing else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stigmergy.testing.wasm", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--engines", default="cpu")
    parser.add_argument("--modules", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--features", default="")
    parser.add_argument("--statistics", action="store_true")
    parser.add_argument("--show", type=int)
    parser.add_argument("--work", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.features = COMPACT if options.features == "compact" else options.features
    return options


if __name__ == "__main__":
    raise SystemExit(main())
