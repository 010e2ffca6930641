"""Choices by a number, as WGSL that Mesa's software driver takes. Pure."""

from collections.abc import Mapping, Sequence

__all__ = ["MOST_CASES", "choose"]

MOST_CASES = 12
"""In one `switch`: it nests them one in the other, and crashes at 80 levels."""


def choose(
    selector: str, cases: Mapping[int, Sequence[str]], default: Sequence[str] = ()
) -> list[str]:
    """Return lines that run one of the cases, found by halving what is left."""
    keys = sorted(cases)
    if len(keys) <= MOST_CASES:
        lines = [f"switch ({selector}) {{"]
        for key in keys:
            lines += [f"  case {key}u: {{", *(f"    {line}" for line in cases[key]), "  }"]
        return [*lines, "  default: {", *(f"    {line}" for line in default), "  }", "}"]
    middle = keys[len(keys) // 2]
    low = {key: cases[key] for key in keys if key < middle}
    high = {key: cases[key] for key in keys if key >= middle}
    return [
        f"if ({selector} < {middle}u) {{",
        *(f"  {line}" for line in choose(selector, low, default)),
        "} else {",
        *(f"  {line}" for line in choose(selector, high, default)),
        "}",
    ]
