"""`facecrypt.testing.check`: wrong components of every kind, each told in a line that names the fault."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facecrypt import registry, testing
from facecrypt.optimizers.base import Momentum, Plain
from facecrypt.registry import KINDS, Kind
from facecrypt.views.base import blur
from tests.testing.wrong import SEEN, WRONG, Thumbnail


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()


def told(component: object, **given: Any) -> list[str]:
    """Return the lines on a component that is refused."""
    with pytest.raises(AssertionError) as caught:
        testing.check(component, **given)
    return str(caught.value).split("\n  ")


def _cases() -> list[Any]:
    """Return all wrong components, of which two of each kind are tried by default."""
    counts: Counter[Kind] = Counter()
    cases = []
    for kind, component, says in WRONG:
        counts[kind] += 1
        marks = [pytest.mark.slow] if counts[kind] > 2 else []
        cases.append(pytest.param(kind, component, says, marks=marks, id=f"{kind}-{counts[kind]}"))
    return cases


@pytest.mark.parametrize(("kind", "component", "says"), _cases())
def test_what_is_wrong_is_named(kind: Kind, component: object, says: str) -> None:
    first, *faults = told(component, kind=kind)
    assert first.startswith(f"{kind.replace('_', ' ')} ")
    assert re.search(says, "\n".join([first, *faults])), "\n".join(faults)
    assert len(faults) <= 7, "what follows from one fault is told too often"
    assert all(len(line) < 600 and "\n" not in line for line in faults)
    assert torch.is_grad_enabled()


def test_each_kind_is_wrong_in_some_way() -> None:
    others = {"judge", "detector", "region"}  # tests/testing/test_promises.py and the tests of their own
    assert {kind for kind, _, _ in WRONG} == set(KINDS) - others
    assert set(testing.CHECKS) == set(KINDS)


class Term:
    """A penalty with an argument.

    Args:
        scale: What it is multiplied by.
    """

    def __init__(self, *, scale: float = 1.0) -> None:
        self.scale = scale

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        return self.scale * (protected - original).square().mean(dim=(1, 2, 3, 4))


class Module(nn.Module):
    def forward(self, protected: Tensor, original: Tensor) -> Tensor:
        return (protected - original).square().mean(dim=(1, 2, 3, 4))


def test_a_component_is_found_in_each_form() -> None:
    for component in (
        Momentum,
        Momentum(),
        Plain,
        ("optimizer", "plain"),
        registry.get("optimizer", "plain"),
        Term,
        Module(),
    ):
        assert testing.check(component) == []
    assert (
        testing.check(blur)
        == testing.check(blur())
        == ["stays_on_its_device: it looks at values, so this needs a CUDA device"]
    )
    assert testing.check(Term, args={"scale": 3.0}) == []


@pytest.mark.parametrize(
    ("component", "given", "says"),
    [
        (object(), {}, "object: its kind cannot be told; its methods are none. Expected are those of a kind"),
        (Thumbnail(lambda e: e), {}, "A network becomes a surrogate by Embedder(network, spec)."),
        (Term, {"args": {"scale": "much"}}, "Term: argument 'scale': "),
        (Term, {"args": {"scales": 1}}, "Term: unknown argument 'scales'. Did you mean 'scale'?"),
        (Term(), {"args": {"scale": 1.0}}, "Term: is built already, so it takes no arguments"),
        (Term(), {"kind": "view"}, "view 'Term' (tests): 1 broken promise"),
        (("optimizer", "momentun"), {}, "no optimizer named 'momentun'. Did you mean 'momentum'?"),
        (lambda: torch.rand(1), {}, "<lambda>: building it draws torch's random numbers"),
        (lambda: [][0], {}, "<lambda>: cannot be built (IndexError: list index out of range)"),
    ],
)  # fmt: skip
def test_what_is_no_component_is_told(component: object, given: dict[str, Any], says: str) -> None:
    assert says in told(component, **given)[0]
