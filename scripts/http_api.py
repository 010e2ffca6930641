"""Writes docs/reference/http-api.md from the OpenAPI document, so that the page tells what is.

.venv/bin/python scripts/http_api.py            # prints the page
.venv/bin/python scripts/http_api.py --write    # writes it
"""

# ruff: noqa: E501 - the page's own lines
from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from stigmergy.server.app import openapi_document

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "http-api.md"
HEAD = """\
# The HTTP API

What `stig serve` serves, and a run with `--serve`. Written by `scripts/http_api.py` from the OpenAPI document,
which the server has at `/openapi.json`; [the how-to](../howto/serve.md) shows how to use it.

- Send a token as `Authorization: Bearer TOKEN`. Only `/`, `/static/…`, `/preview/…` (with a ticket), `/healthz` and `/openapi.json` need none.
- Bodies are JSON with the content type `application/json`. Unknown fields are refused.
- Errors are problem documents (RFC 9457): branch on `type`, which is `urn:stigmergy:problem:` and a name.
- An `Idempotency-Key` with a write lets it be sent again: what was answered once is answered again, for a day,
  across restarts. The same key with another body is refused.
- Times are seconds since the epoch on the board's clock.

## Problems

| status | `type` ends in | meaning |
|---|---|---|
| 401 | `unauthorised` | No token, or none that is good. |
| 403 | `scope`, `read-only`, `wrong-origin` | The token, the server or the page does not allow it. |
| 403 | `forged-lease` | The lease was not given out by this server. |
| 404 | `not-found`, `no-memory` | There is no such task, blob, entry or address. |
| 405 | `method-not-allowed` | The address has other methods. |
| 408 | `too-slow` | The body did not arrive in time. |
| 409 | `lost-lease` | Somebody else has the task by now; nothing was written. `task_id`, `agent_id`, `fence`, `reason`. |
| 409 | `under-way` | The request with this `Idempotency-Key` is being carried out: ask again. |
| 409 | `stale-version` | The key of the memory has another version. |
| 410 | `cursor-gone` | The task that the cursor stood at was pruned: begin again. |
| 413 | `too-large` | The body is over the limit. |
| 421 | `wrong-host` | The server does not go by the name in `Host`. |
| 422 | `invalid`, `refused`, `key-taken` | The request is wrong; `detail` says how, `errors` where. |
| 429 | `too-many-requests` | Over the rate of the token; `Retry-After`. |
| 503 | `busy` | The board or the server is busy; `Retry-After`. |
"""


def page() -> str:
    """The whole page."""
    document = openapi_document()
    schemas = document["components"]["schemas"]
    parts = [HEAD]
    groups: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            group = (told.get("tags") or ["other"])[0]
            groups.setdefault(group, []).append(_endpoint(method, path, told))
    for group, endpoints in groups.items():
        parts.append(f"\n## {group.capitalize()}\n")
        parts.extend(endpoints)
    parts.append("\n## Documents\n")
    parts.extend(_schema(name, schemas[name]) for name in sorted(schemas) if _is_shown(name))
    return "\n".join(parts).rstrip() + "\n"


def _is_shown(name: str) -> bool:
    return name not in {"HTTPValidationError", "ValidationError"}


def _endpoint(method: str, path: str, told: dict[str, Any]) -> str:
    lines = [f"### `{method.upper()} {path}`", "", _words(told.get("description", ""))]
    body = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        lines += ["", f"Takes {_type(body)}."]
    good = {status: each for status, each in told["responses"].items() if status < "300"}
    for status, each in good.items():
        for kind, content in each.get("content", {}).items():
            shape = content.get("schema", {})
            answer = f"`{kind}`" if kind != "application/json" else _type(shape)
            lines += ["", f"Answers {status} with {answer}."]
        if not each.get("content"):
            lines += ["", f"Answers {status} without a body."]
    parameters = [each for each in told.get("parameters", []) if each["in"] == "query"]
    if parameters:
        lines += ["", "| in the query | takes |", "|---|---|"]
        lines += [f"| `{each['name']}` | {_parameter(each)} |" for each in parameters]
    return "\n".join([*lines, ""])


def _parameter(each: dict[str, Any]) -> str:
    schema = each["schema"]
    default = schema.get("default")
    told = _type(schema)
    if default is not None and default != "":
        told += f"; {default} if not given"
    return told + (", needed" if each.get("required") else "")


def _schema(name: str, schema: dict[str, Any]) -> str:
    lines = [f"### {name}", "", _words(schema.get("description", ""))]
    if "enum" in schema:
        values = ", ".join(f"`{value}`" for value in schema["enum"])
        return "\n".join([f"### {name}", "", f"One of {values}.", ""])
    needed = set(schema.get("required", ()))
    lines += ["", "| field | is |", "|---|---|"]
    for field, told in schema.get("properties", {}).items():
        shape = _type(told)
        note = _words(told.get("description", ""))
        optional = "" if field in needed else ", optional"
        lines.append(f"| `{field}` | {shape}{optional}{'. ' + note if note else ''} |")
    return "\n".join([*lines, ""])


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        kinds = [_type(each) for each in schema["anyOf"]]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema.get('items', {}))}"
        case "integer" | "number" as kind:
            low, high = schema.get("minimum"), schema.get("maximum")
            bounds = f" from {low} to {high}" if low is not None and high is not None else ""
            return f"{'whole number' if kind == 'integer' else 'number'}{bounds}"
        case "string":
            return "text"
        case "boolean":
            return "true or false"
        case "null":
            return "null"
        case "object":
            return "object"
        case _:
            return "any JSON"


def _words(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page())
    else:
        sys.stdout.write(page())
