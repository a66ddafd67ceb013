"""What every registered component must do, plugins included: one test per promise that the protection loop relies on.

The promises of each kind are those of `facecrypt.testing`; what registration promises is here. A component needs
nothing but its registration. ``pytest tests/contract -k NAME`` checks a single one.
"""

from __future__ import annotations

import inspect
import io
import re
import sys
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
import torch

from facecrypt import registry, testing
from facecrypt.carriers.base import FOLDER
from facecrypt.errors import PluginError
from facecrypt.judges.recogniser import RecogniserJudge
from facecrypt.methods.base import ITERATIVE
from facecrypt.pipeline import runner
from facecrypt.registry import KINDS, Component
from facecrypt.surrogates.embedder import Embedder
from facecrypt.testing.inputs import sample_crops
from facecrypt.testing.judge import says_what_it_is
from facecrypt.testing.surrogate import recognises_people
from facecrypt.testing.target_selector import choose
from tests import judge_server, vendor_servers
from tests.vendor_servers import FacePlusPlusServer, RekognitionServer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # A broken plugin is reported by a test of its own, not by all of them.
    COMPONENTS = registry.list_components()


def components(kind: registry.Kind | None = None) -> pytest.MarkDecorator:
    """Return the mark that runs a test for every component, or for every one of a kind that can be built here."""
    chosen = [each for each in COMPONENTS if kind is None or (kind == each.kind and not missing(each))]
    return pytest.mark.parametrize("component", chosen, ids=lambda component: f"{component.kind}-{component.name}")


def missing(component: Component) -> str:
    """Return what a surrogate lacks to be built on this machine, or nothing. Other kinds lack nothing."""
    if component.kind != "surrogate":
        return ""
    try:
        arguments = component.arguments()
    except PluginError as error:
        return str(error)
    required = [name for name, (_, default) in arguments.items() if default is inspect.Parameter.empty]
    if required:
        return f"surrogate {component.name} has no default for {', '.join(required)}"
    if component.spec is not None and component.spec.weights.find() is None:
        return f"the weights of surrogate {component.name} are not on this machine: {component.spec.weights.source}"
    return ""


def build(component: Component) -> Any:
    """Return the component with its default arguments."""
    return component.load()()


@cache
def build_surrogate(component: Component) -> Embedder:
    """Return a surrogate, built once: reading its weights takes a while."""
    embedder = build(component)
    assert isinstance(embedder, Embedder)
    return embedder


class TestEveryComponent:
    """What recipes rely on."""

    def test_there_is_one_of_each_kind(self) -> None:
        assert {component.kind for component in COMPONENTS} == set(KINDS)

    def test_no_plugin_is_broken(self) -> None:
        assert registry.broken_plugins() == {}

    @components()
    def test_name_is_one_lowercase_word(self, component: Component) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", component.name)

    @components()
    def test_summary_is_one_short_line(self, component: Component) -> None:
        assert component.summary == component.summary.strip()
        assert 1 <= len(component.summary.splitlines()) == 1
        assert len(component.summary) <= 100

    @components()
    def test_says_what_it_does(self, component: Component) -> None:
        assert inspect.getdoc(component.load())

    @components()
    def test_arguments_are_keyword_only_and_typed(self, component: Component) -> None:
        arguments = component.arguments()  # Raises for positional arguments, *args and **kwargs.
        assert [name for name, (annotation, _) in arguments.items() if annotation is Any] == []

    @components()
    def test_defaults_are_valid_arguments(self, component: Component) -> None:
        arguments = component.arguments()
        defaults = {name: value for name, (_, value) in arguments.items() if value is not inspect.Parameter.empty}
        required = arguments.keys() - defaults.keys()
        bound, faults = component.bind(defaults)
        assert bound.keys() == defaults.keys()
        assert len(faults) == len(required), "a default is not a value that a recipe could give"
        assert component.kind == "surrogate" or not required, "only a surrogate may have arguments without a default"

    @components()
    def test_unknown_argument_is_refused(self, component: Component) -> None:
        _, faults = component.bind({"no_such_argument": 1})
        assert any("no_such_argument" in fault for fault in faults)

    @components()
    def test_builds_without_arguments_and_random_numbers(self, component: Component) -> None:
        if missing(component):
            pytest.skip(missing(component))
        before = torch.get_rng_state()
        build(component)
        assert torch.equal(torch.get_rng_state(), before), "building changes what a run with the same seed does"


Check = Callable[[Any], None]


