from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from facecrypt.cli import main as cli
from facecrypt.errors import FacecryptError
from facecrypt.faces.alignment import crop, crop_grid
from facecrypt.faces.patches import FaceImage
from facecrypt.methods.reference import Literal
from facecrypt.methods.universal import (
    SIDE,
    TEMPLATE,
    PersonMask,
    Universal,
    affine_hull,
    centre,
    convex_hull,
    drawn,
    learn,
    on_simplex,
    read_mask,
    write_mask,
)
from facecrypt.pipeline import runner
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets.selectors import Target
from tests import trying

POINTS = torch.nn.functional.normalize(torch.randn(3, 6, generator=torch.Generator().manual_seed(1)), dim=1)
ELSEWHERE = torch.nn.functional.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(2)), dim=1)
SHARES = [each / 100 for each in range(101)]


@pytest.mark.parametrize("f", ELSEWHERE)
def test_hulls_give_their_nearest_points(f: Tensor) -> None:
    """Against a dense grid of coefficients, and least squares."""
    corners = [(a, b, 1 - a - b) for a, b in product(SHARES, SHARES) if a + b <= 1]
    grid = torch.tensor(corners) @ POINTS
    best = (grid - f).norm(dim=1).min().item()
    near = convex_hull(POINTS)(f)
    assert (near - f).norm().item() == pytest.approx(best, abs=2e-3)
    assert (near - f).norm().item() <= best + 1e-5
    a = np.linalg.lstsq((POINTS[1:] - POINTS[0]).T.numpy(), (f - POINTS[0]).numpy(), rcond=None)[0]
    expected = POINTS[0] + torch.from_numpy(a) @ (POINTS[1:] - POINTS[0])
    assert torch.allclose(affine_hull(POINTS)(f), expected, atol=1e-5)
    assert torch.allclose(centre(POINTS)(f), POINTS.mean(0))
    assert (affine_hull(POINTS)(f) - f).norm() <= (near - f).norm() + 1e-6


def test_hulls_of_one_photo_are_its_feature() -> None:
    for hull in (affine_hull, convex_hull, centre):
        assert torch.allclose(hull(POINTS[:1])(ELSEWHERE[0]), POINTS[0], atol=1e-6)
    assert on_simplex(torch.tensor([0.5, 2.0, -1.0])).tolist() == [0, 1, 0]
    assert on_simplex(torch.tensor([0.2, 0.3, 0.5])).tolist() == pytest.approx([0.2, 0.3, 0.5])


def test_a_mask_lies_on_the_landmarks(face_image: FaceImage) -> None:
    smooth = torch.nn.functional.interpolate(
        torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0)), size=(SIDE, SIDE), mode="bilinear"
    )[0]
    on_face = drawn(smooth, face_image._replace(inside=torch.ones_like(face_image.inside)))
    side = face_image.pixels.shape[-1]
    back = crop(on_face[None], crop_grid(face_image.landmarks[None], TEMPLATE, (SIDE, SIDE), side))[0]
    middle = (slice(None), slice(20, -20), slice(20, -20))
    assert (back[middle] - smooth[middle]).abs().max() < 0.02
    # It covers the whole patch of an upright face.
    upright = trying.blank(112)
    assert (drawn(torch.ones(3, SIDE, SIDE), upright) > 0.99).all()


@pytest.mark.parametrize("hull", ["affine", pytest.param("convex", marks=pytest.mark.slow)])
def test_learning_is_that_of_the_paper(
    hull: Any, sface_embedder: Embedder, targets: list[Target], face_image: FaceImage
) -> None:
    """Delta <- clip(Delta + alpha sign of the sum over photos of the gradient), photo by photo."""
    person = [face_image, targets[0].aim]
    task = trying.task("gradients", person, sface_embedder, targets[:1], steps=2)
    made = learn(task, [0, 1], hull, torch.Generator().manual_seed(4))
    literals = [Literal(sface_embedder, face, []) for face in person]
    features = torch.cat([literal.r for literal in literals])
    signs = torch.randint(2, (3, SIDE, SIDE), generator=torch.Generator().manual_seed(4))
    delta = torch.where(signs > 0, 2 / 255, -2 / 255)
    for _ in range(2):
        total = torch.zeros_like(delta)
        for literal, face in zip(literals, person, strict=True):
            leaf = delta.clone().requires_grad_()
            p = literal.f((literal.original + drawn(leaf, face)).clamp(0, 1))[0]
            direction, start = features[1] - features[0], features[0]
            share = (p - start) @ direction / (direction @ direction)  # The hull of two points is a line.
            share = share.clamp(0, 1) if hull == "convex" else share
            distance = (p - (start + share.detach() * direction)).square().sum()
            total += torch.autograd.grad(distance, leaf)[0]
        delta = (delta + 2 / 255 * total.sign()).clamp(-8 / 255, 8 / 255)
    assert (made - delta).abs().gt(1e-6).float().mean() < 0.005  # Signs of gradients near 0.
    assert made.abs().max() <= 8 / 255 + 1e-6


