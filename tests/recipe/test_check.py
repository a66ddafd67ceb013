from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from omegaconf import DictConfig, OmegaConf

from facecrypt.errors import RecipeError
from facecrypt.recipe.check import RECIPE_SCHEMA, Recipe, check_recipe, dump_recipe, load_recipe, recipe_values
from facecrypt.recipe.names_alone import NAMED_ALONE
from facecrypt.recipe.schema import Slot

SFACE = {"name": "sface"}


def faults(values: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        check_recipe(values)
    return caught.value.faults


def test_every_key_but_surrogates_has_a_default() -> None:
    recipe = check_recipe({"surrogates": [SFACE]})
    assert (recipe.epsilon, recipe.steps, recipe.step_size, recipe.norm) == (12, 50, 1.5, "linf")
    assert (recipe.target_selector.name, recipe.optimizer.name) == ("greedy", "momentum")
    assert faults({}) == ("surrogates: missing, and it has no default.",)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"epsilom": 8}, "epsilom: unknown key. Did you mean 'epsilon'? Known: surrogates, method, detector, photos"),
        ({"epsilon": 0}, "epsilon: 0 is wrong: input should be greater than or equal to 1."),
        ({"epsilon": 300}, "epsilon: 300 is wrong: input should be less than or equal to 255."),
        ({"epsilon": "8/255"}, "epsilon: '8/255' is wrong: input should be a valid number."),
        ({"steps": 2.5}, "steps: 2.5 is wrong"),
        ({"steps": True}, "steps: True is wrong"),
        ({"norm": "l1"}, "norm: 'l1' is wrong: input should be 'linf' or 'l2'."),
        ({"faces": "some"}, "faces: 'some' is wrong: input should be 'all', 'largest' or 'aligned'."),
        ({"faces": {"inedx": 1}}, "faces.inedx: unknown key. Did you mean 'index'?"),
        ({"surrogates": []}, "surrogates: [] is wrong"),
        ({"surrogates": "sface"}, "surrogates: 'sface' is wrong"),
        ({"surrogates": [SFACE, {"name": "sfaec"}]}, "surrogates[1]: no surrogate named 'sfaec'."),
        ({"surrogates": [{"name": "sface", "wieght": 2}]}, "surrogates[0].wieght: unknown key. Did you mean 'weight'?"),
        ({"surrogates": [{"name": "sface", "weight": 0}]}, "surrogates[0].weight: 0 is wrong"),
        ({"surrogates": [{"name": "sface", "dropout": 1.0}]}, "surrogates[0].dropout: 1.0 is wrong"),
        ({"surrogates_per_step": 0}, "surrogates_per_step: 0 is wrong"),
        ({"ceiling": 16}, "ceiling: under linf, epsilon is the largest change of a channel. Lower it, or set norm: l2"),
        ({"target_weight": 0, "self_weight": 0}, "target_weight: 0 leaves masks nothing to follow. Give it"),
        ({"target_weight": -1}, "target_weight: -1 is wrong"),
        ({"own_photos": 3}, "own_photos: 3 is wrong"),
        ({"target_selector": {"name": "matched_far", "args": {"skin": 0}}}, "target_selector (matched_far)"),
        ({"target_selector": {"name": "persistent", "args": {"salt": -1}}}, "target_selector (persistent)"),
        ({"surrogates_per_step": 1}, "surrogates_per_step: 1 of 1 leaves nothing to draw. Name more surrogates"),
        ({"surrogates": [SFACE, {"name": "dlib_resnet"}], "surrogates_per_step": 2},
          "surrogates_per_step: 2 of 2 leaves nothing to draw. Allowed: 1 to 1, or null for all."),
        ({"surrogates": [{"weight": 1}]}, "surrogates[0].name: missing"),
        ({"surrogates": [{"name": "timm"}]}, "surrogates[0] (timm): argument 'model' is missing"),
        ({"surrogates": [{"name": "sface", "fallback": ["arc"]}]}, "surrogates[0].fallback[0]: no surrogate"),
        ({"target_selector": {"name": "centre"}}, "target_selector: no target_selector named 'centre'."),
        ({"optimizer": {"name": "momentum", "args": {"decy": 1}}}, "optimizer (momentum): unknown argument 'decy'."),
        ({"optimizer": {"name": "momentum", "args": {"decay": 2}}}, "optimizer (momentum): argument 'decay': 2"),
        ({"views": [{"name": "affine"}, {"name": "warp"}]}, "views[1]: no view named 'warp'."),
        ({"naturalness": [{"name": "mmd", "weight": -1}]}, "naturalness[0].weight: -1 is wrong"),
        ({"views_mode": "any"}, "views_mode: 'any' is wrong: input should be 'chain' or 'one'."),
        ({"gradient": {"name": "variance"}}, "gradient: no gradient named 'variance'. Did you mean 'variance_tuning'?"),
        ({"own_identity": {"wieght": 2}}, "own_identity.wieght: unknown key. Did you mean 'weight'? Known: weight"),
        ({"own_identity": {"hinge": 2}}, "own_identity.hinge: 2 is wrong"),
        ({"surrogates": [{"name": "sface", "mixup": {"rato": 1}}]},
         "surrogates[0].mixup.rato: unknown key. Did you mean 'ratio'? Known: probability, ratio."),
        ({"surrogates": [{"name": "sface", "mixup": {"ratio": 0}}]}, "surrogates[0].mixup.ratio: 0 is wrong"),
        ({"region": {"face": 2}}, "region.face: 2 is wrong"),
        ({"region": {"eyes": 1}}, "region.eyes: unknown key. Known: face, outside, features."),
        ({"feather": -1}, "feather: -1 is wrong"),
        ({"low_pass": "2 px"}, "low_pass: '2 px' is wrong"),
        ({"budget": {}}, "budget: names no bound. Give jod or enlarged a number"),
        ({"budget": {"ssim": 1}}, "budget.ssim: 1 is wrong"),
        ({"budget": {"ssim": 0.9, "sim": 0.9}}, "budget.sim: unknown key. Did you mean 'ssim'?"),
        ({"trainer": {"acelerator": "cpu"}}, "trainer.acelerator: unknown key. Did you mean 'accelerator'?"),
        ({"held_out": [SFACE]}, "held_out[0]: the network of 'sface' gives gradients in this recipe"),
        ({"surrogates": [SFACE, SFACE]}, "surrogates: one network is named twice."),
        ({"held_out": [{"name": "dlib_resnet"}, {"name": "dlib_resnet"}]}, "held_out: one network is named twice."),
        ({"surrogates": [{"name": "timm", "args": {"model": "a/b"}, "fallback": ["dlib_resnet"]}],
          "held_out": [{"name": "dlib_resnet"}]}, "held_out[0]: the network of 'dlib_resnet' gives"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_one_fault(values: dict[str, Any], fault: str) -> None:
    (found,) = faults({"surrogates": [SFACE]} | values)
    assert found.startswith(fault)


def test_every_fault_at_once() -> None:
    found = faults(
        {
            "surrogates": [{"name": "sfaec"}],
            "target_selector": {"name": "centre"},
            "optimizer": {"name": "momentum", "args": {"decy": 1}},
            "epsilon": -1,
            "stepps": 3,
        }
    )
    assert len(found) == 5


def test_white_box_judges_are_allowed_when_asked_for() -> None:
    recipe = check_recipe({"surrogates": [SFACE], "held_out": [SFACE], "allow_white_box": True})
    assert recipe.held_out[0].name == "sface"


@pytest.mark.parametrize("key", ["surrogates", "held_out"])
def test_only_permissive_weights_when_asked_for(key: str) -> None:
    licensed = {"surrogates": [SFACE], "held_out": [{"name": "dlib_resnet"}], "permissive_only": True}
    assert check_recipe(licensed).permissive_only
    research = {"name": "facenet_casia", **({"optional": True} if key == "held_out" else {})}
    (fault,) = faults({**licensed, key: [research]})
    assert fault.startswith(
        f"{key}[0] (facenet_casia): its weights are not known to allow products "
        "(licence: code MIT; weights trained on CASIA-WebFace, for research), and permissive_only is true."
    )
    assert check_recipe({**licensed, key: [research], "permissive_only": False})


def test_a_fallback_needs_a_permissive_licence_too() -> None:
    (fault,) = faults(
        {"surrogates": [{**SFACE, "fallback": ["dlib_resnet", "arcface_vit_tiny"]}], "permissive_only": True}
    )
    assert fault.startswith("surrogates[0].fallback[1] (arcface_vit_tiny): its weights are not known to allow products")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def load(tmp_path: Path, *overrides: str) -> Recipe:
    return load_recipe(write(tmp_path, "surrogates: [{name: sface}]\nviews: [{name: affine}]\n"), overrides)


def test_overrides_reach_everywhere(tmp_path: Path) -> None:
    recipe = load(
        tmp_path, "surrogates[0].weight=2", "epsilon=8", "views[0].args.degrees=5", "trainer.devices=2",
        "photos=a b.jpg", "held_out=[{name: dlib_resnet}]",
    )  # fmt: skip
    assert (recipe.surrogates[0].weight, recipe.epsilon, recipe.photos, recipe.trainer.devices) == (2, 8, "a b.jpg", 2)
    assert recipe.views[0].args == {"degrees": 5}
    # A value is replaced as a whole: what stood there before is no argument of another component.
    assert load(tmp_path, "views[0]={name: blur}").views[0].args == {}
    assert load(tmp_path, "optimizer.args.decay=0.5", "optimizer={name: plain}").optimizer.name == "plain"
    assert recipe.held_out[0].name == "dlib_resnet"


@pytest.mark.parametrize("override", ["epsilon", "=3", "surrogates[7].weight=2", "surrogates.weight=2", "epsilon=[1"])
def test_overrides_that_make_no_sense(tmp_path: Path, override: str) -> None:
    with pytest.raises(RecipeError, match="1 problem\n  override .* Write key=value, as in epsilon=8"):
        load(tmp_path, override)


def test_an_override_is_checked_like_the_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="epsilom: unknown key. Did you mean 'epsilon'"):
        load(tmp_path, "epsilom=8")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("surrogates: [", "is no YAML"),
        ("- just\n- a list\n", "is no mapping of keys to values"),
        ("", "surrogates: missing"),
        ("surrogates: [{name: sface}]\nepsilon: ${nowhere}\n", "nowhere"),
        ("surrogates: [{name: sface}]\nphotos: 2026-11-23\n", ""),
    ],
)
def test_files_that_are_no_recipes(tmp_path: Path, text: str, fault: str) -> None:
    path = write(tmp_path, text)
    if not fault:
        assert load_recipe(path).photos == "2026-11-23"
        return
    with pytest.raises(RecipeError, match=fault) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(str(path))


