"""The OpenAPI document and the reference page tell what the server does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from stigmergy.server import guard
from stigmergy.server.app import openapi_document, routers
from stigmergy.server.context import BEARER

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document()


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("http_api", ROOT / "scripts" / "http_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_page_is_as_the_server_is() -> None:
    written = (ROOT / "docs" / "reference" / "http-api.md").read_text()
    assert written == generator().page(), "write it anew: python scripts/http_api.py --write"


def test_every_reference_in_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    found = re.findall(r"'\$ref': '([^']+)'", str(document))
    assert found
    assert {each.rpartition("/")[2] for each in found} <= schemas.keys()
    assert all(each.startswith("#/components/schemas/") for each in found)


def test_every_endpoint_tells_of_problems_and_of_the_token(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            where = f"{method} {path}"
            assert told["security"] == [{BEARER.scheme_name: []}], where
            assert told["description"], where
            assert {"401", "403", "422", "429", "503"} <= told["responses"].keys(), where
            for status, answer in told["responses"].items():
                if status >= "400":
                    assert list(answer["content"]) == ["application/problem+json"], where


def test_every_address_of_the_api_asks_for_a_scope() -> None:
    for router in routers():
        for route in router.routes:
            assert isinstance(route, APIRoute)
            if not route.path.startswith("/api/"):
                continue
            calls = [each.call for each in route.dependant.dependencies]
            names = {getattr(call, "__qualname__", "") for call in calls}
            assert any(name.startswith("needs.") for name in names), route.path


def test_every_problem_that_is_raised_is_on_the_page() -> None:
    page = (ROOT / "docs" / "reference" / "http-api.md").read_text()
    source = Path(guard.__file__).parent
    kinds = {
        kind
        for file in source.rglob("*.py")
        for kind in re.findall(r'kind="([a-z-]+)"', file.read_text())
    }
    # These are told to nobody, or say that something else is wrong with the server.
    unsaid = {"gone", "broken-off", "corrupt", "unsupported", "failed", "unforeseen"}
    unsaid |= {"budget-exceeded"}
    assert {kind for kind in kinds - unsaid if f"`{kind}`" not in page} == set()
