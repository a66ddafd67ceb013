"""No run destroys an original: what clashes is refused before anything is computed, and what was made is known."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facecrypt.cli import main as cli
from facecrypt.engine.digest import recipe_digest
from facecrypt.engine.manifest import Manifest
from facecrypt.engine.planned import write_planned
from facecrypt.errors import FacecryptError, PhotoError
from facecrypt.photos.files import read_photo
from facecrypt.pipeline.inputs import choose_photos
from facecrypt.pipeline.plan import Plan, make_plan
from facecrypt.recipe.check import Recipe, check_recipe, dump_recipe, recipe_values
from facecrypt.recipe.resolve import quickstart
from facecrypt.report import writer
from facecrypt.system import places
from facecrypt.system.locks import locked_folders
from facecrypt.system.places import check_unchanged, file_id, fold
from tests.pictures import make_image, save

Snapshot = dict[str, bytes | str | None]


def make_recipe(**keys: Any) -> Recipe:
    return check_recipe({"surrogates": [{"name": "sface"}], "output": "out", **keys})


def plan(recipe_file: str | None = None, **keys: Any) -> Plan:
    """What a run with some keys would do; nothing is locked or written."""
    recipe, notes = make_recipe(**keys), list[str]()
    chosen = choose_photos(recipe, Path("sample.png"), notes)
    made = make_plan(recipe, chosen, recipe_file=Path(recipe_file) if recipe_file else None)
    made.notes[:0] = notes
    return made


def perform(**keys: Any) -> dict[str, str]:
    """A run without networks, which changes every pixel by 1; what became of each photo."""
    recipe = make_recipe(**keys)
    chosen = choose_photos(recipe, Path("sample.png"))
    replaced = {destination.parent for _, destination in chosen if recipe.in_place}
    with locked_folders(Path(recipe.output), replaced) as closed:
        made = make_plan(recipe, chosen, recipe_file=None, closed=closed)
        became = {str(photo.source): protect(photo, recipe) for photo in made.photos}
        result = writer.make(recipe_values(recipe), [], [], 0.0, "cpu")

        def announce(path: Path, digest: str) -> None:
            check_unchanged(path, made.reports[path.name])
            made.manifest.add_report(path, digest)

        writer.write(
            result, Path(recipe.output), dump_recipe(recipe) if "recipe.yaml" in made.reports else None, announce
        )
    return became


def protect(planned: Any, recipe: Recipe) -> str:
    if planned.no_work:
        return f"{planned.no_work.status}: {planned.no_work.reason}"
    try:
        photo = read_photo(planned.source)
        write_planned(planned, photo, photo.pixels ^ np.uint8(1), recipe.metadata, recipe_digest(recipe))
    except PhotoError as error:
        return f"failed: {error}"
    return "protected"


def refused(*words: str, **keys: Any) -> str:
    """Why a run is refused, having touched nothing."""
    before = snapshot()
    with pytest.raises(FacecryptError) as caught:
        perform(**keys)
    assert snapshot() == before
    said = str(caught.value)
    assert said.startswith("the run would destroy files, so nothing was begun:\n  ")
    for word in words:
        assert word in said, said
    return said


def snapshot() -> Snapshot:
    """Every file below the current folder: its content, or where it leads."""
    return {
        str(path): os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        for path in Path().rglob("*")
    }


def photo(name: str, seed: int = 0) -> bytes:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    image = make_image(size=(24, 16), seed=seed or sum(map(ord, name)))
    return save(Path(name), image).read_bytes()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Inputs and outputs


def test_an_output_folder_among_the_inputs_of_a_glob() -> None:
    photo("d/a/x.png")
    photo("d/b/x.png")
    said = refused("d/b/x.png: is an input of this run", "output", "name", photos="d/*/x.png", output="d/b")
    assert "would be both d/a/x.png and d/b/x.png, protected. Set photos to the folder of both" in said
    # As a folder, what lies in the output is left out, and said.
    assert plan(photos="d", output="d/b").notes == [
        "photos: d: left out 1 photo in the output folder; name another output folder to protect what lies in this one"
    ]


def test_two_formats_become_one(tmp_path: Path) -> None:
    photo("in/a.png")
    photo("in/a.bmp")
    said = refused("in/a.png: is an input of this run", photos="in", output="in", format="png")
    assert "in/a.png: would be both in/a.bmp and in/a.png, protected. Set format: same" in said
    refused("out/a.png: would be both in/a.bmp and in/a.png", "Set format: same", photos="in", format="png")
    assert perform(photos="in") == {"in/a.png": "protected", "in/a.bmp": "protected"}


def test_an_output_folder_above_the_input() -> None:
    mine = photo("a.png")
    photo("in/a.png")
    refused("a.png: is not from facecrypt", "overwrite: true", photos="in", output=".")
    assert perform(photos="in", output=".", overwrite=True) == {"in/a.png": "protected"}
    assert Path("a.png").read_bytes() != mine
    said = "unchanged: in/a.png: was written before with these settings, as a.png."
    assert perform(photos="in", output=".") == {"in/a.png": said}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("way", ["itself", "link to the folder", "link", "hard link", "dots", "absolute"])
def test_an_input_is_never_replaced_by_whatever_name(way: str, overwrite: bool, tmp_path: Path) -> None:
    photo("in/a.png")
    output = "out"
    if way == "itself":
        output = "in"
    elif way == "link to the folder":
        Path("out").symlink_to("in")
    elif way == "link":
        Path("out").mkdir()
        Path("out/a.png").symlink_to("../in/a.png")
    elif way == "hard link":
        Path("out").mkdir()
        Path("out/a.png").hardlink_to("in/a.png")
    elif way == "dots":
        output = "in/../in/./"
    else:
        output = str(tmp_path / "in")
    refused("a.png: is an input of this run", photos="in", output=output, overwrite=overwrite)


def test_links_in_the_middle_of_a_path() -> None:
    photo("real/trip/a.png")
    Path("in").symlink_to("real")
    Path("out").mkdir()
    Path("out/trip").symlink_to("../real/trip")
    refused("out/trip/a.png: is an input of this run", photos="in", overwrite=True)
    # A PNG of another name destroys nothing there.
    assert perform(photos="in", name="{stem}-p{suffix}") == {"in/trip/a.png": "protected"}
    assert Path("real/trip/a-p.png").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_folder_that_is_mounted_at_two_places() -> None:
    photo("in/a.png")
    Path("out").mkdir()
    if subprocess.run(["mount", "--bind", "in", "out"], capture_output=True, check=False).returncode:
        pytest.skip("this system allows no bind mounts")
    try:
        refused("out/a.png: is an input of this run", photos="in", overwrite=True)
    finally:
        subprocess.run(["umount", "out"], check=True)


def test_photos_that_are_one_file_are_protected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    photo("a/x.png")
    Path("b").symlink_to("a")
    monkeypatch.setattr("sys.stdin", io.StringIO("a/x.png\nb/x.png\n./a/../a/x.png\n"))
    assert perform(photos="-") == {
        "a/x.png": "protected",
        "b/x.png": "unchanged: b/x.png: is the same file as a/x.png, which goes to out/x.png.",
        "a/../a/x.png": "unchanged: a/../a/x.png: is the same file as a/x.png, which goes to out/x.png.",
    }
    assert perform(photos="*/x.png", output="other")["b/x.png"].startswith("unchanged: b/x.png: is the same file as")


def test_two_names_of_one_file_are_two_outputs() -> None:
    photo("in/a.png")
    Path("in/b.png").hardlink_to("in/a.png")
    Path("in/c.png").symlink_to("a.png")
    assert set(perform(photos="in").values()) == {"protected"}
    assert {path.name for path in Path("out").glob("?.png")} == {"a.png", "b.png", "c.png"}


def test_names_that_differ_in_case_go_where_the_file_system_tells_them_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    photo("in/1/A.PNG")
    photo("in/2/a.png")
    keys = {"photos": "in/*/*", "output": "out"}
    if file_id(Path("in/1/a.png")) is None:
        assert set(perform(**keys).values()) == {"protected"}
        assert len(list(Path("out").glob("*.*[gG]"))) == 2
        shutil.rmtree("out")
    monkeypatch.setattr(places, "is_one_name", lambda folder, a, b: [*map(fold, a)] == [*map(fold, b)])
    refused("out/a.png: would be both in/1/A.PNG and in/2/a.png, protected", **keys)


def test_a_name_template_is_followed_to_the_end() -> None:
    photo("in/a.png")
    photo("in/a-p.png")
    refused("in/a-p.png: is an input of this run", photos="in", output="in", name="{stem}-p{suffix}")
    refused("in/a-p.png: is an input of this run", photos="in", output="in", name="{stem}-p{suffix}", overwrite=True)


def test_a_photo_where_a_folder_is_needed() -> None:
    photo("in/a.bmp")
    photo("in/a.png/b.png")
    said = refused(
        "out/a.png: would be in/a.bmp, protected, and a folder for in/a.png/b.png", photos="in", format="png"
    )
    assert "name" in said
    Path("out/a.bmp").mkdir(parents=True)
    refused("out/a.bmp: is a folder, and would be in/a.bmp, protected", photos="in/a.bmp", overwrite=True)


def test_a_link_in_the_place_of_an_output() -> None:
    """Even one that leads nowhere is somebody's; if it may be replaced, what it leads to stays."""
    photo("in/a.png")
    mine = photo("mine.png")
    Path("out").mkdir()
    for target in ("../mine.png", "nowhere"):
        Path("out/a.png").symlink_to(target)
        refused("out/a.png: is not from facecrypt", photos="in")
        assert perform(photos="in", overwrite=True, metadata="keep")["in/a.png"] == "protected"
        assert not Path("out/a.png").is_symlink()
        assert Path("mine.png").read_bytes() == mine
        Path("out/a.png").unlink()


