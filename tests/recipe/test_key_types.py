from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from facecrypt.errors import RecipeError
from facecrypt.recipe.check import Recipe, dump_recipe, load_recipe
from facecrypt.system.naming import expand_home

ROOT = Path(__file__).parents[2]
NAMES = (
    "album/#2", "2024", "2024-05-01", "no", "null", "-", "a=b", "a: b", "{x}", "'q'", '"q"', " lead", "trail ",
    "*.jpg", "!x",
    "&x", "%x", "@x", "`x", "|", ">", "?", "- a", "back\\slash", "${steps}", "${oc.env:HOME}", "\\${x}",
    "caf\udce9.jpg",
    "\U0001f600", "a\nb", "0x10", "1e3", ".inf", "9" * 200, "[", "[x", "a # b", "\t", "\x1b[31m", "\u202e", "..",
    "true", "x=",
    "~/x",
)  # fmt: skip
PATHS = ("photos", "output", "targets", "own_photos", "receipt.gallery", "receipt.cache")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("surrogates: [{name: sface}]\nsteps: 7\n")
    return path


def paths(recipe: Recipe) -> set[str | None]:
    return {
        recipe.photos,
        recipe.output,
        recipe.targets,
        recipe.own_photos,
        recipe.receipt.gallery,
        recipe.receipt.cache,
    }


@pytest.mark.parametrize("name", [*NAMES, "[x]"], ids=lambda name: name.encode("unicode_escape").decode()[:20])
def test_a_path_is_what_was_typed_and_stays_it(file: Path, name: str) -> None:
    recipe = load_recipe(file, [f"{key}={name}" for key in PATHS])
    assert paths(recipe) == {name}
    resolved = file.with_name("resolved.yaml")
    resolved.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(resolved) == recipe
    resolved.write_text(dump_recipe(recipe, ascii_only=True), encoding="ascii")
    assert load_recipe(resolved) == recipe


def only(recipe: Recipe) -> Any:
    assert not isinstance(recipe.faces, str)
    return recipe.faces.only


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.encode("unicode_escape").decode()[:20])
def test_a_path_in_a_list_is_what_was_typed(file: Path, name: str) -> None:
    assert only(load_recipe(file, [f"faces.only={name}"])) == [name]
    assert only(load_recipe(file, ["faces.only=[a, b]", f"faces.only[1]={name}"])) == ["a", name]


def test_a_list_of_paths_in_brackets(file: Path) -> None:
    assert only(load_recipe(file, ["faces.only=[2024, no, 'a, b', caf\udce9, 1e400]"])) == [
        "2024", "no", "a, b", "caf\udce9", "1e400",
    ]  # fmt: skip
    assert only(load_recipe(file, ['faces.only=["[x]"]'])) == ["[x]"]


@pytest.mark.parametrize("key", [*PATHS, "faces.only", "faces.except"])
def test_an_empty_path_is_refused(file: Path, key: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, [f"{key}="])
    assert caught.value.faults == (f"{key}: is empty. Give a path, or leave the key out.",)
    head, _, last = key.partition(".")
    empty = f"{{{last}: ''}}" if last else "''"
    file.write_text(f"surrogates: [{{name: sface}}]\n{head}: {empty}\n")
    with pytest.raises(RecipeError, match="is empty"):
        load_recipe(file)


