"""Whatever is sent to any address, the answer is one that the OpenAPI document tells of."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from stigmergy import Task, TaskBoard
from stigmergy.server.app import openapi_document, routers
from stigmergy.server.serving import ServeOptions
from stigmergy.testing.serving import served

DOCUMENT = openapi_document()
SCHEMAS = DOCUMENT["components"]["schemas"]
ENDPOINTS = [
    (method, path)
    for path, methods in DOCUMENT["paths"].items()
    for method in methods
    if "text/event-stream" not in str(methods[method]["responses"].get("200", {}))
]
ROUTES = {
    (method.lower(), route.path.replace(":path}", "}")): route
    for router in routers()
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in route.methods
}
ANY_TEXT = st.text(max_size=20)
IDS = st.sampled_from(["j0", "j1", "a"])
FENCES = st.integers(0, 3)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


def of_schema(schema: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that a schema allows, more or less, and now and then others."""
    right = _of_schema(schema, depth)
    return st.one_of(right, right, right, right, right, right, ANY_JSON)


def _of_schema(schema: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    if schema.get("$ref", "").endswith("/LeaseDocument"):
        return st.fixed_dictionaries({"task_id": IDS, "agent_id": st.just("a"), "fence": FENCES})
    if "$ref" in schema:
        return _of_schema(SCHEMAS[schema["$ref"].rpartition("/")[2]], depth)
    if "anyOf" in schema:
        return st.one_of([_of_schema(each, depth) for each in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object" if "properties" in schema and depth < 4:
            fields = {n: of_schema(s, depth + 1) for n, s in schema["properties"].items()}
            needed = {n: s for n, s in fields.items() if n in schema.get("required", ())}
            rest = {n: s for n, s in fields.items() if n not in needed}
            return st.fixed_dictionaries(needed, optional=rest)
        case "object":
            return st.dictionaries(ANY_TEXT, ANY_JSON, max_size=3)
        case "array":
            return st.lists(of_schema(schema.get("items", {}), depth + 1), max_size=3)
        case "integer":
            low, high = schema.get("minimum", -(2**70)), schema.get("maximum", 2**70)
            return st.integers(low, high) | st.integers(max(low, 0), min(high, 12))
        case "number":
            return st.floats(0, 3, allow_nan=False)
        case "boolean":
            return st.booleans()
        case "string":
            return st.sampled_from(["j0", "j1", "a", "n", "keep", "job"]) | ANY_TEXT
        case "null":
            return st.none()
        case _:
            return ANY_JSON


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, dict[str, Any]]:
    """An endpoint, its path filled in, and the rest of a request."""
    method, path = draw(st.sampled_from(ENDPOINTS))
    told = DOCUMENT["paths"][path][method]
    filled = path
    query: list[tuple[str, str]] = []
    for each in told.get("parameters", []):
        likely = IDS if each["in"] == "path" and each["name"] == "task_id" else st.nothing()
        value = draw(likely | likely | of_schema(each["schema"]))
        if each["in"] == "path":
            text = quote(str(value).encode(errors="replace"), safe="") or "j0"
            filled = filled.replace("{" + each["name"] + "}", text)
        elif each["in"] == "query" and (each.get("required") or draw(st.integers(0, 3)) == 0):
            values = value if isinstance(value, list) else [value]
            query += [(each["name"], str(v).encode(errors="replace").decode()) for v in values]
    request: dict[str, Any] = {"params": query}
    body = told.get("requestBody", {}).get("content", {}).get("application/json", {})
    if body:
        content = draw(of_schema(body["schema"]))
        request["content"] = json.dumps(content).encode()
        request["headers"] = {"content-type": "application/json"}
    if method in ("post", "put") and draw(st.booleans()):
        key = draw(st.text(string.ascii_letters, min_size=1, max_size=2))
        request.setdefault("headers", {})["Idempotency-Key"] = key
    return method, filled, request


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    with TaskBoard(tmp_path / "board.db") as board:
        board.post_many(Task(task_type="job", task_id=f"j{n}") for n in range(2))
        board.post(Task(task_type="approval", task_id="a", requires=("person",)))
        options = ServeOptions(memory=tmp_path / "memory.db")
        with served(board, tmp_path / "server", options) as server, server.client() as opened:
            yield opened


def test_every_answer_is_one_that_the_document_tells_of(client: httpx.Client) -> None:
    @given(request=requests())
    @settings(suppress_health_check=[HealthCheck.too_slow])
    def ask(request: tuple[str, str, dict[str, Any]]) -> None:
        method, path, rest = request
        check(method, client.request(method.upper(), path, **rest))

    ask()


def check(method: str, answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["type"].startswith("urn:stigmergy:problem:")
    elif answer.status_code == 204:
        assert answer.content == b""
    elif (model := response_model(method, answer)) is not None:
        TypeAdapter(model).validate_python(answer.json())


def response_model(method: str, answer: httpx.Response) -> Any:
    """What the route says that it answers with."""
    path = answer.request.url.path
    for (known, _), route in ROUTES.items():
        if known == method and route.path_regex.match(path):
            return route.response_model
    return None


def test_the_fuzzer_reaches_every_endpoint() -> None:
    assert len(ENDPOINTS) >= 30
    missing = [each for each in ENDPOINTS if each not in ROUTES]
    assert missing == []
