"""Every shared checkpoint layout, written out here by rule from its publisher's code and filled with seeded weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from facenet_pytorch import InceptionResnetV1
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from facecrypt import registry
from facecrypt.errors import WeightsError
from facecrypt.surrogates import architectures, checkpoints
from facecrypt.surrogates import catalogue_files as catalogue
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.weights import cache_folder

State = dict[str, Tensor]
Shapes = Iterator[tuple[str, tuple[int, ...]]]


def norm(name: str, channels: int) -> Shapes:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def ir_layout(units: tuple[int, ...], squeeze: bool) -> Shapes:
    """``Backbone`` of TreB1eN/InsightFace_Pytorch model.py and face.evoLVe backbone/model_irse.py."""
    yield "input_layer.0.weight", (64, 3, 3, 3)
    yield from norm("input_layer.1", 64)
    yield "input_layer.2.weight", (64,)
    plan = [(64, 64)] * units[0]
    for before, after, count in ((64, 128, units[1]), (128, 256, units[2]), (256, 512, units[3])):
        plan += [(before, after)] + [(after, after)] * (count - 1)
    for index, (before, after) in enumerate(plan):
        name = f"body.{index}"
        if before != after:
            yield f"{name}.shortcut_layer.0.weight", (after, before, 1, 1)
            yield from norm(f"{name}.shortcut_layer.1", after)
        yield from norm(f"{name}.res_layer.0", before)
        yield f"{name}.res_layer.1.weight", (after, before, 3, 3)
        yield f"{name}.res_layer.2.weight", (after,)
        yield f"{name}.res_layer.3.weight", (after, after, 3, 3)
        yield from norm(f"{name}.res_layer.4", after)
        if squeeze:
            yield f"{name}.res_layer.5.fc1.weight", (after // 16, after, 1, 1)
            yield f"{name}.res_layer.5.fc2.weight", (after, after // 16, 1, 1)
    yield from norm("output_layer.0", 512)
    yield "output_layer.3.weight", (512, 512 * 49)
    yield "output_layer.3.bias", (512,)
    yield from norm("output_layer.4", 512)


def mobile_layout() -> Shapes:
    """``MobileFaceNet`` of TreB1eN/InsightFace_Pytorch model.py."""

    def block(name: str, after: int, before: int, kernel: int, active: bool = True) -> Shapes:
        yield f"{name}.conv.weight", (after, before, kernel, kernel)
        yield from norm(f"{name}.bn", after)
        if active:
            yield f"{name}.prelu.weight", (after,)

    def depth_wise(name: str, before: int, wide: int, after: int) -> Shapes:
        yield from block(f"{name}.conv", wide, before, 1)
        yield from block(f"{name}.conv_dw", wide, 1, 3)
        yield from block(f"{name}.project", after, wide, 1, active=False)

    yield from block("conv1", 64, 3, 3)
    yield from block("conv2_dw", 64, 1, 3)
    yield from depth_wise("conv_23", 64, 128, 64)
    for index in range(4):
        yield from depth_wise(f"conv_3.model.{index}", 64, 128, 64)
    yield from depth_wise("conv_34", 64, 256, 128)
    for index in range(6):
        yield from depth_wise(f"conv_4.model.{index}", 128, 256, 128)
    yield from depth_wise("conv_45", 128, 512, 128)
    for index in range(2):
        yield from depth_wise(f"conv_5.model.{index}", 128, 256, 128)
    yield from block("conv_6_sep", 512, 128, 1)
    yield from block("conv_6_dw", 512, 1, 7, active=False)
    yield "linear.weight", (512, 512)
    yield from norm("bn", 512)


SPHERE = ((1, 3, 64, 3), (2, 64, 128, 5), (3, 128, 256, 9), (4, 256, 512, 3))  # stage, before, after, convolutions


def sphereface_layout() -> Shapes:
    """``sphere20a`` of clcarwin/sphereface_pytorch net_sphere.py, with a classifier of 7 people instead of 10,574."""
    for stage, before, after, count in SPHERE:
        for layer in range(1, count + 1):
            yield f"conv{stage}_{layer}.weight", (after, before if layer == 1 else after, 3, 3)
            yield f"conv{stage}_{layer}.bias", (after,)
            yield f"relu{stage}_{layer}.weight", (after,)
    yield "fc5.weight", (512, 512 * 7 * 6)
    yield "fc5.bias", (512,)
    yield "fc6.weight", (512, 7)


def cosface_layout() -> Shapes:
    """``sphere`` of MuggleWang/CosFace_pytorch net.py."""
    for stage, before, after, count in SPHERE:
        yield f"layer{stage}.0.weight", (after, before, 3, 3)
        yield f"layer{stage}.0.bias", (after,)
        yield f"layer{stage}.1.weight", (after,)
        for index in range(2, 2 + (count - 1) // 2):
            for part in (1, 2):
                yield f"layer{stage}.{index}.conv{part}.weight", (after, after, 3, 3)
                yield f"layer{stage}.{index}.prelu{part}.weight", (after,)
    yield "fc.weight", (512, 512 * 7 * 6)
    yield "fc.bias", (512,)


def filled(shapes: Shapes) -> State:
    """Return weights that keep activations near 1: what a batch normalisation divides by is never near 0."""
    generator = torch.Generator().manual_seed(0)
    state: State = {}
    for name, shape in shapes:
        drawn = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(3)
        elif len(shape) > 1:
            state[name] = drawn * (2 / prod(shape[1:])) ** 0.5
        elif name.endswith("running_var"):
            state[name] = 1 + 0.1 * drawn.abs()
        elif name.endswith(("bias", "running_mean")):
            state[name] = 0.1 * drawn
        else:
            state[name] = 0.25 + 0.05 * drawn if ("prelu" in name or "relu" in name) else 0.7 + 0.1 * drawn
    return state


# Slow, obvious versions, straight from the weights' names: the publishers' forward functions, in our words.


def normed(state: State, name: str, x: Tensor) -> Tensor:
    mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    shape = (1, -1) + (1,) * (x.dim() - 2)
    scaled = (x - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt()
    return scaled * state[f"{name}.weight"].view(shape) + state[f"{name}.bias"].view(shape)


def ir_forward(state: State, x: Tensor, strides: dict[int, int], units: int) -> Tensor:
    x = functional.conv2d(x, state["input_layer.0.weight"], padding=1)
    x = functional.prelu(normed(state, "input_layer.1", x), state["input_layer.2.weight"])
    for index in range(units):
        name, stride = f"body.{index}", strides.get(index, 1)
        shortcut = x[:, :, ::stride, ::stride]
        if f"{name}.shortcut_layer.0.weight" in state:
            shortcut = functional.conv2d(x, state[f"{name}.shortcut_layer.0.weight"], stride=stride)
            shortcut = normed(state, f"{name}.shortcut_layer.1", shortcut)
        x = functional.conv2d(normed(state, f"{name}.res_layer.0", x), state[f"{name}.res_layer.1.weight"], padding=1)
        x = functional.prelu(x, state[f"{name}.res_layer.2.weight"])
        x = functional.conv2d(x, state[f"{name}.res_layer.3.weight"], stride=stride, padding=1)
        x = normed(state, f"{name}.res_layer.4", x)
        if f"{name}.res_layer.5.fc1.weight" in state:
            squeezed = functional.adaptive_avg_pool2d(x, 1)
            squeezed = functional.conv2d(squeezed, state[f"{name}.res_layer.5.fc1.weight"]).relu()
            x = x * functional.conv2d(squeezed, state[f"{name}.res_layer.5.fc2.weight"]).sigmoid()
        x = x + shortcut
    x = normed(state, "output_layer.0", x).flatten(1)
    x = functional.linear(x, state["output_layer.3.weight"], state["output_layer.3.bias"])
    return normed(state, "output_layer.4", x)


def ir_se50_forward(state: State, x: Tensor) -> Tensor:
    return ir_forward(state, x, {0: 2, 3: 2, 7: 2, 21: 2}, 24)


def ir152_forward(state: State, x: Tensor) -> Tensor:
    return ir_forward(state, x, {0: 2, 3: 2, 11: 2, 47: 2}, 50)


def mobile_forward(state: State, x: Tensor) -> Tensor:
    def block(name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        weight = state[f"{name}.conv.weight"]
        x = functional.conv2d(x, weight, stride=stride, padding=padding, groups=x.shape[1] // weight.shape[1])
        x = normed(state, f"{name}.bn", x)
        return functional.prelu(x, state[f"{name}.prelu.weight"]) if f"{name}.prelu.weight" in state else x

    def depth_wise(name: str, x: Tensor, stride: int) -> Tensor:
        return block(f"{name}.project", block(f"{name}.conv_dw", block(f"{name}.conv", x), stride, 1))

    x = block("conv2_dw", block("conv1", x, 2, 1), 1, 1)
    for stage, count in ((3, 4), (4, 6), (5, 2)):
        x = depth_wise(f"conv_{stage - 1}{stage}", x, 2)
        for index in range(count):
            x = x + depth_wise(f"conv_{stage}.model.{index}", x, 1)
    x = block("conv_6_dw", block("conv_6_sep", x)).flatten(1)
    return normed(state, "bn", functional.linear(x, state["linear.weight"]))


def sphereface_forward(state: State, x: Tensor) -> Tensor:
    def layer(stage: int, index: int, x: Tensor, stride: int = 1) -> Tensor:
        name = f"conv{stage}_{index}"
        x = functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride, 1)
        return functional.prelu(x, state[f"relu{stage}_{index}.weight"])

    for stage, _, _, count in SPHERE:
        x = layer(stage, 1, x, 2)
        for index in range(2, count, 2):
            x = x + layer(stage, index + 1, layer(stage, index, x))
    return functional.linear(x.flatten(1), state["fc5.weight"], state["fc5.bias"])


def cosface_forward(state: State, x: Tensor) -> Tensor:
    for stage, _, _, count in SPHERE:
        name = f"layer{stage}"
        x = functional.conv2d(x, state[f"{name}.0.weight"], state[f"{name}.0.bias"], 2, 1)
        x = functional.prelu(x, state[f"{name}.1.weight"])
        for index in range(2, 2 + (count - 1) // 2):
            y = x
            for part in (1, 2):
                y = functional.conv2d(y, state[f"{name}.{index}.conv{part}.weight"], padding=1)
                y = functional.prelu(y, state[f"{name}.{index}.prelu{part}.weight"])
            x = x + y
    return functional.linear(x.flatten(1), state["fc.weight"], state["fc.bias"])


def facenet_state() -> State:
    """The protocol's file: facenet-pytorch's names, and a classifier (of 7 people here, instead of 8,631)."""
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in InceptionResnetV1().state_dict().items()}
    assert {"conv2d_1a.conv.weight", "repeat_1.4.branch2.2.bn.bias", "block8.conv2d.bias", "last_bn.weight"} <= set(
        shapes
    )
    return filled(iter({**shapes, "logits.weight": (7, 512), "logits.bias": (7,)}.items()))


def facenet_forward(state: State, x: Tensor) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        network = InceptionResnetV1().eval()
    network.load_state_dict({name: value for name, value in state.items() if not name.startswith("logits")})
    embeddings: Tensor = network(x)
    return embeddings


class Case(NamedTuple):
    """A component, its file's content, and what its network must compute of prepared crops."""

    component: str
    state: Callable[[], State]
    forward: Callable[[State, Tensor], Tensor]