def test_a_path_can_be_taken_away(file: Path) -> None:
    file.write_text("surrogates: [{name: sface}]\nphotos: a\nreceipt: {gallery: b, transforms: []}\n")
    recipe = load_recipe(file, ["photos:=null", "receipt.gallery:=null"])
    assert (recipe.photos, recipe.receipt.gallery, recipe.receipt.transforms) == (None, None, [])


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("2024", "2024"), ("2024-05-01", "2024-05-01"), ("no", "no"), ("1e400", "1e400"), ("0x_", "0x_"),
        ("9" * 50, "9" * 50),
        ("010", "010"), ("'null'", "null"), ('"caf\\udce9"', "caf\udce9"), ("null", None), ("~", None), ("", None),
        ("x${steps}", "x7"), ("${steps}", "7"), (r"\${steps}", "${steps}"), ("!!str 5", "5"),
    ],
)  # fmt: skip
def test_a_path_in_a_file_is_what_was_typed(file: Path, text: str, path: str | None) -> None:
    file.write_text(f"surrogates: [{{name: sface}}]\nsteps: 7\nphotos: {text}\n")
    assert load_recipe(file).photos == path


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{a}", "photos: YAML takes this for a mapping. Quote a text that begins with {."),
        ("[a]", "photos: YAML takes this for a list. Quote a text that begins with [."),
        ('"a\\0b"', r"photos: 'a\x00b' is wrong: no file name holds the character NUL."),
        ('"\\ud800"', r"photos: '\ud800' is wrong: no file has such a name here."),
        ("x" * 300, "is wrong: a name has at most 255 bytes"),
        ("a/" * 300, "lies at most 200 folders deep"),
    ],
)
def test_a_path_that_no_file_has(file: Path, text: str, fault: str) -> None:
    file.write_text(f"surrogates: [{{name: sface}}]\nphotos: {text}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert len(caught.value.faults) == 1
    assert fault in caught.value.faults[0]


def test_a_tilde_is_the_home_folder_where_it_stands_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("~", "~/x", "a/~", "~x.jpg", "~root", "~nobody-of-that-name/x"):
        assert load_recipe(file, [f"photos={name}"]).photos == name
        assert (expand_home(name) == Path(name)) == (not name.startswith("~/") and name != "~")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as where neither HOME nor the user is known
    with pytest.raises(RecipeError, match="your home folder is not known"):
        load_recipe(file, ["photos=~/x"])


def test_home_folders_are_expanded_in_one_place() -> None:
    """``Path.expanduser`` takes ``~x`` for the folder of a user x, and fails where there is none."""
    for path in (ROOT / "facecrypt").rglob("*.py"):
        assert path.name == "naming.py" or "expanduser" not in path.read_text(), f"{path}: call expand_home"


def test_templates_and_arguments_of_components_are_texts(file: Path) -> None:
    recipe = load_recipe(
        file,
        [
            "name={stem}-x{suffix}",
            "backup=#1/{stem}{suffix}",
            "surrogates[0].args.path=#2",
            "surrogates[0].args.dimension=0x80",
            "surrogates[0].args.licence=no",
            "surrogates[0].name=onnx",
        ],
    )
    assert (recipe.name, recipe.backup) == ("{stem}-x{suffix}", "#1/{stem}{suffix}")
    assert recipe.surrogates[0].args == {"path": "#2", "dimension": 128, "licence": "no"}
    file.write_text("surrogates: [{name: onnx, args: {path: 2024-05-01, dimension: 8, sha256: null}}]\n")
    with pytest.raises(RecipeError, match="argument 'sha256': None is wrong"):
        load_recipe(file)
    file.write_text("surrogates: [{name: onnx, args: {path: 2024-05-01, dimension: 8, mean: [1, 2, 3]}}]\n")
    assert load_recipe(file).surrogates[0].args == {"path": "2024-05-01", "dimension": 8, "mean": [1, 2, 3]}


def test_everything_else_is_yaml(file: Path) -> None:
    recipe = load_recipe(file, ["steps=0x10", "in_place=no", "preset=null", "views=[{name: blur}]", "self_weight=1e-1"])
    assert (recipe.steps, recipe.in_place, recipe.preset, recipe.self_weight) == (16, False, None, 0.1)
    with pytest.raises(RecipeError, match="steps: '' is wrong"):
        load_recipe(file, ["steps="])


def test_levels_of_strength_are_read_as_the_recipe_is(file: Path) -> None:
    file.write_text(
        "surrogates: [{name: sface}]\n"
        "strength: {judges: [{name: dlib_resnet}], levels: [low, {steps: .inf}, {x: 1e40}]}\n"
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert [fault.partition(": ")[0] for fault in caught.value.faults] == [
        "strength.levels[1].steps", "strength.levels[2].x",
    ]  # fmt: skip
