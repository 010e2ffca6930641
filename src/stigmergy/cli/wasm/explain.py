"""`stig wasm explain`: what becomes of a module on its way to the GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["explain"]


def explain(
    *,
    module: Annotated[Path, typer.Argument(metavar="MODULE", help="A .wasm or .wat file.")],
    function: Annotated[
        list[str] | None,
        typer.Option("--function", metavar="NAME", help="An export or an index; repeatable."),
    ] = None,
    stage: Annotated[
        str, typer.Option(metavar="STAGE", help="module, structure, lowered, wgsl, or all.")
    ] = "all",
) -> None:
    """Print each stage of compiling a module to WGSL: decoded, structured, lowered, the shader.

    [bold]Example[/bold]

      stig wasm explain ant.wat --function run --stage wgsl
    """
