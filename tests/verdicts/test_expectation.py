from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from facecrypt.verdicts import expectation
from facecrypt.verdicts.expectation import expected_share, known_surrogates, margin

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def command() -> ModuleType:
    """The command that fits the coefficients."""
    spec = importlib.util.spec_from_file_location("fit_expectation", ROOT / "benchmarks" / "expectation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seen(similarity: float | None, threshold: float | None = 0.4, *, white_box: bool = True) -> dict[str, object]:
    return {"similarity": similarity, "threshold": threshold, "white_box": white_box}


def test_a_margin_is_a_share_of_what_lies_above_the_threshold() -> None:
    assert margin(0.1, 0.4) == pytest.approx(0.5)
    assert margin(1.0, 0.4) == pytest.approx(-1)
    assert margin(None, 0.4) is None
    assert margin(0.1, None) is None


def test_the_share_is_that_of_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expectation, "_fits", lambda: {"a+b": {"intercept": -1.0, "margins": {"a": 2.0, "b": 4.0}}})
    assert known_surrogates() == ["a+b"]
    share = expected_share({"b": seen(0.1), "a": seen(0.4), "judge": seen(0.9, white_box=False)})
    assert share == pytest.approx(1 / (1 + math.exp(1 - 4 * 0.5)))
    assert expected_share({"a": seen(0.1)}) is None
    assert expected_share({"a": seen(0.1), "b": seen(None)}) is None
    assert expected_share({"a": seen(0.1), "b": seen(0.1, None)}) is None


@pytest.mark.parametrize("surrogates", known_surrogates())
def test_more_is_expected_of_a_face_that_surrogates_know_less(surrogates: str) -> None:
    names = surrogates.split("+")
    shares = [expected_share({name: seen(similarity, 0.9) for name in names}) for similarity in (1.0, 0.9, 0.8, 0.6)]
    assert shares == sorted(shares)  # type: ignore[type-var]  # none of them is None
    assert 0 < shares[0] < 0.2  # type: ignore[operator]  # of an unchanged face


def test_a_regression_finds_the_weights_of_what_it_is_given(command: ModuleType) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20_000, 2))
    chances = 1 / (1 + np.exp(-(0.5 + features @ [2.0, -1.0])))
    weights = command.logistic(features, (rng.random(len(features)) < chances).astype(float))
    assert weights == pytest.approx([0.5, 2.0, -1.0], abs=0.1)
    assert command.predict(weights, features) == pytest.approx(chances, abs=0.05)


def test_the_calibration_error_is_the_mean_gap_of_the_bins(command: ModuleType) -> None:
    expected, outcomes = np.array([0.05, 0.05, 0.85, 0.85, 1.0]), np.array([0.0, 1.0, 1.0, 1.0, 1.0])
    error, rows = command.reliability(expected, outcomes)
    assert rows == [(0.05, 0.5, 2), (0.85, 1.0, 2), (1.0, 1.0, 1)]
    assert error == pytest.approx((2 * 0.45 + 2 * 0.15) / 5)


def test_the_fit_is_written_with_its_table(
    command: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="needs facecrypt[plot]")
    rng = np.random.default_rng(0)
    samples = tmp_path / "samples.jsonl"
    with samples.open("w") as file:
        for number in range(80):
            below = float(rng.normal())
            others = {judge: below + float(rng.normal()) / 2 for judge in ("x", "y", "z")}
            row = {"person": str(number // 4), "surrogates": "a", "margins": {"a": below}, "others": others}
            row["searched"] = {judge: 0.5 - value for judge, value in others.items()}
            file.write(json.dumps(row) + "\n")
    (tmp_path / "facecrypt" / "data").mkdir(parents=True)
    (tmp_path / "docs" / "images").mkdir(parents=True)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    command.fit(SimpleNamespace(samples=samples))
    table = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[3] for line in table[2:]] == ["x", "y", "z", "each in turn"]
    assert (tmp_path / "docs" / "images" / "expectation.svg").stat().st_size > 0
    written = (tmp_path / "facecrypt" / "data" / "expectation.yaml").read_text()
    assert "benchmarks/expectation.py fit" in written
    assert "a:\n  intercept: " in written
    (shares,) = [line.split(" | ") for line in table if "each in turn" in line]
    assert float(shares[4]) < float(shares[7].rstrip(" |")), (
        "what is not found in a search is nearer to the photo itself"
    )


def test_a_judge_finds_a_person_by_the_best_of_their_photos(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    judge = command.Judge(None, gallery, np.array(["a", "b", "a"]))
    monkeypatch.setattr(command, "look", lambda embedder, faces: SimpleNamespace(embeddings=torch.tensor([[1.0, 0.0]])))
    assert command._lead(judge, None, "a") == pytest.approx(1 - 0.6)
    assert command._lead(judge, None, "b") == pytest.approx(0.6 - 1)


def test_the_command_says_what_it_needs(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["expectation.py", "measure"])
    with pytest.raises(SystemExit):
        command.main()
    assert "--protocol, --judges, --surrogates" in capsys.readouterr().err
