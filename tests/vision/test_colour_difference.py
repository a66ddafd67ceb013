from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.color import deltaE_ciede2000, rgb2lab

from facecrypt.faces.face import Face
from facecrypt.faces.patches import face_area
from facecrypt.photos.files import Photo
from facecrypt.vision.colour_difference import ciede2000, delta_e, delta_e_of_parts
from facecrypt.vision.face_parts import part_maps

# L, a, b of both colours, and their difference: table 1 of Sharma, Wu and Dalal (2005).
PUBLISHED = """
50.0000   2.6772 -79.7751  50.0000   0.0000 -82.7485   2.0425
50.0000   3.1571 -77.2803  50.0000   0.0000 -82.7485   2.8615
50.0000   2.8361 -74.0200  50.0000   0.0000 -82.7485   3.4412
50.0000  -1.3802 -84.2814  50.0000   0.0000 -82.7485   1.0000
50.0000  -1.1848 -84.8006  50.0000   0.0000 -82.7485   1.0000
50.0000  -0.9009 -85.5211  50.0000   0.0000 -82.7485   1.0000
50.0000   0.0000   0.0000  50.0000  -1.0000   2.0000   2.3669
50.0000  -1.0000   2.0000  50.0000   0.0000   0.0000   2.3669
50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0009   7.1792
50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0010   7.1792
50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0011   7.2195
50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0012   7.2195
50.0000  -0.0010   2.4900  50.0000   0.0009  -2.4900   4.8045
50.0000  -0.0010   2.4900  50.0000   0.0010  -2.4900   4.8045
50.0000  -0.0010   2.4900  50.0000   0.0011  -2.4900   4.7461
50.0000   2.5000   0.0000  50.0000   0.0000  -2.5000   4.3065
50.0000   2.5000   0.0000  73.0000  25.0000 -18.0000  27.1492
50.0000   2.5000   0.0000  61.0000  -5.0000  29.0000  22.8977
50.0000   2.5000   0.0000  56.0000 -27.0000  -3.0000  31.9030
50.0000   2.5000   0.0000  58.0000  24.0000  15.0000  19.4535
50.0000   2.5000   0.0000  50.0000   3.1736   0.5854   1.0000
50.0000   2.5000   0.0000  50.0000   3.2972   0.0000   1.0000
50.0000   2.5000   0.0000  50.0000   1.8634   0.5757   1.0000
50.0000   2.5000   0.0000  50.0000   3.2592   0.3350   1.0000
60.2574 -34.0099  36.2677  60.4626 -34.1751  39.4387   1.2644
63.0109 -31.0961  -5.8663  62.8187 -29.7946  -4.0864   1.2630
61.2901   3.7196  -5.3901  61.4292   2.2480  -4.9620   1.8731
35.0831 -44.1164   3.7933  35.0232 -40.0716   1.5901   1.8645
22.7233  20.0904 -46.6940  23.0331  14.9730 -42.5619   2.0373
36.4612  47.8580  18.3852  36.2715  50.5065  21.2231   1.4146
90.8027  -2.0831   1.4410  91.1528  -1.6435   0.0447   1.4441
90.9257  -0.5406  -0.9208  88.6381  -0.8985  -0.7239   1.5381
 6.7747  -0.2908  -2.4247   5.8714  -0.0985  -2.2286   0.6377
 2.0776   0.0795  -1.1350   0.9033  -0.0636  -0.5514   0.9082
"""


def published() -> tuple[torch.Tensor, torch.Tensor, list[float]]:
    rows = torch.tensor(np.array([line.split() for line in PUBLISHED.strip().split("\n")], float))
    first, second, expected = rows.split([3, 3, 1], dim=1)
    return first.view(-1, 3, 1, 1), second.view(-1, 3, 1, 1), expected.flatten().tolist()


def test_ciede2000_is_that_of_the_published_table() -> None:
    first, second, expected = published()
    assert len(expected) == 34
    for a, b in ((first, second), (second, first)):
        assert ciede2000(a, b).flatten().tolist() == pytest.approx(expected, abs=5.1e-5)


def test_ciede2000_of_any_colours_is_that_of_another_library(generator: torch.Generator) -> None:
    spread = torch.tensor([100.0, 160.0, 160.0], dtype=torch.float64).view(3, 1, 1)
    first = torch.rand(1, 3, 40, 40, generator=generator, dtype=torch.float64) * spread
    first = first - torch.tensor([0.0, 80.0, 80.0]).view(3, 1, 1)
    second = first + 3 * torch.randn(first.shape, generator=generator, dtype=torch.float64)
    expected = deltaE_ciede2000(*(each[0].permute(1, 2, 0).numpy() for each in (first, second)))
    np.testing.assert_allclose(ciede2000(first, second)[0].numpy(), expected, atol=1e-4)


def test_gradients_of_ciede2000_are_those_of_finite_differences() -> None:
    first, second, _ = published()
    # Beside the jumps that the formula has where hues are opposite, and the points where it has no slope.
    smooth = [0, 3, 16, 20, 24, 26, 28, 30, 33]
    assert torch.autograd.gradcheck(lambda x: ciede2000(x, second[smooth]), first[smooth].requires_grad_())


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_gradients_are_finite_where_there_is_no_colour(value: float) -> None:
    original = torch.full((1, 3, 112, 112), value)
    for changed in (original.clone(), (original - 0.03).abs()):
        changed.requires_grad_()
        (gradient,) = torch.autograd.grad(delta_e_of_parts(changed, original).sum(), changed)
        assert gradient.isfinite().all()


def test_the_difference_of_parts_is_that_of_a_slow_reference(photo: Photo, face: Face) -> None:
    before = face_area(photo, face)
    after = (before + 0.05 * torch.randn(before.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    low = [
        rgb2lab(gaussian_filter(each[0].permute(1, 2, 0).double().numpy(), (1.5, 1.5, 0), mode="nearest"))
        for each in (before, after)
    ]
    moved, maps = deltaE_ciede2000(*low), part_maps().numpy()
    expected = [np.average(moved, weights=map) for map in maps]
    assert delta_e_of_parts(after, before)[0].tolist() == pytest.approx(expected, rel=0.01)
    assert delta_e(after, before).item() == pytest.approx(max(expected), rel=0.01)
    assert delta_e(before, before).item() == 0


def test_colour_counts_where_it_is_watched(photo: Photo, face: Face) -> None:
    """The same tint of the irises, of the mouth, and of the corners, where hair and background are."""
    before = face_area(photo, face)
    tint = torch.tensor([0.06, 0.0, -0.06]).view(1, 3, 1, 1)
    eyes, mouth, skin = (delta_e_of_parts(before + tint * (map > 0.5), before)[0] for map in part_maps())
    assert eyes.argmax() == 0
    assert mouth.argmax() == 1
    assert skin.argmax() == 2
    corners = torch.zeros(1, 1, 112, 112)
    corners[..., :12, :12] = corners[..., -12:, -12:] = 1
    assert delta_e(before + tint * corners, before).item() < 0.01


def test_what_no_eye_resolves_is_free(photo: Photo, face: Face) -> None:
    """A chequered tint of single pixels, beside the same tint throughout."""
    before = face_area(photo, face).clamp(0.1, 0.9)
    place = torch.arange(112)
    squares = ((place.view(-1, 1) + place) % 2 * 2 - 1).view(1, 1, 112, 112)
    tint = 0.05 * torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1)
    assert delta_e(before + tint * squares, before) < 0.1 * delta_e(before + tint, before)
