"""Recognisers that answer nonsense: what they say never counts, wherever a recogniser is asked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from facecrypt import api, registry
from facecrypt.cli import main as cli
from facecrypt.detectors.search import FaceDetector
from facecrypt.engine.strength import has_escaped
from facecrypt.errors import EmbeddingError, FacecryptError, PluginError, RecipeError, WeightsError
from facecrypt.evaluation.embedding_cache import EmbeddingCache, recogniser_key
from facecrypt.evaluation.verification import FaceReport, Judge, Jury, Verdict, make_judge, verify
from facecrypt.faces.face import Face
from facecrypt.faces.patches import FaceImage
from facecrypt.methods.iterative.loop import ProtectionLoop, Settings, Surrogate
from facecrypt.optimizers.base import Plain
from facecrypt.photos.files import Photo, read_photo
from facecrypt.pipeline import runner
from facecrypt.pipeline.builders import build_choosers, build_surrogates
from facecrypt.recipe.check import check_recipe
from facecrypt.surrogates import architectures, catalogue, sface
from facecrypt.surrogates.checkpoints import mobilefacenet
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import PEOPLE, _people, embed, find_fault, look, require_surrogate, slightly_changed
from facecrypt.surrogates.onnx.recogniser import onnx
from facecrypt.targets.selectors import Nearest, Target
from facecrypt.transforms.base import publish_all
from facecrypt.verdicts import expectation
from tests.benchmark.test_identification import make as make_benchmark
from tests.pictures import DATA
from tests.surrogates.onnx_files import Writer

ROOT = Path(__file__).parents[2]
SPEC = replace(
    catalogue.SFACE,
    dimension=3 * 14 * 14,
    threshold=0.5,
    mean=(127.5,) * 3,
    std=(127.5,) * 3,
    weights=replace(catalogue.SFACE.weights, path="thumbnail", sha256=""),
)

Answer = Callable[[Tensor], Any]


def thumbnail(crops: Tensor) -> Tensor:
    """What a sound recogniser answers here."""
    return functional.avg_pool2d(crops, 8).flatten(1)


class Answers(nn.Module):
    """A network that answers as it is told, soundly until `broken`.

    Args:
        answer: Takes prepared crops.
    """

    def __init__(self, answer: Answer, *, broken: bool = True) -> None:
        super().__init__()
        self.answer = answer
        self.broken = broken

    def forward(self, crops: Tensor) -> Any:
        return self.answer(crops) if self.broken else thumbnail(crops)


def number(value: float) -> Answer:
    return lambda crops: torch.full((len(crops), SPEC.dimension), value)


def raises(crops: Tensor) -> Tensor:
    raise RuntimeError("shapes cannot be multiplied\nat all")


def leaves(crops: Tensor) -> Tensor:
    raise SystemExit(3)


def some(value: float) -> Answer:
    """One bad number in each embedding."""

    def answer(crops: Tensor) -> Tensor:
        found = thumbnail(crops)
        return torch.cat([found[:, 1:], torch.full_like(found[:, :1], value)], dim=1)

    return answer


def noisy(crops: Tensor) -> Tensor:
    return torch.randn(len(crops), SPEC.dimension)


def scrambled(crops: Tensor) -> Tensor:
    """Always the same for the same pixels, and something else for any others."""
    seeds = [int.from_bytes(crop.numpy().tobytes()[:4000:7], "little") % 2**63 for crop in crops]
    return torch.stack([torch.randn(SPEC.dimension, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


NONSENSE: dict[str, tuple[Answer, str]] = {
    "zero": (number(0), "its embedding is all zero"),
    "leaves": (leaves, "its network fails on a face (SystemExit: 3)"),
    "nan": (number(math.nan), "its embedding holds numbers that are not finite"),
    "inf": (number(-math.inf), "its embedding holds numbers that are not finite"),
    "one nan": (some(math.nan), "its embedding holds numbers that are not finite"),
    "one inf": (some(math.inf), "its embedding holds numbers that are not finite"),
    "too large": (number(1e30), "its embedding is all zero"),
    "too small": (number(1e-30), "its embedding has length 2.4e-17, not 1"),
    "constant": (number(0.5), "it gives 5 different people the same embedding"),
    "nearly constant": (lambda crops: 1000 + thumbnail(crops), "it gives 5 different people the same embedding"),
    "random": (noisy, "it gives the same face another embedding at the second look (similarity "),
    "scrambled": (scrambled, "it does not tell people apart: of 5, it knows "),
    "batch": (lambda crops: thumbnail(crops) - thumbnail(crops).mean(0), "its embedding is all zero"),
    "short": (lambda crops: thumbnail(crops)[:, :7], "it gives torch.float32 (10, 7) for 10 faces, not (10, 588)"),
    "deep": (lambda crops: thumbnail(crops)[..., None], "it gives torch.float32 (10, 588, 1) for 10 faces"),
    "flat": (lambda crops: thumbnail(crops).flatten(), "its network fails on a face (IndexError: "),
    "pair": (lambda crops: (thumbnail(crops), crops), "its network fails on a face (TypeError: "),
    "nothing": (lambda crops: None, "its network fails on a face (TypeError: "),
    "raises": (raises, "its network fails on a face (RuntimeError: shapes cannot be multiplied at all)"),
}


def nonsense(name: str, threshold: float | None = 0.5) -> Embedder:
    return Embedder(Answers(NONSENSE[name][0]), replace(SPEC, threshold=threshold))


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_told_before_anybody_is_judged(name: str) -> None:
    for threshold in (0.5, None):
        embedder = nonsense(name, threshold)
        assert find_fault(embedder).startswith(NONSENSE[name][1])
        assert find_fault(embedder) == find_fault(embedder, by_threshold=False)
        with pytest.raises(WeightsError, match="surrogate wrong: .*so no mask can be made by it. Mend its weights"):
            require_surrogate("wrong", embedder)


def test_sound_recognisers_have_no_fault(sface_embedder: Embedder, dlib_embedder: Embedder) -> None:
    for embedder in (sface_embedder, dlib_embedder, Embedder(Answers(thumbnail), SPEC)):
        assert find_fault(embedder) == ""
        require_surrogate("right", embedder)


def test_half_precision_is_no_fault_unless_it_overflows() -> None:
    half = sface.build().half()
    assert find_fault(half) == ""
    assert torch.allclose(look(half, _people()).embeddings, look(sface.build(), _people()).embeddings, atol=0.02)
    overflows = Embedder(nn.Sequential(nn.Flatten(), nn.Linear(3 * 112 * 112, 588)), SPEC)
    with torch.no_grad():
        overflows.network[1].weight.fill_(100.0)
    assert "not finite" in find_fault(overflows.half())


@pytest.mark.parametrize(
    ("threshold", "fault"),
    [
        (math.nan, "its threshold is nan, which is no cosine from -1 to 1"),
        (math.inf, "its threshold is inf, which is no cosine from -1 to 1"),
        (1.2, "its threshold is 1.2, which is no cosine"),
        (-35, "its threshold is -35, which is no cosine"),
        ("0.3", "its threshold is '0.3', which is no cosine"),
        (-1.0, "by its threshold everybody is the same person (similarity of strangers from 0."),
        (0.2, "by its threshold everybody is the same person"),
        (1.0, "by its threshold nobody is the same person (similarity after a slight change up to "),
        (0.9999, "by its threshold nobody is the same person"),
    ],
)
def test_a_threshold_that_decides_nothing(threshold: Any, fault: str) -> None:
    embedder = Embedder(Answers(thumbnail), replace(SPEC, threshold=threshold))
    assert find_fault(embedder).startswith(fault)
    assert find_fault(embedder, by_threshold=False) == ""
    require_surrogate("gives gradients all the same", embedder)


def test_each_face_has_its_own_fault(face_image: FaceImage) -> None:
    """One whose embedding is none does not spoil those of the others."""

    def dark_is_nan(crops: Tensor) -> Tensor:
        dark = crops.mean(dim=(1, 2, 3), keepdim=True).flatten(1) < -0.9
        return torch.where(dark, math.nan, thumbnail(crops))

    black = FaceImage(torch.zeros_like(face_image.pixels), face_image.inside, face_image.landmarks)
    seen = look(Embedder(Answers(dark_is_nan), SPEC), [face_image, black, face_image])
    assert seen.faults == ["", "its embedding holds numbers that are not finite", ""]
    assert torch.equal(seen.embeddings[1], torch.zeros(SPEC.dimension))
    torch.testing.assert_close(seen.embeddings[0].norm(), torch.tensor(1.0))
    with pytest.raises(EmbeddingError, match="holds numbers that are not finite"):
        embed(Embedder(Answers(dark_is_nan), SPEC), [black])


def test_lack_of_memory_is_no_fault_of_the_recogniser(face_image: FaceImage) -> None:
    def full(crops: Tensor) -> Tensor:
        raise MemoryError

    with pytest.raises(MemoryError):
        look(Embedder(Answers(full), SPEC), [face_image])


def test_the_people_are_where_the_detector_finds_them(detector: FaceDetector) -> None:
    folder = DATA / "virtual_targets"
    for name, points in PEOPLE.items():
        (found,) = detector.find(read_photo(folder / name / "1.png"), "largest")
        assert np.abs(found.landmarks - points).max() < 2


# In a verdict.


def judged(
    judge: Judge, photo: Photo, face: Face, detector: FaceDetector, targets: list[Target], saved: Path | None = None
) -> Verdict:
    transforms = publish_all(["blur"])
    jury = Jury(targets=targets, judges=[judge], detector=detector, choice="all", transforms=transforms)
    (seen,) = verify(saved or photo.path, photo, [face], [0], [1.0], jury)
    return seen.recognisers[judge.name]


@dataclass
class ChosenBy:
    """A face of which `has_escaped` reads no more than the verdicts."""

    recognisers: dict[str, Verdict]


def expect_no_verdict(verdict: Verdict, reason: str) -> None:
    assert verdict.cannot_judge.startswith(reason)
    assert (verdict.similarity, verdict.still_recognised, verdict.target_similarity) == (None, None, None)
    for sighting in (*verdict.before.values(), *verdict.after.values()):
        assert (sighting.similarity, sighting.still_recognised, sighting.place) == (None, None, None)
    assert set(verdict.before) == set(verdict.after) == {"none", "blur"}
    assert not has_escaped(cast(FaceReport, ChosenBy({"x": replace(verdict, chooses=True)})), 0.0)
    json.dumps(verdict.threshold, allow_nan=False)


@pytest.mark.parametrize("name", ["zero", "nan", "constant", "random", "short", "raises"])
def test_nonsense_gives_no_verdict(
    name: str, photo: Photo, face: Face, detector: FaceDetector, targets: list[Target]
) -> None:
    judge = make_judge("wrong", nonsense(name), False, targets)
    expect_no_verdict(judged(judge, photo, face, detector, targets), NONSENSE[name][1])


@pytest.mark.parametrize("threshold", [math.nan, -1.0, 1.0, 7.0])
def test_nor_does_a_threshold_that_decides_nothing(
    threshold: float, photo: Photo, face: Face, detector: FaceDetector, targets: list[Target]
) -> None:
    judge = make_judge("wrong", Embedder(Answers(thumbnail), replace(SPEC, threshold=threshold)), False, targets)
    assert "threshold" in judge.fault
    expect_no_verdict(judged(judge, photo, face, detector, targets), judge.fault)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("zero", "its embedding is all zero (the original)"),
        ("one nan", "its embedding holds numbers that are not finite (the original)"),
        ("raises", "its network fails on a face (RuntimeError: "),
        ("random", "it takes the original for another person after a slight change (similarity "),
        ("scrambled", "it takes the original for another person after a slight change (similarity "),
    ],
)
def test_a_recogniser_that_fails_later(
    name: str, fault: str, photo: Photo, face: Face, detector: FaceDetector, targets: list[Target]
) -> None:
    """As on a device with another precision, or on one face alone."""
    network = Answers(NONSENSE[name][0], broken=False)
    judge = make_judge("wrong", Embedder(network, SPEC), False, targets)
    assert judge.fault == ""
    assert judged(judge, photo, face, detector, targets).still_recognised
    network.broken = True
    expect_no_verdict(judged(judge, photo, face, detector, targets), fault)


def test_a_recogniser_that_fails_on_the_mask_alone(
    photo: Photo, face: Face, detector: FaceDetector, targets: list[Target], tmp_path: Path
) -> None:
    def bright_is_zero(crops: Tensor) -> Tensor:
        bright = crops.mean(dim=(1, 2, 3), keepdim=True).flatten(1) > limit
        return torch.where(bright, 0.0, thumbnail(crops))

    limit = 9.0
    judge = make_judge("wrong", Embedder(Answers(bright_is_zero), SPEC), False, targets)
    Image.fromarray(np.clip(photo.pixels * 1.4, 0, 255).astype(np.uint8)).save(tmp_path / "bright.png")
    limit = 0.25  # Between the crop of the original and that of the brighter photo.
    verdict = judged(judge, photo, face, detector, targets, tmp_path / "bright.png")
    expect_no_verdict(verdict, "its embedding is all zero")


def test_a_target_without_an_embedding(targets: list[Target]) -> None:
    network = Answers(number(math.nan), broken=False)
    embedder = Embedder(network, SPEC)
    assert find_fault(embedder) == ""
    network.broken = True
    judge = make_judge("wrong", embedder, False, targets)
    assert judge.fault == f"its embedding holds numbers that are not finite (target {targets[0].name})"


# In a run.


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], object]], None]:
    """Return a function that registers a recogniser as a plugin does."""

    def add(name: str, build: Callable[[], object]) -> None:
        component = registry.Component("surrogate", name, build, "a test", "plugin")
        monkeypatch.setitem(registry._shared.components, ("surrogate", name), component)

    return add


Register = Callable[[str, Callable[[], object]], None]
QUICK = [
    "--allow-weak",
    "steps=2",
    "budget=null",
    "max_targets=2",
    "target_selector={name: nearest}",
    "trainer.accelerator=cpu",
]


def run(output: Path, *arguments: str) -> int:
    recipe = str(ROOT / "tests" / "judged.yaml")
    return cli.main(["run", recipe, f"output={output}", *QUICK, *arguments])


def test_what_a_run_says(register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that cannot judge beside one that can, of files and of plugins: everywhere where verdicts are told."""
    register("blind", lambda: nonsense("zero"))
    register("high", lambda: Embedder(Answers(thumbnail), replace(SPEC, threshold=math.nan)))
    assert run(tmp_path / "out", "held_out=[{name: dlib_resnet}, {name: blind}, {name: high}]") == cli.DONE
    printed = capsys.readouterr()
    assert "blind: could not judge: its embedding is all zero" in printed.out
    assert "facecrypt: warning: blind could not judge: its embedding is all zero" in printed.err
    assert "high: could not judge: its threshold is nan" in printed.out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    (face,) = report["photos"][0]["faces"]
    assert "2 could not judge (blind: its embedding is all zero; high: its threshold is nan" in face["sentence"]
    assert face["recognisers"]["blind"]["cannot_judge"] == "its embedding is all zero"
    assert face["recognisers"]["blind"]["still_recognised"] is None
    assert face["recognisers"]["dlib_resnet"]["cannot_judge"] == ""
    assert face["recognisers"]["dlib_resnet"]["still_recognised"] is not None
    assert "blind could not judge: its embedding is all zero" in report["notes"]
    assert not any("no held-out recogniser judged" in note for note in report["notes"])
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Could not judge: its embedding is all zero." in page


