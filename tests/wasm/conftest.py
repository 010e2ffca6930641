from __future__ import annotations

import contextlib

import pytest

from stigmergy.errors import UnsupportedError


@pytest.fixture(scope="session", autouse=True)
def graphics_driver(hermetic_environment: None) -> None:
    """Loaded before any test: a driver keeps files open for the whole process."""
    from stigmergy.wasm import SwarmManager

    with contextlib.suppress(UnsupportedError), SwarmManager("gpu") as swarm:
        swarm.load_bytecode("(module (func))")
        swarm.spawn_agent()
        swarm.dispatch()


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.needs_vulkan)])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine: what is said of a swarm holds on both."""
    return request.param