def test_an_empty_file_is_nobodys() -> None:
    photo("in/a.png")
    Path("out").mkdir()
    Path("out/a.png").touch()
    Path("out/report.json").write_bytes(bytes(1000))  # as after a power cut
    assert perform(photos="in") == {"in/a.png": "protected"}


def test_what_facecrypt_wrote_may_be_replaced_until_somebody_changes_it() -> None:
    photo("in/a.png")
    keys = {"photos": "in"}
    assert perform(**keys) == {"in/a.png": "protected"}
    assert perform(**keys, epsilon=8) == {"in/a.png": "protected"}
    shutil.copy("out/a.png", "kept.png")
    Path("out/a.png").write_bytes(Path("out/a.png").read_bytes() + b"\0")
    refused("out/a.png: is not from facecrypt, or was changed since", "overwrite: true", **keys, epsilon=9)
    shutil.copy("kept.png", "out/a.png")
    assert perform(**keys, epsilon=9) == {"in/a.png": "protected"}
    Path("out/manifest.json").unlink()
    refused("out/a.png: is not from facecrypt", **keys, epsilon=10)


def test_a_protected_photo_makes_way_for_its_own_photo_only() -> None:
    """Two albums with the same names must not lose one in the other."""
    photo("one/a.png")
    photo("two/a.png", seed=5)
    perform(photos="one")
    refused("out/a.png: is what facecrypt made of one/a.png", "output", "overwrite: true", photos="two", epsilon=8)
    photo("one/a.png", seed=6)  # the same photo, edited
    assert perform(photos="one") == {"one/a.png": "protected"}
    Path("one").rename("moved")
    assert perform(photos="moved", epsilon=9) == {"moved/a.png": "protected"}
    assert perform(photos="two", overwrite=True) == {"two/a.png": "protected"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_an_earlier_run_replaced_or_kept_is_somebodys(overwrite: bool) -> None:
    photo("in/a.png")
    perform(photos="in", in_place=True)
    photo("other/a.original.png")
    refused("in/a.original.png: is the backup of a.png", photos="other", output="in", overwrite=overwrite)
    photo("more/a.png", seed=5)
    if not overwrite:
        refused("in/a.png: is not from facecrypt", "overwrite: true", photos="more", output="in")


def test_what_another_run_wrote_into_a_folder_below_is_known() -> None:
    photo("in/trip/a.png")
    perform(photos="in/trip", output="out/trip")
    assert perform(photos="in", epsilon=8) == {"in/trip/a.png": "protected"}


# Reports and recipes


@pytest.mark.parametrize("name", ["report.json", "report.html", "recipe.yaml"])
def test_a_report_of_the_users_own_stays(name: str) -> None:
    photo("in/a.png")
    Path("out").mkdir()
    Path("out", name).write_text("mine")
    refused(f"out/{name}: is not from facecrypt", "output", "overwrite: true", photos="in")
    perform(photos="in", overwrite=True)
    assert Path("out", name).read_text() != "mine"
    perform(photos="in", epsilon=8)  # the manifest knows it by now
    Path("out", name).write_text(Path("out", name).read_text() + "\n")
    refused(f"out/{name}: is not from facecrypt, or was changed since", photos="in")


@pytest.mark.parametrize("kind", ["link", "broken link", "folder"])
def test_something_else_in_the_place_of_a_report(kind: str) -> None:
    photo("in/a.png")
    Path("out").mkdir()
    Path("mine.json").write_text("mine")
    if kind == "folder":
        Path("out/report.json").mkdir()
    else:
        Path("out/report.json").symlink_to("../mine.json" if kind == "link" else "nowhere")
    refused("out/report.json: is ", photos="in")
    assert Path("mine.json").read_text() == "mine"


def test_a_manifest_of_something_else() -> None:
    photo("in/a.png")
    Path("out").mkdir()
    for write in (lambda path: path.write_text('{"name": "web app"}'), lambda path: path.symlink_to("../m.json")):
        write(Path("out/manifest.json"))
        before = snapshot()
        for overwrite in (False, True):
            with pytest.raises(FacecryptError, match=r"out/manifest\.json: (is no manifest|cannot be read)"):
                perform(photos="in", overwrite=overwrite)
        assert snapshot() == before
        Path("out/manifest.json").unlink()
        Path("m.json").write_text('{"facecrypt_manifest": 1, "photos": []}')


@pytest.mark.parametrize("name", ["manifest", "report", "recipe", ".facecrypt"])
def test_photos_that_are_called_like_what_a_run_leaves(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    suffix = {"recipe": ".yaml", ".facecrypt": ""}.get(name, ".json")
    photo("a.png")
    Path("in").mkdir()
    shutil.move("a.png", f"in/{name}{suffix}")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"in/{name}{suffix}\n"))
    refused(f"out/{name}{suffix}: would be ", photos="-")


