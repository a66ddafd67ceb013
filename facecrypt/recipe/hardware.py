"""Whether this machine has the devices that a recipe asks for. torch is imported only where GPUs matter."""

from __future__ import annotations

import os

from facecrypt.recipe.trainer_options import TrainerOptions

_FEW = 8
"""Processes on a CPU that nobody refuses, however few its cores are."""


def hardware_faults(options: TrainerOptions) -> list[str]:
    """Return what this machine lacks, one line per fault.

    Args:
        options: A checked part of a recipe.
    """
    accelerator, devices = options.accelerator, options.devices
    if accelerator in ("gpu", "cuda", "mps") and not _has(accelerator):
        return [
            f"trainer.accelerator: {accelerator!r} is not on this machine, as far as torch sees. Set auto, which takes "
            "what is here, or cpu."
        ]
    if devices == "auto" or (devices == 1 and accelerator == "auto"):
        return []
    if accelerator == "cpu" or not (_has("cuda") or _has("mps")):
        return _cpu_faults(devices)
    if accelerator == "mps" or not _has("cuda"):
        return [] if devices in (1, -1, [0]) else ["trainer.devices: Apple's GPU is one device. Set 1, or auto."]
    return _cuda_faults(devices) if "LOCAL_RANK" not in os.environ and options.num_nodes == 1 else []


def _cpu_faults(devices: int | list[int] | str) -> list[str]:
    most = max(_FEW, os.cpu_count() or 1)
    if isinstance(devices, int) and 1 <= devices <= most:
        return []
    return [f"trainer.devices: {devices} is wrong on a CPU: give a number of processes from 1 to {most}, or auto."]


def _cuda_faults(devices: int | list[int] | str) -> list[str]:
    import torch

    count = torch.cuda.device_count()
    asked = devices if isinstance(devices, list) else range(devices) if isinstance(devices, int) else []
    if all(each < count for each in asked):
        return []
    return [f"trainer.devices: {devices} asks for more than the {count} GPUs of this machine, numbered from 0."]


def _has(accelerator: str) -> bool:
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    return {"cuda": cuda, "mps": mps, "gpu": cuda or mps}[accelerator]
