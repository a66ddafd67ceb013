"""The lower bounds in pyproject.toml are the versions with which make minimums runs the tests."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLS = ("docs", "dev")
"""Extras that no test needs: their bounds are the versions with which CI uses them."""
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[\w,]+\])?(?:(?:>=|==)(?P<bound>[\w.]+))?(?:,<(?P<above>[\w.]+))?")


def requirements(*, tools: bool) -> dict[str, str]:
    """Lower bounds by name, of the tools or of everything else."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = project["optional-dependencies"] | {"": project["dependencies"]}
    bounds: dict[str, str] = {}
    for group, lines in groups.items():
        for line in lines if (group in TOOLS) == tools else []:
            found = REQUIREMENT.fullmatch(line)
            assert found, line
            name = found["name"].lower().replace("_", "-")
            if name == "facecrypt":
                continue
            assert found["bound"], f"{line}: has no lower bound"
            assert bounds.setdefault(name, found["bound"]) == found["bound"], f"{line}: two lower bounds"
    return bounds


def pins(file: str) -> dict[str, str]:
    lines = (ROOT / ".ci" / file).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def test_the_oldest_allowed_versions_are_those_that_are_tested() -> None:
    assert pins("minimums.txt") == requirements(tools=False)


def test_tools_have_the_versions_that_are_used() -> None:
    used = pins("constraints.txt")
    assert requirements(tools=True) == {name: used[name] for name in requirements(tools=True)}


def test_nothing_newer_than_the_tested_versions_is_asked_for() -> None:
    def number(version: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", version)]

    used = pins("constraints.txt")
    for name, bound in requirements(tools=False).items():
        if name in used:
            assert number(bound) <= number(used[name]), name


def test_torch_reads_checkpoints_safely() -> None:
    """Before 2.6.0 (CVE-2025-32434) and 2.10.0 (CVE-2026-24747), weights_only=True could be made to run code."""
    assert [int(part) for part in requirements(tools=False)["torch"].split(".")] >= [2, 10, 0]


def test_continuous_integration_runs_the_tests_with_them() -> None:
    """And beside them all that make check runs: the long tests are part of it."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^minimums:.*\n\t.*pytest", makefile, re.MULTILINE)
    assert "-c .ci/minimums.txt" in makefile
    assert re.search(r"^check: lint types test slow site$", makefile, re.MULTILINE)
    assert re.search(r"^slow:.*\n\t.*pytest .*-m slow$", makefile, re.MULTILINE)
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r"^make .*\bcheck$", run, re.MULTILINE)
    assert re.search(r"^make .*\bminimums$", run, re.MULTILINE)
