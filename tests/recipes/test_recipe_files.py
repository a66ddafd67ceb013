from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from facecrypt.recipe import check_recipe, dump_recipe, load_recipe

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "recipes").rglob("*.yaml"))


def test_there_are_recipes() -> None:
    assert {"quickstart.yaml", "tipim.yaml", "tipim_arcface.yaml", "tipim_ensemble.yaml"} <= {
        file.name for file in FILES
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_recipe_file(file: Path) -> None:
    recipe = load_recipe(file)
    header = [line for line in file.read_text().splitlines() if line.startswith("#")]
    text = "\n".join(header)
    assert "# Needs:" in text
    command = f"facecrypt run {file.relative_to(ROOT)}"
    assert f"# Run:      {command}" in text
    # The override in the header must be one that works.
    (override,) = [line for line in header if line.startswith(f"# Override: {command} ")]
    assert load_recipe(file, override.split(command)[1].split()) != recipe
    # The resolved recipe that a run leaves is the same recipe.
    assert check_recipe(yaml.safe_load(dump_recipe(recipe))) == recipe
