"""No name, place or picture stays in a protected photo unless asked for, wherever a file of any format has room."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from facecrypt.errors import PhotoError
from facecrypt.photos.exif_tags import EXIF, GPS, MAIN, Words
from facecrypt.photos.files import read_photo, write_photo
from facecrypt.photos.xmp_properties import PROPERTIES, Text
from tests.hiding import guises, remains, tiff_block, traces
from tests.metadata_files import FORMATS, KEPT_POLICIES, exif_of, make, packet, protected, xmp_of
from tests.personal import PERSONAL, PERSONAL_SPACES
from tests.pictures import PROFILE, chunk

GUISES = guises()
SMALL = guises(16)


@pytest.mark.parametrize("size", [6, 12, 20, 40, 60, 120])
def test_pieces_of_a_picture_in_many_texts_are_no_texts(size: int, tmp_path: Path) -> None:
    """Of a picture that is spread over all texts, no more stays than the shortest texts that are not judged."""
    for name, guise in GUISES.items():
        if name in ("jpeg", "png", "webp", "raw", "raw as UTF-16"):
            continue
        text = guise.decode().replace("\n", " ")
        pieces = [text[start : start + size].strip() for start in range(0, len(text), size)]
        rest = iter(pieces)
        parts: dict[str, list[tuple[int, int, bytes]]] = {"main": [], "exif": [], "gps": []}
        for part, tags in (("main", MAIN), ("exif", EXIF), ("gps", GPS)):
            for tag, (_, _, form) in tags.items():
                if isinstance(form, Words):
                    piece = next(rest, "x")
                    wide = piece.encode("utf-16-le")
                    stored = {"text": piece.encode() + b"\0", "wide": wide, "comment": b"UNICODE\0" + wide}[form.stored]
                    parts[part].append((tag, {"text": 129, "wide": 1, "comment": 7}[form.stored], stored))
        body = ""
        for key, entry in PROPERTIES.items():
            if isinstance(entry.value, Text):
                items = "".join(
                    f'<rdf:li xml:lang="a{chr(97 + i)}">{escape(next(rest, "x"))}</rdf:li>' for i in range(16)
                )
                list_ = f"<rdf:{entry.shape}>{items}</rdf:{entry.shape}>"
                body += f"<{key}>{list_ if entry.shape != 'simple' else escape(next(rest, 'x'))}</{key}>"
        path = make(tmp_path / "photo.png", tiff_block(**parts), packet(body))
        for policy in ("keep", "strip_gps"):
            data = protected(path, policy)
            front = data[: data.index(b"IDAT")]
            left = [
                each
                for each in set(pieces)
                if len(each) > 4 and any(form in front for form in (escape(each).encode(), each.encode("utf-16-le")))
            ]
            assert sum(map(len, left)) <= 250, (name, policy, left)


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def box(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + name + data


def containers(guise: bytes, folder: Path) -> dict[str, Path]:
    """Files of every format with a guise wherever the format has room for something."""
    plain = {name: make(folder / f"plain.{name}").read_bytes() for name in (*FORMATS, "bmp")}
    jpeg, png, webp, bmp = (plain[name] for name in ("jpg", "png", "webp", "bmp"))
    words = [b"", b"JFXX\0\x10", b"MPF\0", b"ICC_PROFILE\0\1\1", b"Photoshop 3.0\x008BIM\4\4", b"Exif\0\0", b"Adobe\0",
             b"http://ns.adobe.com/xmp/extension/\0", b"http://ns.adobe.com/xap/1.0/\0"]  # fmt: skip
    markers = [segment(number, word + guise) for number in range(0xE0, 0xF0) for word in words]
    texts = [b"Comment", b"Raw profile type iptc", b"Raw profile type exif", b"exif", b"xmp", b"Description"]
    packed = zlib.compress(guise)
    chunks = [chunk(name, guise) for name in (b"prVt", b"hIST", b"dSIG", b"caBX")]
    chunks += [chunk(b"tEXt", text + b"\0" + guise) for text in texts]
    chunks += [chunk(b"zTXt", text + b"\0\0" + packed) for text in texts]
    chunks += [chunk(b"iTXt", text + b"\0\1\0\0\0" + packed) for text in texts]
    chunks += [chunk(b"eXIf", b"II*\0" + guise), chunk(b"sPLT", b"name\0\10" + guise)]
    chunks += [chunk(b"iCCP", guise[:79].replace(b"\0", b"x") + b"\0\0" + zlib.compress(PROFILE))]
    riff = [
        name + struct.pack("<I", len(guise)) + guise + bytes(len(guise) % 2) for name in (b"prVt", b"ICCP", b"EXIF")
    ]
    files = {
        "segments.jpg": jpeg[:20] + b"".join(markers[:30]) + segment(0xFE, guise) + jpeg[20:],
        "more.jpg": jpeg[:20] + b"".join(markers[30:]) + jpeg[20:],
        "behind.jpg": jpeg + guise,
        "chunks.png": png[:33] + b"".join(chunks) + png[33:] + guise,
        "chunks.webp": webp + b"".join(riff),
        "behind.tif": plain["tif"] + guise,
        "gap.bmp": bmp[:10] + struct.pack("<I", 54 + len(guise)) + bmp[14:54] + guise + bmp[54:] + guise,
        "boxes.avif": plain["avif"] + box(b"free", guise) + box(b"uuid", bytes(16) + guise) + box(b"mdat", guise),
        "boxes.heic": plain["heic"] + box(b"free", guise) + box(b"uuid", bytes(16) + guise) + box(b"mdat", guise),
    }
    files["chunks.webp"] = b"RIFF" + struct.pack("<I", len(files["chunks.webp"]) - 8) + files["chunks.webp"][8:]
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in files}


@pytest.mark.parametrize("name", ["jpeg", "raw", "raw base64", "jpeg hex"])
def test_nothing_else_of_a_file_is_kept(name: str, tmp_path: Path) -> None:
    known = traces(SMALL[name])
    seen = 0
    for where, path in containers(SMALL[name], tmp_path).items():
        assert remains(path.read_bytes(), known), where
        try:
            photo = read_photo(path)
        except PhotoError:
            continue
        seen += 1
        for policy in (*KEPT_POLICIES, "all"):
            for target in (path.name, "photo.png"):
                destination = tmp_path / "out" / target
                write_photo(photo, photo.pixels, destination, policy)
                assert remains(destination.read_bytes(), known) == [], (where, policy, target)
    assert seen >= 7


PERSONAL_TAGS = {
    "main": [(285, 2), (315, 2), (316, 2), (33723, 7), (34377, 7), (40093, 1), (40094, 1), (50735, 2), (50740, 1),
             (50827, 1), (65000, 2)],
    "exif": [(37500, 7), (40964, 2), (42016, 2), (42032, 2), (42033, 2), (42037, 2), (42039, 2), (42040, 2),
             (65000, 2)],
    "gps": [(8, 2)],
}  # fmt: skip


@pytest.mark.parametrize("policy", [*KEPT_POLICIES, "all"])
@pytest.mark.parametrize("file_format", FORMATS)
def test_people_and_serial_numbers_go_unless_all_is_asked_for(file_format: str, policy: Any, tmp_path: Path) -> None:
    tags = {
        part: [
            (tag, kind, "SECRET".encode("utf-16-le") + b"\0\0" if tag in (40093, 40094) else b"SECRET\0")
            for tag, kind in entries
        ]
        for part, entries in PERSONAL_TAGS.items()
    }
    tags["exif"] += [(37396, 3, struct.pack("<4H", 31415, 2, 3, 4)), (41492, 3, struct.pack("<2H", 31415, 2))]
    path = make(tmp_path / f"photo.{file_format}", tiff_block(**tags), packet(PERSONAL, namespaces=PERSONAL_SPACES))
    data = protected(path, policy)
    assert (b"2020-02-02T20:20:20" in data) == (policy != "strip")
    secret = b"SECRET" in data or "SECRET".encode("utf-16-le") in data
    assert secret == (policy == "all")
    assert (b"0.31415" in data or struct.pack("<H", 31415) in data) == (policy == "all")
    if policy == "all":
        for name in ("PersonDisplayName", "hierarchicalSubject", "SerialNumber", "RegionInfo", "CiAdrCity"):
            assert name in xmp_of(data), name
        ifd = exif_of(data).get_ifd(0x8769)
        assert ifd[42033] == "SECRET"
        assert 37500 not in ifd


PLACE = {
    "main": [],
    "exif": [(37890, 5, struct.pack("<II", 1013, 1))],
    "gps": [(1, 2, b"N\0"), (2, 5, struct.pack("<6I", 52, 1, 31, 1, 12, 1)), (3, 2, b"E\0"), (5, 1, b"\0"),
            (4, 5, struct.pack("<6I", 13, 1, 24, 1, 18, 1)), (6, 5, struct.pack("<II", 34, 1)),
            (29, 2, b"2020:02:02\0"), (28, 7, b"ASCII\0\0\0PLACE")],
}  # fmt: skip
PLACE_XMP = (
    "<photoshop:City>PLACE</photoshop:City><photoshop:State>PLACE</photoshop:State><photoshop:Country>PLACE</photoshop:Country>"
    "<Iptc4xmpCore:Location>PLACE</Iptc4xmpCore:Location><dc:coverage>PLACE</dc:coverage><exif:GPSLatitude>52,31.2N</exif:GPSLatitude>"
    "<Iptc4xmpExt:LocationShown><rdf:Bag><rdf:li rdf:parseType='Resource'><Iptc4xmpExt:City>PLACE</Iptc4xmpExt:City>"
    "<Iptc4xmpExt:Sublocation>PLACE</Iptc4xmpExt:Sublocation></rdf:li></rdf:Bag></Iptc4xmpExt:LocationShown>"
)


@pytest.mark.parametrize("policy", [*KEPT_POLICIES, "all"])
@pytest.mark.parametrize("file_format", FORMATS)
def test_places_stay_where_they_are_asked_for(file_format: str, policy: Any, tmp_path: Path) -> None:
    path = make(tmp_path / f"photo.{file_format}", tiff_block(**PLACE), packet(PLACE_XMP))
    data = protected(path, policy)
    asked = policy in ("keep", "all")
    assert (b"PLACE" in data) == (b"52,31.2N" in data) == asked
    gps = exif_of(data).get_ifd(0x8825)
    assert bool(gps) == asked
    if asked:
        assert [float(part) for part in gps[2]] == [52, 31, 12]
        assert gps[29] == "2020:02:02"
        assert xmp_of(data).count("PLACE") == 7


def test_a_place_in_the_name_of_a_program_goes(tmp_path: Path) -> None:
    for words in ("52.5200, 13.4050", "N 52°31'12\" E 13°24'18\"", "geo:52.52,13.405", "https://maps.example/?q=52.52",
                  "a@b.example", "Jane's iPhone", "Jane\u2019s iPhone"):  # fmt: skip
        stored = words.encode() + b"\0"
        exif = tiff_block([(305, 129, stored), (271, 129, stored), (272, 2, b"Pixel 7\0")], [(42036, 129, stored)])
        body = f"<xmp:CreatorTool>{escape(words)}</xmp:CreatorTool><aux:Lens>{escape(words)}</aux:Lens>"
        data = protected(make(tmp_path / "photo.png", exif, packet(body)), "strip_gps")
        assert b"Pixel 7" in data
        assert words.encode() not in data
        assert words[:8].encode() not in data
