from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn

from facecrypt.errors import WeightsError
from facecrypt.registry import Component
from facecrypt.surrogates import catalogue, timm_hub, weights
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.spec import EmbedderSpec
from facecrypt.templates import ARCFACE_TEMPLATE

BUILDERS: dict[str, tuple[Callable[..., Embedder], EmbedderSpec]] = {
    "arcface_vit_tiny": (timm_hub.arcface_vit_tiny, catalogue.ARCFACE_VIT_TINY),
    "cosface_vit_tiny": (timm_hub.cosface_vit_tiny, catalogue.COSFACE_VIT_TINY),
    "cosface_vit_small": (timm_hub.cosface_vit_small, catalogue.COSFACE_VIT_SMALL),
    "cosface_convnext_atto": (timm_hub.cosface_convnext_atto, catalogue.COSFACE_CONVNEXT_ATTO),
    "cosface_convnext_nano": (timm_hub.cosface_convnext_nano, catalogue.COSFACE_CONVNEXT_NANO),
}
CROPS = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))

# The published config.json of vit_tiny_patch8_112.arcface_ms1mv3, but one block of width 48 in place of twelve of 192.
CONFIG: dict[str, Any] = {
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 512,
    "num_features": 48,
    "global_pool": "token",
    "pretrained_cfg": {
        "input_size": [3, 112, 112],
        "fixed_input_size": True,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "num_classes": 512,
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    },
    "model_args": {"patch_size": 8, "embed_dim": 48, "depth": 1, "num_heads": 3},
}


