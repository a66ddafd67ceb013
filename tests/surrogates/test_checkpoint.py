from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from facecrypt.errors import WeightsError
from facecrypt.surrogates.checkpoint import fill, load_state_dict


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


class Intruder:
    """Makes a file when it is unpickled, as a hostile checkpoint might run anything."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def one_line(error: pytest.ExceptionInfo[WeightsError], path: Path) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"weights {path}: ")
    return message


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_come_out_as_they_went_in(name: str, zipped: bool, tmp_path: Path) -> None:
    state, path = network().state_dict(), tmp_path / name
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
    loaded = load_state_dict(path)
    assert list(loaded) == list(state) or path.suffix == ".safetensors"
    for key, tensor in state.items():
        assert torch.equal(loaded[key], tensor)


def test_an_entry_of_a_training_checkpoint(tmp_path: Path) -> None:
    state, path = network().state_dict(), tmp_path / "last.pt"
    torch.save({"epoch": 3, "state_dict": state}, path)
    assert torch.equal(load_state_dict(path)["3.bias"], state["3.bias"])
    torch.save({"epoch": 3, "model": state}, path)
    with pytest.raises(WeightsError) as error:
        load_state_dict(path)
    assert "it holds no named tensors (but epoch: int, model: " in one_line(error, path)


@pytest.mark.parametrize("how", ["torch", "torch before 1.6", "pickle"])
def test_a_pickle_that_would_run_code_is_refused(how: str, tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "net.pt"
    content = {"weight": torch.zeros(1), "more": Intruder(trap)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(WeightsError) as error:
        load_state_dict(path)
    message = one_line(error, path)
    if how != "pickle":  # Anything but torch's own formats is no checkpoint, whatever is in it.
        assert "mkdir" in message
        assert "refused" in message
    assert not trap.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(network(), path)
    with pytest.raises(WeightsError) as error:
        load_state_dict(path)
    assert "torch.nn.modules" in one_line(error, path)
    assert "would run code from the file: refused" in str(error.value)


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "a web page"])
def test_a_damaged_file(name: str, damage: str, tmp_path: Path) -> None:
    path = tmp_path / name
    save_file(network().state_dict(), path) if name.endswith("safetensors") else torch.save(
        network().state_dict(), path
    )
    content = path.read_bytes()
    path.write_bytes({"truncated": content[:-100], "empty": b"", "a web page": b"<html>not found</html>"}[damage])
    with pytest.raises(WeightsError) as error:
        load_state_dict(path)
    assert "no checkpoint, or a truncated one" in one_line(error, path)
    assert "Delete it and download it again." in str(error.value)


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    with pytest.raises(WeightsError, match="no checkpoint, or a truncated one"):
        load_state_dict(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("net.pt", "net.safetensors"):
        with pytest.raises(WeightsError, match="there is no such file"):
            load_state_dict(tmp_path / name)


def test_a_checkpoint_that_holds_one_tensor(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="it holds no named tensors \\(but a Tensor\\)"):
        load_state_dict(tmp_path / "net.pt")


def test_a_network_is_filled_and_the_classifier_left_out() -> None:
    source, goal = network(), network()
    fill(goal, {**source.state_dict(), "logits.weight": torch.zeros(2)}, "net.pt", ignore=("logits.",))
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), goal.parameters(), strict=True))


def test_a_network_on_the_meta_device_becomes_real() -> None:
    source, state = network().eval(), network().state_dict()
    fill(source, state, "net.pt")
    with torch.device("meta"):
        goal = network().eval()
    # Half precision is a way to save space, and torch before 0.4.1 did not count batches.
    halved = {name: tensor.half() for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    fill(goal, halved, "net.pt")
    crops = torch.rand(2, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    assert goal(crops).dtype == torch.float32
    torch.testing.assert_close(goal(crops), source(crops), rtol=0, atol=1e-2)


def test_what_does_not_fit_is_named() -> None:
    state = network().state_dict()
    state["0.scale"] = state.pop("0.weight")
    for number in range(5):
        state[f"head.{number}"] = torch.zeros(1)
    state["3.bias"] = torch.zeros(3)
    with pytest.raises(WeightsError) as error:
        fill(network(), state, "net.pt")
    assert str(error.value) == (
        "weights net.pt: it does not fit Sequential. missing: 0.weight; "
        "unexpected: 0.scale, head.0, head.1 and 3 more; "
        "wrong shape: 3.bias is (3,), not (2,). Name the checkpoint of this recogniser."
    )