def test_a_binary_file_and_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "photo.yaml"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(RecipeError, match="is no YAML"):
        load_recipe(path)
    with pytest.raises(RecipeError, match="cannot be read: No such file or directory"):
        load_recipe(tmp_path / "missing.yaml")
    with pytest.raises(RecipeError, match="cannot be read: it is a folder"):
        load_recipe(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", 10**9), ("steps", 2**63), ("views_per_step", 10**6), ("surrogates_per_step", 2**70),
        ("max_targets", 10**9),
        ("batch_size", 10**6), ("workers", 10**6), ("seed", 2**63), ("seed", -1), ("epsilon", 1e40),
        ("epsilon", float("nan")),
        ("self_weight", float("inf")), ("self_weight", 1e30), ("ceiling", float("-inf")), ("step_size", 1e40),
        ("colour", 2),
        ("texture", float("nan")), ("feather", 2**64), ("low_pass", 17), ("steps", -0.0), ("steps", 10**5000),
        ("own_identity", {"weight": 1e40}), ("own_identity", {"weight": float("inf")}),
        ("budget", {"ssim": float("nan")}),
        ("faces", {"min_size": float("inf")}), ("faces", {"min_size": 1e30}), ("faces", {"box": [0, 0, 1e30, 50]}),
        ("faces", {"index": 2**70}), ("trainer", {"num_nodes": 10**9}),
        ("surrogates", [{"name": "sface", "weight": 1e30}]),
        ("surrogates", [{"name": "sface", "dropout": float("nan")}]), ("surrogates", [{"name": "sface"}] * 100),
        ("views", [{"name": "affine", "args": {"degrees": float("inf")}}]), ("views", [{"name": "affine"}] * 100),
        ("views", [{"name": "blur", "args": {"sigma": [1e-30, 1]}}]),
        ("naturalness", [{"name": "mmd", "weight": 1e30}]),
        ("naturalness", [{"name": "mmd", "args": {"bandwidths": []}}]),
        ("gradient", {"name": "variance_tuning", "args": {"samples": 10**9}}),
        ("optimizer", {"name": "translation_invariant", "args": {"sigma": 1e30}}),
        ("surrogates", [{"name": "onnx", "args": {"path": "x", "dimension": 1, "size": 10**6}}]),
        ("strength", {"judges": [{"name": "dlib_resnet"}], "levels": ["low"] * 100}),
        ("limits", {"memory": "999999999999999 TB"}), ("limits", {"memory": 2**62}), ("limits", {"seconds": 1e30}),
    ],
    ids=lambda value: str(value)[:30] if not isinstance(value, int) or value < 10**70 else "many digits",
)  # fmt: skip
def test_numbers_and_lists_have_bounds(key: str, value: Any) -> None:
    (found,) = faults({"surrogates": [SFACE], key: value})
    assert found.startswith(key)
    assert len(found) < 500


