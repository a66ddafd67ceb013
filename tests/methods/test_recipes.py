"""Each recipe of a method, run on the sample photo."""

from __future__ import annotations

from pathlib import Path

import pytest

from facecrypt import registry
from tests.trying import ROOT, run_recipe

NAMES = sorted(file.stem for file in (ROOT / "recipes" / "methods").glob("*.yaml"))
EXEMPT = {"pixelate", "darken", "occlude", "iterative"}
"""Those that the recipe of blur names, and the one that all others are for."""
BY_THE_LOOP = {"eyeglasses"}
"""Systems that are settings of the loop."""


def test_each_method_has_a_recipe() -> None:
    built_in = {each.name for each in registry.list_components("method") if each.origin == registry.BUILT_IN}
    assert built_in - EXEMPT == set(NAMES) - BY_THE_LOOP


@pytest.mark.parametrize("name", [pytest.param(each, marks=[pytest.mark.slow] * (each != "lots")) for each in NAMES])
def test_a_recipe_protects_the_sample_photo(name: str, tmp_path: Path) -> None:
    report = run_recipe(name, tmp_path)
    assert report["recipe"]["method"]["name"] == ("iterative" if name in BY_THE_LOOP else name)
    (entry,) = report["photos"]
    assert entry["status"] == "written"
    (face,) = entry["faces"]
    assert face["max_abs"] >= 1
    asked = any(each["white_box"] for each in face["recognisers"].values())
    if name not in BY_THE_LOOP:
        # The network of generator was trained by what it never asks.
        assert (face["queries"] > 0) == (asked and name != "generator")
