"""A run that is killed at any moment leaves every photo original or whole; the same command then does nothing twice."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facecrypt.engine import manifest as manifests
from facecrypt.engine.manifest import Manifest, manifest_path
from facecrypt.errors import FacecryptError
from facecrypt.photos.files import file_digest, read_photo, sweep, write_photo
from facecrypt.pipeline.inputs import choose_photos
from facecrypt.recipe.check import check_recipe
from tests.pictures import make_image, save
from tests.processes import run, started

ROOT = Path(__file__).parents[2]

# What a run does with each photo, without the networks: adds 1 to every pixel, so that doing it twice shows. Each photo
# waits for a line on standard input, so that a run cannot be over before it is killed, however slow the machine.
WORKER = """
import sys
from pathlib import Path
import numpy as np
from facecrypt.engine.manifest import Manifest, manifest_path
from facecrypt.system.naming import beside
from facecrypt.photos.files import find_photos, read_photo, sweep, write_photo

folder, output, in_place = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "in_place"
paths = find_photos(str(folder), recursive=True)
sweep({output, folder})
print("ready", flush=True)
for path in paths:
    sys.stdin.readline()
    destination = path if in_place else output / path.name
    manifest = Manifest(manifest_path(destination, output, in_place))
    if manifest.find_reason(path, destination, "recipe"):
        continue
    photo = read_photo(path)
    backup = beside(path, "{stem}.original{suffix}") if in_place else None
    write_photo(
        photo, (photo.pixels + np.uint8(1)), destination, "keep", backup=backup,
        announce=lambda made: manifest.add(path, photo.digest, destination, made, "recipe", backup),
    )