def test_a_face_without_any_judge_is_not_judged(
    register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expectation, "_fits", dict)  # Nothing can be expected, either.
    register("blind", lambda: nonsense("nan"))
    assert run(tmp_path / "out", "held_out=[{name: blind}]", "receipt.transforms=[]") == cli.DONE
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["summary"].startswith("Not judged: no recogniser that gave no gradients judged this face")
    (face,) = report["photos"][0]["faces"]
    assert face["sentence"].startswith("blind could not judge this face (its embedding holds numbers")
    assert any("no held-out recogniser judged this run" in note for note in report["notes"])
    assert "another person" not in report["summary"]
    assert 'class="says lead not-judged"' in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_the_api_and_the_gallery(register: Register, tmp_path: Path, photo: Photo) -> None:
    register("blind", lambda: nonsense("constant"))
    (tmp_path / "me").mkdir()
    (tmp_path / "me" / "me.png").write_bytes(photo.path.read_bytes())
    (tmp_path / "other.png").write_bytes((ROOT / "facecrypt/data/virtual_targets/v18/0.png").read_bytes())
    with pytest.warns(match="blind could not judge"):
        result = api.protect(
            photo.path, steps=1, max_targets=2, target_selector={"name": "nearest"}, trainer={"accelerator": "cpu"},
            surrogates=[{"name": "sface"}], held_out=[{"name": "blind"}, {"name": "dlib_resnet"}], preset="mid",
            receipt={"transforms": [], "gallery": str(tmp_path)},
        )  # fmt: skip
    verdicts = result.faces[0].recognisers
    assert verdicts["blind"].cannot_judge == "it gives 5 different people the same embedding"
    assert verdicts["blind"].after["none"].place is None
    assert verdicts["dlib_resnet"].after["none"].place is not None
    assert "could not judge: it gives 5 different people the same embedding" in result._repr_html_()