IR_50, IR_152 = (3, 4, 14, 3), (3, 8, 36, 3)
CASES = {
    case.component: case
    for case in (
        Case("ir_se50", lambda: filled(ir_layout(IR_50, True)), ir_se50_forward),
        Case("ir50", lambda: filled(ir_layout(IR_50, False)), ir_se50_forward),
        Case("makeup_irse50", lambda: filled(ir_layout(IR_50, True)), ir_se50_forward),
        Case("makeup_ir152", lambda: filled(ir_layout(IR_152, False)), ir152_forward),
        Case("mobilefacenet", lambda: filled(mobile_layout()), mobile_forward),
        Case("makeup_mobile_face", lambda: filled(mobile_layout()), mobile_forward),
        Case("makeup_facenet", facenet_state, facenet_forward),
        Case("sphere20_sphereface", lambda: filled(sphereface_layout()), sphereface_forward),
        Case("sphere20_cosface", lambda: filled(cosface_layout()), cosface_forward),
    )
}
LARGE = {"makeup_ir152", "makeup_irse50", "ir50"}  # 280 MB; and twice what ir_se50 covers.


def build(component: str, **args: object) -> Embedder:
    embedder = registry.build("surrogate", component, args)
    assert isinstance(embedder, Embedder)
    return embedder


