from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

import facecrypt
from facecrypt.engine.callbacks import Progress
from facecrypt.engine.manifest import Manifest
from facecrypt.errors import FacecryptWarning, NoFaceFoundError, PhotoError, RecipeError
from facecrypt.faces.face import Face
from facecrypt.photos.files import Photo, file_digest, read_photo
from facecrypt.pipeline import runner
from facecrypt.recipe.check import load_recipe
from facecrypt.recipe.resolve import quickstart, resolve_recipe
from tests import processes

ROOT = Path(__file__).parents[1]
JUDGED: dict[str, Any] = {"surrogates": [{"name": "sface"}], "held_out": [{"name": "dlib_resnet"}], "preset": "mid"}
FAST: dict[str, Any] = {
    **JUDGED,
    "steps": 2,
    "max_targets": 2,
    "budget": None,
    "receipt": {"transforms": []},
    "trainer": {"accelerator": "cpu"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("photos")


@pytest.fixture(scope="module")
def jpeg(folder: Path) -> Path:
    """The sample photo as a camera writes it: turned by EXIF."""
    image = Image.open(runner.sample_photo()).convert("RGB").rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.save(folder / "camera.jpg", quality=95, exif=exif)
    return folder / "camera.jpg"


@pytest.fixture(scope="module")
def pixels(photo: Photo) -> Any:
    return photo.pixels.copy()


@pytest.fixture(scope="module")
def results(photo: Photo, pixels: Any, jpeg: Path, folder: Path) -> list[facecrypt.Protected]:
    """Every kind of input at once."""
    (folder / "text.jpg").write_text("no photo")
    seen_through = Image.fromarray(np.dstack([pixels, np.full(pixels.shape[:2], 200, np.uint8)]))
    given = [pixels, Image.fromarray(pixels), Image.open(jpeg), str(jpeg), folder / "text.jpg", pixels[:60, :60]]
    given.append(seen_through)
    return facecrypt.protect(given, **FAST)


def test_the_package_stays_light() -> None:
    code = (
        "import sys, facecrypt; heavy = {'torch', 'PIL', 'lightning'}\nprint(heavy & sys.modules.keys())\n"
        "facecrypt.protect; print('torch' in sys.modules)"
    )
    done = processes.run([sys.executable, "-c", code], check=True)
    assert done.stdout == "set()\nFalse\n"
    with pytest.raises(AttributeError, match="no attribute 'encrypt'"):
        facecrypt.encrypt  # type: ignore[attr-defined]  # noqa: B018


def test_quickstart_is_the_recipe_of_that_name() -> None:
    assert quickstart().samefile(ROOT / "recipes" / "quickstart.yaml")


def test_inputs_of_every_kind_become_results(results: list[facecrypt.Protected], jpeg: Path, pixels: Any) -> None:
    assert [result.status for result in results] == ["written"] * 4 + ["failed", "unchanged", "written"]
    assert [result.source for result in results[:4]] == ["images[0]", "images[1]", "images[2]", str(jpeg)]
    assert [result.encoding for result in results[:4]] == ["lossless PNG"] * 3 + ["lossy JPEG"]
    for result in results[:4]:
        assert result.pixels.dtype == np.uint8
        assert result.pixels.shape == result.original.shape == (512, 512, 3)
        assert np.array_equal(np.asarray(result.image), result.pixels)
        (face,) = result.faces
        assert face.recognisers["sface"].white_box
        assert not face.recognisers["dlib_resnet"].white_box
        assert face.box == pytest.approx((181, 62, 268, 172), abs=3)  # upright, although the camera's pixels are not
    assert np.array_equal(results[0].original, pixels)


def test_a_result_depends_neither_on_the_kind_of_input_nor_on_its_place(results: list[facecrypt.Protected]) -> None:
    assert np.array_equal(results[0].pixels, results[1].pixels)


def test_numbers_are_those_of_the_encoded_pixels(results: list[facecrypt.Protected], face: Face) -> None:
    for result in results[:4]:
        left, top, side = face.patch
        change = np.abs(result.pixels.astype(int) - result.original)
        if "lossless" in str(result.encoding):
            assert change.max() == result.faces[0].max_abs
            change[top : top + side, left : left + side] = 0
            assert change.max() == 0


def test_one_picture_gives_one_result_and_tells_of_its_progress(pixels: Any) -> None:
    told: list[Progress] = []
    before = pixels.copy()
    result = facecrypt.protect(pixels, recipes_mapping(), on_progress=told.append, **FAST)
    assert result.status == "written"
    assert result.source == "image"
    assert np.array_equal(pixels, before)
    assert [(each.done, each.step) for each in told] == [(0, 0), (0, 1), (0, 2), (1, 2)]
    assert all((each.photos, each.steps) == (1, 2) for each in told)
    assert [each.similarity is None for each in told] == [True, False, False, True]
    assert all(-1 <= each.similarity <= 1 for each in told if each.similarity is not None)


def recipes_mapping() -> dict[str, Any]:
    """The quickstart recipe as a mapping, with keys about files that play no part."""
    import yaml

    return {**yaml.safe_load(quickstart().read_text()), "photos": "nowhere/", "in_place": True}


def test_what_on_progress_raises_ends_the_call(pixels: Any) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == 1:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        facecrypt.protect(pixels, on_progress=stop, **FAST)


def test_what_was_not_protected_cannot_be_taken_for_it(results: list[facecrypt.Protected], tmp_path: Path) -> None:
    failed, unchanged = results[4:6]
    with pytest.raises(PhotoError, match="text.jpg: is not a photo"):
        failed.pixels  # noqa: B018
    with pytest.raises(PhotoError, match="text.jpg: is not a photo"):
        failed.original  # noqa: B018
    with pytest.raises(NoFaceFoundError, match=r"^images\[5\]: no face found"):
        unchanged.image  # noqa: B018
    with pytest.raises(NoFaceFoundError):
        unchanged.save(tmp_path / "x.png")
    assert unchanged.original.shape == (60, 60, 3)
    assert list(tmp_path.iterdir()) == []


def test_save_writes_the_measured_file_or_the_same_pixels(
    results: list[facecrypt.Protected], tmp_path: Path, jpeg: Path
) -> None:
    array, _, _, camera = results[:4]
    for name in ("a.png", "deep/a.tif", "a.bmp", "a.webp", "a.PNG"):
        assert np.array_equal(read_photo(array.save(tmp_path / name)).pixels, array.pixels)
    # A JPEG is the measured one, to the byte, and its pixels can be saved without loss.
    assert np.array_equal(read_photo(camera.save(tmp_path / "b.jpeg")).pixels, camera.pixels)
    for name in ("b.png", "b.webp"):
        assert np.array_equal(read_photo(camera.save(tmp_path / name)).pixels, camera.pixels)
    with pytest.warns(FacecryptWarning, match=r"c\.jpg: was written with loss, after its faces were measured"):
        array.save(tmp_path / "c.jpg")
    assert np.abs(read_photo(tmp_path / "c.jpg").pixels.astype(int) - array.pixels).mean() < 3
    before = jpeg.read_bytes()
    with pytest.raises(PhotoError, match="is the input photo itself"):
        camera.save(jpeg)
    assert jpeg.read_bytes() == before
    with pytest.raises(PhotoError, match=r"a\.gif: ends in no known extension\. Allowed: \.png"):
        array.save(tmp_path / "a.gif")


def test_save_replaces_no_input_and_nothing_unasked(
    results: list[facecrypt.Protected], tmp_path: Path, jpeg: Path, folder: Path
) -> None:
    """By whatever name: the camera's photo was given as a path and as an open picture, another one beside them."""
    array, _, opened, camera = results[:4]
    before = {path: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "link.jpg").symlink_to(jpeg)
    (tmp_path / "hard.jpg").hardlink_to(jpeg)
    for result in (array, opened, camera):
        for name in (jpeg, tmp_path / "link.jpg", tmp_path / "hard.jpg", folder / "text.jpg"):
            for overwrite in (False, True):
                with pytest.raises(PhotoError, match=r"is (the input photo itself|another input of the call)"):
                    result.save(name, overwrite=overwrite)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    mine = tmp_path / "mine.png"
    mine.write_bytes(b"mine")
    with pytest.raises(PhotoError, match=r"mine\.png: exists\. Choose another name, or give overwrite=True"):
        camera.save(mine)
    assert mine.read_bytes() == b"mine"
    camera.save(mine, overwrite=True)
    camera.save(mine)  # The very same again.
    with pytest.raises(PhotoError, match="exists"):
        array.save(mine)
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "nothing")
    with pytest.raises(PhotoError, match="exists"):
        array.save(tmp_path / "nowhere.png")
    array.save(tmp_path / "nowhere.png", overwrite=True)
    assert not (tmp_path / "nothing").exists()


def test_what_a_run_protected_is_not_protected_again(tmp_path: Path, photo: Photo) -> None:
    made = tmp_path / "made.png"
    Image.fromarray(photo.pixels).save(made)
    Manifest(tmp_path / "manifest.json").add(Path("me.png"), "0", made, str(file_digest(made)), "r", None)
    result = facecrypt.protect(made, **FAST)
    assert (result.status, result.faces) == ("unchanged", ())
    assert "was made by facecrypt already, with other settings" in result.reason
    with pytest.raises(PhotoError, match="was made by facecrypt already") as caught:
        result.save(tmp_path / "again.png")
    assert not isinstance(caught.value, NoFaceFoundError)


def test_transparency_is_kept_or_refused(results: list[facecrypt.Protected], tmp_path: Path) -> None:
    result = results[6]
    assert result.pixels.shape == (512, 512, 3)
    assert np.array_equal(np.asarray(Image.open(result.save(tmp_path / "a.webp")))[..., 3], np.full((512, 512), 200))
    with pytest.raises(PhotoError, match=r"a\.jpg: a JPEG file cannot keep the transparency"):
        result.save(tmp_path / "a.jpg")


def test_notebooks_show_both_pictures(results: list[facecrypt.Protected], photo: Photo) -> None:
    import io

    result, failed = results[0], results[4]
    shown = np.asarray(Image.open(io.BytesIO(result._repr_png_() or b"")))
    assert shown.shape == (480, 968, 3)
    small = np.asarray(Image.fromarray(photo.pixels).resize((480, 480), Image.Resampling.BICUBIC, reducing_gap=2.0))
    assert np.array_equal(shown[:, :480], small)
    assert not np.array_equal(shown[:, 488:], small)
    html = result._repr_html_()
    assert "<td>sface*</td>" in html
    assert "<td>dlib_resnet</td>" in html
    assert 'src="data:image/png;base64,' in html
    assert failed._repr_png_() is None
    assert "text.jpg: is not a photo" in failed._repr_html_()
    assert result.verdict == result.faces[0].verdict
    assert result.summary.split(":")[0].lower() == result.verdict
    assert repr(result) == f"<Protected 'images[0]': written. {result.summary}>"
    assert result.summary in html
    assert "failed" in repr(failed)


def test_names_are_escaped_in_notebooks() -> None:
    result = facecrypt.Protected("<b>", "failed", "<script>", (), None, "strip")
    assert "<b>" not in result._repr_html_().replace("<p><b>&lt;b&gt;</b>", "")
    assert "<script>" not in result._repr_html_()


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        ({"epsilonn": 3}, "epsilonn: unknown key. Did you mean 'epsilon'?"),
        ({"epsilon": 0}, "epsilon: 0 is wrong"),
        ({"overwrite": True}, "overwrite: is for files. Give protect()"),
        ({"output": "x", "in_place": True}, "in_place: is for files. Give protect()"),
        ({"steps": object()}, "steps: object is no value of a recipe"),
        ({"trainer": {"devices": 2}}, "trainer: protect() works in this process, on one device"),
        ({"surrogates": [{"name": "sfac"}]}, "Did you mean 'sface'?"),
    ],
)
def test_wrong_recipes_are_refused_before_anything_is_done(overrides: dict[str, Any], fault: str, pixels: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        facecrypt.protect(pixels, **overrides)
    assert fault in str(caught.value)


def test_recipes_of_every_kind_are_the_same(tmp_path: Path) -> None:
    plain = load_recipe(quickstart(), ["epsilon=8", "step_size=0.00001", "trainer.devices=1"])
    changes: dict[str, Any] = {"epsilon": 8, "step_size": 0.00001}
    for recipe in (None, quickstart(), str(quickstart()), recipes_mapping(), load_recipe(quickstart())):
        assert resolve_recipe(recipe, changes) == plain
    assert resolve_recipe(None, {"targets": tmp_path}).targets == str(tmp_path)
    # A recipe that was resolved before names every key: a preset replaces them, and a choice of faces survives.
    chosen = load_recipe(quickstart(), ["faces.except=friend.jpg", "trainer.devices=1"])
    assert resolve_recipe(chosen) == chosen
    low = load_recipe(quickstart(), ["preset=low", "trainer.devices=1"])
    assert resolve_recipe(load_recipe(quickstart()), {"preset": "low"}) == low


def test_texts_from_python_stand_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACECRYPT_TEST_SECRET", "hidden")
    secret = "x${oc.env:FACECRYPT_TEST_SECRET}"
    assert resolve_recipe(None, {"targets": secret}).targets == secret
    assert resolve_recipe(resolve_recipe(None, {"targets": secret})).targets == secret
    assert resolve_recipe(None, {"targets": "null"}).targets == "null"
    assert resolve_recipe(None, {"targets": "caf\udce9"}).targets == "caf\udce9"
    with pytest.raises(RecipeError, match="cannot be read: No such file"):
        resolve_recipe("")
    # A mapping is as a file is.
    mapping = recipes_mapping()
    assert resolve_recipe({**mapping, "steps": 7, "targets": "x${steps}"}).targets == "x7"
    config = OmegaConf.create({**mapping, "steps": 7, "targets": "x${steps}"})
    assert resolve_recipe(config).targets == "x7"
    assert resolve_recipe(config, {"steps": 8, "trainer": OmegaConf.create({"devices": 1})}).targets == "x8"
    with pytest.raises(RecipeError, match="reads the environment"):
        resolve_recipe(OmegaConf.create({**mapping, "targets": "${oc.env:HOME}"}))
    with pytest.raises(RecipeError, match="targets: .* reads the environment"):
        resolve_recipe({**mapping, "targets": secret})


@pytest.mark.parametrize(
    "value", [b"x", {1, 2}, 10**400, float("nan"), float("inf"), {1: 2}, lambda: None, np.int64(1)]
)
@pytest.mark.parametrize("key", ["steps", "targets", "views", "surrogates[0].weight"])
def test_values_that_no_recipe_has(key: str, value: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        resolve_recipe(None, {key: value})
    assert key.partition("[")[0] in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("picture", "fault"),
    [
        ("", "image: is empty"),
        ("a\0b.jpg", r"image: 'a\x00b.jpg' is wrong: no file name holds the character NUL"),
        ("x" * 300, "image: 'xxx"),
        ("~nobody-of-that-name/x.jpg", "~nobody-of-that-name/x.jpg: there is no such file"),
        (np.zeros((8, 8, 3)), "image: float64 (8, 8, 3) is no picture. Allowed:"),
        (np.zeros((8, 8), np.uint8), "image: uint8 (8, 8) is no picture"),
        (np.zeros((0, 8, 3), np.uint8), "image: is an array without pixels"),
        (7, "image: int is no picture"),
        (Image.new("CMYK", (8, 8)), "image: has CMYK colours"),
        ("nowhere.jpg", "nowhere.jpg: there is no such file"),
    ],
)
def test_what_is_no_picture_is_refused(picture: Any, fault: str) -> None:
    with pytest.raises(PhotoError) as caught:
        facecrypt.protect(picture, **FAST)
    assert str(caught.value).startswith(fault)


def test_nothing_gives_nothing() -> None:
    assert facecrypt.protect([], **FAST) == []


def test_ctrl_c_is_what_it_is_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning would turn it into an exit, and ignore it ever after."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def press(progress: Progress) -> None:
        if progress.step == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        facecrypt.protect(np.asarray(Image.open(runner.sample_photo())), on_progress=press, **FAST)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert list(tmp_path.iterdir()) == []
