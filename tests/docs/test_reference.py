from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["recipe-reference.md", "surrogates.md", "photos.md", "limits.md"])
def test_the_generated_page_says_what_the_code_does(page: str) -> None:
    generated = runpy.run_path(str(DOCS / "generate.py"))["PAGES"][page]()
    assert (DOCS / page).read_text(encoding="utf-8") == generated, "run: python docs/generate.py"


def test_what_shells_complete_is_what_recipes_take() -> None:
    generate = runpy.run_path(str(DOCS / "generate.py"))
    assert generate["COMPLETION"].read_text(encoding="utf-8") == generate["render_completion"](), (
        "run: python docs/generate.py"
    )