def test_a_gallery_photo_without_an_embedding(register: Register, tmp_path: Path) -> None:
    """Ranks without it would be those of another gallery: there are none, and the report says so."""

    def grey_is_nan(crops: Tensor) -> Tensor:
        grey = (crops[:, 0] - crops[:, 2]).abs().amax(dim=(1, 2)).unsqueeze(1) == 0
        return torch.where(grey, math.nan, thumbnail(crops))

    register("picky", lambda: Embedder(Answers(grey_is_nan), SPEC))
    source = ROOT / "facecrypt/data/virtual_targets/v18/0.png"
    Image.open(source).convert("L").convert("RGB").save(tmp_path / "grey.png")
    recipe = check_recipe(
        {
            "surrogates": [{"name": "sface"}], "held_out": [{"name": "picky"}], "steps": 1, "max_targets": 2,
            "target_selector": {"name": "nearest"}, "trainer": {"accelerator": "cpu"},
            "output": str(tmp_path / "out"),
            "receipt": {"transforms": [], "gallery": str(tmp_path), "cache": str(tmp_path / "cache")},
        }
    )  # fmt: skip
    with pytest.warns(match="receipt.gallery: picky has no ranks: .*grey.png: its embedding holds numbers"):
        report = runner.run(recipe)
    verdicts = report.photos[0]["faces"][0]["recognisers"]
    assert verdicts["picky"]["still_recognised"] is not None
    assert verdicts["picky"]["after"]["none"]["place"] is None
    assert verdicts["sface"]["after"]["none"]["place"] is not None
    assert report.gallery is not None


