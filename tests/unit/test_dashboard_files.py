"""The dashboard's files: no way for markup to get in, nothing from elsewhere, all in the wheel."""

from __future__ import annotations

import importlib.resources
import re
from pathlib import Path

import pytest

STATIC = Path(str(importlib.resources.files("stigmergy.server"))) / "static"
SCRIPTS = sorted(STATIC.rglob("*.js"))
TEXTS = sorted(p for p in STATIC.rglob("*") if p.suffix in {".js", ".css", ".html", ".svg"})
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment"
    r"|DOMParser|srcdoc|setHTML|parseHTML|\beval\(|new Function|javascript:"
)
TEXT_TIMER = re.compile(r"set(?:Timeout|Interval)\(\s*[\"'`]")
IMPORT = re.compile(r"""(?:from|import)\s+["']([^"']+)["']""")


def names(paths):
    return [str(path.relative_to(STATIC)) for path in paths]


def test_there_is_a_dashboard() -> None:
    assert "index.html" in names(TEXTS)
    assert len(SCRIPTS) > 20


@pytest.mark.parametrize("script", SCRIPTS, ids=names(SCRIPTS))
def test_no_script_makes_markup_or_code_out_of_text(script: Path) -> None:
    text = script.read_text()

    assert FORBIDDEN.findall(text) == []
    assert TEXT_TIMER.findall(text) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=names(SCRIPTS))
def test_every_import_is_a_file_that_is_there(script: Path) -> None:
    for target in IMPORT.findall(script.read_text()):
        assert target.startswith("."), target
        assert (script.parent / target).resolve().is_file(), target


@pytest.mark.parametrize("path", TEXTS, ids=names(TEXTS))
def test_nothing_is_loaded_from_elsewhere(path: Path) -> None:
    text = path.read_text()
    addresses = re.findall(r"https?://[^\s\"'`)]+", text)

    # Names of namespaces, and the address in the widget's own documentation.
    assert set(addresses) <= {"http://www.w3.org/2000/svg", "http://127.0.0.1:8420"}
    assert "@import" not in text


def test_the_page_has_no_script_or_style_of_its_own() -> None:
    page = (STATIC / "index.html").read_text()

    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert "<style" not in page
    assert re.findall(r"\s(?:on\w+|style)=", page) == []


def test_every_part_that_a_page_uses_is_defined_once() -> None:
    defined = [
        name
        for script in SCRIPTS
        for name in re.findall(r"customElements\.define\(\"([a-z-]+)\"", script.read_text())
    ]

    assert len(defined) == len(set(defined))
    used = set(re.findall(r"part\(\"(stig-[a-z-]+)\"", "".join(p.read_text() for p in SCRIPTS)))
    assert used <= set(defined)


def test_colours_stand_in_the_tokens_alone() -> None:
    style = (STATIC / "css" / "dashboard.css").read_text()

    colours = set(re.findall(r"#[0-9a-fA-F]{3,8}\b|rgb\(", style))
    assert colours <= {"#fff"}  # the ground of a previewed page
    tokens = (STATIC / "css" / "tokens.css").read_text()
    used = set(re.findall(r"var\((--[a-z0-9-]+)", style))
    own = set(re.findall(r"(--[a-z0-9-]+):", tokens + style)) | {"--x", "--y", "--w", "--share"}
    assert used <= own


def test_both_dark_forms_are_the_same() -> None:
    tokens = (STATIC / "css" / "tokens.css").read_text()
    asked, chosen = re.findall(r"color-scheme: dark;(.*?)\}", tokens, flags=re.DOTALL)

    assert asked.split() == chosen.split()
