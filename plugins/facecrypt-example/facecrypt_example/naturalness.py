"""A naturalness term: a mask whose neighbouring pixels agree is harder to see."""

from __future__ import annotations

from kornia.losses import total_variation
from torch import Tensor


class TotalVariation:
    """Anisotropic total variation of the mask, after Rudin et al. (1992, https://doi.org/10.1016/0167-2789(92)90242-F)."""

    def __init__(self) -> None: ...

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        """Return the penalty of each face, ``(B,)``, zero where the faces differ by one colour throughout.

        It is the mean of |m[y + 1, x] - m[y, x]| plus the mean of |m[y, x + 1] - m[y, x]| over views, channels and
        pixels, for the mask m = protected - original.

        Args:
            protected: Aligned faces in V views each, ``(B, V, 3, H, W)``, RGB in [0, 1].
            original: The same views of the untouched faces, of the same shape.
        """
        # Means, not sums: the weight of the term then keeps its meaning whatever the number of views and the size.
        return total_variation(protected - original, reduction="mean").mean(dim=(1, 2))
