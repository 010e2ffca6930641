from __future__ import annotations

import pytest

from stigmergy.coding.protected import protected


@pytest.mark.parametrize(
    "path",
    [
        ".stigmergy",
        ".stigmergy/runs/x/run.json",
        ".Stigmergy/x",
        "sub/.stigmergy/x",
        "stigmergy.toml",
        "Stigmergy.TOML",
        "stigmergy.toml/x",
    ],
)
def test_state_and_settings_are_out_of_bounds(path: str) -> None:
    assert protected(["a.py", path]) == (path,)


@pytest.mark.parametrize("path", ["stigmergy.py", "docs/stigmergy.toml", "x.stigmergy", "a/b.py"])
def test_everything_else_is_not(path: str) -> None:
    assert protected([path]) == ()
