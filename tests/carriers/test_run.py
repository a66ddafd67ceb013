"""Sources and sinks through ``facecrypt run``: what goes in, what comes out, and what is left where something fails."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from facecrypt.carriers.archives import ArchiveSink
from facecrypt.carriers.base import Delivery
from facecrypt.cli import main as cli
from facecrypt.photos.files import Photo, read_photo
from tests.processes import begin

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "recipes" / "methods" / "blur.yaml")
QUICK = ["--allow-weak", RECIPE, "held_out=[]", "receipt.transforms=[]", "trainer.accelerator=cpu"]
Face = Callable[[str], bytes]


@pytest.fixture(scope="module")
def pictures(photo: Photo) -> dict[str, bytes]:
    """Two small photos with a face, a JPEG and a PNG file, and one without."""
    face = photo.pixels[20:260, 120:360]
    made = {}
    for name, pixels in (("face.jpg", face), ("face.png", face[:, ::-1]), ("wall.png", np.full_like(face, 90))):
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(
            buffer, "JPEG" if name.endswith("jpg") else "PNG", quality=95
        )
        made[name] = buffer.getvalue()
    return made


@pytest.fixture(autouse=True)
def own_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is left where temporary files are made, whatever happens."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.chdir(tmp_path)
    yield
    assert [path.name for path in folder.iterdir() if path.name.startswith("facecrypt-")] == []


def run(*keys: str, status: int = cli.DONE) -> dict[str, Any]:
    assert cli.main(["run", *QUICK, *keys]) == status
    report: dict[str, Any] = json.loads(Path("out/report.json").read_text())
    return report


def shard(path: Path, members: dict[str, bytes], mode: Any = "w") -> None:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1_000_000
            archive.addfile(info, io.BytesIO(data))


def contents(path: Path) -> dict[str, bytes]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return {info.filename: archive.read(info) for info in archive.infolist()}
    with tarfile.open(path) as tar:
        found = {}
        for member in tar:
            file = tar.extractfile(member)
            found[member.name] = file.read() if file else b""
        return found


def test_an_archive_comes_back_with_protected_photos_in_the_place_of_the_originals(
    pictures: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    members = {
        "0001.cls": b"7",
        "0001.jpg": pictures["face.jpg"],
        "0001.json": b'{"a": 1}',
        "b/0002.png": pictures["face.png"],
        "b/0002.txt": b"text",
        "0003.png": pictures["wall.png"],
    }
    shard(Path("train.tar"), members)
    before = Path("train.tar").read_bytes()
    report = run("photos=train.tar", "source=archive", "sink=archive", "output=out", status=cli.SOME_FAILED)
    assert [photo["source"] for photo in report["photos"]] == [
        "train.tar/0001.jpg",
        "train.tar/b/0002.png",
        "train.tar/0003.png",
    ]
    assert [photo["status"] for photo in report["photos"]] == ["written", "written", "unchanged"]
    assert Path("train.tar").read_bytes() == before
    made = contents(Path("out/train.tar"))
    assert list(made) == [name for name in members if name != "0003.png"]
    for name in ("0001.cls", "0001.json", "b/0002.txt"):
        assert made[name] == members[name]
    for name, original in (("0001.jpg", "face.jpg"), ("b/0002.png", "face.png")):
        assert made[name] == Path("out", name).read_bytes() != pictures[original]
    assert any("1 of 3 photos are left out" in note and "0003.png" in note for note in report["notes"])
    everything = Path("out/report.json").read_text() + Path("out/report.html").read_text() + capsys.readouterr().out
    assert "facecrypt-source" not in everything + Path("out/manifest.json").read_text()
    assert "data:image/webp" in Path("out/report.html").read_text()

    # The same again: nothing is made anew, and the archive is the same.
    first = Path("out/train.tar").read_bytes()
    again = run("photos=train.tar", "source=archive", "sink=archive", "output=out", status=cli.SOME_FAILED)
    assert [photo["already"] for photo in again["photos"]] == [True, True, False]
    assert all(photo["carried_over"] for photo in again["photos"][:2])
    assert Path("out/train.tar").read_bytes() == first


@pytest.mark.slow
def test_a_changed_member_is_made_anew_and_faceless_photos_may_be_kept(pictures: dict[str, bytes]) -> None:
    keys = [
        "photos=a.zip",
        "source=archive",
        "sink={name: archive, args: {faceless: keep, name: b.tar.gz}}",
        "output=out",
    ]
    for picture in ("face.png", "wall.png"):
        with zipfile.ZipFile("a.zip", "w") as archive:
            archive.writestr("x.png", pictures[picture])
            archive.writestr("__MACOSX/._x.png", b"resource fork")
            archive.writestr("readme.md", "# hello")
        run(*keys, status=cli.DONE if picture == "face.png" else cli.SOME_FAILED)
        made = contents(Path("out/b.tar.gz"))
        assert list(made) == ["x.png", "readme.md"]
        assert (made["x.png"] == pictures[picture]) == (picture == "wall.png")


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"../evil.jpg": b"x"}, "'../evil.jpg' is no name for a file below a folder"),
        ({"/evil.jpg": b"x"}, "'/evil.jpg' is no name for a file below a folder"),
        ({"ok.txt": b"", "a/../../evil.txt": b"x"}, "is no name for a file below a folder"),
        ({"notes.txt": b"x"}, "holds no photos"),
        ({"zeros.txt": bytes(1 << 22)}, "as no archive of photos does"),
    ],
)
def test_archives_that_lead_elsewhere_or_explode_are_refused(
    members: dict[str, bytes], fault: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facecrypt.carriers.archives._ALWAYS", 1 << 20)
    with zipfile.ZipFile("bad.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert cli.main(["run", *QUICK, "photos=bad.zip", "source=archive", "sink=archive", "output=out"]) == cli.WRONG
    assert fault in capsys.readouterr().err
    assert not Path("out").exists()
    assert not Path("evil.jpg").exists()


def test_no_archive_and_a_damaged_one_are_named(pictures: dict[str, bytes], capsys: pytest.CaptureFixture[str]) -> None:
    Path("face.jpg").write_bytes(pictures["face.jpg"])
    shard(Path("cut.tar"), {"a.jpg": pictures["face.jpg"]})
    Path("cut.tar").write_bytes(Path("cut.tar").read_bytes()[:2000])
    for name in ("face.jpg", "cut.tar", "gone.zip"):
        assert cli.main(["run", *QUICK, f"photos={name}", "source=archive", "output=out"]) == cli.WRONG
        error = capsys.readouterr().err
        assert error.startswith(f"facecrypt: {name}: ")
        assert error.count("\n") == 1


def test_a_file_that_is_somebody_elses_is_not_replaced(
    pictures: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    shard(Path("a.tar"), {"a.jpg": pictures["face.jpg"]})
    Path("out").mkdir()
    Path("out/a.tar").write_bytes(b"mine")
    keys = ["photos=a.tar", "source=archive", "sink=archive", "output=out"]
    assert cli.main(["run", *QUICK, *keys]) == cli.WRONG
    assert "out/a.tar: is not from facecrypt" in capsys.readouterr().err
    assert Path("out/a.tar").read_bytes() == b"mine"
    before = Path("a.tar").read_bytes()
    assert cli.main(["run", *QUICK, "photos=a.tar", "source=archive", "sink=archive", "output=."]) == cli.WRONG
    assert "is an input of this run" in capsys.readouterr().err
    assert Path("a.tar").read_bytes() == before


@pytest.mark.parametrize("name", ["report.json", "manifest.json"])
def test_a_sink_takes_no_place_of_what_a_run_leaves(
    name: str, pictures: dict[str, bytes], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shard(Path("a.tar"), {"a.jpg": pictures["face.jpg"]})
    monkeypatch.setattr(ArchiveSink, "files", lambda self, names, photos: [name])
    assert cli.main(["run", *QUICK, "photos=a.tar", "source=archive", "sink=archive", "output=out"]) == cli.WRONG
    assert f"out/{name}: would be what the sink makes, and" in capsys.readouterr().err
    assert not Path("out", name).exists()


def test_what_comes_to_the_place_of_an_archive_meanwhile_stays(
    pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    shard(Path("a.tar"), {"a.jpg": pictures["face.jpg"]})

    def late(self: ArchiveSink, delivery: Delivery) -> None:
        Path("out/a.tar").write_bytes(b"mine")
        deliver(self, delivery)

    deliver = ArchiveSink.deliver
    monkeypatch.setattr(ArchiveSink, "deliver", late)
    run("photos=a.tar", "source=archive", "sink=archive", "output=out", status=cli.SOME_FAILED)
    assert Path("out/a.tar").read_bytes() == b"mine"


def test_photos_of_a_folder_go_into_an_archive(pictures: dict[str, bytes]) -> None:
    Path("in/deep").mkdir(parents=True)
    Path("in/deep/a.png").write_bytes(pictures["face.png"])
    run("photos=in", "sink=archive", "output=out")
    assert contents(Path("out/photos.zip")) == {"deep/a.png": Path("out/deep/a.png").read_bytes()}


def test_no_original_goes_out_as_what_a_run_made(pictures: dict[str, bytes]) -> None:
    Path("in").mkdir()
    Path("in/me.png").write_bytes(pictures["face.png"])
    assert cli.main(["run", *QUICK, "photos=in", "in_place=true", "output=here"]) == cli.DONE
    assert Path("in/me.original.png").read_bytes() == pictures["face.png"]
    # The photo itself is a protected one by now; the backup beside it is the original.
    keys = ["photos=in", "sink={name: archive, args: {faceless: keep}}", "output=out"]
    run(*keys)
    assert contents(Path("out/photos.zip")) == {"me.png": Path("in/me.png").read_bytes()}
    Path("in/me.original.png").rename("in/again.png")  # As any other photo, it is protected.
    run(*keys, "overwrite=true")
    assert pictures["face.png"] not in contents(Path("out/photos.zip")).values()


def test_photos_that_a_limit_leaves_out_are_none_without_a_face(pictures: dict[str, bytes]) -> None:
    Path("in").mkdir()
    for name in ("a", "b", "c"):
        Path(f"in/{name}.png").write_bytes(pictures["face.png"])
    limit = ["batch_size=1", "trainer.limit_predict_batches=1"]
    keys = ["photos=in", "sink={name: archive, args: {faceless: keep}}", "output=out"]
    assert cli.main(["run", *QUICK, *keys, *limit]) == cli.SOME_FAILED
    assert contents(Path("out/photos.zip")) == {"a.png": Path("out/a.png").read_bytes()}
    run(*keys)
    assert contents(Path("out/photos.zip")) == {f"{name}.png": Path(f"out/{name}.png").read_bytes() for name in "abc"}


@pytest.mark.parametrize("kind", ["avi", pytest.param("mp4", marks=pytest.mark.slow)])
def test_frames_of_a_video_come_back_as_files_and_as_a_video(kind: str, photo: Photo) -> None:
    frames = [photo.pixels[20:260, 120 + 8 * shift : 360 + 8 * shift, ::-1] for shift in range(2)]
    video = cv2.VideoWriter("a.avi", cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (240, 240))
    for frame in frames:
        video.write(np.ascontiguousarray(frame))
    video.release()
    report = run("photos=a.avi", "source=frames", f"sink={{name: frames, args: {{video: {kind}}}}}", "output=out")
    assert [photo["source"] for photo in report["photos"]] == ["a.avi/000001.png", "a.avi/000002.png"]
    assert any("2 frames" in note for note in report["notes"])
    made = cv2.VideoCapture(f"out/a.{kind}")
    assert made.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    for number, before in enumerate(frames, 1):
        there, frame = made.read()
        protected = read_photo(Path(f"out/{number:06d}.png")).pixels[..., ::-1].astype(int)
        assert there
        assert np.abs(frame - protected).mean() < 6
        assert np.abs(protected - before).max() > 60
    assert not made.read()[0]


@pytest.mark.slow
def test_numbered_frames_come_in_the_order_of_their_numbers(pictures: dict[str, bytes]) -> None:
    Path("in").mkdir()
    for name, picture in (("f10.png", "face.png"), ("f9.jpg", "face.jpg"), ("cover.png", "wall.png")):
        Path("in", name).write_bytes(pictures[picture])
    report = run("photos=in", "source=frames", "sink=frames", "output=out")
    assert [photo["source"] for photo in report["photos"]] == ["in/f9.jpg", "in/f10.png"]


def test_no_video_and_no_photos_are_named(pictures: dict[str, bytes], capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.mp4").write_bytes(b"no video" * 100)
    Path("empty").mkdir()
    for name in ("a.mp4", "empty", "gone.mp4"):
        assert cli.main(["run", *QUICK, f"photos={name}", "source=frames", "output=out"]) == cli.WRONG
        assert f"facecrypt: {name}: holds no frames" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        (["source=archiv"], "source: no source named 'archiv'. Did you mean 'archive'?"),
        (["sink={name: archive, args: {faceles: keep}}"], "Did you mean 'faceless'?"),
        (["source=archive"], "photos: the source 'archive' reads what it names"),
        (["source=stdin", "photos=a.jpg"], "photos: the source 'stdin' reads one photo from standard input"),
        (["sink=archive", "photos=a.jpg", "in_place=true"], "in_place: replaces files where they are"),
    ],
)
def test_faults_are_told_before_anything_is_read(
    keys: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", RECIPE, *keys]) == cli.WRONG
    assert fault in capsys.readouterr().err


def pipe(data: bytes, *keys: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "facecrypt", "run", *QUICK, "source=stdin", *keys]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": tempfile.gettempdir()}
    return subprocess.run(command, input=data, capture_output=True, env=environment, preexec_fn=begin, check=False)


@pytest.mark.slow
def test_one_photo_goes_through_a_pipe_and_leaves_nothing_else(pictures: dict[str, bytes]) -> None:
    done = pipe(pictures["face.jpg"], "sink=stdout")
    assert done.returncode == cli.DONE, done.stderr.decode()
    image = Image.open(io.BytesIO(done.stdout))
    assert (image.format, image.size) == ("JPEG", (240, 240))
    assert done.stdout != pictures["face.jpg"]
    assert b"written: stdin/photo.jpg -> standard output" in done.stderr
    assert b"facecrypt-" not in done.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["temporary"]


@pytest.mark.slow
def test_what_cannot_be_protected_writes_nothing_to_the_pipe(pictures: dict[str, bytes]) -> None:
    for data, status, said in (
        (pictures["wall.png"], cli.SOME_FAILED, b"nothing was written to standard output"),
        (b"no photo", cli.WRONG, b"standard input is no photo of a known format"),
        (b"", cli.WRONG, b"standard input holds nothing"),
    ):
        done = pipe(data, "sink=stdout")
        assert (done.returncode, done.stdout) == (status, b""), done.stderr.decode()
        assert said in done.stderr
        assert sorted(path.name for path in Path().iterdir()) == ["temporary"]


@pytest.mark.slow
def test_the_loop_protects_photos_of_an_archive_as_it_does_files(pictures: dict[str, bytes]) -> None:
    shard(Path("a.tar"), {"a.png": pictures["face.png"]})
    Path("a.png").write_bytes(pictures["face.png"])
    keys = ["method={name: iterative}", "steps=2", "max_targets=2"]
    run("photos=a.tar", "source=archive", "sink=archive", "output=out", *keys)
    assert cli.main(["run", *QUICK, "photos=a.png", "output=alone", *keys]) == cli.DONE
    assert contents(Path("out/a.tar"))["a.png"] == Path("alone/a.png").read_bytes()