def run_recipe(**keys: Any) -> Plan:
    return plan("out/recipe.yaml", photos="in", **keys)


def test_the_recipe_that_runs_is_an_input() -> None:
    photo("in/a.png")
    perform(photos="in")
    resolved = Path("out/recipe.yaml").read_text()
    same = run_recipe()
    assert list(same.reports) == ["report.json", "report.html"]
    assert same.notes == []
    other = run_recipe(epsilon=8)
    assert list(other.reports) == ["report.json", "report.html"]
    assert other.notes == [
        "out/recipe.yaml: is the recipe that was run, so it stays as it is; report.json has what this run made of it"
    ]
    # By another name it is the same file, and one that somebody wrote is never replaced.
    Path("link.yaml").symlink_to("out/recipe.yaml")
    assert "recipe.yaml" not in plan("link.yaml", photos="in").reports
    Path("out/recipe.yaml").write_text(resolved + "# mine\n")
    for overwrite in (False, True):
        with pytest.raises(
            FacecryptError, match=r"recipe\.yaml: is an input of this run \(out/recipe.yaml, the recipe\)"
        ):
            run_recipe(overwrite=overwrite)


def test_the_recipe_is_no_place_for_a_photo() -> None:
    photo("in/a.yaml.png")
    Path("in/a.yaml.png").rename("in/mine.yaml")
    Path("mine.yaml").write_text("surrogates: [{name: sface}]")
    with pytest.raises(FacecryptError, match=r"mine\.yaml: is an input of this run \(mine\.yaml, the recipe\)"):
        plan("mine.yaml", photos="in/mine.yaml", output=".", overwrite=True)


