"""A surrogate: SFace with flip augmentation, as deployed systems use it at test time."""

from __future__ import annotations

from torch import Tensor, nn

from facecrypt.plugin import Embedder
from facecrypt.surrogates import sface
from facecrypt_example import SFACE_FLIP


def build() -> Embedder:
    """Return SFace applied to the face and its mirror image, embeddings summed, 128-d.

    It has SFace's weights, so it is no independent witness: facecrypt refuses a run in which one of the two gives
    gradients and the other judges.

    Raises:
        WeightsError: If SFace's weights are not installed or not the expected file.
    """
    return Embedder(FlipSum(sface.build().network), SFACE_FLIP)


class FlipSum(nn.Module):
    """Adds the embeddings of a face and of its mirror image.

    Args:
        network: Maps prepared crops ``(B, 3, H, W)`` to raw embeddings ``(B, D)``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> Tensor:
        """Return the raw embeddings ``(B, D)`` of prepared crops ``(B, 3, H, W)``: the same for a mirrored crop."""
        embeddings: Tensor = self.network(crops) + self.network(crops.flip(3))
        return embeddings