def test_a_cache_of_nonsense_is_not_believed(tmp_path: Path, photo: Photo, detector: FaceDetector) -> None:
    embedder, cache = Embedder(Answers(thumbnail), SPEC), EmbeddingCache(tmp_path)
    key = recogniser_key(embedder)
    first, _ = cache.embed_files([photo.path], embedder, key, detector, "largest")
    rows = cache._transact(lambda database: database.execute("SELECT key, value FROM entries").fetchall())
    bad = {key: bytes(len(value) - 4) for key, value in rows if len(value) == 4 + 4 * SPEC.dimension}
    assert len(bad) == 1
    cache._write(bad)
    again, found = cache.embed_files([photo.path], embedder, key, detector, "largest")
    assert found.all()
    torch.testing.assert_close(again, first)


@pytest.mark.parametrize("name", ["zero", "nan", "constant", "random", "short", "raises"])
def test_a_surrogate_of_nonsense_stops_the_run(
    name: str, register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register("wrong", lambda: nonsense(name))
    assert run(tmp_path / "out", "surrogates=[{name: wrong}]") == cli.WRONG
    (line,) = [each for each in capsys.readouterr().err.splitlines() if each.startswith("facecrypt: ")]
    assert line.startswith(f"facecrypt: surrogate wrong: {NONSENSE[name][1]}")
    assert not (tmp_path / "out").exists()


def test_a_surrogate_of_nonsense_makes_way_for_its_fallback(register: Register) -> None:
    register("wrong", lambda: nonsense("zero"))
    register("flawed", lambda: nonsense("zero"))
    slots = [{"name": "wrong", "fallback": ["sface"]}, {"name": "flawed", "optional": True}]
    notes: list[str] = []
    (surrogate,) = build_surrogates(check_recipe({"surrogates": slots}), notes)
    assert surrogate.name == "sface"
    assert notes[0].startswith("surrogate wrong was replaced by its fallback sface: surrogate wrong: its embedding is")
    assert notes[1].startswith(
        "surrogate flawed gives no gradients in this run: surrogate flawed: its embedding is all"
    )


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (lambda crops: thumbnail(crops).detach(), "it gives no gradient"),
        (lambda crops: thumbnail(crops).detach() + 0 * thumbnail(crops), "its gradient is zero"),
        (
            lambda crops: thumbnail(crops) + 0 * (crops - crops).abs().sqrt().sum(dim=(1, 2, 3))[:, None],
            "its gradient holds numbers that are not finite",
        ),
    ],
)
def test_a_surrogate_without_a_gradient(answer: Answer, fault: str) -> None:
    embedder = Embedder(Answers(answer), SPEC)
    assert find_fault(embedder) == ""  # It may judge.
    with pytest.raises(WeightsError, match=f"surrogate flat: {fault}"):
        require_surrogate("flat", embedder)


