"""The commands of `stig wasm`."""

from __future__ import annotations

from typing import Final

import typer

from stigmergy.cli.wasm.bench import bench
from stigmergy.cli.wasm.explain import explain
from stigmergy.cli.wasm.run import run
from stigmergy.cli.wasm.work import work

__all__ = ["wasm"]

wasm: Final = typer.Typer(
    name="wasm",
    help="Run thousands of WebAssembly agents at once, on the CPU or on the GPU.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run, work, bench, explain):
    wasm.command()(command)
