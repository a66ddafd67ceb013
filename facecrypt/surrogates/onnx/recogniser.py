"""Any face recogniser in an ONNX file. As a judge it is run by onnxruntime, as a surrogate by torch, with gradients."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from facecrypt.errors import FacecryptError, WeightsError
from facecrypt.surrogates import weights
from facecrypt.surrogates.catalogue import INSIGHTFACE_BUFFALO_L, INSIGHTFACE_BUFFALO_S
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.onnx.child import OnnxFile, inputs_of, run
from facecrypt.surrogates.onnx.graph import ROUNDING, differs, read_graph
from facecrypt.surrogates.spec import (
    Cosine,
    Dimension,
    EmbedderSpec,
    Side,
    Weights,
    verify_sha256,
)
from facecrypt.system import limits
from facecrypt.system.child import Child, ChildError
from facecrypt.system.naming import given_path
from facecrypt.system.regular import is_regular
from facecrypt.templates import ARCFACE_TEMPLATE, Template

Size = tuple[Side, Side]
Point = tuple[float, float]
Points = tuple[Point, Point, Point, Point, Point]
Sha256 = Annotated[str, Field(pattern="^([0-9a-fA-F]{64})?$")]

Result = TypeVar("Result")


def onnx(
    *,
    path: str,
    dimension: Dimension,
    sha256: Sha256 = "",
    size: Side | Size = 112,
    template: Literal["arcface"] | Points = "arcface",
    channel_order: Literal["rgb", "bgr"] = "rgb",
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5),
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (127.5, 127.5, 127.5),
    threshold: Cosine | None = None,
    licence: str = "not stated",
    permissive: bool = False,
) -> Embedder:
    """Return any recogniser in an ONNX file.

    As a judge it is run by onnxruntime. As a surrogate it is converted to torch before the run, and refused there if an
    operator of the file is unknown or cannot be differentiated.

    Mean and std must be those of the network, or it runs all the same and judges badly. A network that scales its input
    itself has mean 0 and std 1.

    Args:
        path: The file. It takes one float32 crop ``(1, 3, H, W)``, or a batch of any size, and its first output is the
            embedding.
        dimension: Length of an embedding.
        sha256: Digest that the file must have; not checked where empty.
        size: Rows and columns of the crop in pixels, or one number for both.
        template: Left eye, right eye, nose, left and right mouth corner in the crop: x, y in pixels. ``arcface`` is
            ArcFace's crop of 112, scaled to the rows and centred in the columns; so 112x96 is that of SphereFace.
        channel_order: Order in which the network reads colours.
        mean: Subtracted from red, green and blue, in grey levels of 0..255.
        std: Divides red, green and blue after that, in grey levels.
        threshold: Cosine from which two faces are one person; null where nobody measured it.
        licence: Licence of the file, for the reader of the report.
        permissive: Whether you know that the licence, that of the training data included, allows products.

    Raises:
        WeightsError: If onnxruntime is not installed, or the file is missing, corrupt, another one, or takes or returns
            something else.
    """
    height, width = (size, size) if isinstance(size, int) else size
    file = given_path(path)
    if sha256:
        verify_sha256(file, sha256.lower())
    return OnnxEmbedder(
        _verified(file, height, width, dimension, alone=bool(sha256)),
        EmbedderSpec(
            height=height,
            width=width,
            template=_arcface(height, width) if template == "arcface" else template,
            channel_order=channel_order,
            mean=mean,
            std=std,
            dimension=dimension,
            threshold=threshold,
            threshold_source="not measured" if threshold is None else "given by the recipe",
            weights=Weights(
                origin="file",
                source="",
                path=str(file),
                sha256=sha256.lower(),
                licence=licence,
                size=file.stat().st_size,
                permissive=permissive,
            ),
        ),
    )


def insightface_buffalo_l(*, path: str = INSIGHTFACE_BUFFALO_L.weights.path) -> Embedder:
    """Return the recogniser of InsightFace's model pack buffalo_l (ResNet-50, ArcFace, WebFace600K), 512-d.

    Args:
        path: The file w600k_r50.onnx of the pack; by default where the insightface package keeps it.

    Raises:
        WeightsError: If onnxruntime is not installed, or the file is missing or another one.
    """
    return _insightface(INSIGHTFACE_BUFFALO_L, path)


def insightface_buffalo_s(*, path: str = INSIGHTFACE_BUFFALO_S.weights.path) -> Embedder:
    """Return the recogniser of InsightFace's model pack buffalo_s (MobileFaceNet, ArcFace, WebFace600K), 512-d.

    Args:
        path: The file w600k_mbf.onnx of the pack; by default where the insightface package keeps it.

    Raises:
        WeightsError: If onnxruntime is not installed, or the file is missing or another one.
    """
    return _insightface(INSIGHTFACE_BUFFALO_S, path)


def _insightface(spec: EmbedderSpec, path: str) -> Embedder:
    file = given_path(path)
    if not file.is_file():
        raise WeightsError(
            f"weights {file}: there is no such file. It comes with the model pack {spec.weights.source}, which the "
            "insightface package downloads. Get that, or name the file in args.path."
        )
    weights.check(file, spec.weights.sha256, spec.weights.size)
    network = _verified(file, spec.height, spec.width, spec.dimension, alone=True)
    return OnnxEmbedder(network, replace(spec, weights=replace(spec.weights, path=path)))


def _verified(file: Path, height: int, width: int, dimension: int, *, alone: bool) -> OnnxNetwork:
    network = OnnxNetwork(file, alone=alone)
    try:
        network.verify(height, width, dimension)
    except BaseException:
        network.close()
        raise
    return network


class OnnxEmbedder(Embedder):
    """A recogniser in an ONNX file: its network is an `OnnxNetwork`, and an `OnnxGraph` once it must give gradients."""

    def require_gradients(self) -> None:
        """Run by torch from now on.

        Raises:
            WeightsError: If an operator of the file is unknown or cannot be differentiated, or torch and onnxruntime
                disagree about the embeddings of two crops.
        """
        if not isinstance(self.network, OnnxNetwork):
            return
        file, spec = self.network.file, self.spec
        # Noise, because a flat crop could hide a wrong padding; prepared, because the graph expects that range.
        shape = (2, 3, spec.height, spec.width)
        noise = 255 * torch.rand(shape, generator=torch.Generator().manual_seed(0))
        crops = (noise - self._mean.float().cpu()) / self._std.float().cpu()
        graph = read_graph(file, crops)
        with torch.no_grad():
            difference = differs(self.network(crops), graph(crops))
        if not difference < ROUNDING:
            raise WeightsError(
                f"weights {file}: torch computes other embeddings than onnxruntime (relative difference "
                f"{difference:.2g}), so its gradients cannot be trusted. Name it under held_out, where it needs none."
            )
        self.network.close()
        self.network = graph.eval().to(self._mean.device, self._mean.dtype)


class OnnxNetwork(nn.Module):
    """The network of an ONNX file as onnxruntime runs it: on the CPU wherever its input is, without gradients.

    It runs in a process of its own, within bounds of time and memory: the file is somebody's program.

    Args:
        file: The file.
        alone: Whether its weights must be inside it.
    """

    def __init__(self, file: Path, *, alone: bool = False) -> None:
        super().__init__()
        self.file = file
        self._child: Child | None = None
        self._broken = ""
        self._alone = alone

    def forward(self, prepared: Tensor) -> Tensor:
        """Return the raw embeddings ``(B, D)`` of prepared crops ``(B, 3, H, W)``.

        Raises:
            FacecryptError: If a gradient is wanted.
            WeightsError: If the file cannot be run on a crop, or takes more time or memory than it may.
        """
        if prepared.requires_grad and torch.is_grad_enabled():
            raise FacecryptError(
                f"surrogate onnx: {self.file} was asked for a gradient, which onnxruntime does not compute. Call "
                "require_gradients() of its embedder first, or name it under surrogates in a recipe, which does that."
            )
        crops = prepared.detach().float().cpu().numpy()
        # One at a time: many files fix their batch at 1, some only deep inside, and on a CPU a batch gains nothing.
        embeddings = [self._call(run, crop[None]).reshape(-1) for crop in crops]
        return torch.from_numpy(np.stack(embeddings)).to(prepared.device)

    def verify(self, height: int, width: int, dimension: int) -> None:
        """Check that one crop in gives one embedding out.

        Raises:
            WeightsError: If it does not, or if the file cannot be run.
        """
        inputs = self._call(inputs_of)
        given = [1, 3, height, width]
        if len(inputs) != 1 or inputs[0][0] != "tensor(float)" or not _fits(given, inputs[0][1]):
            takes = " and ".join(f"{kind} {shape}" for kind, shape in inputs)
            raise self._fault(
                f"it takes {takes}, but gets tensor(float) {given}", "Mend args.size, or export the network like that"
            )
        shape = self._call(run, np.zeros(given, np.float32)).shape
        if int(np.prod(shape)) != dimension:
            raise self._fault(f"one crop gives {list(shape)}, not {dimension} numbers", "Mend args.dimension")

    def __getstate__(self) -> dict[str, Any]:
        """Leave the other process behind, which cannot be pickled: whoever gets the copy starts one of its own."""
        return {**self.__dict__, "_child": None}

    def _call(self, function: Callable[..., Result], *arguments: NDArray[np.float32]) -> Result:
        if self._broken:
            raise WeightsError(self._broken)
        if self._child is None:
            if importlib.util.find_spec("onnxruntime") is None:
                raise WeightsError(
                    f"weights {self.file}: ONNX files need onnxruntime, which is not installed. "
                    "Install it: pip install 'facecrypt[onnx]'"
                )
            self._child = Child("facecrypt.surrogates.onnx.child")
        memory = int(_SHARE * limits.free_memory())
        size = self.file.stat().st_size if is_regular(self.file) else 0
        try:
            return self._child.call(
                function,
                OnnxFile(Path(os.path.abspath(self.file)), self._alone, torch.get_num_threads()),
                *arguments,
                seconds=_SECONDS + size // _BYTES_PER_SECOND,
                memory=memory,
            )
        except ChildError as error:
            what = f"it {error} to open or to run" if error.overtime else f"it cannot be run: {error}"
        except MemoryError:
            what = f"it needs more than {limits.show_size(memory)} of memory"
        fault = self._fault(what, "No recogniser does; use another file")
        self._broken = str(fault)  # It will not do better on the next face.
        self.close()
        raise fault

    def close(self) -> None:
        """End the other process; the next crop starts another one."""
        if self._child:
            self._child.close()

    def _fault(self, what: str, remedy: str) -> WeightsError:
        return WeightsError(f"weights {self.file}: {what}. {remedy}.")


_SECONDS, _BYTES_PER_SECOND = 10.0, 2**30 // 20
"""Seconds of computing, on all cores together, to open a file or to run it on one crop."""
_SHARE = 0.5
"""Share of the free memory that it may take."""


def _arcface(height: int, width: int) -> Template:
    scale = height / 112
    return tuple((x * scale - (height - width) / 2, y * scale) for x, y in ARCFACE_TEMPLATE)


def _fits(given: list[int], declared: list[int | str | None]) -> bool:
    """Return whether a shape fits a declared one, in which names and None stand for any number."""
    if len(given) != len(declared):
        return False
    return all(b in (a, None) or isinstance(b, str) for a, b in zip(given, declared, strict=True))