"""


@contextmanager
def worker(folder: Path, output: Path, mode: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WORKER, str(folder), str(output), mode]
    with started(command, stdin=subprocess.PIPE, stderr=None) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


def fill(folder: Path, count: int) -> dict[str, np.ndarray]:
    folder.mkdir()
    pixels = {}
    for number in range(count):
        image = make_image(size=(200, 150), seed=number)
        image.save(folder / f"{number:02d}.png")
        pixels[f"{number:02d}.png"] = np.asarray(image)
    return pixels


def check_killed(tmp_path: Path, mode: str, rounds: int, count: int) -> None:
    rng = random.Random(rounds)
    folder, output = tmp_path / "photos", tmp_path / "out"
    before = fill(folder, count)
    results = folder if mode == "in_place" else output
    for _ in range(rounds):
        with worker(folder, output, mode) as process:
            assert process.stdin is not None
            process.stdin.write("\n" * rng.randint(1, count - 1))
            process.stdin.flush()
            time.sleep(rng.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        for name, pixels in before.items():
            if (results / name).exists():
                now = read_photo(results / name).pixels.astype(int)
                assert np.array_equal(now, pixels + np.uint8(1)) or (mode == "in_place" and np.array_equal(now, pixels))
            backup = folder / name.replace(".png", ".original.png")
            assert not backup.exists() or np.array_equal(read_photo(backup).pixels, pixels)
    for _ in range(2):
        with worker(folder, output, mode) as process:
            process.communicate()
        assert process.returncode == 0
    for name, pixels in before.items():
        assert np.array_equal(read_photo(results / name).pixels, pixels + np.uint8(1))
        if mode == "in_place":
            assert np.array_equal(read_photo(folder / name.replace(".png", ".original.png")).pixels, pixels)
        else:
            assert np.array_equal(read_photo(folder / name).pixels, pixels)
    extra = "facecrypt-manifest.json" if mode == "in_place" else "manifest.json"
    assert len(list(results.iterdir())) == count * (2 if mode == "in_place" else 1) + 1
    assert (results / extra).exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills processes")
@pytest.mark.parametrize("mode", ["in_place", pytest.param("output", marks=pytest.mark.slow)])
def test_killed_runs(tmp_path: Path, mode: str) -> None:
    check_killed(tmp_path, mode, rounds=2, count=12)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills processes")
@pytest.mark.parametrize("mode", ["in_place", "output"])
def test_many_killed_runs(tmp_path: Path, mode: str) -> None:
    check_killed(tmp_path, mode, rounds=25, count=60)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills processes")
@pytest.mark.parametrize("mode", ["in_place", "output"])
def test_the_whole_program_killed(tmp_path: Path, mode: str) -> None:
    """The command line with its networks, killed as soon as the next photo is done, and once more a little later."""
    folder, output = tmp_path / "photos", tmp_path / "out"
    (folder / "trip").mkdir(parents=True)
    sample = Image.open(ROOT / "facecrypt/data/sample/astronaut.png").crop((100, 0, 356, 256))
    for number in range(4):
        sample.rotate(2 * number).save(folder / ("trip" if number % 2 else "") / f"{number}.png")
    originals = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}
    command = [
        sys.executable, "-m", "facecrypt", "run", "--allow-weak", "tests/judged.yaml", f"photos={folder}",
        f"output={output}",
        "steps=1", "budget=null", "max_targets=2", "target_selector={name: nearest}", "held_out=[]", "batch_size=1",
        "trainer.accelerator=cpu", f"in_place={str(mode == 'in_place').lower()}",
    ]  # fmt: skip
    results = folder if mode == "in_place" else output
    rng = random.Random(0)
    for done in (1, 2, 3):
        with started(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and changed(originals, results) < done:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.2))
    states = {name: file_digest(results / name) for name in originals}
    was_done = {name: changed({name: data}, results) == 1 for name, data in originals.items()}
    before = sum(was_done.values())
    assert before >= 1
    finished = run(command)
    assert finished.returncode == 0, finished.stderr
    photos = json.loads((output / "report.json").read_text())["photos"]
    assert sum(photo["status"] == "written" for photo in photos) == 4 - before
    for name, original in originals.items():
        if was_done[name]:
            assert file_digest(results / name) == states[name]
        kept = folder / name.with_name(f"{name.stem}.original.png") if mode == "in_place" else folder / name
        assert kept.read_bytes() == original
        change = read_photo(results / name).pixels.astype(int) - read_photo(kept).pixels
        assert 0 < np.abs(change).max() <= 12
    written = (output / "report.json").read_bytes()
    again = run(command)
    assert again.returncode == 0
    assert again.stdout.count("is protected already") + again.stdout.count("unchanged: ") >= 4, again.stdout
    assert (output / "report.json").read_bytes() == written  # That of whoever did the work.


def changed(originals: dict[Path, bytes], results: Path) -> int:
    """How many photos are there and not as they were."""
    return sum((results / name).exists() and (results / name).read_bytes() != data for name, data in originals.items())


def protect(path: Path, destination: Path, known: Manifest, recipe: str = "r", backup: Path | None = None) -> None:
    photo = read_photo(path)
    write_photo(
        photo, photo.pixels ^ np.uint8(1), destination, backup=backup,
        announce=lambda made: known.add(path, photo.digest, destination, made, recipe, backup),
    )  # fmt: skip


def test_reasons(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", make_image())
    out = tmp_path / "out" / "a.png"
    known = tmp_path / "out" / "manifest.json"
    assert Manifest(known).find_reason(path, out, "r") is None
    protect(path, out, Manifest(known))
    again = Manifest(known)
    assert f"was written before with these settings, as {out}" in (again.find_reason(path, out, "r") or "")
    assert again.find_reason(path, out, "other") is None
    assert again.find_reason(path, out.with_name("b.png"), "r") is None
    assert "was made by facecrypt already" in (again.find_reason(out, out, "r") or "")
    out.write_bytes(b"changed since")
    assert again.find_reason(path, out, "r") is None


def test_reasons_in_place_survive_a_move_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    path = save(tmp_path / "here" / "a.png", make_image())
    backup = path.with_name("a.original.png")
    protect(path, path, Manifest(manifest_path(path, tmp_path, True)), backup=backup)
    shutil.move(tmp_path / "here", tmp_path / "there")
    path, backup = tmp_path / "there" / "a.png", tmp_path / "there" / "a.original.png"
    known = Manifest(manifest_path(path, tmp_path, True))
    assert known.find_reason(path, path, "r") == f"{path}: was made by facecrypt already, with these settings. " + (
        "To protect it anew, restore a.original.png first."
    )
    assert "with other settings" in (known.find_reason(path, path, "x") or "")
    assert known.find_reason(backup, backup, "r") == f"{backup}: is the backup of a.png."


def test_a_backup_is_never_replaced(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", make_image())
    backup = tmp_path / "a.original.png"
    backup.write_bytes(b"mine")
    before = path.read_bytes()
    photo = read_photo(path)
    with pytest.raises(FacecryptError, match=r"a\.png: its backup would be .*a\.original\.png, where another file is"):
        write_photo(photo, photo.pixels, path, backup=backup)
    assert (path.read_bytes(), backup.read_bytes()) == (before, b"mine")
    backup.write_bytes(before)  # left by a killed run
    write_photo(photo, photo.pixels ^ np.uint8(1), path, backup=backup)
    assert backup.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.original.png", "a.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="asks the system what a descriptor is")
def test_a_backup_is_on_the_disk_before_the_photo_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content and name: a power cut right after the replacement must find both."""
    path, backup = save(tmp_path / "a.png", make_image()), tmp_path / "originals" / "a.png"
    before, done = path.read_bytes(), list[str]()
    sync, link, move = os.fsync, os.link, os.replace

    def note_sync(descriptor: int) -> None:
        sync(descriptor)
        done.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).suffix or 'folder'}")

    def note_link(source: Path, target: Path) -> None:
        assert Path(source).read_bytes() == before
        link(source, target)
        done.append(f"name {Path(target).parent.name}")

    def note_move(source: Path, target: Path) -> None:
        move(source, target)
        done.append(f"replace {Path(target).name}")

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "link", note_link)
    monkeypatch.setattr(os, "replace", note_move)
    photo = read_photo(path)
    write_photo(photo, photo.pixels ^ np.uint8(1), path, backup=backup)
    new = ["sync .tmp"]  # the protected photo
    assert done == [*new, "sync .tmp", "name originals", "sync folder", "sync folder", "replace a.png", "sync folder"]
    assert (backup.read_bytes(), backup.stat().st_nlink) == (before, 1)


