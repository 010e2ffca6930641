from __future__ import annotations

import pytest


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.needs_vulkan)])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine: what is said of a swarm holds on both."""
    return request.param