@pytest.mark.parametrize("key", list(check_recipe({"surrogates": [SFACE]}).__dict__))
@pytest.mark.parametrize(
    "value", [[], {}, [[]], {"a": {"b": []}}, "", "text", -1, 10**30, 1e40, True, None, [None], {"name": 1}]
)
def test_a_wrong_type_is_a_fault_of_its_key(key: str, value: Any) -> None:
    found: tuple[str, ...] = ()
    try:
        check_recipe({"surrogates": [SFACE], key: value})
    except RecipeError as error:
        found = error.faults
    assert all(fault.startswith(key) for fault in found)


def test_many_faults_are_told_in_part() -> None:
    found = faults({"surrogates": [SFACE], **{f"key{number}": 1 for number in range(5000)}})
    assert len(found) == 51
    assert found[-1].startswith("... and ")
    (long,) = faults({"surrogates": [SFACE], "x" * 10**6: 1})
    assert "Did you mean" not in long


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_a_file(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes("surrogates: [{name: sface}]\r\nphotos: caf\u00e9\r\n".encode(encoding))
    assert load_recipe(path).photos == "caf\u00e9"


def test_files_that_would_take_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(100 * 2**20)
    with pytest.raises(RecipeError, match="cannot be read: it is larger than 512 KiB"):
        load_recipe(path)
    os.mkfifo(tmp_path / "pipe.yaml")
    for odd in (tmp_path / "pipe.yaml", Path("/dev/zero")):
        with pytest.raises(RecipeError, match="it is a (?:named pipe|device), not a regular file"):
            load_recipe(odd)
    path.write_bytes("surrogates: [{name: sface}]\nphotos: caf\u00e9\n".encode("latin-1"))
    with pytest.raises(RecipeError, match="line 2: byte 0xe9 is no UTF-8. Save the file as UTF-8"):
        load_recipe(path)


def test_the_environment_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACECRYPT_TEST_SECRET", "hidden")
    path = write(tmp_path, "surrogates: [{name: sface}]\noutput: x-${oc.env:FACECRYPT_TEST_SECRET}\n")
    with pytest.raises(RecipeError, match="output: .* reads the environment. .* --allow-env") as caught:
        load_recipe(path)
    assert "hidden" not in str(caught.value)
    assert load_recipe(path, allow_env=True).output == "x-hidden"
    plain = write(tmp_path, "surrogates: [{name: sface}]\n")
    with pytest.raises(RecipeError, match="--allow-env"):
        load_recipe(plain, ["preset=${oc.env:FACECRYPT_TEST_SECRET}"])
    assert load_recipe(plain, ["output=${oc.env:FACECRYPT_TEST_SECRET}"]).output == "${oc.env:FACECRYPT_TEST_SECRET}"
    # Nor does the recipe that a run leaves.
    left = write(tmp_path, dump_recipe(load_recipe(plain, ["output=${oc.env:FACECRYPT_TEST_SECRET}"])))
    assert load_recipe(left).output == "${oc.env:FACECRYPT_TEST_SECRET}"


@pytest.mark.parametrize("depth", [200, 100_000])
def test_mappings_from_python_that_no_file_can_hold(depth: int) -> None:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    ring: dict[str, Any] = {}
    ring["a"] = ring
    for value in (deep, ring, {1: 2}, b"x", {1}, object()):
        for key in ("views", "nothing", "targets"):
            assert faults({"surrogates": [SFACE], key: value})


@pytest.mark.parametrize(
    "text",
    [
        "a", "no", "null", "~x", "2024", "010", "1e-3", "1_000", "0x_", "._", "1:30", "0b2", ".inf", "2024-05-01",
        "=", "<<", "???", "${steps}", "\\${steps}", "a\\\\", "a: b", " x ", "*x", "a\nb", "caf\u00e9",
        "\u202e", "\U0001f600", "${" * 80,
    ],
)  # fmt: skip
def test_omegaconf_reads_the_same_values_from_a_dumped_recipe(tmp_path: Path, text: str) -> None:
    recipe = check_recipe({"surrogates": [{"name": "sface"}], "epsilon": 1e1, "step_size": 1e-3})
    recipe.targets = text
    file = write(tmp_path, dump_recipe(recipe, ascii_only=True))
    values = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
    assert values == recipe_values(recipe)
    assert load_recipe(file).targets == text


def test_an_omegaconf_config_is_a_recipe() -> None:
    given = {"surrogates": [{"name": "sface", "weight": 2}], "steps": 7, "targets": "x${steps}\\${steps}"}
    given["epsilon"] = "${surrogates[0].weight}"
    recipe = check_recipe(OmegaConf.create(given))
    assert (recipe.targets, recipe.epsilon, recipe.steps) == ("x7${steps}", 2.0, 7)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"targets": "${oc.env:HOME}"}, "targets: '${oc.env:HOME}': reads the environment"),
        ({"targets": "${oc.decode:'1'}"}, "calls a function"),
        ({"targets": "${nowhere}"}, "there is no nowhere in the recipe"),
        ({"targets": "???"}, "Give the config a value in place of '???'"),
        ({"targets": b"x"}, "bytes is no value of a recipe"),
        ({5: 1}, "5"),
    ],
)
def test_an_omegaconf_config_keeps_the_rules_of_a_file(changes: dict[Any, Any], fault: str) -> None:
    config = OmegaConf.create({"surrogates": [{"name": "sface"}], **changes})
    with pytest.raises(RecipeError) as caught:
        check_recipe(config)
    assert fault in str(caught.value)
    for nothing in (OmegaConf.create([]), OmegaConf.create("${x}"), DictConfig(None)):
        with pytest.raises(RecipeError):
            check_recipe(nothing)


