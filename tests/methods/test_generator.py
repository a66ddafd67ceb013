from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import Tensor, nn

from facecrypt.cli import main as cli
from facecrypt.errors import FacecryptError
from facecrypt.faces.patches import FaceImage
from facecrypt.methods.aligned import align, arcface, draw, replace_face
from facecrypt.methods.generator import ALLOW_CODE, Generator
from facecrypt.methods.mask_network import SIZE, TEMPLATE, MaskNetwork, embedded, read_network, write_network
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from tests import trying


class Half(nn.Module):
    """Makes a face half as bright."""

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.5))

    def forward(self, faces: Tensor) -> Tensor:
        return faces * self.share


class Odd(nn.Module):
    def forward(self, faces: Tensor) -> Tensor:
        return faces[:, :1]


def task(face: FaceImage, names: tuple[str, ...] = ("sface",)) -> Any:
    recognisers = trying.Sees(lambda images: images)
    recognisers.names = list(names)  # type: ignore[attr-defined]
    return trying.task("gradients", [face], recognisers=recognisers)


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_CODE, "1")
    monkeypatch.setitem(sys.modules, "of_others", sys.modules[__name__])


def scripted(network: nn.Module, file: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network.eval().requires_grad_(False), torch.rand(1, 3, 112, 112)).save(str(file))
    return str(file)


def half_onnx(file: Path) -> str:
    node = helper.make_node("Mul", ["face", "share"], ["darker"])
    shape = [1, 3, 112, 112]
    graph = helper.make_graph(
        [node],
        "half",
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("darker", TensorProto.FLOAT, shape)],
        [helper.make_tensor("share", TensorProto.FLOAT, [], [0.5])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)
    return str(file)


@pytest.mark.parametrize("kind", ["torchscript", "onnx", "class", "class with weights"])
def test_networks_of_others_are_drawn_onto_the_face(
    kind: str, tmp_path: Path, face_image: FaceImage, trusted: None
) -> None:
    share = 0.5
    args: dict[str, Any] = {"class_path": "of_others.Half"}
    if kind == "torchscript":
        args = {"path": scripted(Half(), tmp_path / "half.pt")}
    elif kind == "onnx":
        args = {"path": half_onnx(tmp_path / "half.onnx")}
    elif kind == "class with weights":
        save_file({"share": torch.tensor(0.25)}, tmp_path / "quarter.safetensors")
        args["path"], share = str(tmp_path / "quarter.safetensors"), 0.25
    (mask,) = Generator(**args).protect(task(face_image))
    aligned = align(face_image, arcface(112), 112)
    assert torch.allclose(mask, draw((share - 1) * aligned, face_image, arcface(112)), atol=1e-5)


def test_what_a_network_gives_is_read_as_the_recipe_says(face_image: FaceImage, trusted: None) -> None:
    args = {"class_path": "of_others.Half", "size": 96, "margin": 0.1}
    template = arcface(96, 0.1)
    aligned = align(face_image, template, 96)

    def made(**more: Any) -> Tensor:
        (mask,) = Generator(**args, **more).protect(task(face_image))
        return mask

    assert torch.allclose(made(output="mask"), draw(aligned / 2, face_image, template), atol=1e-5)
    # In [-1, 1], half of a face is nearer to grey.
    grey = aligned / 2 + 0.25
    assert torch.allclose(made(signed=True), draw(grey - aligned, face_image, template), atol=1e-5)
    assert torch.allclose(
        made(signed=True, output="mask"), draw((aligned * 2 - 1) / 4, face_image, template), atol=1e-5
    )
    instead = replace_face(face_image, aligned / 2, template, 0.2) - face_image.pixels
    assert torch.allclose(made(bounded=False, feather=0.2), instead, atol=1e-5)


