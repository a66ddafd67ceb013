"""The pages of docs/ are in the site's contents, and those with measurements say how they were measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONFIG = ROOT / ".ci" / "mkdocs.yml"
MEASURED = [DOCS / "results.md", DOCS / "gallery.md"]
FIGURES = re.compile(r"^\|.*\d\.\d+", re.MULTILINE)
COMMAND = re.compile(r"^```sh\n(?:facecrypt|make|python) ", re.MULTILINE)


def entries(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        (where,) = entry.values()
        if isinstance(where, str):
            yield where
        else:
            yield from entries(where)


def test_each_page_is_in_the_contents_once() -> None:
    listed = sorted(entries(yaml.safe_load(CONFIG.read_text())["nav"]))
    pages = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.glob("**/*.md"))
    assert listed == pages, f"add a line under nav in {CONFIG.relative_to(ROOT)}, or take one away"


@pytest.mark.parametrize("page", MEASURED, ids=lambda page: page.name)
def test_figures_stand_beside_the_command_that_measures_them(page: Path) -> None:
    sections = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    measured = [section for section in sections if FIGURES.search(section)]
    assert measured
    assert [section.splitlines()[0] for section in measured if not COMMAND.search(section)] == []


def test_pictures_are_small_and_shown() -> None:
    pictures = {path.relative_to(DOCS).as_posix(): path.stat().st_size for path in (DOCS / "images").iterdir()}
    sheets = {name: size for name, size in pictures.items() if name.startswith("images/faces-")}
    assert {name: size for name, size in pictures.items() if size >= 100_000 and name not in sheets} == {}
    assert {name: size for name, size in sheets.items() if size >= 400_000} == {}, "a dozen faces, shown at two sizes"
    text = "".join(page.read_text() for page in [ROOT / "README.md", *DOCS.glob("**/*.md")])
    assert {name for name in pictures if name not in text} == set()
