"""The documents hold together: links lead somewhere, nothing that a user can set is missing."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)
DECISIONS = ROOT / "docs" / "decisions"


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def all_tokens(path: Path) -> Iterator[Token]:
    for token in MarkdownIt("commonmark").parse(path.read_text()):
        yield token
        yield from token.children or ()


def links(path: Path) -> Iterator[str]:
    for token in all_tokens(path):
        target = token.attrGet("href") or token.attrGet("src")
        if isinstance(target, str):
            yield target


def anchors(path: Path) -> set[str]:
    """What GitHub makes of the headings."""
    tokens = MarkdownIt("commonmark").parse(path.read_text())
    found: set[str] = set()
    for heading, inline in itertools.pairwise(tokens):
        if heading.type == "heading_open":
            text = "".join(child.content for child in inline.children or ())
            found.add(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-"))
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    relative = [link for link in links(path) if not re.match(r"[a-z][a-z0-9+.\-]*:", link)]
    assert [link for link in relative if not leads_somewhere(path, link)] == []


def leads_somewhere(page: Path, link: str) -> bool:
    target, _, anchor = unquote(link).partition("#")
    there = (page.parent / target).resolve() if target else page
    if not there.exists() or not there.is_relative_to(ROOT):
        return False
    return not anchor or there.suffix != ".md" or anchor in anchors(there)


def test_the_index_leads_to_every_page() -> None:
    docs = ROOT / "docs"
    listing = [docs / "index.md", DECISIONS / "README.md"]
    reached = {(page.parent / unquote(link)).resolve() for page in listing for link in links(page)}
    pages = set(docs.rglob("*.md")) - {docs / "index.md", DECISIONS / "0000-template.md"}
    assert {named(page) for page in pages - reached} == set()


def test_every_decision_is_listed_with_its_title() -> None:
    listing = (DECISIONS / "README.md").read_text()
    decisions = [path for path in DECISIONS.glob("[0-9]*.md") if path.name != "0000-template.md"]
    assert decisions
    for path in decisions:
        title = path.read_text().splitlines()[0].removeprefix("# ")
        assert f"[{title}]({path.name})" in listing


def test_decisions_have_numbers_of_their_own_and_say_why() -> None:
    paths = sorted(DECISIONS.glob("[0-9]*.md"))
    numbers = [path.name[:4] for path in paths]
    assert numbers == sorted(set(numbers))
    for path in paths:
        headings = {line for line in path.read_text().splitlines() if line.startswith("## ")}
        assert {"## Context", "## Decision", "## Consequences"} <= headings, path.name


def settings_of_the_program() -> list[str]:
    if importlib.util.find_spec("stigmergy.config") is None:
        return []
    return list(importlib.import_module("stigmergy.config").Settings.model_fields)


@pytest.mark.parametrize("name", settings_of_the_program())
def test_every_setting_is_documented(name: str) -> None:
    page = ROOT / "docs" / "reference" / "settings.md"
    assert page.is_file(), "docs/reference/settings.md is missing"
    assert f"`{name}`" in page.read_text()