def test_a_gradient_that_fails_later_leaves_no_mask(face_image: FaceImage, targets: list[Target]) -> None:
    def nan_in_the_gradient(crops: Tensor) -> Tensor:
        return thumbnail(crops) + 0 * (crops - crops).abs().sqrt().sum(dim=(1, 2, 3))[:, None]

    network = Answers(nan_in_the_gradient, broken=False)
    surrogates = [
        Surrogate("sound", Embedder(Answers(thumbnail), SPEC), 1.0),
        Surrogate("wrong", Embedder(network, SPEC), 1.0),
    ]
    loop = ProtectionLoop(
        surrogates=surrogates, targets=targets[:2], target_selector=Nearest(), naturalness=[], optimizer=Plain(),
        views=[], settings=Settings(epsilon=8 / 255, step_size=1 / 255, norm="linf", steps=3),
    )  # fmt: skip
    loop.run([face_image], [0])
    network.broken = True
    with pytest.raises(EmbeddingError, match=r"surrogate wrong: its gradient at step 1 holds numbers that are not"):
        loop.run([face_image], [0])


def test_an_optimizer_of_nonsense_leaves_no_mask(
    face_image: FaceImage, targets: list[Target], sface_embedder: Embedder
) -> None:
    class Wrong:
        def init(self, masks: Tensor) -> tuple[Tensor, ...]:
            return ()

        def update(self, gradient: Tensor, state: Any, norm: Any) -> Any:
            return gradient / 0, state

    loop = ProtectionLoop(
        surrogates=[Surrogate("sface", sface_embedder, 1.0)], targets=targets[:2], target_selector=Nearest(),
        naturalness=[], optimizer=Wrong(), views=[],
        settings=Settings(epsilon=8 / 255, step_size=1 / 255, norm="l2", steps=1),
    )  # fmt: skip
    with pytest.raises(FacecryptError, match="hold numbers that are not finite|holds numbers that are not finite"):
        loop.run([face_image], [0])


