"""A small network that makes a mask in one pass: the generator that ``facecrypt train`` trains."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from facecrypt.errors import FacecryptError
from facecrypt.methods.aligned import arcface
from facecrypt.system.private_files import write_whole
from facecrypt.system.regular import read_regular

SIZE = 144
"""Side of the aligned faces that it takes, in pixels."""
MARGIN = 16 / 112
"""What it sees beyond ArcFace's crop on each side, as a share of the crop."""
TEMPLATE = arcface(SIZE, MARGIN)

_FORMAT = "facecrypt mask network 1"
_MOST_BYTES = 16 << 20
_WIDTH = 16


class MaskNetwork(nn.Module):
    """Aligned faces ``(B, 3, 144, 144)``, RGB in [0, 1], to masks of the same shape: epsilon tanh(n(x) + u).

    n has an encoder of three convolutions that halve the picture, two residual blocks, and a decoder of three that
    double it again, after the generator of AdvFaces (Deb et al., IJCB 2020), smaller. u is the same for all faces, as
    in universal perturbations (Moosavi-Dezfooli et al., CVPR 2017): what a little training finds first.

    Args:
        epsilon: Largest change of a channel, in the [0, 1] scale.
    """

    epsilon: Tensor

    def __init__(self, epsilon: float = 12 / 255) -> None:
        super().__init__()
        self.register_buffer("epsilon", torch.tensor(epsilon))
        self.universal = nn.Parameter(torch.zeros(3, SIZE, SIZE))
        w = _WIDTH
        self.encoder = nn.Sequential(_down(3, w), _down(w, 2 * w), _down(2 * w, 4 * w))
        self.blocks = nn.ModuleList(nn.Sequential(_same(4 * w), nn.LeakyReLU(0.1), _same(4 * w)) for _ in range(2))
        last = nn.Conv2d(w, 3, 3, padding=1)
        nn.init.normal_(last.weight, std=0.2)  # Not near 0: a mask of nothing has no gradient, being the worst of all.
        self.decoder = nn.Sequential(
            _up(4 * w, 2 * w), _up(2 * w, w), nn.Upsample(scale_factor=2, mode="bilinear"), last
        )

    def forward(self, faces: Tensor) -> Tensor:
        """Return the masks."""
        x = self.encoder(faces * 2 - 1)
        for block in self.blocks:
            x = x + block(x)
        masks: Tensor = self.epsilon * torch.tanh(self.decoder(x) + self.universal)
        return masks


def _same(width: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, padding=1)


def _down(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.LeakyReLU(0.1))


def _up(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(before, after, 3, padding=1), nn.LeakyReLU(0.1)
    )


def embedded() -> Path:
    """Return the file of the network that comes with facecrypt."""
    return Path(str(resources.files("facecrypt") / "data" / "mask_network.safetensors"))


def write_network(network: MaskNetwork, surrogates: tuple[str, ...], path: Path) -> None:
    """Write a network in half precision, with the names of the recognisers by which it was trained.

    Raises:
        FacecryptError: If it cannot be written.
    """
    tensors = {name: each.detach().half().cpu().contiguous() for name, each in network.state_dict().items()}
    try:
        write_whole(path, [save(tensors, {"format": _FORMAT, "surrogates": "\n".join(surrogates)})])
    except OSError as error:
        raise FacecryptError(f"{path}: cannot be written ({error.strerror or error}). Name another file.") from error


def read_network(path: Path) -> tuple[MaskNetwork, tuple[str, ...]]:
    """Return a network of ``facecrypt train``, and the names of the recognisers by which it was trained.

    Raises:
        FacecryptError: If there is no such file, or it is no such network. Nothing in the file is run.
    """
    try:
        read_regular(path, _MOST_BYTES)
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118  it is no mapping
    except OSError as error:
        what = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise FacecryptError(f"{path}: {what}. Make one: facecrypt train RECIPE photos=FOLDER -o {path}") from error
    except Exception as error:  # safetensors has many classes of errors for a file that is none
        raise FacecryptError(f"{path}: is no network ({type(error).__name__}). Name one by facecrypt train.") from error
    with torch.device("meta"):  # No random numbers are drawn for weights that come from the file.
        network = MaskNetwork()
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise FacecryptError(
            f"{path}: has other weights than this version. Make it anew by facecrypt train."
        ) from error
    if told.get("format") != _FORMAT or not all(bool(each.isfinite().all()) for each in state.values()):
        raise FacecryptError(f"{path}: is no network of this version. Make it anew by facecrypt train.")
    return network.eval().requires_grad_(False), tuple(filter(None, told.get("surrogates", "").split("\n")))
