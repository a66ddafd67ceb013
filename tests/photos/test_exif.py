"""EXIF keeps what its tables allow, and no tag of any type holds a picture."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from facecrypt.photos.exif_tags import EXIF, GPS, INTEROPERABILITY, MAIN, Numbers, Words
from facecrypt.photos.metadata import SHARES
from tests.hiding import guises, remains, tiff_block, traces
from tests.metadata_files import FORMATS, KEPT_POLICIES, exif_of, make, protected

SMALL = guises(16)
TYPES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 129)
OTHER_TAGS = {
    "main": [11, 254, 285, 300, 315, 316, 320, 330, 333, 337, 513, 530, 700, 18247, 32997, 33421, 33550, 33723, 34377,
             34675, 37724, 40093, 40094, 50341, 50706, 50735, 50740, 50827, 50937, 51041, 59932, 60000, 65000, 65535],
    "exif": [1, 34852, 34856, 37396, 37500, 37511, 40964, 41484, 41492, 41730, 41995, 42016, 42032, 42033, 42037, 42039,
             42040, 42082, 50000, 59932, 65000],
    "gps": [8, 32, 100, 37500, 65000],
    "interoperability": [3, 4096, 4097, 4098, 37500],
}  # fmt: skip


def value(guise: bytes, kind: int, tag: int) -> bytes:
    """A guise as the value of a tag, with what the standard puts in front of it."""
    if tag in (27, 28, 37510):
        return (b"UNICODE\0" if len(guise) % 2 == 0 else b"ASCII\0\0\0") + guise
    if 40091 <= tag <= 40095 and kind == 1:
        return guise.decode("utf-8", "replace").encode("utf-16-le")
    return guise + b"\0" if kind in (2, 129) else guise


ALL_TAGS = {
    "main": [*MAIN, *OTHER_TAGS["main"]],
    "exif": [*EXIF, *OTHER_TAGS["exif"]],
    "gps": [*GPS, *OTHER_TAGS["gps"]],
    "interoperability": [*INTEROPERABILITY, *OTHER_TAGS["interoperability"]],
}


def check_tags(kind: int, names: Iterable[str], tmp_path: Path) -> None:
    for number, name in enumerate(names):
        guise = SMALL[name]
        entries = {part: [(tag, kind, value(guise, kind, tag)) for tag in tags] for part, tags in ALL_TAGS.items()}
        path = make(tmp_path / "photo.png", tiff_block(**entries, order="<>"[number % 2]))
        known = traces(guise)
        assert remains(path.read_bytes(), known)
        for policy in ("keep", "strip_gps"):
            assert remains(protected(path, policy), known) == [], (name, policy)


@pytest.mark.parametrize("kind", TYPES)
def test_no_exif_tag_holds_a_picture(kind: int, tmp_path: Path) -> None:
    check_tags(kind, list(SMALL)[kind % 5 :: 5], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES)
def test_no_exif_tag_holds_a_picture_in_any_guise(kind: int, tmp_path: Path) -> None:
    check_tags(kind, SMALL, tmp_path)


def sample(form: Any) -> tuple[int, bytes]:
    """A value that a table allows: its type and its bytes, for little-endian EXIF."""
    if isinstance(form, Words):
        words = "Fine words" if form.name else "Schöner Tag"
        if form.stored == "wide":
            return 1, words.encode("utf-16-le") + b"\0\0"
        return (
            (7, b"UNICODE\0" + words.encode("utf-16-le")) if form.stored == "comment" else (2, words.encode() + b"\0")
        )
    if isinstance(form, Numbers):
        kind, count = form.types[0], form.least
        one = {1: b"\1", 3: b"\1\0", 4: b"\1\0\0\0", 5: b"\1\0\0\0\2\0\0\0", 7: b"\1", 10: b"\xff\xff\xff\xff\2\0\0\0"}[
            kind
        ]
        return kind, one * count
    for text in (
        b"2020:02:02 20:20:20",
        b"2020:02:02",
        b"+02:00",
        b"0232",
        b"123",
        b"R98",
        b"N",
        b"E",
        b"K",
        b"T",
        b"A",
        b"2",
    ):
        if re.fullmatch(form.pattern.encode(), text):
            return form.kind, text + (b"\0" if form.kind == 2 else b"")
    raise AssertionError(form)


@pytest.mark.parametrize("policy", [*KEPT_POLICIES, "all"])
@pytest.mark.parametrize("file_format", FORMATS)
def test_every_tag_of_the_tables_is_kept_by_its_policy(file_format: str, policy: Any, tmp_path: Path) -> None:
    parts = {"main": MAIN, "exif": EXIF, "gps": GPS, "interoperability": INTEROPERABILITY}
    entries = {part: [(tag, *sample(form)) for tag, (_, _, form) in tags.items()] for part, tags in parts.items()}
    entries["main"] = [(tag, kind, data) for tag, kind, data in entries["main"] if tag != 301]
    path = make(tmp_path / f"photo.{file_format}", tiff_block(**entries))
    data = protected(path, policy)
    exif = exif_of(data)
    found = {
        "main": exif,
        "exif": exif.get_ifd(0x8769),
        "gps": exif.get_ifd(0x8825),
        "interoperability": exif.get_ifd(0xA005),
    }
    for part, tags in parts.items():
        for tag, (name, share, _) in tags.items():
            wanted = policy == "all" or share in SHARES[policy] or (file_format == "tif" and tag in (318, 319))
            if tag != 301 and not (file_format == "tif" and tag in (282, 283, 296)):
                assert (tag in found[part]) == wanted, (part, name)
    if policy in ("keep", "all"):
        assert b"Sch\xc3\xb6ner Tag" in data


@pytest.mark.parametrize("policy", ["keep", "strip_gps"])
@pytest.mark.parametrize("file_format", FORMATS)
def test_capture_time_and_utf_8_of_exif_3_are_kept(file_format: str, policy: Any, tmp_path: Path) -> None:
    main = [
        (306, 2, b"2020:02:02 20:20:20\0"),
        (272, 129, "Caméra 7".encode() + b"\0"),
        (305, 129, b"Tool 3.0\0"),
        (33432, 129, "© Zoë".encode() + b"\0"),
    ]
    exif = [
        (36867, 2, b"2020:02:02 20:20:20\0"),
        (36881, 2, b"+02:00\0"),
        (37521, 2, b"123\0"),
        (36868, 2, b"2020:02:02 20:20:20\0"),
    ]
    block = tiff_block(main, exif)
    path = make(tmp_path / f"photo.{file_format}", block)
    data = protected(path, policy)
    ifd = exif_of(data).get_ifd(0x8769)
    assert (ifd[36867], ifd[36881], ifd[37521]) == ("2020:02:02 20:20:20", "+02:00", "123")
    assert b"Tool 3.0" in data
    assert ("© Zoë".encode() in data) == (policy == "keep")
