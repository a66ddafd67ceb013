from __future__ import annotations

import pytest

from facecrypt import registry
from facecrypt.cli import main as cli
from facecrypt.recipe import presets


def test_everything_about_one_component(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "optimizer", "momentum"]) == cli.DONE
    printed = capsys.readouterr().out
    assert printed.startswith("optimizer momentum (built-in): momentum of normalised gradients (MIM)")
    assert "Momentum over L1-normalised gradients: MIM (Dong et al., CVPR 2018, Eq. 6)" in printed
    assert "  decay (float >= 0, <= 1, default 1.0)\n      Share of the accumulated gradient that" in printed
    assert "facecrypt/optimizers/base.py, line " in printed
    assert "Args:" not in printed


@pytest.mark.parametrize("component", registry.list_components(), ids=lambda each: f"{each.kind}-{each.name}")
def test_every_component_can_be_told_of(component: registry.Component, capsys: pytest.CaptureFixture[str]) -> None:
    if component.name.startswith("frbench_"):
        pytest.skip("all are alike")
    assert cli.main(["list", component.kind, component.name]) == cli.DONE
    printed = capsys.readouterr().out
    assert component.summary in printed
    for name in component.arguments():
        assert f"  {name} (" in printed
    assert "source: " in printed
    assert "\\n" not in printed  # the lines of a docstring are lines


@pytest.mark.parametrize("kind", [*registry.KINDS, "preset", None])
def test_a_list_fits_100_columns(kind: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", kind] if kind else ["list"]) == cli.DONE
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert not [line for line in lines if "…" in line]


def test_recognisers_are_grouped_by_where_their_weights_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "surrogate"]) == cli.DONE
    printed = capsys.readouterr().out
    groups = {part.splitlines()[0]: part for part in printed.split("\n\n")[:-1]}
    assert all(heading.startswith("surrogate, ") for heading in groups)
    assert len(groups) >= 5
    (zoo,) = [part for heading, part in groups.items() if "frbench" in heading]
    count = sum(component.name.startswith("frbench_") for component in registry.list_components("surrogate"))
    assert sum(line.startswith("frbench_") for line in zoo.splitlines()) == count
    assert all(line.split()[-1] in ("yes", "no") for line in zoo.splitlines() if line.startswith("frbench_"))


@pytest.mark.parametrize("name", presets.load_presets())
def test_every_preset_shows_its_keys(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "preset", name]) == cli.DONE
    printed = capsys.readouterr().out
    assert all(f"  {key}: " in printed for key in presets.load_presets()[name])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["view", "blu"], "no view named 'blu'. Did you mean 'blur'? Known: affine"),
        (["preset", "midd"], "no preset named 'midd'. Did you mean 'mid'? Known: low, mid, high, max."),
    ],
)
def test_what_is_unknown_is_suggested(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", *words]) == cli.WRONG
    assert says in capsys.readouterr().err
