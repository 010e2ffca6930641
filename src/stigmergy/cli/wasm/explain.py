"""`stig wasm explain`: what becomes of a module on its way to the GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from stigmergy.cli.console import clean, plural
from stigmergy.cli.wasm.options import check_extra
from stigmergy.errors import UsageError

if TYPE_CHECKING:
    from stigmergy.wasm.module.model import Module

__all__ = ["explain"]

_STAGES: Final = ("module", "structure", "lowered", "wgsl", "shader")


def explain(
    *,
    module: Annotated[Path, typer.Argument(metavar="MODULE", help="A .wasm or .wat file.")],
    function: Annotated[
        list[str] | None,
        typer.Option(
            "--function", metavar="NAME", help="An export or an index; repeatable. All exports."
        ),
    ] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STAGE",
            help="module, structure, lowered, wgsl, or shader; repeatable. All but shader.",
        ),
    ] = None,
) -> None:
    """Print what becomes of a module on its way to the GPU, stage by stage.

    module: what it imports, holds and exports. structure: its functions as a
    typed tree. lowered: as statements, with what is counted and where an agent
    can stop. wgsl: the code of a function. shader: all of what a GPU is given.

    [bold]Example[/bold]

      stig wasm explain ant.wat --function run --stage lowered
    """
    from stigmergy.wasm.module.reading import read_module_file

    check_extra()
    wanted = stage or [one for one in _STAGES if one != "shader"]
    unknown = [one for one in wanted if one not in _STAGES]
    if unknown:
        message = f"there is no stage {unknown[0]!r}; there are {', '.join(_STAGES)}"
        raise UsageError(message)
    decoded = read_module_file(module)
    functions = _functions(decoded, function)
    console = Console()
    if "module" in wanted:
        for line in _summary(decoded):
            indent = line[: len(line) - len(line.lstrip())]
            console.print(Text(indent + clean(line)))
    for index in functions:
        _print_function(console, decoded, index, wanted)
    if "shader" in wanted and functions:
        from stigmergy.wasm.engine import CohortSettings
        from stigmergy.wasm.gpu.compile import compile_module
        from stigmergy.wasm.gpu.program import CompilerOptions

        compiled = compile_module(decoded, CohortSettings(), CompilerOptions())
        _print_code(console, compiled.shader(frozenset(functions)).wgsl)


def _functions(module: Module, names: list[str] | None) -> list[int]:
    """Return the indices of the functions that are meant.

    Raises:
        UsageError: There is no such function of the module's own.
    """
    own = range(len(module.imported_functions), len(module.functions))
    exports = module.exported_functions
    found = [exports.get(name, int(name) if name.isdecimal() else -1) for name in names or exports]
    for name, index in zip(names or exports, found, strict=True):
        if names and index not in own:
            message = (
                f"the module has no function {name!r} of its own; it exports "
                f"{', '.join(exports) or 'none'}"
            )
            raise UsageError(message)
    return sorted({index for index in found if index in own})


def _summary(module: Module) -> list[str]:
    lines = [f"module of {len(module.wasm):,} bytes, {module.digest[:12]}"]
    lines += [f"  imports {one.module}.{one.name}: {one.type}" for one in module.imports]
    lines += [
        f"  memory of {plural(one.limits.minimum, 'page')}, at most {_most(one.limits.maximum)}"
        for one in module.all_memories
    ]
    lines += [
        f"  table of {one.limits.minimum} {one.element}, at most {_most(one.limits.maximum)}"
        for one in module.all_tables
    ]
    lines += [
        f"  global {index}: {'mutable ' if one.mutable else ''}{one.value}"
        for index, one in enumerate(module.all_globals)
    ]
    lines += [
        f"  {_function(module, index)}: {kind}" for index, kind in enumerate(module.functions)
    ]
    return lines


def _most(maximum: int | None) -> str:
    return "any number" if maximum is None else str(maximum)


def _function(module: Module, index: int) -> str:
    if index < len(module.imported_functions):
        one = module.imported_functions[index]
        return f"function {index} is {one.module}.{one.name}"
    name = module.function_name(index)
    return name if name == f"function {index}" else f"function {index} {name!r}"


def _print_function(console: Console, module: Module, index: int, wanted: list[str]) -> None:
    from stigmergy.wasm.gpu.compile import explain as explain_function

    stages = {"structure": "typed tree", "lowered": "lowered", "wgsl": "WGSL"}
    if not any(one in wanted for one in stages):
        return
    explained = explain_function(module, index)
    name = clean(module.function_name(index))
    for stage, heading in stages.items():
        if stage not in wanted:
            continue
        console.print(Text(f"\n{heading} of {name}", style="bold"))
        text = getattr(explained, stage)
        if stage == "wgsl":
            _print_code(console, text)
        else:
            console.print(Text(text.rstrip()))


def _print_code(console: Console, code: str) -> None:
    if console.is_terminal:
        console.print(Syntax(code.rstrip(), "wgsl", background_color="default"))
    else:
        print(code.rstrip())