@pytest.fixture(scope="module")
def mobile_state() -> State:
    return filled(mobile_layout())


@pytest.fixture
def mobile_file(tmp_path: Path, mobile_state: State) -> Path:
    path = tmp_path / "mine.pth"
    torch.save(mobile_state, path)
    return path


@pytest.mark.parametrize(
    "component", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in CASES]
)
def test_loads_the_published_layout_and_computes_what_its_publisher_does(component: str, tmp_path: Path) -> None:
    case = CASES[component]
    state = case.state()
    torch.save(state, tmp_path / "file.pth")
    embedder = build(component, path=str(tmp_path / "file.pth"))
    spec = embedder.spec
    crops = torch.rand(2, 3, spec.height, spec.width, generator=torch.Generator().manual_seed(1)).requires_grad_()

    prepared = (crops.detach() * 255 - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(spec.std).view(3, 1, 1)
    if spec.channel_order == "bgr":
        prepared = prepared[:, [2, 1, 0]]
    expected = functional.normalize(case.forward(state, prepared), dim=1)
    embeddings = embedder(crops)
    torch.testing.assert_close(embeddings.detach(), expected, rtol=0, atol=2e-5)
    assert (embeddings[0] - embeddings[1]).abs().max() > 1e-3, "two crops must differ for this test to say anything"

    (gradient,) = torch.autograd.grad(embeddings[0] @ expected[1], crops)
    assert gradient[0].isfinite().all()
    assert functional.adaptive_max_pool2d(gradient[0].abs(), 4).min() > 0
    assert gradient[1].abs().max() == 0, "one face changes another's embedding"
    with torch.no_grad():
        torch.testing.assert_close(embedder(crops[1:]), embeddings[1:].detach(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("component", CASES)
def test_is_registered_with_what_its_publisher_says(component: str) -> None:
    spec = registry.get("surrogate", component).spec
    assert spec is not None
    assert spec.dimension == 512
    assert spec.architecture
    assert spec.loss
    assert spec.training_data
    assert not spec.weights.permissive
    assert spec.weights.origin == "manual"
    assert all(0 < x < spec.width and 0 < y < spec.height for x, y in spec.template)


def test_each_file_has_a_name_of_its_own() -> None:
    paths = [registry.get("surrogate", name).spec.weights.path for name in CASES]  # type: ignore[union-attr]
    assert len(set(paths)) == len(paths)


def test_sphereface_crop_is_the_published_one() -> None:
    published = [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]]
    torch.testing.assert_close(torch.tensor(catalogue.SPHERE_TEMPLATE), torch.tensor(published))


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_channel_order_can_be_chosen(order: str, mobile_file: Path) -> None:
    assert build("mobilefacenet", path=str(mobile_file), channel_order=order).spec.channel_order == order


def test_file_is_found_in_the_cache_folder(
    mobile_state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACECRYPT_CACHE", str(tmp_path))
    message = rf"weights mobile_face\.pth: not in {tmp_path}\. Get the file from .*AMT-GAN.* under that name"
    with pytest.raises(WeightsError, match=message):
        build("makeup_mobile_face")
    torch.save(mobile_state, tmp_path / "mobile_face.pth")
    assert build("makeup_mobile_face").spec == catalogue.MAKEUP_MOBILE_FACE
    assert catalogue.MAKEUP_MOBILE_FACE.weights.find() == tmp_path / "mobile_face.pth"


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACECRYPT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "facecrypt"
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/facecrypt")
    monkeypatch.setenv("FACECRYPT_CACHE", "~/faces")
    assert cache_folder() == Path.home() / "faces"


def same(path: Path, state: State) -> bool:
    network = checkpoints.load_network(path, architectures.mobilefacenet)
    return all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_other_ways_to_save_the_same_weights(mobile_state: State, tmp_path: Path) -> None:
    parallel = {f"module.{name}": value for name, value in mobile_state.items()}
    torch.save(parallel, tmp_path / "parallel.pth")
    torch.save({"epoch": 3, "state_dict": parallel}, tmp_path / "nested.pt")
    # What torch wrote before 1.6, as the files of 2017 and 2018 are.
    torch.save(mobile_state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(mobile_state, tmp_path / "safe.safetensors")
    for name in ("parallel.pth", "nested.pt", "old.pth", "safe.safetensors"):
        assert same(tmp_path / name, mobile_state), name


def test_counters_that_old_torch_did_not_write_may_be_missing(mobile_state: State, tmp_path: Path) -> None:
    old = {name: value for name, value in mobile_state.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    network = checkpoints.load_network(tmp_path / "old.pth", architectures.mobilefacenet)
    assert torch.equal(network.state_dict()["conv1.conv.weight"], old["conv1.conv.weight"])
    assert not any(value.is_meta for value in network.state_dict().values())


def test_half_precision_becomes_single(mobile_state: State, tmp_path: Path) -> None:
    half = {name: value.half() if value.is_floating_point() else value for name, value in mobile_state.items()}
    torch.save(half, tmp_path / "half.pth")
    network = checkpoints.load_network(tmp_path / "half.pth", architectures.mobilefacenet)
    assert {value.dtype for value in network.parameters()} == {torch.float32}


def test_another_layout_is_named_in_one_line(mobile_state: State, tmp_path: Path) -> None:
    wrong = dict(mobile_state)
    wrong["conv1.convolution.weight"] = wrong.pop("conv1.conv.weight")
    wrong["bn.weight"] = torch.zeros(128)
    for index in range(5):
        wrong[f"head.{index}"] = torch.zeros(1)
    torch.save(wrong, tmp_path / "wrong.pth")
    with pytest.raises(WeightsError) as caught:
        build("mobilefacenet", path=str(tmp_path / "wrong.pth"))
    assert str(caught.value) == (
        f"weights {tmp_path}/wrong.pth: it does not fit Sequential. missing: conv1.conv.weight; unexpected: "
        "conv1.convolution.weight, head.0, head.1 and 3 more; wrong shape: bn.weight is (128,), not (512,). Name the "
        "checkpoint of this recogniser."
    )


def test_digest_is_checked_where_it_is_given(mobile_file: Path) -> None:
    with pytest.raises(WeightsError, match="sha256"):
        build("mobilefacenet", path=str(mobile_file), sha256="0" * 64)


def test_threshold_of_the_recipe_and_seed(mobile_file: Path) -> None:
    before = torch.get_rng_state()
    spec = build("mobilefacenet", path=str(mobile_file), threshold=0.4).spec
    assert torch.equal(torch.get_rng_state(), before)
    assert (spec.threshold, spec.threshold_source) == (0.4, "given by the recipe")
