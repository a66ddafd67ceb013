from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_recipe_reference_says_what_the_code_does() -> None:
    generated = runpy.run_path(str(DOCS / "generate.py"))["render"]()
    assert (DOCS / "recipe-reference.md").read_text(encoding="utf-8") == generated, "run: python docs/generate.py"
