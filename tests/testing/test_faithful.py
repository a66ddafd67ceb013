"""What keeps every promise is accepted, however unlike the built-in components it is."""

from __future__ import annotations

import pytest

from facecrypt import testing
from tests.testing import faithful

CASES = [
    (faithful.LotsOptimizer, {}, []),
    (faithful.LotsGradient, {}, []),
    pytest.param(faithful.LotsMethod, {}, [], marks=pytest.mark.slow),
    (faithful.PictureVariation, {}, []),
    (faithful.PictureVariation, {"smooth": None}, []),
    (faithful.LowKeyTerm, {"away": 0.0}, []),
    (faithful.LowKeyTerm, {"alpha": 0.0}, ["tells_changed_faces_from_untouched_ones: it rewards change"]),
    (faithful.CentreFeatures, {}, []),
    (faithful.FixedBlur, {}, []),
]


@pytest.mark.parametrize(("component", "args", "remarks"), CASES, ids=lambda each: getattr(each, "__name__", None))
def test_faithful_components_are_accepted(component: type, args: dict[str, object], remarks: list[str]) -> None:
    said = [each for each in testing.check(component, args=args) if "needs a CUDA device" not in each]
    assert len(said) == len(remarks)
    assert all(line.startswith(remark) for line, remark in zip(said, remarks, strict=True))
