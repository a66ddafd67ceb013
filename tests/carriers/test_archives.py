"""What archives hold besides photos, and what damaged ones raise."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from facecrypt.carriers.archives import ArchiveSink, ArchiveSource, members_of
from facecrypt.carriers.base import Delivered, Delivery, Room
from facecrypt.errors import FacecryptError, PhotoError


def fetch(path: Path, folder: Path) -> list[str]:
    folder.mkdir()
    room = Room(folder)
    ArchiveSource().fetch(str(path), room)
    return room.names


def deliver(origin: Path | None, output: Path, name: str, photos: list[Delivered]) -> Path:
    output.mkdir(exist_ok=True)
    sink = ArchiveSink(name=name)
    allowed = sink.files([photo.source for photo in photos], str(origin) if origin else None)
    sink.deliver(Delivery(photos, str(origin) if origin else None, output, allowed, lambda path, digest: None))
    return output / allowed[0]


def photo(folder: Path, source: str, data: bytes = b"protected", name: str = "") -> Delivered:
    file = folder / "protected" / source
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return Delivered(source, name or source, "written", file, file)


def odd_tar(path: Path, mode: Any = "w") -> None:
    with tarfile.open(path, mode) as tar:
        for name, data in (("./a/1.jpg", b"original"), ("./a/1.txt", b"label")):
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid, info.mtime = len(data), 0o640, 7, 1234
            tar.addfile(info, io.BytesIO(data))
        for kind, name in ((tarfile.DIRTYPE, "./empty"), (tarfile.SYMTYPE, "./2.jpg"), (tarfile.FIFOTYPE, "./3.jpg")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
            tar.addfile(info)


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
def test_a_tar_file_keeps_links_folders_rights_and_times(ending: str, tmp_path: Path) -> None:
    origin = tmp_path / f"odd{ending}"
    odd_tar(origin, {".tar": "w", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}.get(ending, "w:gz"))
    assert fetch(origin, tmp_path / "room") == ["a/1.jpg"]
    made = deliver(origin, tmp_path / "out", "", [photo(tmp_path, "a/1.jpg")])
    with tarfile.open(origin) as before, tarfile.open(made) as after:
        assert after.getnames() == before.getnames()
        for old, new in zip(before, after, strict=True):
            assert (new.type, new.linkname, new.mode, new.uid, new.mtime) == (
                old.type, old.linkname, old.mode, old.uid, old.mtime,
            )  # fmt: skip
        content = after.extractfile("./a/1.jpg")
        assert content is not None
        assert content.read() == b"protected"
    first = made.read_bytes()
    deliver(origin, tmp_path / "out", "", [photo(tmp_path, "a/1.jpg")])
    assert made.read_bytes() == first


def test_a_zip_file_keeps_links_compression_and_times(tmp_path: Path) -> None:
    origin = tmp_path / "odd.zip"
    with zipfile.ZipFile(origin, "w") as archive:
        archive.writestr(zipfile.ZipInfo("folder/"), b"")
        link = zipfile.ZipInfo("folder/link.jpg", (2001, 2, 3, 4, 5, 6))
        link.external_attr, link.create_system = (stat.S_IFLNK | 0o777) << 16, 3
        archive.writestr(link, "/etc/passwd")
        archive.writestr("folder/1.JPG", b"original", zipfile.ZIP_DEFLATED)
        archive.writestr("folder/1.json", b"{}" * 100, zipfile.ZIP_DEFLATED)
    assert fetch(origin, tmp_path / "room") == ["folder/1.JPG"]
    made = deliver(origin, tmp_path / "out", "", [photo(tmp_path, "folder/1.JPG")])
    with zipfile.ZipFile(origin) as before, zipfile.ZipFile(made) as after:
        assert after.testzip() is None
        for old, new in zip(before.infolist(), after.infolist(), strict=True):
            keys = ("filename", "date_time", "compress_type", "external_attr", "create_system")
            assert [getattr(new, key) for key in keys] == [getattr(old, key) for key in keys]
            assert after.read(new) == (b"protected" if new.filename == "folder/1.JPG" else before.read(old))


@pytest.mark.parametrize(("old", "new"), [("odd.tar", "new.zip"), ("odd.zip", "new.tar")])
def test_another_kind_of_archive_holds_the_same_files_under_new_names(old: str, new: str, tmp_path: Path) -> None:
    origin = tmp_path / old
    if old.endswith("tar"):
        odd_tar(origin)
        source, label = "a/1.jpg", "./a/1.txt"
    else:
        with zipfile.ZipFile(origin, "w") as archive:
            archive.writestr("a/1.jpg", b"original")
            archive.writestr("a/1.txt", b"label")
        source, label = "a/1.jpg", "a/1.txt"
    made = deliver(origin, tmp_path / "out", new, [photo(tmp_path, source, name="a/1-protected.jpg")])
    with members_of(str(made)) as members:
        found = {each.name: each.open().read() for each in members if each.open is not None}
    prefix = label.removesuffix("a/1.txt")
    assert found == {f"{prefix}a/1-protected.jpg": b"protected", label: b"label"}


def test_damage_of_every_kind_is_one_line(tmp_path: Path) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(range(256)) * 40)
        archive.writestr("b.txt", b"label" * 50)
    data = whole.getvalue()
    told = list[str]()
    for place in range(0, len(data), 3):
        damaged = tmp_path / "damaged.zip"
        damaged.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            with members_of(str(damaged)) as members:
                for member in members:
                    if member.open is not None:
                        with member.open() as content:
                            content.read()
        except PhotoError as error:
            told.append(str(error))
    assert len(told) > 50
    assert [each for each in told if "\n" in each] == []


def test_what_is_encrypted_there_twice_or_new_meanwhile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", b"x")
    data = bytearray(path.read_bytes())
    for header, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(header) + place] |= 1
    (tmp_path / "locked.zip").write_bytes(data)
    with pytest.raises(PhotoError, match="'a.jpg' is encrypted"):
        fetch(tmp_path / "locked.zip", tmp_path / "one")
    with tarfile.open(tmp_path / "twice.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a.jpg"))
    with pytest.raises(PhotoError, match="'a.jpg': is there twice"):
        fetch(tmp_path / "twice.tar", tmp_path / "two")
    with pytest.raises(PhotoError, match="came into the archive while the run was at work"):
        deliver(path, tmp_path / "out", "", [photo(tmp_path, "b.jpg")])
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["a.rar", "folder/a.zip", "zip"])
def test_the_name_of_a_new_archive_tells_its_kind(name: str) -> None:
    with pytest.raises(FacecryptError, match="is no name of an archive"):
        ArchiveSink(name=name)
    with pytest.raises(FacecryptError, match=r"does not tell the kind .* Set sink.args.name"):
        ArchiveSink().files(["a.png"], "photos")