@components("surrogate")
class TestSurrogate:
    """`facecrypt.surrogates.embedder.Embedder`."""

    @pytest.mark.parametrize(
        "check",
        [
            pytest.param(each, marks=[pytest.mark.slow] * (each is recognises_people))
            for each in testing.SURROGATE_CHECKS
        ],
    )
    def test_promise(self, component: Component, check: Check) -> None:
        check(build_surrogate(component))

    def test_spec_is_the_registered_one(self, component: Component) -> None:
        if component.spec is None:
            pytest.skip("its arguments decide the network")
        assert build_surrogate(component).spec == component.spec

    def test_same_answer_when_built_again(self, component: Component) -> None:
        embedder = build_surrogate(component)
        images = sample_crops(embedder.spec)[:1]
        assert torch.equal(build(component)(images), embedder(images))


_QUICK_METHODS = {ITERATIVE, "blur", "pixelate", "darken", "occlude", "k_same", "lots"}


@pytest.mark.parametrize(
    "component",
    [
        pytest.param(each, id=f"method-{each.name}", marks=[pytest.mark.slow] * (each.name not in _QUICK_METHODS))
        for each in COMPONENTS
        if each.kind == "method"
    ],
)
@pytest.mark.parametrize("check", testing.METHOD_CHECKS)
def test_method(component: Component, check: Check) -> None:
    if component.name == ITERATIVE:
        pytest.skip("keys of the recipe set it: tests/methods/iterative")
    check(build(component))


@components("judge")
@pytest.mark.parametrize("check", testing.JUDGE_CHECKS)
def test_judge(component: Component, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = {"faceplusplus": FacePlusPlusServer, "rekognition": RekognitionServer}.get(component.name)
    if component.name != "http" and vendor is None:
        check(build(component))
        return
    vendor_servers.set_keys(monkeypatch)
    with judge_server.serve() if vendor is None else vendor_servers.serve(vendor()) as server:
        for ask in ("compare", "rank"):
            args = {"threshold": 90.0} if component.name == "rekognition" else {}
            judge = component.load()(url=server.address, ask=ask, rate=None, **args)
            with suppress(SkipTest):
                check(judge)
            if vendor is not None:
                judge.close()


@components("surrogate")
@pytest.mark.parametrize("check", [each for each in testing.JUDGE_CHECKS if each is not says_what_it_is])
def test_a_recogniser_is_a_judge(component: Component, check: Check) -> None:
    check(RecogniserJudge(build_surrogate(component)))


@components("detector")
@pytest.mark.parametrize("check", testing.DETECTOR_CHECKS)
def test_detector(component: Component, check: Check) -> None:
    check(build(component))


@components("region")
@pytest.mark.parametrize("check", testing.REGION_CHECKS)
def test_region(component: Component, check: Check) -> None:
    check(build(component))


@components("naturalness")
@pytest.mark.parametrize("check", testing.NATURALNESS_CHECKS)
def test_naturalness(component: Component, check: Check) -> None:
    check(build(component))


@components("target_selector")
class TestTargetSelector:
    """`facecrypt.targets.TargetSelector`."""

    @pytest.mark.parametrize("check", testing.TARGET_SELECTOR_CHECKS)
    def test_promise(self, component: Component, check: Check) -> None:
        check(build(component))

    def test_same_choice_when_built_again(self, component: Component) -> None:
        assert torch.equal(choose(build(component), range(4)), choose(build(component), range(4)))


@components("optimizer")
@pytest.mark.parametrize("check", testing.OPTIMIZER_CHECKS)
def test_optimizer(component: Component, check: Check) -> None:
    check(build(component))


@components("view")
@pytest.mark.parametrize("check", testing.VIEW_CHECKS)
def test_view(component: Component, check: Check) -> None:
    check(build(component))


@pytest.fixture
def material(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """What each built-in source reads: an archive, a folder of frames, a photo on standard input."""
    sample = runner.sample_photo().read_bytes()
    (tmp_path / "1.png").write_bytes(sample)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.png", sample)

    class Stdin(io.BytesIO):
        """Has the photo once more for whoever reads it again."""

        def read(self, size: int | None = -1) -> bytes:
            return super().read(size) or (self.seek(0) and b"") or b""

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Stdin(sample)))
    return {"archive": str(tmp_path / "photos.zip"), "frames": str(tmp_path), "stdin": None}


@components("source")
@pytest.mark.parametrize("check", testing.SOURCE_CHECKS)
def test_source(component: Component, check: Any, material: dict[str, str | None]) -> None:
    if component.name not in material:
        pytest.skip("the run itself reads files where they are, and plugins test what theirs read")
    check(build(component), material[component.name])


@components("sink")
@pytest.mark.parametrize("check", testing.SINK_CHECKS)
def test_sink(component: Component, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    if component.name == FOLDER:
        pytest.skip("the run itself writes files to the output folder")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    check(build(component))


@components("transform")
@pytest.mark.parametrize("check", testing.TRANSFORM_CHECKS)
def test_transform(component: Component, check: Check) -> None:
    check(build(component))


@components("gradient")
@pytest.mark.parametrize("check", testing.GRADIENT_CHECKS)
def test_gradient(component: Component, check: Check) -> None:
    check(build(component))