NAMES = {
    "method": "blur",
    "source": "stdin",
    "sink": "stdout",
    "detector": "yunet",
    "region": "skin",
    "target_selector": "farthest",
    "gradient": "penalise_norm",
    "optimizer": "adam",
    "receipt.detector": "yunet",
}


def slot_paths(owner: type, kinds: Collection[str], above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """The keys of a dataclass, and of the dataclasses in it, that hold one component."""
    found = set()
    for key, annotation in get_type_hints(owner).items():
        members = (annotation,) if get_origin(annotation) is list else get_args(annotation) or (annotation,)
        if key in kinds and any(isinstance(each, type) and issubclass(each, Slot) for each in members):
            found.add((*above, key))
        for each in members:
            if isinstance(each, type) and is_dataclass(each):
                found |= slot_paths(each, kinds, (*above, key))
    return found


def test_every_key_of_one_component_takes_a_name_alone() -> None:
    paths = slot_paths(Recipe, RECIPE_SCHEMA.kinds)
    assert paths == NAMED_ALONE == {tuple(key.split(".")) for key in NAMES}


@pytest.mark.parametrize("key", NAMES)
def test_a_component_may_be_given_by_its_name(key: str, tmp_path: Path) -> None:
    """In a file, in Python and as an override; over a base or another name; and where a reference leads to it."""
    outer, _, inner = key.partition(".")
    name = NAMES[key]

    def told(recipe: Recipe) -> Slot:
        slot = getattr(recipe, outer)
        return getattr(slot, inner) if inner else slot

    def nest(value: object) -> dict[str, object]:
        return {outer: {inner: value} if inner else value}

    plain = {"surrogates": [{"name": "sface"}]}
    assert told(check_recipe(plain | nest(name))) == told(check_recipe(plain | nest({"name": name}))) == Slot(name)
    file, base = tmp_path / "own.yaml", tmp_path / "base.yaml"
    base.write_text(json.dumps(plain | nest(name)))
    assert (
        told(load_recipe(base, [f"{key}.args={{}}"])) == told(load_recipe(base, [f"{key}.name={name}"])) == Slot(name)
    )
    file.write_text(json.dumps(plain | nest(name) | {"output": "a-${" + key + ".name}"}))
    assert load_recipe(file).output == f"a-{name}"
    file.write_text(json.dumps(plain))
    assert told(load_recipe(file, [f"{key}={name}", f"{key}.args={{}}"])) == Slot(name)
    for value in ({"args": {}}, {"name": name}, name):
        file.write_text(json.dumps({"base": "base.yaml", **nest(value)}))
        assert told(load_recipe(file)) == Slot(name)


def test_a_name_alone_takes_and_gives_arguments_as_one_in_a_mapping(tmp_path: Path) -> None:
    base, file = tmp_path / "base.yaml", tmp_path / "own.yaml"
    base.write_text("surrogates: [{name: sface}]\ndetector: yunet\noutput: with-${detector}\n")
    file.write_text("base: base.yaml\n")
    assert load_recipe(file).output == "with-yunet"
    file.write_text("base: base.yaml\noutput: own\ndetector: {args: {score: 0.95}}\n")
    assert load_recipe(file).detector == Slot("yunet", {"score": 0.95})
    (tmp_path / "over.yaml").write_text("base: own.yaml\ndetector: yunet\n")
    assert load_recipe(tmp_path / "over.yaml").detector == Slot("yunet", {"score": 0.95})
    (tmp_path / "over.yaml").write_text("base: own.yaml\ndetector: mtcnn\n")
    assert load_recipe(tmp_path / "over.yaml").detector == Slot("mtcnn")


def test_a_misspelt_shipped_recipe_is_suggested() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'quickstart'"):
        load_recipe("quickstrt")


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"held_out": ["sface"]}, r"held_out\[0\]: 'sface' is wrong: input should be a mapping, as in {key: value}\."),
        ({"views": "affine"}, r"views: 'affine' is wrong: input should be a list\."),
        ({"target_weights": [1]}, r"target_weights: \[1\] is wrong: input should be a mapping\."),
        ({"held_out": [{"name": "http", "args": {"url": "ftp://x"}}]}, r"'ftp://x' is wrong: is no web address"),
    ],
)
def test_faults_speak_of_yaml(keys: dict[str, Any], fault: str) -> None:
    with pytest.raises(RecipeError, match=fault):
        check_recipe({"surrogates": [{"name": "sface"}], **keys})