def tiny_vit(seed: int = 0) -> nn.Module:
    """Return the network of `CONFIG`. Its weights are random: they test how weights are loaded and recognise nobody."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model(
            "vit_tiny_patch16_224", img_size=112, num_classes=512, **CONFIG["model_args"]
        )
    return model.eval()


def write(folder: Path, model: nn.Module, config: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "model", tiny_vit(), CONFIG)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(weights.CACHE, str(tmp_path / "cache"))
    monkeypatch.delenv(weights.OFFLINE, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "never used"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    yield
    huggingface_hub.close_session()


def expected_embeddings(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        embeddings: torch.Tensor = model((CROPS - 0.5) / 0.5)
    return embeddings


@pytest.mark.parametrize("name", BUILDERS)
def test_each_builder_reads_a_folder(name: str, folder: Path) -> None:
    builder, spec = BUILDERS[name]
    embedder = builder(folder=str(folder))
    torch.testing.assert_close(embedder.raw(CROPS), expected_embeddings(tiny_vit()), rtol=0, atol=1e-5)
    assert embedder.spec.template == spec.template
    assert embedder.spec.weights.origin == "file"
    assert embedder.spec.weights.source == spec.weights.source
    assert embedder.spec.weights.path == str(folder / "model.safetensors")


def test_other_weights_give_other_embeddings(folder: Path) -> None:
    found = timm_hub.arcface_vit_tiny(folder=str(folder)).raw(CROPS)
    assert (found - expected_embeddings(tiny_vit(seed=1))).abs().max() > 0.1


def test_embeddings_are_raw_and_unit_and_pass_gradients(folder: Path) -> None:
    embedder = timm_hub.arcface_vit_tiny(folder=str(folder))
    crops = CROPS.clone().requires_grad_()
    assert embedder.raw(crops).norm(dim=1).sub(1).abs().min() > 0.01
    embeddings = embedder(crops)
    assert embeddings.shape == (2, 512)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))
    embeddings[:, 0].sum().backward()
    assert crops.grad is not None
    assert (crops.grad.abs().sum((1, 2, 3)) > 0).all()


def test_threshold_of_the_recipe_is_marked_as_such(folder: Path) -> None:
    assert timm_hub.arcface_vit_tiny(folder=str(folder)).spec.threshold is None
    spec = timm_hub.arcface_vit_tiny(folder=str(folder), threshold=0.25).spec
    assert (spec.threshold, spec.threshold_source) == (0.25, "given by the recipe")


def test_any_timm_model_can_be_described(tmp_path: Path) -> None:
    # Random weights: only how the arguments reach the network is tested.
    model = timm.create_model("test_vit", img_size=160, num_classes=64).eval()
    config = {"architecture": "test_vit", "num_classes": 64, "model_args": {"img_size": 160}, "pretrained_cfg": {}}
    config["pretrained_cfg"] = {"input_size": [3, 160, 160], "num_classes": 64, "classifier": "head"}
    folder = write(tmp_path / "other", model, config)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    component = Component("surrogate", "timm", timm_hub.timm, "any face model of timm", "built-in")
    args, faults = component.bind(
        {
            "model": "hf_hub:somebody/other",
            "folder": str(folder),
            "size": 160,
            "mean": [1, 2, 3],
            "std": [4, 5, 6],
            "dimension": 64,
            "sha256": digest,
            "licence": "MIT",
            "permissive": True,
        }
    )
    assert not faults
    embedder = timm_hub.timm(**args)
    spec = embedder.spec
    assert (spec.height, spec.width, spec.mean, spec.std) == (160, 160, (1, 2, 3), (4, 5, 6))
    assert spec.weights.source == "somebody/other"
    assert (spec.weights.licence, spec.weights.permissive) == ("MIT", True)
    assert spec.template[4] == pytest.approx(tuple(value * 160 / 112 for value in ARCFACE_TEMPLATE[4]))
    crops = torch.rand(1, 3, 160, 160)
    prepared = (crops * 255 - torch.tensor([1.0, 2, 3]).view(3, 1, 1)) / torch.tensor([4.0, 5, 6]).view(3, 1, 1)
    torch.testing.assert_close(embedder.raw(crops), model(prepared), rtol=1e-4, atol=1e-4)


def test_a_bare_file_is_read_into_the_named_architecture(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        reference = timm.create_model("mobilenetv3_small_050", num_classes=16).eval()
    save_file(reference.state_dict(), tmp_path / "mine.safetensors")
    before = torch.get_rng_state()
    arguments: dict[str, Any] = {"model": "mobilenetv3_small_050", "dimension": 16}
    embedder = timm_hub.timm(file=str(tmp_path / "mine.safetensors"), **arguments)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        torch.testing.assert_close(embedder.raw(CROPS), reference(CROPS * 2 - 1), rtol=1e-4, atol=1e-5)

    with pytest.raises(WeightsError, match=r"mine\.safetensors: timm cannot build or run this model \(RuntimeError"):
        timm_hub.timm(file=str(tmp_path / "mine.safetensors"), model="mobilenetv3_small_050", dimension=17)
    with pytest.raises(WeightsError, match=r"args\.folder is given too"):
        timm_hub.timm(file="mine.safetensors", folder=str(tmp_path), **arguments)
    torch.save(reference.state_dict(), tmp_path / "mine.pth")
    for name in ("mine.pth", "absent.safetensors"):
        with pytest.raises(WeightsError, match=r"no \.safetensors file is there"):
            timm_hub.timm(file=str(tmp_path / name), **arguments)


def one_line(error: pytest.ExceptionInfo[WeightsError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith("Give args.folder (a folder with config.json and model.safetensors), or name a fallback.")
    return message


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(WeightsError) as error:
        timm_hub.arcface_vit_tiny(folder=str(folder))
    assert f"{name} is not there" in one_line(error)


def test_pickles_are_never_loaded(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(tiny_vit().state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"model\.safetensors is not there"):
        timm_hub.arcface_vit_tiny(folder=str(folder))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_classes": 256, "pretrained_cfg": {**CONFIG["pretrained_cfg"], "num_classes": 256}}, "size mismatch"),
        ({"architecture": "no_such_network"}, "Unknown model"),
        ({"model_args": {**CONFIG["model_args"], "colour": "blue"}}, "colour"),
        ({"model_args": {**CONFIG["model_args"], "depth": 2}}, "Missing key"),
    ],
    ids=["embedding size", "architecture", "argument", "depth"],
)
def test_config_that_does_not_fit_the_weights(change: dict[str, Any], reason: str, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | change))
    with pytest.raises(WeightsError) as error:
        timm_hub.arcface_vit_tiny(folder=str(folder))
    assert "timm cannot build or run this model" in one_line(error)
    assert reason in str(error.value)


def test_config_that_is_no_json(folder: Path) -> None:
    (folder / "config.json").write_text("<html>")
    with pytest.raises(WeightsError) as error:
        timm_hub.arcface_vit_tiny(folder=str(folder))
    assert "JSONDecodeError" in one_line(error)


def test_truncated_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError) as error:
        timm_hub.arcface_vit_tiny(folder=str(folder))
    assert "SafetensorError" in one_line(error)


def test_wrong_digest(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"sha256 is .* expected 000000000000"):
        timm_hub.timm(model="somebody/face", folder=str(folder), sha256="0" * 64)


def test_wrong_embedding_size(folder: Path) -> None:
    with pytest.raises(WeightsError) as error:
        timm_hub.timm(model="somebody/face", folder=str(folder), dimension=256)
    assert "one crop gives a tensor of (1, 512), expected (1, 256)" in one_line(error)


def test_wrong_crop_size(folder: Path) -> None:
    with pytest.raises(WeightsError) as error:
        timm_hub.timm(model="somebody/face", folder=str(folder), size=160)
    assert "160" in one_line(error)


def test_absent_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json is not there"):
        timm_hub.arcface_vit_tiny(folder=str(tmp_path / "absent"))


def point_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name a mirror, and leave no way to the hub itself."""
    monkeypatch.setenv(weights.MIRROR, endpoint)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


