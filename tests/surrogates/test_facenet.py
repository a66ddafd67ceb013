from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN, InceptionResnetV1, fixed_image_standardization
from facenet_pytorch.models.utils.detect_face import extract_face
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import facecrypt
from facecrypt.errors import WeightsError
from facecrypt.surrogates import catalogue, facenet, weights
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.spec import EmbedderSpec
from tests.fileserver import FileServer, serve

# Builder, what is known about it, and the classes of its training: the shape of the published file's classifier.
BUILDERS: dict[str, tuple[Callable[..., Embedder], EmbedderSpec, int]] = {
    "facenet_vggface2": (facenet.facenet_vggface2, catalogue.FACENET_VGGFACE2, 8631),
    "facenet_casia": (facenet.facenet_casia, catalogue.FACENET_CASIA, 10575),
}


@pytest.fixture(scope="module")
def reference() -> InceptionResnetV1:
    """Return the package's own network. Its weights are random: they test how weights are loaded, recognise nobody."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = InceptionResnetV1(pretrained=None, classify=False)
        for module in network.modules():  # Statistics as after a training: those of a new network hide a mix-up.
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module", params=BUILDERS)
def published(
    request: pytest.FixtureRequest, reference: InceptionResnetV1, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """Return a name, and a checkpoint laid out like the published file of that name: the classifier is in it."""
    classes = BUILDERS[request.param][2]
    state = {
        **reference.state_dict(),
        "logits.weight": torch.zeros(classes, 512),
        "logits.bias": torch.zeros(classes),
    }
    path = tmp_path_factory.mktemp(request.param) / "published.pt"
    torch.save(state, path, _use_new_zipfile_serialization=False)  # The files are older than torch's zip format.
    return request.param, path


@pytest.fixture
def crops(astronaut_crop: Callable[[EmbedderSpec], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return astronaut_crop(catalogue.FACENET_VGGFACE2)


@pytest.fixture
def expected(reference: InceptionResnetV1, crops: NDArray[np.uint8]) -> Tensor:
    """Return what facenet-pytorch's own code makes of the crop, from grey levels on."""
    with torch.no_grad():
        prepared = fixed_image_standardization(torch.tensor(crops).permute(2, 0, 1).float())
        embedding: Tensor = reference(prepared[None])
    return embedding


@pytest.fixture(autouse=True)
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with serve() as running:
        monkeypatch.setenv(weights.CACHE, str(tmp_path / "cache"))
        monkeypatch.setenv(weights.MIRROR, running.address)
        monkeypatch.delenv(weights.OFFLINE, raising=False)
        yield running


def test_a_file_gives_the_embedding_of_the_package(
    published: tuple[str, Path], crops: NDArray[np.uint8], expected: Tensor, as_crops: Callable[..., Tensor]
) -> None:
    name, path = published
    before = torch.get_rng_state()
    embedder = BUILDERS[name][0](path=str(path))
    assert torch.equal(torch.get_rng_state(), before)
    image = as_crops(crops).requires_grad_()
    embedding = embedder(image)
    torch.testing.assert_close(embedding, expected, rtol=0, atol=1e-5)
    embedding[:, 0].sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert (embedder.spec.weights.origin, embedder.spec.weights.path) == ("file", str(path))


@pytest.mark.slow
def test_the_published_file_is_downloaded_once(
    published: tuple[str, Path],
    server: FileServer,
    crops: NDArray[np.uint8],
    expected: Tensor,
    as_crops: Callable[..., Tensor],
) -> None:
    name, path = published
    builder, spec, _ = BUILDERS[name]
    server.files[f"/{spec.weights.path}"] = path.read_bytes()
    torch.testing.assert_close(builder()(as_crops(crops)), expected, rtol=0, atol=1e-5)
    assert spec.weights.find() == weights.cache_folder() / spec.weights.path
    assert builder(threshold=0.4).spec.threshold == 0.4
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", BUILDERS)
def test_offline_nothing_is_asked_for(name: str, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.OFFLINE, "1")
    with pytest.raises(WeightsError, match=f"Where there is a connection, run: facecrypt weights fetch {name}"):
        BUILDERS[name][0]()
    assert not server.requests


@pytest.mark.parametrize("name", BUILDERS)
def test_the_address_is_the_one_in_the_package(name: str) -> None:
    """The package names its files in the source of the function that loads them."""
    import inspect

    from facenet_pytorch.models import inception_resnet_v1

    spec = BUILDERS[name][1]
    assert f"'{spec.weights.source}'" in inspect.getsource(inception_resnet_v1.load_weights)
    assert spec.weights.source.endswith(f"/{spec.weights.path}")


def test_a_checkpoint_of_another_network(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "linear.pt")
    with pytest.raises(WeightsError, match=r"does not fit InceptionResnetV1. missing: conv2d_1a.conv.weight, "):
        facenet.facenet_vggface2(path=str(tmp_path / "linear.pt"))


@pytest.mark.slow
def test_the_template_is_where_landmarks_lie_in_the_crops_of_the_package() -> None:
    """Cut out faces of facecrypt's own data as the package does, and average where the landmarks come to lie.

    The template is the average over the sample photo and the first twenty virtual people.
    """
    detector = MTCNN(device="cpu")
    found = []
    for path in sorted((Path(facecrypt.__file__).parent / "data").rglob("*.png")):
        if path.parent.name > "v20":
            continue
        image = Image.open(path).convert("RGB")
        boxes, _, landmarks = detector.detect(image, landmarks=True)
        box, points = boxes[0].astype(float), landmarks[0].astype(float)
        left, top, right, bottom = (int(edge) for edge in (*np.maximum(box[:2], 0), *np.minimum(box[2:], image.size)))
        if not found:  # That this is how the package cuts is seen from its pixels.
            again = image.crop((left, top, right, bottom)).resize((160, 160), Image.Resampling.BILINEAR)
            cut = extract_face(image, boxes[0], image_size=detector.image_size, margin=detector.margin)
            assert np.array_equal(np.asarray(again), cut.permute(1, 2, 0).numpy())
        found.append((points - [left, top]) * 160 / [right - left, bottom - top])
    assert len(found) == 80
    np.testing.assert_allclose(catalogue.FACENET_TEMPLATE, np.mean(found, axis=0), rtol=0, atol=0.05)