def test_who_cannot_judge_chooses_no_strength(register: Register) -> None:
    register("wrong", lambda: nonsense("constant"))
    levels = [{"epsilon": 4}, {"epsilon": 8}]

    def choosers(*judges: dict[str, Any]) -> tuple[list[str], list[str]]:
        strength = {"judges": list(judges), "levels": levels}
        notes: list[str] = []
        recipe = check_recipe({"surrogates": [{"name": "sface"}], "strength": strength})
        found = build_choosers(recipe.strength, notes, permissive_only=False)
        return [name for name, _ in found], notes

    with pytest.raises(RecipeError, match=r"judges\[0\]: 'wrong' could not judge: it gives 5 different people"):
        choosers({"name": "wrong"}, {"name": "dlib_resnet"})
    names, notes = choosers({"name": "wrong", "optional": True}, {"name": "dlib_resnet"})
    assert names == ["dlib_resnet"]
    assert notes == [
        "wrong does not help to choose the strength, as it could not judge: it gives 5 different people the same "
        "embedding"
    ]
    with pytest.raises(RecipeError, match="none of them can be loaded and judge"):
        choosers({"name": "wrong", "optional": True})


def test_a_builder_that_returns_something_else(
    register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register("wrong", lambda: nn.Flatten())
    with pytest.raises(PluginError, match="surrogate 'wrong': its builder returns Flatten. Return an Embedder."):
        build_surrogates(check_recipe({"surrogates": [{"name": "wrong"}]}), [])


# Of files.


def network_file(path: Path, spoil: Callable[[Writer, str], str]) -> Path:
    """An ONNX file that shrinks the crop to 588 numbers, which are then spoilt."""
    w = Writer()
    x = w.add("AveragePool", "x", kernel_shape=[8, 8], strides=[8, 8])
    return w.save(path, spoil(w, w.add("Flatten", x, axis=1)))


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda w, x: x, ""),
        (lambda w, x: w.add("Mul", x, w.constant(0.0)), "its embedding is all zero"),
        (lambda w, x: w.add("Sqrt", w.add("Neg", w.add("Abs", x))), "its embedding holds numbers that are not finite"),
        (lambda w, x: w.add("Div", x, w.constant(0.0)), "its embedding holds numbers that are not finite"),
        (
            lambda w, x: w.add("Add", w.add("Mul", x, w.constant(0.0)), w.constant(1.0)),
            "it gives 5 different people the same embedding",
        ),
        (lambda w, x: w.add("RandomNormalLike", x), "it gives the same face another embedding at the second look"),
    ],
)
def test_onnx_files(spoil: Callable[[Writer, str], str], fault: str, tmp_path: Path) -> None:
    embedder = onnx(path=str(network_file(tmp_path / "net.onnx", spoil)), dimension=588, threshold=0.5)
    assert find_fault(embedder).startswith(fault)
    assert bool(find_fault(embedder)) == bool(fault)


