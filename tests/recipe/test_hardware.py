from __future__ import annotations

from typing import Any

import pytest
import torch

from facecrypt.errors import RecipeError
from facecrypt.recipe import hardware
from facecrypt.recipe.check import check_recipe
from facecrypt.recipe.hardware import hardware_faults
from facecrypt.recipe.trainer_options import TrainerOptions

CUDA = {"cuda": True, "mps": False, "gpu": True}
MPS = {"cuda": False, "mps": True, "gpu": True}
NONE = {"cuda": False, "mps": False, "gpu": False}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("machine", "options", "fault"),
    [
        (NONE, {}, ""),
        (NONE, {"devices": 1}, ""),
        (NONE, {"devices": 8}, ""),
        (NONE, {"accelerator": "cpu", "devices": 2}, ""),
        (NONE, {"devices": 9}, "trainer.devices: 9 is wrong on a CPU: give a number of processes from 1 to 8"),
        (CUDA, {"accelerator": "cpu", "devices": [0]}, "trainer.devices: [0] is wrong on a CPU"),
        (NONE, {"devices": -1}, "trainer.devices: -1 is wrong on a CPU"),
        (NONE, {"accelerator": "gpu"}, "trainer.accelerator: 'gpu' is not on this machine"),
        (NONE, {"accelerator": "cuda"}, "trainer.accelerator: 'cuda' is not on this machine"),
        (CUDA, {"accelerator": "mps"}, "trainer.accelerator: 'mps' is not on this machine"),
        (CUDA, {"accelerator": "gpu"}, ""),
        (CUDA, {"accelerator": "gpu", "devices": 2}, ""),
        (CUDA, {"accelerator": "cuda", "devices": [1]}, ""),
        (CUDA, {"devices": -1}, ""),
        (CUDA, {"devices": 3}, "trainer.devices: 3 asks for more than the 2 GPUs of this machine"),
        (CUDA, {"devices": [2]}, "trainer.devices: [2] asks for more than the 2 GPUs of this machine"),
        (CUDA, {"devices": 3, "num_nodes": 2}, ""),
        (MPS, {"accelerator": "gpu", "devices": 1}, ""),
        (MPS, {"devices": 2}, "trainer.devices: Apple's GPU is one device"),
    ],
)
def test_what_a_machine_lacks(
    machine: dict[str, bool], options: dict[str, Any], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_has", machine.__getitem__)
    found = hardware_faults(TrainerOptions(**options))
    assert len(found) == bool(fault)
    assert not fault or found[0].startswith(fault)


def test_a_process_of_a_launcher_sees_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_has", CUDA.__getitem__)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert hardware_faults(TrainerOptions(devices=4)) == []


def test_a_recipe_is_checked_against_the_machine_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_has", NONE.__getitem__)
    values = {
        "surrogates": [{"name": "sface"}],
        "trainer": {"accelerator": "gpu"},
        "strength": {"judges": [{"name": "dlib_resnet"}], "levels": ["low", "mid"]},
    }
    with pytest.raises(RecipeError) as caught:
        check_recipe(values)
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("devices", 0), ("devices", -2), ("devices", []), ("devices", [0, 0]), ("devices", [-1]), ("devices", "all"),
        ("devices", "0"), ("devices", 10**6), ("devices", True), ("devices", [True]), ("devices", 1.0),
        ("devices", None),
        ("accelerator", "tpu"), ("accelerator", "GPU"), ("strategy", "fsdp"), ("strategy", "ddp_spawn"),
        ("precision", "bf16-true"), ("precision", 16), ("precision", "64"), ("num_nodes", 0), ("num_nodes", 10**6),
    ],
)  # fmt: skip
def test_values_that_no_machine_has(key: str, value: object) -> None:
    with pytest.raises(RecipeError) as caught:
        check_recipe({"surrogates": [{"name": "sface"}], "trainer": {key: value}})
    (fault,) = caught.value.faults
    assert fault.startswith(f"trainer.{key}: ")


@pytest.mark.parametrize(("given", "meant"), [("2", 2), ("0,1", [0, 1]), ("1,", [1]), ("-1", -1), ("auto", "auto")])
def test_devices_as_lightning_writes_them(given: str, meant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_has", CUDA.__getitem__)
    recipe = check_recipe({"surrogates": [{"name": "sface"}], "trainer": {"devices": given}})
    assert recipe.trainer.devices == meant