def failure_of_the_hub(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> tuple[str, float]:
    point_at(endpoint, monkeypatch)
    started = time.monotonic()
    with pytest.raises(WeightsError) as error:
        timm_hub.arcface_vit_tiny()
    return one_line(error), time.monotonic() - started


def test_unreachable_hub_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    message, seconds = failure_of_the_hub(monkeypatch, "http://127.0.0.1:9")  # nothing listens on the discard port
    assert "gaunernst/vit_tiny_patch8_112.arcface_ms1mv3: cannot be downloaded" in message
    assert "ConnectError" in message
    assert seconds < 60  # it hangs otherwise


def test_silent_hub_fails_after_a_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_HUB_TIMEOUT", 0.2)
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as silent:  # accepts, never answers
        message, seconds = failure_of_the_hub(monkeypatch, f"http://127.0.0.1:{silent.server_address[1]}")
    assert "timed out" in message
    assert seconds < 60  # it hangs otherwise


def test_offline_mode_asks_nobody(hub: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.OFFLINE, "1")
    with pytest.raises(WeightsError) as error:
        timm_hub.arcface_vit_tiny()
    assert "offline mode forbids to download it" in one_line(error)
    assert "Where there is a connection, run: facecrypt weights fetch arcface_vit_tiny" in str(error.value)
    assert not hub[1]


def test_offline_mode_of_the_hubs_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message, _ = failure_of_the_hub(monkeypatch, "http://127.0.0.1:9")
    assert "offline mode is enabled" in message


@pytest.mark.parametrize("model", ["a/b/c", "no spaces/here", ""])
def test_name_that_no_repository_can_have(model: str) -> None:
    with pytest.raises(WeightsError) as error:
        timm_hub.timm(model=model)
    assert "cannot be downloaded" in one_line(error)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[str]]]:
    """Serve a folder as every hub repository; yields the folder and the list of what was asked for."""
    folder, asked = tmp_path / "hub", []
    folder.mkdir()

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path.partition("?")[0])
            parts = asked[-1].strip("/").split("/")
            file = folder / parts[-1]
            if "resolve" in parts and file.is_file():
                self.answer(file.read_bytes(), hashlib.sha256(file.read_bytes()).hexdigest())
            elif "tree" in parts:
                files = [
                    {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0"} for f in folder.iterdir()
                ]
                self.answer(json.dumps(files).encode())
            elif "api" in parts:
                siblings = [{"rfilename": f.name} for f in folder.iterdir()]
                self.answer(json.dumps({"id": "somebody/face", "sha": COMMIT, "siblings": siblings}).encode())
            else:
                self.send_error(404)

        def do_GET(self) -> None:
            self.do_HEAD()

        def answer(self, content: bytes, etag: str = "none") -> None:
            self.send_response(200)
            for header, value in (("Content-Length", len(content)), ("ETag", f'"{etag}"'), ("X-Repo-Commit", COMMIT)):
                self.send_header(header, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        point_at(f"http://127.0.0.1:{server.server_address[1]}", monkeypatch)
        yield folder, asked
        server.shutdown()
        thread.join()


def test_downloads_once_and_then_needs_no_network(hub: tuple[Path, list[str]], folder: Path) -> None:
    served, asked = hub
    shutil.copytree(folder, served, dirs_exist_ok=True)
    (served / "pytorch_model.bin").write_bytes(b"a pickle that nobody wants")

    first = timm_hub.timm(model="hf_hub:somebody/face")
    torch.testing.assert_close(first.raw(CROPS), expected_embeddings(tiny_vit()), rtol=0, atol=1e-5)
    fetched = {path.rpartition("/")[2] for path in asked if "resolve" in path}
    assert fetched == {"config.json", "model.safetensors"}
    assert first.spec.weights.origin == "hub"
    assert first.spec.weights.find() is not None

    asked.clear()
    again = timm_hub.timm(model="somebody/face")
    torch.testing.assert_close(again.raw(CROPS), first.raw(CROPS))
    assert not asked


def test_everything_lands_in_the_one_cache_folder(hub: tuple[Path, list[str]], folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, hub[0], dirs_exist_ok=True)
    path = timm_hub.timm(model="somebody/face").spec.weights.find()
    assert path is not None
    assert path.is_relative_to(tmp_path / "cache" / "hub")
    assert not (tmp_path / "never used").exists()


def test_the_first_download_is_what_counts_without_a_digest(hub: tuple[Path, list[str]], folder: Path) -> None:
    shutil.copytree(folder, hub[0], dirs_exist_ok=True)
    path = timm_hub.timm(model="somebody/face").spec.weights.find()
    assert path is not None
    assert weights.recorded(path) == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    save_file(tiny_vit(seed=1).state_dict(), path.resolve())
    with pytest.raises(WeightsError) as error:
        timm_hub.timm(model="somebody/face")
    assert "when it was first downloaded" in one_line(error)


def test_completes_a_cache_that_lacks_a_file(hub: tuple[Path, list[str]], folder: Path) -> None:
    served, _ = hub
    shutil.copytree(folder, served, dirs_exist_ok=True)
    huggingface_hub.snapshot_download(
        "somebody/face",
        allow_patterns=["model.safetensors"],
        cache_dir=weights.hub_cache(),
        endpoint=weights.mirror(),
    )
    assert timm_hub.timm(model="somebody/face").raw(CROPS).shape == (2, 512)


def test_repository_without_safetensors(hub: tuple[Path, list[str]], folder: Path) -> None:
    served, asked = hub
    shutil.copy(folder / "config.json", served)
    torch.save(tiny_vit().state_dict(), served / "pytorch_model.bin")
    with pytest.raises(WeightsError) as error:
        timm_hub.timm(model="somebody/face")
    assert "model.safetensors is not there" in one_line(error)
    assert not any(path.endswith(".bin") for path in asked)
