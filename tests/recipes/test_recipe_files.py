from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from facecrypt.benchmark.config import is_benchmark, load_benchmark
from facecrypt.recipe.check import check_recipe, dump_recipe, load_recipe

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "recipes").rglob("*.yaml"))


def test_there_are_recipes() -> None:
    names = {file.stem for file in FILES}
    assert {"quickstart", "tipim", "tipim_arcface", "tipim_ensemble", "tipim_plus"} <= names
    assert {"baselines", "benchmarks"} <= {file.parent.name for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_recipe_file(file: Path) -> None:
    benchmark = is_benchmark(file)
    header = [line for line in file.read_text().splitlines() if line.startswith("#")]
    text = "\n".join(header)
    assert "# Needs:" in text
    command = f"facecrypt {'evaluate' if benchmark else 'run'} {file.relative_to(ROOT)}"
    assert f"# Run:      {command}" in text
    # The override in the header must be one that works.
    (override,) = [line for line in header if line.startswith(f"# Override: {command} ")]
    overrides = override.split(command)[1].split()
    if benchmark:
        plain, rows = load_benchmark(file)
        assert rows
        assert load_benchmark(file, overrides)[0] != plain
        return
    recipe = load_recipe(file)
    assert load_recipe(file, overrides) != recipe
    # The resolved recipe that a run leaves is the same recipe.
    assert check_recipe(yaml.safe_load(dump_recipe(recipe))) == recipe