REFERENCES: list[dict[str, Any]] = [
    {"faces": {"only": "ref/a.png"}},
    {"faces": {"except": ["ref/*.png"]}},
    {"targets": "ref"},
    {"own_photos": "ref"},
    {"receipt": {"gallery": "ref"}},
    {"surrogates": [{"name": "onnx", "args": {"path": "ref/a.png", "dimension": 3}}]},
    {"held_out": [{"name": "onnx", "args": {"path": "ref/a.png", "dimension": 3}}]},
    {"strength": {"judges": [{"name": "onnx", "args": {"path": "ref/a.png", "dimension": 3}}]}},
]


@pytest.mark.parametrize("keys", REFERENCES, ids=lambda keys: next(iter(keys)))
@pytest.mark.parametrize("way", ["itself", "link"])
def test_what_a_recipe_names_is_never_replaced(keys: dict[str, Any], way: str) -> None:
    photo("in/a.png")
    if way == "itself":
        photo("ref/a.png")
    else:  # the reference is a link into the output folder
        photo("out/a.png")
        Path("ref").mkdir()
        Path("ref/a.png").symlink_to("../out/a.png")
    output = "ref" if way == "itself" else "out"
    said = refused("a.png: is an input of this run", photos="in", output=output, overwrite=True, **keys)
    assert ", which the recipe names by " in said
    before = snapshot()
    with pytest.raises(FacecryptError, match="which the recipe names by .* Move it out of photos"):
        perform(photos="ref", in_place=True, output="elsewhere", **keys)
    assert snapshot() == before


def older(folder: Path, recipe: Recipe) -> None:
    """Make an output folder look as an earlier version left it: its manifest did not know of reports."""
    content = json.loads((folder / "manifest.json").read_text())
    content["photos"] = [row for row in content["photos"] if row["source"]]
    (folder / "manifest.json").write_text(json.dumps(content))
    assert Manifest(folder / "manifest.json").knows_reports is False


def test_reports_of_an_earlier_version_are_known_by_what_they_say() -> None:
    photo("in/a.png")
    perform(photos="in")
    older(Path("out"), make_recipe())
    assert set(plan(photos="in", epsilon=8).reports) == {"report.json", "report.html", "recipe.yaml"}
    perform(photos="in", epsilon=8)
    older(Path("out"), make_recipe())
    Path("out/recipe.yaml").write_text("surrogates: [{name: sface}]")
    said = refused("out/recipe.yaml: is not from facecrypt", photos="in")
    assert "report.json" not in said
    # A report that was made elsewhere and copied here is somebody's.
    shutil.copytree("out", "copy")
    refused("copy/report.json", "copy/report.html", "copy/recipe.yaml", photos="in", output="copy")


# In place


def test_the_documented_backup_folder_any_number_of_times() -> None:
    before = photo("in/a.png"), photo("in/trip/b.png")
    keys = {"photos": "in", "in_place": True, "backup": "originals/{stem}{suffix}"}
    assert set(perform(**keys).values()) == {"protected"}
    made = snapshot()
    again = "was made by facecrypt already, with these settings. To protect it anew, restore originals"
    for _ in range(3):
        assert perform(**keys) == {
            "in/a.png": f"unchanged: in/a.png: {again}/a.png first.",
            "in/originals/a.png": "unchanged: in/originals/a.png: is the backup of a.png.",
            "in/trip/b.png": f"unchanged: in/trip/b.png: {again}/b.png first.",
            "in/trip/originals/b.png": "unchanged: in/trip/originals/b.png: is the backup of b.png.",
        }
        photos = {name: content for name, content in made.items() if name.startswith("in")}
        assert {name: content for name, content in snapshot().items() if name.startswith("in")} == photos
    assert (Path("in/originals/a.png").read_bytes(), Path("in/trip/originals/b.png").read_bytes()) == before


BACKUPS = ["{stem}.original{suffix}", "originals/{stem}{suffix}", "a/b/{stem}{suffix}", "{stem}{stem}{suffix}"]


@pytest.mark.parametrize("first", BACKUPS)
@pytest.mark.parametrize("then", [*BACKUPS, None])
def test_a_backup_is_no_input_whatever_later_runs_call_theirs(first: str, then: str | None) -> None:
    before = photo("in/a.png"), photo("in/b.png")
    perform(photos="in", in_place=True, backup=first)
    kept = [Path("in", first.format(stem=stem, suffix=".png")) for stem in "ab"]
    if then is None:  # into an output folder
        became = perform(photos="in/**", epsilon=8, output="other")
    else:
        became = perform(photos="in", in_place=True, backup=then, epsilon=8)
    assert {text.partition(":")[0] for text in became.values()} == {"unchanged"}
    assert tuple(path.read_bytes() for path in kept) == before
    assert [path.name for path in Path("in").rglob("*.png")].count("a.png") <= 2


def test_a_backup_stays_one_when_somebody_edits_it() -> None:
    photo("in/a.png")
    keys = {"photos": "in", "in_place": True, "backup": "originals/{stem}{suffix}"}
    perform(**keys)
    edited = photo("in/originals/a.png", seed=99)
    Path("by link").symlink_to("in/originals")
    assert perform(**keys)["in/originals/a.png"] == "unchanged: in/originals/a.png: is the backup of a.png."
    (said,) = perform(photos="by link/a.png", output="other").values()
    assert said == "unchanged: by link/a.png: is the backup of a.png."
    assert Path("in/originals/a.png").read_bytes() == edited


