"""frbench's recognisers, with random weights where frbench looks for its downloads."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from facecrypt import registry
from facecrypt.cli.main import main
from facecrypt.data import make_frbench_table
from facecrypt.errors import WeightsError
from facecrypt.surrogates import frbench_table, frbench_zoo, weights
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.frbench_cache import frbench_file
from tests import processes

NAME = "frbench_mobilefacenet_arcface"
KEY = "mobilefacenet_arcface_ms1m"
TEMPLATE = [[39.0, 52.0], [73.0, 52.0], [56.0, 72.0], [42.0, 92.0], [71.0, 92.0]]

Publish = Callable[[dict[str, Any]], None]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as frbench's cache, and no network."""
    pytest.importorskip("frbench", reason="frbench is not installed: pip install frbench")
    monkeypatch.setenv("FRBENCH_CONFIG", str(tmp_path / "config.json"))
    monkeypatch.setenv("FRBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FRBENCH_DOWNLOAD_VERBOSE", "0")
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def publish(cache: Path) -> Publish:
    """Return a function that puts a model with the given input settings where frbench looks for its download."""
    from frbench.backbones import build_backbone

    def put(inputs: dict[str, Any]) -> None:
        folder = cache / "the_model"
        folder.mkdir()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = build_backbone("mobilefacenet", {}, torch.device("cpu"))
        torch.save(network.state_dict(), folder / "weight.pth")
        config = {"backbone": {"name": "mobilefacenet", "kwargs": {"num_features": 512}}, "input": inputs}
        (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML.
        entry = {"asset_name": "model.tar.gz", "target_name": "the_model"}
        entry["contents"] = {"config": "config.yaml", "weight": "weight.pth"}
        detector = {"asset_name": "d.tar.gz", "target_name": "d", "contents": {"weight": "d.pth"}}
        manifest = {"__meta__": {"schema_version": 1}, KEY: entry, "retinaface_mobilenetv1": detector}
        (cache / "manifest.json").write_text(json.dumps(manifest))

    return put


def build(**args: object) -> Embedder:
    embedder = registry.build("surrogate", NAME, args)
    assert isinstance(embedder, Embedder)
    return embedder


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"channel": "bgr", "mean": [0.4, 0.5, 0.6], "var": [0.25, 0.5, 1.0], "template": TEMPLATE},
    ],
    ids=["defaults", "own"],
)
def test_answers_as_frbench_does(publish: Publish, inputs: dict[str, Any]) -> None:
    import frbench

    publish(inputs)
    before = torch.get_rng_state()
    embedder = build()
    assert torch.equal(torch.get_rng_state(), before)
    crops = torch.rand(3, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with frbench.configure_scoped(update_check=False), torch.random.fork_rng(devices=[]):
        reference = frbench.FR("mobilefacenet", "arcface", "ms1m")
        expected = reference(crops * 255, need_crop=False, tta=(), l2_normalize=True).embeddings
    torch.testing.assert_close(embedder(crops), expected.detach(), rtol=0, atol=1e-5)
    published = torch.tensor(inputs.get("template", frbench.ARCFACE_112_TEMPLATE.tolist()))
    torch.testing.assert_close(torch.tensor(embedder.spec.template), published)


def test_is_what_is_listed_where_the_model_has_the_defaults(publish: Publish) -> None:
    publish({"mean": [0.5, 0.5, 0.5], "var": [0.5, 0.5, 0.5], "size": [112, 112]})
    assert build().spec == frbench_table.specs()[NAME]
    assert build(threshold=0.3).spec.threshold == 0.3


def test_gradient_reaches_the_crop_and_faces_do_not_mix(publish: Publish) -> None:
    publish({})
    embedder = build()
    crops = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)).requires_grad_()
    embeddings = embedder(crops)
    (gradient,) = torch.autograd.grad(embeddings[0] @ embeddings[1].detach(), crops)
    assert functional.adaptive_max_pool2d(gradient[0].abs(), 4).min() > 0
    assert gradient[1].abs().max() == 0
    alone = torch.cat([embedder(crop[None]) for crop in crops])
    torch.testing.assert_close(alone, embeddings, rtol=0, atol=1e-5)