def test_a_backup_without_hard_links_and_the_rights_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    path = save(tmp_path / "a.png", make_image())
    path.chmod(0o600)
    before = path.read_bytes()
    photo = read_photo(path)
    write_photo(photo, photo.pixels ^ np.uint8(1), path, backup=tmp_path / "originals" / "a.png")
    assert (tmp_path / "originals" / "a.png").read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_photo_that_changes_meanwhile_stays(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", make_image())
    photo = read_photo(path)
    path.write_bytes(b"edited")
    with pytest.raises(FacecryptError, match="was changed while the run was at work"):
        write_photo(photo, photo.pixels, path, backup=tmp_path / "b.png")
    assert path.read_bytes() == b"edited"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"facecrypt_manifest": 2, "photos": []}', '{"name": "web app"}'])
def test_another_file_of_that_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(FacecryptError, match=r"manifest\.json: is no manifest of facecrypt 1.*another output folder"):
        Manifest(tmp_path / "manifest.json")


def test_processes_add_beside_each_other(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from facecrypt.engine.manifest import Manifest\n"
        "known = Manifest(Path(sys.argv[1]))\n"
        "for i in range(20): known.add(Path('a'), '0', Path(sys.argv[2] + str(i)), '1', 'r', None)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "manifest.json")]
    with ExitStack() as stack:
        running = [stack.enter_context(started([*command, name], stdout=None, stderr=None)) for name in "xy"]
        assert [process.wait() for process in running] == [0, 0]
    assert len(json.loads((tmp_path / "manifest.json").read_text())["photos"]) == 40
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_an_entry_costs_the_same_however_many_there_are(tmp_path: Path) -> None:
    """The file is added to in place: what stands in it already is neither read nor written again."""
    known = Manifest(tmp_path / "manifest.json")
    known.add(Path("a"), "0", tmp_path / "a", "1", "r", None)
    file = (tmp_path / "manifest.json").stat().st_ino
    for number in range(3):
        known.add(Path(f"b{number}"), "0", tmp_path / f"b{number}", "1", "r", None)
    assert (tmp_path / "manifest.json").stat().st_ino == file
    photos = json.loads((tmp_path / "manifest.json").read_text())["photos"]
    assert [photo["output"] for photo in photos] == ["a", "b0", "b1", "b2"]


@pytest.mark.parametrize("cut", [1, 3, 4, 30, 100])
def test_an_entry_that_was_cut_off_is_not_there(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "manifest.json"
    for number in range(3):
        Manifest(path).add(Path(f"photo {number}"), str(number), tmp_path / f"{number}", f"made {number}", "r", None)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    Manifest(path).add(Path("last"), "3", tmp_path / "3", "made 3", "r", None)
    outputs = [photo["output"] for photo in json.loads(path.read_text())["photos"]]
    assert outputs in (["0", "1", "2", "3"], ["0", "1", "3"])
    assert outputs[:2] == ["0", "1"]


def test_a_manifest_in_another_layout_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    Manifest(path).add(Path("a"), "0", tmp_path / "a", "1", "r", None)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    Manifest(path).add(Path("b"), "0", tmp_path / "b", "1", "r", None)
    assert [photo["output"] for photo in json.loads(path.read_text())["photos"]] == ["a", "b"]


def test_reports_are_told_from_photos(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    for digest in ("1", "2", "1"):
        Manifest(path).add_report(tmp_path / "report.json", digest)
    known = Manifest(path)
    assert len(json.loads(path.read_text())["photos"]) == 2
    assert known.knows_reports
    assert len(known.entries_of(tmp_path / "report.json", "2")) == 1
    assert not known.has_made("2")
    assert known.outputs == set()


@pytest.mark.skipif(os.name != "posix", reason="asks for processes")
def test_what_a_dead_process_left_is_swept(tmp_path: Path) -> None:
    from facecrypt.photos import files as photos

    with started([sys.executable, "-c", ""]) as process:
        process.wait()
    name = photos._temporary(tmp_path).name
    (tmp_path / name).touch()  # of this process, which lives
    (tmp_path / name.replace(f"-{os.getpid()}-", f"-{process.pid}-")).touch()
    (tmp_path / ".facecrypt-mine.tmp").touch()
    sweep([tmp_path, tmp_path / "nowhere"])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, ".facecrypt-mine.tmp"])


def test_where_photos_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    for name in ("a.jpg", "trip/b.png", "trip/deep/c.webp", "trip/.hidden/d.png", "out/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    out = tmp_path / "out"

    def where(**keys: object) -> list[tuple[str, str]]:
        values = {"surrogates": [{"name": "sface"}], "photos": str(tmp_path), "output": str(out), **keys}
        chosen = choose_photos(check_recipe(values), tmp_path / "sample.png")
        return [(str(source.relative_to(tmp_path)), str(goal.relative_to(tmp_path))) for source, goal in chosen]

    names = ["a.jpg", "trip/b.png", "trip/deep/c.webp"]
    assert where() == [(name, f"out/{name}") for name in names]
    assert where(in_place=True) == [(name, name) for name in names]
    assert where(format="png", name="{stem}-x{suffix}")[0] == ("a.jpg", "out/a-x.png")
    assert where(photos=f"{tmp_path}/trip/**/*.*") == [("trip/b.png", "out/b.png"), ("trip/deep/c.webp", "out/c.webp")]
    assert where(photos=None) == [("sample.png", "out/sample.png")]
    for text in (f"{tmp_path}/a.jpg\n\n{tmp_path}/trip/b.png\n", f"{tmp_path}/a.jpg\0{tmp_path}/trip/b.png\0"):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert where(photos="-") == [("a.jpg", "out/a.jpg"), ("trip/b.png", "out/b.png")]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(FacecryptError, match="standard input, which has none"):
        where(photos="-")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"name": "x{suffix}"}, "name: 'x{suffix}' must contain {stem}"),
        ({"name": "{stem}"}, "name: '{stem}' must contain {stem}, end in {suffix}"),
        ({"name": "{stem}{x}{suffix}"}, "no other field"),
        ({"name": "{stem!r}{suffix}"}, "no other field"),
        ({"name": "{stem{suffix}"}, "no other field"),
        ({"name": "a/{stem}{suffix}"}, "must be a plain file name."),
        ({"name": "../{stem}{suffix}"}, "must be a plain file name."),
        ({"backup": "/{stem}{suffix}"}, "backup: '/{stem}{suffix}' must be a plain file name, after folders inside"),
        ({"backup": "a/../{stem}{suffix}"}, "after folders inside"),
        ({"in_place": True}, "in_place: replaces photos, but the recipe names none."),
        ({"in_place": True, "photos": "x", "format": "png"}, "in_place: keeps each photo's format."),
        ({"in_place": True, "photos": "x", "name": "{stem}-y{suffix}"}, "in_place: keeps each photo's name."),
        ({"in_place": True, "photos": "x", "backup": "{stem}{suffix}"}, "backup: would be the photo itself."),
        ({"metadata": "some"}, "metadata"),
    ],
)
def test_wrong_keys(keys: dict[str, object], says: str) -> None:
    with pytest.raises(FacecryptError) as caught:
        check_recipe({"surrogates": [{"name": "sface"}], **keys})
    assert says in str(caught.value)


def test_names_of_the_manifests(tmp_path: Path) -> None:
    assert manifest_path(tmp_path / "a" / "b.png", tmp_path, False) == tmp_path / manifests.NAME
    assert manifest_path(tmp_path / "a" / "b.png", tmp_path, True) == tmp_path / "a" / manifests.NAME_IN_PLACE