def test_a_restored_original_is_protected_anew() -> None:
    before = photo("in/a.png")
    keys = {"photos": "in/a.png", "in_place": True}
    perform(**keys)
    shutil.copy("in/a.original.png", "in/a.png")
    assert perform(**keys) == {"in/a.png": "protected"}
    Path("in/a.original.png").replace("in/a.png")
    assert perform(**keys) == {"in/a.png": "protected"}
    assert Path("in/a.original.png").read_bytes() == before


@pytest.mark.parametrize("way", ["link", "chain", "folder", "other name"])
def test_in_place_through_a_link_replaces_the_real_file(way: str, tmp_path: Path) -> None:
    name = "real/blob" if way == "other name" else "real/x.png"
    before = photo("real/x.png")
    Path("real/x.png").rename(name)
    Path("in").mkdir()
    if way == "folder":
        Path("in").rmdir()
        Path("in").symlink_to("real")
    elif way == "chain":
        Path("in/l.png").symlink_to("../second.png")
        Path("second.png").symlink_to(name)
    else:
        Path("in/l.png").symlink_to(tmp_path / name)
    links = {name: content for name, content in snapshot().items() if isinstance(content, str)}
    assert set(perform(photos="in", in_place=True).values()) == {"protected"}
    backup = Path(name).with_name(f"{Path(name).stem}.original{Path(name).suffix}")
    assert backup.read_bytes() == before
    assert not backup.is_symlink()
    assert backup.stat().st_nlink == 1
    assert Path(name).read_bytes() != before
    now = snapshot()
    assert {name: now[name] for name in links} == links
    assert all(text.startswith("unchanged: ") for text in perform(photos="in", in_place=True).values())
    assert all(text.startswith("unchanged: ") for text in perform(photos=name, in_place=True).values())