def test_an_onnx_file_that_fails_on_real_faces(tmp_path: Path) -> None:
    """It runs on the empty crop on which it is tried, and asks for an impossible shape on others."""

    def spoil(w: Writer, x: str) -> str:
        bright = w.add("ReduceMax", x, keepdims=0)
        rows = w.add("Cast", w.add("Mul", bright, w.constant(1000.0)), to=7)
        rows = w.add("Reshape", rows, w.constant([1], np.int64))
        return w.add("Reshape", x, w.add("Concat", rows, w.constant([-1], np.int64), axis=0))

    path = network_file(tmp_path / "net.onnx", spoil)
    embedder = onnx(path=str(path), dimension=588, threshold=0.5, mean=(0, 0, 0), std=(255, 255, 255))
    assert find_fault(embedder).startswith("its network fails on a face (")


@pytest.mark.parametrize(("value", "fault"), [(0.0, "its embedding is all zero"), (math.nan, "not finite")])
def test_checkpoints(value: float, fault: str, tmp_path: Path) -> None:
    state = {
        name: torch.full_like(tensor, value) if tensor.is_floating_point() else tensor
        for name, tensor in architectures.mobilefacenet().state_dict().items()
    }
    torch.save(state, tmp_path / "net.pth")
    assert fault in find_fault(mobilefacenet(path=str(tmp_path / "net.pth"), threshold=0.3))


