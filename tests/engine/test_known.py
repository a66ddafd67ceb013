"""What runs left in a folder is told from what is somebody's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facecrypt.engine.known import Known, ResultFiles, find_manifests
from facecrypt.engine.manifest import Manifest
from facecrypt.errors import FacecryptError

NAMES = ("metrics.json", "table.md", "rank1.png")
ROW = {"method": "tip-im", "evaluator": "sface", "rank1_t": 1.0}


def test_results_replace_only_results(tmp_path: Path) -> None:
    for _ in range(2):
        files = ResultFiles(tmp_path, NAMES)
        for name in NAMES:
            files.write(tmp_path / name, name.encode())
    assert {path.name for path in tmp_path.iterdir()} == {*NAMES, "manifest.json"}
    (tmp_path / "table.md").write_text("with remarks of my own")
    (tmp_path / "rank1.png").unlink()
    (tmp_path / "rank1.png").symlink_to("nowhere")
    with pytest.raises(FacecryptError) as caught:
        ResultFiles(tmp_path, NAMES)
    first, *others = str(caught.value).splitlines()
    assert "Name another output, or move them away" in first
    assert [line.strip() for line in others] == [str(tmp_path / name) for name in ("table.md", "rank1.png")]


@pytest.mark.parametrize("name", NAMES)
def test_results_never_replace_what_was_there_first(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(FacecryptError, match=name):
        ResultFiles(tmp_path, NAMES)
    assert (tmp_path / name).read_text() == "mine"


def test_results_of_an_earlier_version_are_known(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps([ROW]))
    (tmp_path / "table.md").write_text("| method |")
    ResultFiles(tmp_path, NAMES).write(tmp_path / "table.md", b"new")
    (tmp_path / "metrics.json").write_text("[]")
    with pytest.raises(FacecryptError, match=r"metrics\.json"):  # From now on, the manifest tells.
        ResultFiles(tmp_path, NAMES)


def test_manifests_are_found_above_and_behind_links(tmp_path: Path) -> None:
    places = [
        tmp_path / "manifest.json",
        tmp_path / "a" / "facecrypt-manifest.json",
        tmp_path / "away" / "manifest.json",
    ]
    for place in places:
        Manifest(place).add(Path("x"), "0", place.parent / "x", "1", "r", None)
    (tmp_path / "a" / "deep").mkdir()
    (tmp_path / "a" / "manifest.json").write_text('{"name": "web app"}')
    (tmp_path / "away" / "x.png").touch()
    (tmp_path / "a" / "deep" / "x.png").symlink_to(tmp_path / "away" / "x.png")
    found = {manifest.path for manifest in find_manifests([tmp_path / "a" / "deep" / "x.png"])}
    assert {path for path in found if tmp_path in path.parents} == set(places)


def test_a_digest_alone_makes_no_file_ones_own(tmp_path: Path) -> None:
    """A protected photo that somebody keeps under another name is his."""
    manifest = Manifest(tmp_path / "manifest.json")
    (tmp_path / "a.png").write_bytes(b"made")
    digest = "1ea63ddcc55d13aa66f3e7a4b7e8a7ee6a5a0a7aa6b2f1a4b2d4b1b0a3a6ed1f"
    manifest.add(Path("x"), "0", tmp_path / "a.png", digest, "r", None)
    assert [entry.source for entry in manifest.entries_of(tmp_path / "a.png", digest)] == ["x"]
    assert manifest.entries_of(tmp_path / "b.png", digest) == []
    assert manifest.entries_of(tmp_path / "deep" / "a.png", digest) == []
    assert Known([manifest]).entries_of(tmp_path / "a.png") == []  # It holds something else.