def test_code_of_others_needs_trust(tmp_path: Path) -> None:
    for args in ({"class_path": "os.getcwd"}, {"path": scripted(Half(), tmp_path / "half.pt")}):
        with pytest.raises(FacecryptError, match="runs code of whoever made it. .* FACECRYPT_ALLOW_CODE=1"):
            Generator(**args)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"class_path": "of_others.Nobody"}, "of_others.Nobody cannot be made"),
        ({"class_path": "of_others.Path"}, "no torch.nn.Module"),
        ({"path": "none.pt"}, "is no TorchScript"),
        ({"path": "none.safetensors"}, "there is no such file. Make one: facecrypt train"),
        ({"path": str(Path(__file__)), "class_path": "of_others.Half"}, "no checkpoint"),
    ],
)
def test_what_is_no_network_is_refused(args: dict[str, str], says: str, trusted: None) -> None:
    with pytest.raises(FacecryptError, match=says):
        Generator(**args)


def test_another_shape_is_refused(face_image: FaceImage, trusted: None) -> None:
    method = Generator(class_path="of_others.Odd")
    with pytest.raises(FacecryptError, match=r"gave \(1, 1, 112, 112\) .* for a face \(1, 3, 112, 112\)"):
        method.protect(task(face_image))


def test_the_embedded_network_leads_away_from_oneself(sface_embedder: Embedder, face_image: FaceImage) -> None:
    (mask,) = Generator().protect(task(face_image))
    network, surrogates = read_network(embedded())
    assert surrogates == ("sface",)
    assert mask.abs().max() <= network.epsilon + 1e-6
    own, after = embed(sface_embedder, [face_image, face_image._replace(pixels=(face_image.pixels + mask).clamp(0, 1))])
    assert own @ after < 0.75
    with pytest.raises(FacecryptError, match="was trained by sface, and sface would judge it"):
        Generator().protect(task(face_image, ("dlib_resnet",)))


def test_a_network_comes_back_from_its_file(tmp_path: Path) -> None:
    network, file = MaskNetwork(8 / 255), tmp_path / "n.safetensors"
    write_network(network, ("a", "b"), file)
    back, surrogates = read_network(file)
    assert surrogates == ("a", "b")
    faces = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (back(faces) - network(faces)).abs().max() < 0.5 / 255
    assert len(TEMPLATE) == 5
    torch.save({}, file)  # A pickle, which is not opened as one.
    with pytest.raises(FacecryptError, match="is no network"):
        read_network(file)
    save_file({"x": torch.zeros(1)}, file)
    with pytest.raises(FacecryptError, match="has other weights than this version"):
        read_network(file)


@pytest.mark.slow
def test_a_network_is_trained_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Few steps on few faces: they already lead these away from themselves."""
    folder = trying.ROOT / "facecrypt" / "data" / "virtual_targets"
    recipe = str(trying.ROOT / "recipes" / "methods" / "generator.yaml")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(1, 9):
        (photos / f"{number}.png").symlink_to(folder / f"v{number:02d}" / "0.png")
    file = tmp_path / "mine.safetensors"
    command = ["train", recipe, f"photos={photos}", "-o", str(file), "trainer.accelerator=cpu", "batch_size=4"]
    assert cli.main([*command, "steps=50"]) == cli.DONE
    said = capsys.readouterr().out
    assert "a network trained on 8 faces" in said
    assert float(said.split("themselves*: ")[1].split()[0]) < 0.9
    report = trying.run_recipe("generator", tmp_path, f"method.args.path={file}")
    (face,) = report["photos"][0]["faces"]
    assert face["recognisers"]["sface"]["similarity"] < 0.95
    assert cli.main(command) == cli.WRONG
    assert "exists already" in capsys.readouterr().err


def test_a_training_that_looks_at_no_epoch_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trying.ROOT / "facecrypt" / "data" / "virtual_targets"
    recipe = str(trying.ROOT / "recipes" / "methods" / "generator.yaml")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(1, 5):
        (photos / f"{number}.png").symlink_to(folder / f"v{number:02d}" / "0.png")
    file = tmp_path / "mine.safetensors"
    command = ["train", recipe, f"photos={photos}", "-o", str(file), "trainer.accelerator=cpu", "steps=1"]
    assert cli.main([*command, "trainer.fast_dev_run=true"]) == cli.WRONG
    assert "there is no network. Leave out fast_dev_run" in capsys.readouterr().err
    assert not file.exists()