def test_a_slight_change_is_slight(face_image: FaceImage, sface_embedder: Embedder) -> None:
    first, second = embed(sface_embedder, [face_image, slightly_changed(face_image)])
    assert 0.9 < float(first @ second) < 0.9999


# In a benchmark.


def benchmark(folder: Path, *evaluators: dict[str, Any], **changes: Any) -> int:
    methods = [{"label": "clean"}, {"label": "darker", "obfuscation": {"method": "darken", "strength": 0.2}}]
    values = {"evaluators": list(evaluators), "methods": methods, **changes}
    return cli.main(["evaluate", str(make_benchmark(folder, **values))])


def rows_of(folder: Path) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((folder / "results" / "metrics.json").read_text())
    return loaded


@pytest.mark.slow
def test_rates_leave_out_who_cannot_judge(
    register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is measured, and where it turns out only at the second method: then from all rows."""
    seen = 0

    def fails_in_the_end(crops: Tensor) -> Tensor:
        nonlocal seen
        seen += len(crops)
        return thumbnail(crops) * (math.nan if seen > trial + gallery + clean else 1)

    trial, gallery, clean = 12, 2 * 3 + 2 * 3 + 4, 2

    register("blind", lambda: nonsense("constant"))
    register("picky", lambda: Embedder(Answers(fails_in_the_end), SPEC))
    assert benchmark(tmp_path, {"name": "sface"}, {"name": "blind"}, {"name": "picky"}) == cli.DONE
    warned = capsys.readouterr().err
    assert "evaluator blind is left out, as it could not judge: it gives 5 different people the same" in warned
    assert "evaluator picky is left out, as it could not judge: " in warned
    assert [(row["method"], row["evaluator"]) for row in rows_of(tmp_path)] == [
        ("clean", "sface"),
        ("darker", "sface"),
    ]
    table = (tmp_path / "results" / "table.md").read_text()
    assert "**blind could not judge**, so it is left out: it gives 5 different people the same embedding" in table
    assert "**picky could not judge**, so it is left out: " in table


def test_a_benchmark_that_nobody_can_judge(
    register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register("blind", lambda: nonsense("zero"))
    assert benchmark(tmp_path, {"name": "blind"}) == cli.WRONG
    assert "evaluators: none of them could judge (blind: its embedding is all zero). Name one that can." in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "results" / "metrics.json").exists()


@pytest.mark.slow
def test_ranks_need_no_threshold(register: Register, tmp_path: Path) -> None:
    register("high", lambda: Embedder(Answers(thumbnail), replace(SPEC, threshold=math.nan)))
    assert benchmark(tmp_path, {"name": "high"}) == cli.DONE
    assert {row["evaluator"] for row in rows_of(tmp_path)} == {"high"}
