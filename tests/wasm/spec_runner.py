"""Runs WebAssembly's own test suite, translated by wast2json, on an engine.

    python tests/wasm/spec_runner.py --dir FOLDER --engine cpu [FILE…]

FOLDER holds what `wast2json X.wast -o FOLDER/X.json` wrote, for each file of `test/core` and
`test/core/simd` of the repository WebAssembly/spec. wabt 1.0.32 translates all 146 of them as they
were in January 2023 (commit f54b5b81a364, before the indices of tables became optional).

Prints for each file how many commands passed, failed, and were refused; a refused one is what the
engine cannot express, and counts as neither. A module in text that must be malformed passes if it
is rejected as text or, once it is translated, as invalid. Ends with 0 only if none failed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TextIO

from spec.drivers import AgentDriver, Driver, LinkedDriver
from spec.script import FileResult, run_file
from spec.validity import Validator

from stigmergy.wasm.cpu.engine import CpuEngine
from stigmergy.wasm.cpu.runtime import Runtime
from stigmergy.wasm.engine import Engine, FloatMode


def main(argv: list[str] | None = None, out: TextIO = sys.stdout) -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dir", type=Path, required=True, help="where the JSON files are")
    parser.add_argument(
        "--engine",
        choices=["cpu", "cpu-agents", "gpu"],
        required=True,
        help="cpu: instances linked in one store; the others: each instance is an agent",
    )
    parser.add_argument("--float", choices=["strict", "fast"], default="strict")
    parser.add_argument("--verbose", action="store_true", help="tell why commands were refused")
    parser.add_argument("files", nargs="*", help="names of files; all of them if none is given")
    options = parser.parse_args(argv)
    paths = [options.dir / f"{name.removesuffix('.json')}.json" for name in options.files]
    results: list[FileResult] = []
    validate = Validator()
    with _drivers(options.engine, options.float) as make:
        for path in paths or sorted(options.dir.glob("*.json")):
            with closing(make()) as driver:
                result = run_file(path, driver, validate)
            results.append(result)
            _report(result, out, verbose=options.verbose)
    passed = sum(one.passed for one in results)
    failed = sum(len(one.failures) for one in results)
    refused = sum(one.refused for one in results)
    whole = sum(not one.failures and not one.refused for one in results)
    print(
        f"{len(results)} files ({whole} of them whole): "
        f"{passed} passed, {failed} failed, {refused} refused",
        file=out,
    )
    return 1 if failed or not results else 0


@contextmanager
def _drivers(engine: str, floats: FloatMode) -> Iterator[Callable[[], Driver]]:
    """Give the function that makes a driver for one file."""
    if engine == "cpu":
        with closing(Runtime()) as runtime:
            yield lambda: LinkedDriver(runtime)
        return
    with closing(_engine(engine)) as made:
        yield lambda: AgentDriver(made, floats)


def _engine(name: str) -> Engine:
    if name == "cpu-agents":
        return CpuEngine()
    from stigmergy.wasm.gpu.engine import GpuEngine

    return GpuEngine()


def _report(result: FileResult, out: TextIO, *, verbose: bool) -> None:
    print(
        f"{result.name}: {result.passed} passed, {len(result.failures)} failed, "
        f"{result.refused} refused",
        file=out,
        flush=True,
    )
    for failure in result.failures:
        print(f"  {failure}", file=out)
    if verbose:
        for reason, count in result.refusals.most_common():
            print(f"  refused {count}: {reason}", file=out)


if __name__ == "__main__":
    sys.exit(main())
