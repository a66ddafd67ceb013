"""Any network that turns an aligned face into a protected one, in one pass: a GAN, an inpainter, a mask network."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from facecrypt.errors import FacecryptError
from facecrypt.methods.aligned import align, arcface, draw, faded, replace_face
from facecrypt.methods.base import Task, Uses
from facecrypt.methods.mask_network import MARGIN, SIZE, embedded, read_network
from facecrypt.surrogates.checkpoint import load_state_dict
from facecrypt.surrogates.onnx.recogniser import OnnxNetwork
from facecrypt.system.naming import given_path
from facecrypt.system.texts import FreeText, PathText

ALLOW_CODE = "FACECRYPT_ALLOW_CODE"
"""Environment variable without which no file or class that runs code of its own is loaded."""


class Generator:
    """Protects each face by one pass of a network: face ``(1, 3, size, size)`` in, protected face of that shape out.

    The network is one of

    - a .safetensors file by ``facecrypt train``, or without any file the one that comes with facecrypt: it says itself
      how it takes faces, so `size`, `margin`, `output` and `signed` play no part;
    - an .onnx file, which onnxruntime runs in a process of its own;
    - a file of TorchScript, any other suffix, or a Python class, `class_path`. Both run code of whoever made them, in
      this process and with your rights, so they are loaded only where the environment variable FACECRYPT_ALLOW_CODE is
      1. Do that for files and packages that you trust as you trust a program.

    What it gives is drawn onto the landmarks of the face. The recognisers by which it was trained must be surrogates of
    the recipe, as far as its file says which they are, since their verdicts say nothing of others.

    Args:
        path: The file. With `class_path`, weights for it: safetensors, or a state dict of torch.
        class_path: A class of torch.nn.Module without arguments, ``package.module.Class``.
        size: Side of the faces that it takes, in pixels.
        margin: What they show beyond ArcFace's crop on each side, as a share of the crop.
        output: Whether it gives a ``face`` or a ``mask``, which is added to the face.
        signed: Whether pixels are in [-1, 1] in place of [0, 1], in and out.
        bounded: Whether the recipe's epsilon and budget bound the change. If not, a face takes the own one's place.
        feather: Width over which the change fades in from the border of the aligned square, as a share of its size.
    """

    uses: Uses = "gradients"
    native = False

    def __init__(
        self,
        *,
        path: PathText = "",
        class_path: FreeText = "",
        size: Annotated[int, Field(ge=8, le=2048)] = 112,
        margin: Annotated[float, Field(ge=0, le=2)] = 0.0,
        output: Literal["face", "mask"] = "face",
        signed: bool = False,
        bounded: bool = True,
        feather: Annotated[float, Field(ge=0, le=0.5)] = 0.0,
    ) -> None:
        self.bounded, self.feather, self.size, self.margin = bounded, feather, size, margin
        self.output, self.signed, self.file = output, signed, path or class_path
        self.trained_by: tuple[str, ...] = ()
        file = given_path(path) if path else embedded()
        if class_path:
            self.network = _python_class(class_path, file if path else None)
        elif file.suffix == ".safetensors":
            self.network, self.trained_by = read_network(file)
            self.size, self.margin, self.output, self.signed = SIZE, MARGIN, "mask", False
        else:
            self.network = OnnxNetwork(file) if file.suffix == ".onnx" else _torch_script(file)
        self.template = arcface(self.size, self.margin)

    def protect(self, task: Task) -> Sequence[Tensor]:
        """Return what turns each face into what the network made of it.

        Raises:
            FacecryptError: If it gives something else than a finite picture, or was trained by recognisers that are no
                surrogates of the recipe.
        """
        if unnamed := sorted(set(self.trained_by) - set(task.recognisers.names)):
            raise FacecryptError(
                f"method generator: {self.file or 'its network'} was trained by {', '.join(self.trained_by)}, and "
                f"{', '.join(unnamed)} would judge it as if it had not been. Name all of them under surrogates."
            )
        self.network.to(task.device)
        masks = []
        for face in task.faces:
            aligned = align(face, self.template, self.size).to(task.device)
            made = self._made(aligned)
            if self.output == "face" and not self.bounded:
                masks.append(replace_face(face, made, self.template, self.feather) - face.pixels.to(task.device))
                continue
            change = made if self.output == "mask" else made - aligned
            masks.append(draw(change * faded(self.size, self.feather).to(task.device), face, self.template))
        return masks

    def _made(self, aligned: Tensor) -> Tensor:
        shape = (1, 3, self.size, self.size)
        with torch.no_grad():
            came: object = self.network(aligned[None] * 2 - 1 if self.signed else aligned[None])
        if isinstance(came, Tensor) and isinstance(self.network, OnnxNetwork):
            came = came.view(shape) if came.numel() == aligned.numel() else came  # It gives rows of numbers.
        if not isinstance(came, Tensor) or came.shape != shape or not came.isfinite().all():
            given = f"{tuple(came.shape)} in {came.dtype}" if isinstance(came, Tensor) else type(came).__name__
            raise FacecryptError(
                f"method generator: {self.file} gave {given} for a face {shape}, not finite numbers of that shape. "
                "Mend args.size, or export it with one such output."
            )
        scale, shift = (2.0, 1.0 if self.output == "face" else 0.0) if self.signed else (1.0, 0.0)
        made = (came[0].float() + shift) / scale
        return made.clamp(0, 1) if self.output == "face" else made


def _require_trust(what: str) -> None:
    if os.environ.get(ALLOW_CODE) != "1":
        raise FacecryptError(
            f"method generator: {what} runs code of whoever made it. Where you trust it as a program, set the "
            f"environment variable {ALLOW_CODE}=1; a network in ONNX needs no such trust."
        )


def _torch_script(file: Path) -> nn.Module:
    _require_trust(f"{file}, as TorchScript,")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch would rather have everybody export anew.
            network: nn.Module = torch.jit.load(file, map_location="cpu")  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FacecryptError(
            f"method generator: {file} is no TorchScript ({reason}). Name such a file, or one in .onnx or .safetensors."
        ) from error
    return network.eval()


def _python_class(class_path: str, weights: Path | None) -> nn.Module:
    _require_trust(class_path)
    module, _, name = class_path.rpartition(".")
    try:
        made: object = getattr(importlib.import_module(module), name)()
    except Exception as error:  # somebody else's code
        raise FacecryptError(
            f"method generator: {class_path} cannot be made ({type(error).__name__}: {error}). Name a class that can "
            "be imported and takes no arguments."
        ) from error
    if not isinstance(made, nn.Module):
        raise FacecryptError(f"method generator: {class_path} is {type(made).__name__}, no torch.nn.Module. Name one.")
    if weights is not None:
        try:
            made.load_state_dict(load_state_dict(weights))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise FacecryptError(f"method generator: {weights} does not fit {class_path} ({reason}).") from error
    return made.eval().requires_grad_(False)