def test_a_file_holds_the_mask(tmp_path: Path, face_image: FaceImage) -> None:
    mask = torch.full((3, SIDE, SIDE), 3 / 255)
    write_mask(PersonMask(mask, ("flat",)), tmp_path / "me.safetensors")
    recognisers = trying.Sees(lambda images: images)
    recognisers.names = ["flat", "other"]  # type: ignore[attr-defined]
    method = Universal(mask=str(tmp_path / "me.safetensors"))
    (on_face,) = method.protect(trying.task("gradients", [face_image], recognisers=recognisers))
    assert torch.equal(on_face, drawn(mask, face_image))
    recognisers.names = ["other"]  # type: ignore[attr-defined]
    with pytest.raises(FacecryptError, match="was learned by flat, and flat would judge it"):
        method.protect(trying.task("gradients", [face_image], recognisers=recognisers))


def test_what_is_no_mask_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "me.safetensors"
    with pytest.raises(FacecryptError, match="there is no such file. Make one: facecrypt learn"):
        read_mask(file)
    torch.save({"mask": torch.zeros(3, SIDE, SIDE)}, file)  # A pickle, which is not opened as one.
    with pytest.raises(FacecryptError, match="is no mask"):
        read_mask(file)
    for mask in (torch.zeros(3, 8, 8), torch.full((3, SIDE, SIDE), torch.nan), torch.full((3, SIDE, SIDE), 2.0)):
        save_file({"mask": mask}, file, {"format": "facecrypt mask 1"})
        with pytest.raises(FacecryptError, match="is no mask of this version"):
            read_mask(file)
    file.write_bytes(bytes(2 << 20))
    with pytest.raises(FacecryptError, match="larger than"):
        read_mask(file)


@pytest.mark.slow
def test_a_mask_is_learned_from_photos_and_added_to_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, file = tmp_path / "photos", tmp_path / "me.safetensors"
    photos.mkdir()
    image = Image.open(runner.sample_photo())
    image.save(photos / "1.png")
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photos / "2.png")
    Image.new("RGB", (64, 64)).save(photos / "3.png")
    recipe = str(trying.ROOT / "recipes" / "methods" / "universal.yaml")
    command = ["learn", recipe, f"photos={photos}", "-o", str(file), "trainer.accelerator=cpu"]
    assert cli.main([*command, "steps=8", "step_size=2"]) == cli.DONE
    said = capsys.readouterr().out
    assert "3.png" in said
    assert "a mask learned from 2 photos" in said
    assert float(said.split("with themselves ")[1].split()[0]) < 0.5
    assert cli.main(command) == cli.WRONG  # It is there already.
    report = trying.run_recipe("universal", tmp_path, f"method.args.mask={file}")
    (face,) = report["photos"][0]["faces"]
    assert face["recognisers"]["sface"]["similarity"] < 0.6
    assert face["queries"] == 0
    capsys.readouterr()
    for keys, says in (
        (["method={name: blur}"], "which learns nothing"),
        (["norm=l2"], "norm is l2"),
        (["region=skin"], "a mask is learned for the whole face"),
        (["photos:=null"], "Set photos to their folder"),
        (["-o", str(tmp_path / "x.pt")], "is written as .safetensors"),
    ):
        other = ["learn", recipe, f"photos={photos}", "-o", str(tmp_path / "x.safetensors"), *keys]
        assert cli.main(other) == cli.WRONG
        assert says in capsys.readouterr().err
