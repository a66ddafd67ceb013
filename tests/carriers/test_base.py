"""Rooms, deliveries, and the guards around sources and sinks."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facecrypt import testing
from facecrypt.carriers import base
from facecrypt.carriers.base import Delivered, Delivery, GuardedSink, GuardedSource, Room
from facecrypt.errors import PhotoError, PluginError
from facecrypt.pipeline.runner import sample_photo
from facecrypt.registry import Component

COUNT = iter(range(1000))


class Brings:
    def __init__(self, fetch: Callable[[Room], Any]) -> None:
        self._fetch = fetch

    def fetch(self, photos: str | None, room: Room) -> None:
        self._fetch(room)


class Takes:
    def __init__(
        self, files: Any = (), deliver: Callable[[Delivery], Any] = lambda delivery: None, private: Any = False
    ) -> None:
        self._files, self._deliver, self.private = files, deliver, private

    def files(self, names: Any, photos: Any) -> Any:
        return self._files

    def deliver(self, delivery: Delivery) -> None:
        self._deliver(delivery)


def source(fetch: Callable[[Room], Any]) -> GuardedSource:
    return GuardedSource(Component("source", "mine", "", "", "plug"), Brings(fetch))


def sink(*args: Any, **keys: Any) -> GuardedSink:
    return GuardedSink(Component("sink", "mine", "", "", "plug"), Takes(*args, **keys))


def delivery(
    folder: Path, allowed: tuple[str, ...] = ("a.zip",), announce: Any = lambda path, digest: None
) -> Delivery:
    photo = Delivered("a.png", "a.png", "written", folder / "in.png", folder / "a.png")
    return Delivery([photo], None, folder, allowed, announce)


@pytest.mark.parametrize(
    "name",
    ["../a.jpg", "/a.jpg", "a/../../b.jpg", "a//b.jpg", "./a.jpg", "C:/a.jpg", "a\\..\\b.jpg", "a\n.jpg",
     ".facecrypt-x.jpg", "a.exe", "a", "", "x" * 300 + ".jpg"],
)  # fmt: skip
def test_a_room_refuses_names_that_lead_elsewhere_or_are_no_picture(name: str, tmp_path: Path) -> None:
    room = Room(tmp_path / "room")
    room.folder.mkdir()
    with pytest.raises(PhotoError):
        room.add(name, [b"x"])
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []
    assert room.names == []


def test_a_room_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(tmp_path, files=2, size=10)
    room.add("a/b.jpg", [b"123", b"456"])
    assert (tmp_path / "a/b.jpg").read_bytes() == b"123456"
    with pytest.raises(PhotoError, match="'a/b.jpg': is there twice"):
        room.add("a/b.jpg", [b""])
    with pytest.raises(PhotoError, match="'c.jpg': is too large"):
        room.add("c.jpg", iter([b"12345"]))
    room.add("d.jpg", [])
    with pytest.raises(PhotoError, match="more than 2 pictures"):
        room.add("e.jpg", [b""])
    monkeypatch.setattr(base, "_SPARED", 1 << 60)
    with pytest.raises(PhotoError, match="no room is left"):
        Room(tmp_path).add("f.jpg", [b"1"])


def crash(*_: object) -> None:
    raise KeyError("x")


def leave(*_: object) -> None:
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("fetch", "fault"),
    [
        (crash, "source 'mine' (plug): raised KeyError (test_base.py, line "),
        (leave, "source 'mine' (plug): raised SystemExit (test_base.py, line "),
        (lambda room: (room.folder / "a.jpg").write_bytes(b""), "put files into the room by another way than Room.add"),
        (lambda room: (room.folder / "a.jpg").symlink_to("/etc/passwd"), "put files into the room by another way"),
    ],
)
def test_a_wrong_source_is_named(fetch: Callable[[Room], Any], fault: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError) as error:
        source(fetch).fetch(None, Room(tmp_path))
    assert fault in str(error.value)


def test_a_source_without_pictures_is_a_fault_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="brought no pictures"):
        source(lambda room: None).fetch(None, Room(tmp_path))
    with pytest.raises(PluginError, match="was built as int; expected an object with fetch"):
        GuardedSource(Component("source", "mine", "", "", "plug"), 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "fault"),
    [("a.zip", "named 'a.zip' as its files"), (None, "named None as its files"), ([3], r"named \[3\] as its files")],
)
def test_a_sink_that_names_no_files_is_named(files: Any, fault: str) -> None:
    with pytest.raises(PluginError, match=fault):
        sink(files).files(["a.png"], None)


def test_a_sink_stays_in_the_output_folder_and_says_what_it_leaves(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"'\.\./a.zip' is no name"):
        sink(["../a.zip"]).files(["a.png"], None)
    with pytest.raises(PluginError, match="has 3 for 'private'; expected true or false"):
        sink(private=3)
    with pytest.raises(PluginError, match="raised KeyError"):
        sink(deliver=crash).deliver(delivery(tmp_path))


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    told: list[Path] = []
    with pytest.raises(TypeError), delivery(tmp_path).file("a.zip") as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    with pytest.raises(PhotoError, match="was not among the files"), delivery(tmp_path).file("b.zip"):
        pass

    def refuse(path: Path, digest: str) -> None:
        raise PhotoError("changed meanwhile")

    with (
        pytest.raises(PhotoError, match="changed meanwhile"),
        delivery(tmp_path, announce=refuse).file("a.zip") as file,
    ):
        file.write(b"whole")
    assert list(tmp_path.iterdir()) == []
    with delivery(tmp_path, announce=lambda path, digest: told.append(path)).file("a.zip") as file:
        file.write(b"whole")
        assert [path.name for path in tmp_path.iterdir() if path.name == "a.zip"] == []
    assert (tmp_path / "a.zip").read_bytes() == b"whole"
    assert told == [tmp_path / "a.zip"]


def write(delivered: Delivery, name: str, data: bytes) -> None:
    with delivered.file(name) as file:
        file.write(data)


def pack_everything(delivered: Delivery) -> None:
    """Write every original into an archive, those too that could not be protected, deflated beyond recognition."""
    with delivered.file("a.zip") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for photo in delivered.photos:
            archive.writestr(zipfile.ZipInfo(photo.name), b"0" * 99 + photo.original.read_bytes(), zipfile.ZIP_DEFLATED)


class TestConformance:
    """What the checks of sources and sinks see."""

    @pytest.mark.parametrize(
        ("fetch", "check"),
        [
            (lambda room: room.add("a.png", [b"no picture"]), "brings_pictures_that_can_be_read"),
            (lambda room: None, "brings_pictures_that_can_be_read"),
            (crash, "says_what_is_missing"),
            (lambda room: room.add(f"{id(room)}.png", [sample_photo().read_bytes()]), "brings_the_same_again"),
            (lambda room: room.add("a.png", [sample_photo().read_bytes()]), "says_what_is_missing"),
        ],
    )
    def test_of_a_source(self, fetch: Callable[[Room], Any], check: str, tmp_path: Path) -> None:
        (tmp_path / "list").write_text("")
        with pytest.raises(AssertionError, match=f"{check}: "):
            testing.check_source(Brings(fetch), str(tmp_path / "list"))

    def test_of_a_source_that_swallows_the_bounds(self) -> None:
        def fetch(room: Room) -> None:
            try:
                room.add("a.png", [sample_photo().read_bytes()])
            except PhotoError:
                return

        with pytest.raises(AssertionError, match="stops_where_its_room_is_full"):
            testing.check_source(Brings(fetch))

    @pytest.mark.parametrize(
        ("deliver", "check"),
        [
            (lambda d: None, "names_its_files_before_it_writes_them"),
            (lambda d: (d.output / "b").write_bytes(b""), "names_its_files_before_it_writes_them"),
            (lambda d: write(d, "a.zip", str(next(COUNT)).encode()), "writes_the_same_again"),
            (lambda d: write(d, "a.zip", b"".join(p.original.read_bytes() for p in d.photos)), "delivers_no_photo"),
            (pack_everything, "delivers_no_photo"),
            (lambda d: d.photos[0].original.write_bytes(b""), "leaves_photos_as_they_are"),
        ],
    )  # fmt: skip
    def test_of_a_sink(self, deliver: Callable[[Delivery], Any], check: str) -> None:
        with pytest.raises(AssertionError, match=f"{check}\\w*: "):
            testing.check_sink(Takes(["a.zip"], deliver))