def test_weights_are_found_where_frbench_keeps_them(publish: Publish, cache: Path) -> None:
    weights = frbench_table.specs()[NAME].weights
    assert weights.find() is None
    publish({})
    assert weights.find() == cache / "the_model" / "weight.pth"
    assert frbench_file("irse-50_arcface_ms1m") is None
    (cache / "the_model" / "config.yaml").unlink()
    assert weights.find() is None
    for manifest in ("no JSON", "[]", json.dumps({KEY: {"contents": []}})):
        (cache / "manifest.json").write_text(manifest)
        assert weights.find() is None


def test_cache_of_frbenchs_config_file_is_used(
    publish: Publish, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish({})
    monkeypatch.delenv("FRBENCH_CACHE")
    (tmp_path / "config.json").write_text(json.dumps({"cache": str(cache)}))
    assert frbench_file(KEY) == cache / "the_model" / "weight.pth"


def test_damaged_weights(publish: Publish, cache: Path) -> None:
    publish({})
    (cache / "the_model" / "weight.pth").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=rf"weights {KEY} of frbench: frbench cannot get or read them \(") as caught:
        build()
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_downloaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from frbench.utils import download

    def unreachable(url: str, dest: str, **_: object) -> None:
        raise download.FRBenchDownloadError(f"Download failed ({url}): no network")

    monkeypatch.setattr(download, "_http_download", unreachable)
    with pytest.raises(WeightsError, match=r"cannot get or read them \(FRBenchDownloadError: .*manifest\.json.*no net"):
        build()


def test_without_frbench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "frbench", None)
    with pytest.raises(WeightsError, match=r"frbench is not installed: pip install 'frbench>=1\.1\.3,<2'"):
        build()


def test_unknown_recogniser() -> None:
    with pytest.raises(AttributeError, match="frbench_nothing"):
        _ = frbench_zoo.frbench_nothing


def test_table_is_the_installed_packages_own() -> None:
    frbench = pytest.importorskip("frbench", reason="frbench is not installed: pip install frbench")
    table = json.loads(make_frbench_table.FILE.read_text())
    if frbench.__version__ != table["version"]:
        pytest.skip(f"the table is that of frbench {table['version']}")
    assert make_frbench_table.make() == table
    from frbench.backbones import BACKBONE_REGISTRY

    assert {model["key"].split("_")[0] for model in table["models"]} <= set(BACKBONE_REGISTRY)


def test_every_model_is_listed_and_nothing_heavy_imported() -> None:
    program = (
        "import sys\nfrom facecrypt.cli.main import main\nmain(['list', 'surrogate'])\n"
        "print(sorted({'torch', 'frbench', 'timm', 'onnx', 'numpy', 'facenet_pytorch'} & set(sys.modules)))"
    )
    result = processes.run([sys.executable, "-c", program], check=True)
    *lines, heavy = result.stdout.splitlines()
    assert heavy == "[]"
    assert len(lines) - 1 >= 60
    assert len([line for line in lines if line.strip().startswith("frbench_")]) == 45


def test_what_frbench_says_of_a_model_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "surrogate", "frbench_irse50_arcface"]) == 0
    said = capsys.readouterr().out
    assert "accuracy: LFW 99.8 %" in said
    assert "licence: MIT" in said


def test_offline_mode_asks_frbench_for_no_download(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import frbench

    def connect(*args: object, **kwargs: object) -> None:
        pytest.fail("frbench was asked for weights that it would have to download")

    monkeypatch.setattr(frbench, "FR", connect)
    monkeypatch.setenv(weights.OFFLINE, "1")
    with pytest.raises(WeightsError, match="has not downloaded them yet, and offline mode forbids it to"):
        registry.build("surrogate", NAME, {})


def test_offline_mode_uses_what_is_there(publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    publish({})
    monkeypatch.setenv(weights.OFFLINE, "1")
    assert registry.build("surrogate", NAME, {}).spec.dimension == 512
