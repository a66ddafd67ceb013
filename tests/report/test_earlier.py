from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from facecrypt.report.earlier import EARLIER, keep_earlier

RECIPE = {"faces": "all", "detector": {"name": "mtcnn", "args": {}}}


def photo(source: str, faces: int = 1) -> dict[str, Any]:
    return {"source": source, "faces": [{}] * faces, "source_sha256": source * 2}


def write(path: Path, photos: list[dict[str, Any]], recipe: dict[str, Any] = RECIPE) -> None:
    path.write_text(json.dumps({"facecrypt": "1", "recipe": recipe, "photos": photos}))


def kept(folder: Path) -> list[str]:
    path = folder / EARLIER
    return [each["source"] for each in json.loads(path.read_text())["photos"]] if path.exists() else []


def test_photos_of_earlier_reports_are_kept_until_they_are_named_again(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    keep_earlier(report, tmp_path, ["a"], RECIPE)  # There is none yet.
    assert kept(tmp_path) == []
    write(report, [photo("a"), photo("sea", 0), {"source": "failed", "faces": [], "source_sha256": None}])
    keep_earlier(report, tmp_path, ["b"], RECIPE)
    assert kept(tmp_path) == ["a", "sea"]
    write(report, [photo("b")])
    keep_earlier(report, tmp_path, ["a", "c"], RECIPE)
    assert kept(tmp_path) == ["sea", "b"]
    write(report, [photo("a"), photo("c")])
    keep_earlier(report, tmp_path, ["a", "b", "c", "sea"], RECIPE)
    assert not (tmp_path / EARLIER).exists()


def test_that_a_photo_shows_no_face_is_forgotten_where_others_are_searched_for(tmp_path: Path) -> None:
    write(tmp_path / "report.json", [photo("a"), photo("sea", 0)])
    keep_earlier(tmp_path / "report.json", tmp_path, ["b"], RECIPE | {"faces": "largest"})
    assert kept(tmp_path) == ["a"]


def test_what_is_no_report_is_passed_over(tmp_path: Path) -> None:
    for text in ("no JSON", "[]", '{"photos": 3}', '{"photos": [1, {"source": 2}]}'):
        (tmp_path / "report.json").write_text(text)
        keep_earlier(tmp_path / "report.json", tmp_path, ["b"], RECIPE)
        assert kept(tmp_path) == []
