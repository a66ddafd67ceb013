from __future__ import annotations

import inspect
import sys

import pytest

from facecrypt import registry
from facecrypt.registry import BUILT_IN, Component
from facecrypt.signatures import UnclearError, read_arguments
from tests import processes

BUILT_INS = [each for each in registry.list_components() if each.origin == BUILT_IN and isinstance(each.target, str)]


@pytest.mark.parametrize("component", BUILT_INS, ids=lambda each: f"{each.kind}-{each.name}")
def test_the_source_tells_what_python_knows(component: Component) -> None:
    if component.name.startswith("frbench_"):
        pytest.skip("made by a function, all alike")
    if component.kind == "judge" or component.name in ("jod", "insightface_buffalo_l", "insightface_buffalo_s"):
        pytest.skip("a default or a range is computed: these are imported")
    assert isinstance(component.target, str)
    imported = Component(component.kind, component.name, component.target, "", "imported")
    # Two fields of pydantic are equal where they are one object, and told alike where they say the same.
    assert repr(read_arguments(component.target)) == repr(imported.arguments())


def test_what_the_source_does_not_tell_is_imported() -> None:
    for target in ("torch:zeros", "facecrypt.views.base:KorniaView", "facecrypt.nothing:x", "facecrypt.views.base:no"):
        with pytest.raises(UnclearError):
            read_arguments(target)
    component = Component("surrogate", "x", "facecrypt.surrogates.sface:build", "", BUILT_IN)
    assert component.arguments() == {}
    assert inspect.Parameter.empty is registry.get("surrogate", "onnx").arguments()["path"][1]


@pytest.mark.parametrize(
    "words",
    [
        ["check", "recipes/tipim_plus.yaml"],
        ["check", "recipes/quickstart.yaml", "views=[{name: blur, args: {probability: 0.5}}]", "own_photos=me"],
        ["show", "recipes/quickstart.yaml"],
    ],
    ids=" ".join,
)
def test_a_recipe_is_checked_without_torch(words: list[str]) -> None:
    program = (
        "import sys\nfrom facecrypt.cli.main import main\nassert main(sys.argv[1:]) == 0\n"
        "heavy = {'torch', 'lightning', 'kornia', 'torchvision', 'torchmetrics', 'timm', 'onnx', 'matplotlib'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\n"
    ).replace("\\\n", "\n")
    done = processes.run([sys.executable, "-c", program, *words], check=True)
    assert done.stdout.endswith("heavy: []\n"), done.stdout[-300:]


SPARED = ("timm", "facenet_pytorch", "onnx", "onnxruntime", "huggingface_hub", "requests", "dlib")
"""What no run of plain recognisers needs before its first photo is read, and many never."""


@pytest.mark.slow
def test_a_run_starts_without_what_it_may_never_need() -> None:
    """Torchmetrics is no part of this, nor what it imports: Lightning needs it."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom facecrypt.cli import main\n"
        "from facecrypt.recipe.check import load_recipe\nrecipe = load_recipe('recipes/tipim.yaml')\n"
        "from facecrypt.naturalness import base\nfrom facecrypt.evaluation import verification\n"
        "print('early:', sorted({'torchmetrics', 'torchvision', 'lightning'} & set(sys.modules)))\n"
        "from facecrypt.pipeline import inputs, plan, runner\n"
        "plan.make_plan(recipe, inputs.choose_photos(recipe, runner.sample_photo()))\n"
        f"print('heavy:', sorted(set({SPARED!r}) & set(sys.modules)))\n"
    )
    done = processes.run([sys.executable, "-c", program], check=True)
    assert done.stdout == "early: []\nheavy: []\n"