def test_in_place_by_two_links_replaces_once() -> None:
    before = photo("real/x.png")
    for name in ("in/a.png", "in/b.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).symlink_to("../real/x.png")
    became = perform(photos="in", in_place=True)
    assert became["in/a.png"] == "protected"
    assert became["in/b.png"].startswith("unchanged: in/b.png: is the same file as in/a.png")
    assert Path("real/x.original.png").read_bytes() == before


def test_in_place_with_hard_links() -> None:
    """Each name that the run knows gets the protected photo and a backup; others keep the original, and it says so."""
    before = photo("in/a.png")
    for name in ("in/b.png", "snapshot.png"):
        Path(name).hardlink_to("in/a.png")
    (note,) = plan(photos="in", in_place=True).notes
    assert "in/a.png and 1 more: has other names (hard links) outside this run, which keep the original" in note
    assert set(perform(photos="in", in_place=True).values()) == {"protected"}
    assert Path("snapshot.png").read_bytes() == before
    for stem in "ab":
        kept = Path(f"in/{stem}.original.png")
        assert kept.read_bytes() == before
        assert kept.stat().st_nlink == 1
        assert Path(f"in/{stem}.png").read_bytes() != before
    Path("snapshot.png").unlink()
    assert plan(photos="in", in_place=True).notes == []


@pytest.mark.parametrize("kind", ["another file", "hard link", "link", "broken link", "folder"])
def test_what_is_in_the_place_of_a_backup_stays(kind: str) -> None:
    photo("in/a.png")
    backup = Path("in/keep/a.png")
    backup.parent.mkdir()
    if kind == "another file":
        photo(str(backup), seed=5)
    elif kind == "hard link":
        backup.hardlink_to("in/a.png")
    elif kind == "folder":
        backup.mkdir()
    else:
        backup.symlink_to("../a.png" if kind == "link" else "nowhere")
    keys = {"photos": "in/a.png", "in_place": True, "backup": "keep/{stem}{suffix}"}
    for overwrite in (False, True):
        refused("in/a.png: its backup would be ", "in/keep/a.png, where a", "backup", overwrite=overwrite, **keys)


def test_a_backup_that_a_killed_run_left_is_taken() -> None:
    before = photo("in/a.png")
    Path("in/a.original.png").write_bytes(before)
    assert perform(photos="in/a.png", in_place=True) == {"in/a.png": "protected"}
    assert Path("in/a.original.png").read_bytes() == before


def test_backups_that_clash() -> None:
    photo("in/a.png")
    photo("in/a.original.png")
    refused("in/a.original.png: is an input of this run, and would be the backup of in/a.png", "Set another backup",
            photos="in", in_place=True)  # fmt: skip
    photo("one/x.png")
    photo("two/x.png")
    Path("all").mkdir()
    for name in ("one", "two"):
        Path(name, "originals").symlink_to("../all")
    refused(
        "x.png: would be the backup of two/x.png, and the backup of one/x.png, too. Set another backup",
        photos="*/x.png", in_place=True, backup="originals/{stem}{suffix}",
    )  # fmt: skip
    Path("loop").mkdir()
    photo("loop/y.png")
    Path("loop/originals").symlink_to(".")
    refused("would be the backup of loop/y.png, and loop/y.png, protected, too", photos="loop/y.png", in_place=True,
            backup="originals/{stem}{suffix}")  # fmt: skip


def test_a_backup_that_another_run_would_take_for_its_report() -> None:
    photo("in/report.png")
    Path("in/report.png").rename("in/re.json")
    refused(
        "in/report.json: would be ", "Set another backup",
        photos="in/re.json", in_place=True, output="in", backup="{stem}port{suffix}",
    )  # fmt: skip


def test_a_lost_manifest_costs_no_original() -> None:
    before = photo("in/a.png")
    for backup in ("{stem}.original{suffix}", "originals/{stem}{suffix}"):
        keys = {"photos": "in", "in_place": True, "backup": backup}
        shutil.rmtree("in")
        photo("in/a.png")
        perform(**keys)
        Path("in/facecrypt-manifest.json").unlink()
        refused("backup", **keys)
        kept = Path("in", backup.format(stem="a", suffix=".png"))
        assert kept.read_bytes() == before


def test_folders_that_cannot_be_written_to_close_no_other() -> None:
    photo("in/a.png")
    photo("in/ro/b.png")
    recipe = make_recipe(photos="in", in_place=True)
    chosen = choose_photos(recipe, Path("sample.png"))
    made = make_plan(recipe, chosen, closed={Path("in/ro").absolute(): "Read-only file system"})
    todo, closed = made.photos
    assert todo.no_work is None
    assert closed.no_work is not None
    assert closed.no_work.status == "failed"
    assert "in/ro/b.png: its folder cannot be written to (Read-only file system)" in closed.no_work.reason


# Outputs of earlier runs


MADE = "was made by facecrypt already, with these settings."


@pytest.mark.parametrize(
    ("photos", "output"),
    [("in", "other"), ("in/**/*.png", "in/out"), ("in/**", "other"), ("in/out", "other"), ("in/out/a.png", "other")],
)
def test_outputs_among_the_inputs_are_left_out(photos: str, output: str) -> None:
    photo("in/a.png")
    photo("in/trip/b.png")
    perform(photos="in", output="in/out")
    became = perform(photos=photos, output=output)
    for name in ("in/out/a.png", "in/out/trip/b.png"):
        if name in became:
            assert became[name] == f"unchanged: {name}: {MADE}"
    assert any(name.startswith("in/out/") for name in became)


@pytest.mark.parametrize("way", ["moved up", "with its manifest", "by a link", "renamed", "copied beside"])
def test_an_output_is_known_wherever_its_manifest_is_near(way: str) -> None:
    photo("in/a.png")
    perform(photos="in", output="in/out")
    names = {"moved up": "in/b.png", "renamed": "in/out/c.png", "copied beside": "in/out/deep/d.png"}
    if way == "with its manifest":
        Path("away").mkdir()
        Path("in/out").rename("away/old")
        where = "away"
    elif way == "by a link":
        Path("link.png").symlink_to("in/out/a.png")
        where = "link.png"
    else:
        where = names[way]
        Path(where).parent.mkdir(exist_ok=True)
        shutil.copy("in/out/a.png", where)
    output = "in/out" if way == "moved up" else "other"
    ((name, text),) = perform(photos=where, output=output).items()
    assert text == f"unchanged: {name}: {MADE}"


def test_a_damaged_manifest_of_a_folder_of_photos_stops_the_run() -> None:
    photo("in/a.png")
    perform(photos="in", output="old")
    Path("old/manifest.json").write_text(Path("old/manifest.json").read_text()[:60])
    with pytest.raises(FacecryptError, match=r"old/manifest\.json: is no manifest of facecrypt 1"):
        perform(photos="old", output="other")
    for number, text in enumerate(('{"name": "web app"}', "", "x" * 300)):  # of another program
        Path("old/manifest.json").write_text(text)
        assert perform(photos="old/a.png", output=f"other{number}") == {"old/a.png": "protected"}


def test_a_manifest_that_holds_nonsense() -> None:
    photo("in/a.png")
    Path("out").mkdir()
    row = {
        "source": "a",
        "source_sha256": "b",
        "output": "c",
        "output_sha256": "d",
        "recipe_sha256": "e",
        "backup": None,
    }
    for change in ({"output": 5}, {"source": None}, {"backup": []}, {"extra": "x"}):
        Path("out/manifest.json").write_text(json.dumps({"facecrypt_manifest": 1, "photos": [row | change]}))
        with pytest.raises(FacecryptError, match="is no manifest of facecrypt 1"):
            perform(photos="in")
    for backup in ("\0", "x" * 5000, "/", ".."):
        Path("out/manifest.json").write_text(
            json.dumps({"facecrypt_manifest": 1, "photos": [row | {"backup": backup}]})
        )
        assert plan(photos="in").photos[0].no_work is None


def test_faces_by_hand_count_only_photos_that_are_protected() -> None:
    photo("in/a.png")
    perform(photos="in", in_place=True)
    Path("in/a.original.png").replace("in/a.png")
    shutil.copy("in/a.png", "in/a.original.png")
    assert perform(photos="in", in_place=True, faces={"box": [0, 0, 9, 9]})["in/a.png"] == "protected"
    photo("in/b.png")
    photo("in/c.png")
    with pytest.raises(PhotoError, match=r"faces\.box: gives a face of one photo by hand, but photos names 2\."):
        perform(photos="in", in_place=True, faces={"box": [0, 0, 9, 9]})


# Things that happen while a run is at work


@dataclass
class Moment:
    """A run that was planned and has not begun."""

    made: Plan
    recipe: Recipe

    def go_on(self) -> list[str]:
        return [protect(each, self.recipe) for each in self.made.photos]


@contextmanager
def begun(**keys: Any) -> Iterator[Moment]:
    recipe = make_recipe(**keys)
    chosen = choose_photos(recipe, Path("sample.png"))
    with locked_folders(Path(recipe.output), {goal.parent for _, goal in chosen if recipe.in_place}):
        yield Moment(make_plan(recipe, chosen), recipe)


def test_a_file_that_appears_meanwhile_stays() -> None:
    photo("in/a.png")
    photo("in/b.png")
    with begun(photos="in") as run:
        Path("out/a.png").write_text("mine")
        first, second = run.go_on()
    assert "out/a.png: appeared while the run was at work, so it stays as it is" in first
    assert second == "protected"
    assert Path("out/a.png").read_text() == "mine"


def test_a_report_that_somebody_edits_meanwhile_stays() -> None:
    photo("in/a.png")
    perform(photos="in")
    with begun(photos="in", epsilon=8) as run:
        Path("out/recipe.yaml").write_text("mine")
        with pytest.raises(PhotoError, match=r"out/recipe\.yaml: was changed while the run was at work"):
            check_unchanged(Path("out/recipe.yaml"), run.made.reports["recipe.yaml"])


@pytest.mark.parametrize("how", ["edited", "gone", "a link now", "a folder now"])
def test_a_photo_that_is_replaced_and_changes_meanwhile(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    photo("in/a.png")
    photo("in/b.png")
    photo("else.png")
    with begun(photos="in", in_place=True) as run:
        planned = run.made.photos[0]
        read = read_photo(planned.source)
        Path("in/a.png").unlink()
        if how == "edited":
            photo("in/a.png", seed=77)
        elif how == "a link now":
            Path("in/a.png").symlink_to("../else.png")
        elif how == "a folder now":
            Path("in/a.png").mkdir()
        before = {name: content for name, content in snapshot().items() if not name.endswith(("manifest.json", "lock"))}
        with pytest.raises(PhotoError, match=r"in/a\.png|else\.png"):
            write_planned(planned, read, read.pixels, "keep", "r")
        after = {name: content for name, content in snapshot().items() if not name.endswith(("manifest.json", "lock"))}
        assert after == before
        assert protect(run.made.photos[1], run.recipe) == "protected"


def test_a_photo_becomes_a_protected_one_meanwhile() -> None:
    """By a name that nothing could tell for the same file before: it must not get two masks."""
    photo("in/a.png")
    photo("in/b.png")
    with begun(photos="in", in_place=True) as run:
        assert protect(run.made.photos[0], run.recipe) == "protected"
        shutil.copy("in/a.png", "in/b.png")
        assert "became one that facecrypt made while the run was at work" in protect(run.made.photos[1], run.recipe)
    assert not Path("in/b.original.png").exists()


def test_an_output_folder_that_goes_meanwhile() -> None:
    photo("in/a.png")
    photo("in/b.png")
    with begun(photos="in") as run:
        shutil.rmtree("out")
        assert protect(run.made.photos[0], run.recipe) == "protected"
        shutil.rmtree("out")
        Path("mine").mkdir()
        mine = photo("mine/b.png", seed=5)
        Path("out").symlink_to("mine")
        assert "out/b.png: appeared while" in protect(run.made.photos[1], run.recipe)
    assert Path("mine/b.png").read_bytes() == mine
    rows = json.loads(Path("mine/manifest.json").read_text())["photos"] if Path("mine/manifest.json").exists() else []
    assert all(row["output"] != "b.png" for row in rows)


def replaced_by_a_link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(Path("precious").absolute())


STRANGE: dict[str, Callable[[Path], None]] = {
    "a link": replaced_by_a_link,
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "text": lambda path: path.write_bytes(b"mine") and None,
}


@pytest.mark.parametrize("what", STRANGE)
@pytest.mark.parametrize("name", ["manifest.json", ".manifest.json.lock"])
def test_a_manifest_that_is_something_else_meanwhile(what: str, name: str) -> None:
    Path("precious").write_text("precious")
    photo("in/a.png")
    photo("in/b.png")
    with begun(photos="in") as run:
        assert protect(run.made.photos[0], run.recipe) == "protected"
        path = Path("out", name)
        path.unlink(missing_ok=True)
        STRANGE[what](path)
        said = protect(run.made.photos[1], run.recipe)
        assert said.startswith(f"failed: {path}: ")
        assert not Path("out/b.png").exists()
        assert Path("precious").read_text() == "precious"
        shutil.rmtree(path) if what == "a folder" else path.unlink()
        assert protect(run.made.photos[1], run.recipe) == "protected"
    assert [row["output"] for row in json.loads(Path("out/manifest.json").read_text())["photos"]] == ["a.png", "b.png"]


def test_a_copy_of_hard_links_does_not_change_with_the_original() -> None:
    photo("in/a.png")
    perform(photos="in")
    subprocess.run(["cp", "-al", "out", "snapshot"], check=True)
    before = {name: content for name, content in snapshot().items() if name.startswith("snapshot")}
    perform(photos="in", epsilon=8)
    assert {name: content for name, content in snapshot().items() if name.startswith("snapshot")} == before


@contextmanager
def small_disk(folder: str, size: str) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    Path(folder).mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this system allows no mounts")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill_up(folder: str, leave: int = 0) -> Path:
    path = Path(folder, "ballast")
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    if leave:
        os.truncate(path, path.stat().st_size - leave)
    return path


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("leave", [0, 4096, 8192, 3 * 4096])
def test_a_full_disk(in_place: bool, leave: int) -> None:
    """Wherever the room ends: a photo is done or as it was, and all of them once there is room."""
    folder = "in" if in_place else "out"
    with small_disk(folder, "400k"):
        before = {f"in/{number}.png": photo(f"in/{number}.png") for number in range(6)}
        assert perform(photos="in/0.png", in_place=in_place) == {"in/0.png": "protected"}
        ballast = fill_up(folder, leave)
        recipe = make_recipe(photos="in/[1-9].png", in_place=in_place, output="elsewhere" if in_place else "out")
        chosen = choose_photos(recipe, Path("sample.png"))
        with locked_folders(Path(recipe.output), {goal.parent for _, goal in chosen if in_place}) as closed:
            made = make_plan(recipe, chosen, closed=closed)
            became = [protect(each, recipe) for each in made.photos]
        assert any("No space left on device" in text for text in became)
        assert all(text == "protected" or text.startswith("failed: ") for text in became)
        for planned, text in zip(made.photos, became, strict=True):
            original = before[str(planned.source)]
            if in_place:
                assert (planned.source.read_bytes() == original) == (text != "protected")
                assert planned.backup is not None
                assert not planned.backup.exists() or planned.backup.read_bytes() == original
            else:
                assert planned.source.read_bytes() == original
                assert planned.destination.exists() == (text == "protected")
        assert not list(Path(folder).glob(".facecrypt-*"))
        ballast.unlink()
        became = [
            text for name, text in perform(photos="in/*.png", in_place=in_place).items() if "original" not in name
        ]
        assert all(text == "protected" or text.startswith("unchanged: ") for text in became)
        for name, original in before.items():
            kept = Path(name).with_suffix(".original.png") if in_place else Path(name)
            assert kept.read_bytes() == original


def test_a_folder_that_is_read_only() -> None:
    photo("in/a.png")
    with small_disk("in/ro", "1m"):
        before = photo("in/ro/b.png")
        subprocess.run(["mount", "-o", "remount,ro", "in/ro"], check=True)
        became = perform(photos="in", in_place=True)
        assert became["in/a.png"] == "protected"
        assert became["in/ro/b.png"].startswith("failed: in/ro/b.png: its folder cannot be written to (Read-only file")
        assert Path("in/ro/b.png").read_bytes() == before
        with pytest.raises(FacecryptError, match=r"output: in/ro cannot be written to \(Read-only file system\)"):
            perform(photos="in/a.png", output="in/ro")


def test_what_an_interrupted_run_left_is_its_own(tmp_path: Path) -> None:
    """Notes of files that never came, half of a note, records and a lock of the dead."""
    photo("in/a.png")
    photo("in/b.png")
    perform(photos="in/a.png")
    Manifest(Path("out/manifest.json")).add(Path("in/b.png"), "0" * 64, Path("out/b.png"), "1" * 64, "r", None)
    Path("out/.facecrypt").mkdir()
    Path("out/.facecrypt/0.json").write_text("{")
    Path("out/.facecrypt.lock").write_text('{"facecrypt_lock": 1, "pid": 1')
    whole = Path("out/manifest.json").read_bytes()
    Path("out/manifest.json").write_bytes(whole[:-20])
    became = perform(photos="in")
    assert became["in/a.png"].startswith("unchanged: in/a.png: was written before")
    assert became["in/b.png"] == "protected"


def test_records_that_are_no_folder() -> None:
    photo("in/a.png")
    Path("out").mkdir()
    Path("mine").mkdir()
    for make in (lambda path: path.symlink_to("../mine"), lambda path: path.write_text("mine")):
        make(Path("out/.facecrypt"))
        refused("out/.facecrypt: is no folder", "output", photos="in")
        Path("out/.facecrypt").unlink()


def test_every_clash_is_named_but_not_for_ever() -> None:
    for number in range(30):
        photo(f"in/{number:02}.png")
        photo(f"out/{number:02}.png", seed=5)
    said = refused("out/00.png: is not from facecrypt", "and 20 more", photos="in")
    assert len(said.splitlines()) == 12


def test_the_work_of_a_plan_grows_with_its_photos_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not with photos times folders, each of which has a manifest where photos are replaced."""
    asked = 0
    ask = Manifest.find_reason

    def count(self: Manifest, *arguments: Any) -> str | None:
        nonlocal asked
        asked += 1
        return ask(self, *arguments)

    monkeypatch.setattr(Manifest, "find_reason", count)
    data = photo("in/0/0.png")
    for number in range(60):
        path = Path(f"in/{number}/{number}.png")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data + str(number).encode())
        Manifest(path.with_name("facecrypt-manifest.json")).add(path, "0", path, str(number), "r", None)
    assert len(plan(photos="in", in_place=True).photos) == 60
    assert 60 <= asked <= 3 * 60


def test_each_clash_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    photo("in/a.png")
    photo("in/b.png")
    recipe = str(quickstart())
    assert cli.main(["run", recipe, "photos=in", "output=in"]) == cli.WRONG
    first, *others = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
    assert first == "facecrypt: the run would destroy files, so nothing was begun:"
    assert [line.partition(":")[0] for line in others] == ["  in/a.png", "  in/b.png"]
