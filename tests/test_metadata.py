"""Nothing that could show or name somebody stays in a protected photo unless asked for; what is harmless does."""

from __future__ import annotations

import io
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from facecrypt.errors import PhotoError
from facecrypt.exif import read_exif
from facecrypt.exif_tags import EXIF, GPS, INTEROPERABILITY, MAIN, Numbers, Words
from facecrypt.metadata import SHARES
from facecrypt.photos import read_photo, write_photo
from facecrypt.xmp_properties import NAMESPACES, PROPERTIES, Text
from tests.hiding import guises, remains, tiff_block, traces
from tests.personal import PERSONAL, PERSONAL_SPACES
from tests.pictures import PROFILE, chunk, make_image

KEPT_POLICIES = ("keep", "strip_gps", "strip")
FORMATS = ("jpg", "png", "webp", "tif", "avif", "heic")
GUISES = guises()
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


def packet(description: str = "", attributes: str = "", namespaces: str = "", after: str = "") -> bytes:
    """An XMP packet with a property that is always kept, so that a test knows that it was read."""
    spaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {spaces} {namespaces} {attributes} xmp:CreateDate="2020-02-02T20:20:20">'
        f"{description}</rdf:Description>{after}</rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
    ).encode()


def tiff_file(pixels: bytes, exif: bytes, extra: list[tuple[int, int, bytes]], start: int) -> bytes:
    """A TIFF file of 24 x 16 pixels at some place, with the directories of an EXIF block."""
    numbers = {256: 24, 257: 16, 259: 1, 262: 2, 273: start, 277: 3, 278: 16, 279: len(pixels)}
    stored = [(tag, 4, struct.pack("<I", value)) for tag, value in numbers.items()]
    stored.append((258, 3, struct.pack("<3H", 8, 8, 8)))
    parts = read_exif(exif)
    directories = [
        [(tag, *entry) for tag, entry in part.items() if tag not in (34665, 34853, 40965)]
        for part in (parts.main, parts.exif, parts.gps, parts.interoperability)
    ]
    directories[0] = [entry for entry in directories[0] if entry[0] not in numbers and entry[0] != 258]
    return tiff_block([*directories[0], *stored, *extra], *directories[1:]) + pixels


def make(path: Path, exif: bytes = b"", xmp: bytes = b"") -> Path:
    """A photo with metadata, written by libraries."""
    image = make_image(size=(24, 16))
    options: dict[str, Any] = {}
    if exif:
        options["exif"] = exif if path.suffix == ".png" else b"Exif\0\0" + exif
    if path.suffix == ".heic":
        pillow_heif.from_pillow(image).save(path, quality=80, exif=options.get("exif"), xmp=xmp or None)
    elif path.suffix == ".png":
        image.save(path)
        extra = chunk(b"eXIf", exif) if exif else b""
        extra += chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmp) if xmp else b""
        data = path.read_bytes()
        path.write_bytes(data[:33] + extra + data[33:])
    elif path.suffix == ".tif":
        # Pillow would write none of the tags that it does not know; XMP is one of them here.
        pixels, extra = np.asarray(image).tobytes(), [(700, 1, xmp)] if xmp else []
        for start in (0, len(tiff_file(pixels, exif, extra, 0)) - len(pixels)):
            path.write_bytes(tiff_file(pixels, exif, extra, start))
    else:
        image.save(path, xmp=xmp, **options)
    return path


def protected(path: Path, policy: Any, name: str = "") -> bytes:
    """What becomes of a photo's file."""
    photo = read_photo(path)
    destination = path.parent / "out" / (name or path.name)
    write_photo(photo, photo.pixels, destination, policy)
    return destination.read_bytes()


def image_of(data: bytes) -> Image.Image:
    pillow_heif.register_heif_opener()
    return Image.open(io.BytesIO(data))


def exif_of(data: bytes) -> Image.Exif:
    return image_of(data).getexif()


def xmp_of(data: bytes) -> str:
    image = image_of(data)
    return (image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b"").decode()


# Pictures in EXIF


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


# Pictures in XMP

FOREIGN = """
xmp:Nickname xmp:Identifier xmp:BaseURL xmp:Advisory xmp:Thumbnails dc:subject dc:creator dc:contributor dc:publisher
dc:source dc:relation dc:identifier dc:type dc:format dc:language photoshop:Credit photoshop:Source photoshop:History
photoshop:CaptionWriter photoshop:AuthorsPosition photoshop:TransmissionReference photoshop:Category
photoshop:SupplementalCategories photoshop:ICCProfile photoshop:DocumentAncestors photoshop:TextLayers tiff:Artist
tiff:TransferFunction tiff:Orientation exif:MakerNote exif:OECF exif:CFAPattern exif:SpatialFrequencyResponse
exif:DeviceSettingDescription exif:ImageUniqueID exif:SubjectArea exif:SubjectLocation exif:RelatedSoundFile
exif:SpectralSensitivity exif:GPSSatellites exif:GPSAreaInformation exif:NativeDigest aux:SerialNumber
aux:LensSerialNumber aux:OwnerName aux:ImageNumber exifEX:BodySerialNumber exifEX:LensSerialNumber
exifEX:CameraOwnerName exifEX:Photographer xmpRights:Owner xmpRights:WebStatement xmpRights:Certificate
Iptc4xmpCore:CreatorContactInfo Iptc4xmpCore:Scene Iptc4xmpCore:SubjectCode Iptc4xmpCore:IntellectualGenre
Iptc4xmpExt:PersonInImage Iptc4xmpExt:PersonInImageWDetails Iptc4xmpExt:ImageRegion Iptc4xmpExt:ArtworkOrObject
Iptc4xmpExt:RegistryId Iptc4xmpExt:DigImageGUID Iptc4xmpExt:AddlModelInfo Iptc4xmpExt:Event GPano:StitchingSoftware
xmpMM:DocumentID xmpMM:InstanceID xmpMM:OriginalDocumentID xmpMM:History xmpMM:DerivedFrom xmpMM:Ingredients
lr:hierarchicalSubject lr:privateRTKInfo crs:RawFileName crs:ToneCurve crs:PaintBasedCorrections mwg-rs:Regions
MP:RegionInfo MicrosoftPhoto:LastKeywordXMP digiKam:TagsList digiKam:CaptionsAuthorNames acdsee:keywords acdsee:regions
acdsee:author acdsee:notes mediapro:People mediapro:Event mediapro:CatalogSets mediapro:Location prism:person
xmpNote:HasExtendedXMP GImage:Data GDepth:Data GCamera:Data hdrgm:Version apple-fi:AngleInfo album:Notes
plus:ModelReleaseID xmpBJ:JobRef xmpTPg:Fonts pdf:Keywords Camera:RigName drone-dji:GpsLatitude
pur:creator ics:AppName getty:Personality
"""
URIS = NAMESPACES | {
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/", "lr": "http://ns.adobe.com/lightroom/1.0/",
    "crs": "http://ns.adobe.com/camera-raw-settings/1.0/", "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "MP": "http://ns.microsoft.com/photo/1.2/", "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/", "acdsee": "http://ns.acdsee.com/iptc/1.0/",
    "mediapro": "http://ns.iview-multimedia.com/mediapro/1.0/", "prism": "http://prismstandard.org/namespaces/basic/2.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/", "GImage": "http://ns.google.com/photos/1.0/image/",
    "GDepth": "http://ns.google.com/photos/1.0/depthmap/", "GCamera": "http://ns.google.com/photos/1.0/camera/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/", "apple-fi": "http://ns.apple.com/faceinfo/1.0/",
    "album": "http://ns.adobe.com/album/1.0/", "plus": "http://ns.useplus.org/ldf/xmp/1.0/",
    "xmpBJ": "http://ns.adobe.com/xap/1.0/bj/", "xmpTPg": "http://ns.adobe.com/xap/1.0/t/pg/",
    "pdf": "http://ns.adobe.com/pdf/1.3/", "Camera": "http://pix4d.com/camera/1.0/",
    "drone-dji": "http://www.dji.com/drone-dji/1.0/", "pur": "http://prismstandard.org/namespaces/prismusagerights/2.1/",
    "ics": "http://ns.idimager.com/ics/1.0/", "getty": "http://xmp.gettyimages.com/gift/1.0/",
    "my": "urn:something-of-somebody",
}  # fmt: skip
SPACES = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in URIS.items() if prefix not in NAMESPACES)
NAMES = [*PROPERTIES, *FOREIGN.split(), "my:Picture"]
PLACES: dict[str, Callable[[str, str], str]] = {
    "text": lambda name, text: f"<{name}>{text}</{name}>",
    "items": lambda name, text: f"<{name}><rdf:Bag><rdf:li>{text}</rdf:li><rdf:li>x</rdf:li></rdf:Bag></{name}>",
    "languages": lambda name, text: (
        f'<{name}><rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li><rdf:li xml:lang="de">{text}</rdf:li>'
        f"</rdf:Alt></{name}>"
    ),
    "language": lambda name, text: (
        f'<{name}><rdf:Alt><rdf:li xml:lang="{text}">A house at the sea</rdf:li></rdf:Alt></{name}>'
    ),
    "structure": lambda name, text: "".join(
        f'<{name} rdf:parseType="Resource"><{field}>{text}</{field}></{name}>' for field in ("exif:Mode", "my:Picture")
    ),
    "attributes": lambda name, text: f'<{name} rdf:parseType="Resource" my:Picture="{text}" exif:Mode="{text}"/>',
    "description": lambda name, text: f'<{name}><rdf:Description my:Picture="{text}">{text}</rdf:Description></{name}>',
    "structures": lambda name, text: (
        f'<{name}><rdf:Bag><rdf:li rdf:parseType="Resource"><Iptc4xmpExt:City>{text}</Iptc4xmpExt:City>'
        f"<my:Picture>{text}</my:Picture></rdf:li></rdf:Bag></{name}>"
    ),
    "deep": lambda name, text: (
        f"<{name}><rdf:Seq><rdf:li><rdf:Bag><rdf:li>{text}</rdf:li></rdf:Bag></rdf:li></rdf:Seq></{name}>"
    ),
    "resource": lambda name, text: f'<{name} rdf:resource="{text}"/>',
    "qualifier": lambda name, text: (
        f'<{name} rdf:parseType="Resource"><rdf:value>A house</rdf:value><my:Picture>{text}</my:Picture></{name}>'
    ),
    "qualified": lambda name, text: f'<{name} my:Picture="{text}" xml:lang="{text}">A house</{name}>',
    "behind": lambda name, text: f"<{name}>1</{name}>{text}",
    "data": lambda name, text: f"<{name}><![CDATA[{text}]]></{name}>",
    "comment": lambda name, text: f"<{name}>1<!--{text.replace('-', '+')}--></{name}>",
    "instruction": lambda name, text: f"<{name}>1<?picture {text.replace('?', '+')}?></{name}>",
}


def xmp_text(guise: bytes) -> str:
    """A guise as the text of an XML file: without the characters that XML has not."""
    text = guise.decode("utf-8", "replace").translate({code: None for code in range(32) if code not in (9, 10, 13)})
    return escape(text.replace("\ufffe", "").replace("\uffff", ""), {'"': "&quot;"})


def check_properties(place: str, names: Iterable[str], tmp_path: Path) -> None:
    for name in names:
        text = xmp_text(SMALL[name])
        known = traces(text.encode())
        for start in range(3):
            body = "".join(PLACES[place](each, text) for each in NAMES[start::3])
            path = make(tmp_path / "photo.png", xmp=packet(body, namespaces=SPACES))
            data = protected(path, "keep")
            assert remains(data, known) == [], (name, place)
            assert b"2020-02-02T20:20:20" in data, "the packet was not read"
        assert remains(path.read_bytes(), known)


TEXTS = [name for name in SMALL if name not in ("jpeg", "png", "webp", "raw", "raw as UTF-16")]


@pytest.mark.parametrize("place", PLACES)
def test_no_xmp_property_holds_a_picture(place: str, tmp_path: Path) -> None:
    check_properties(place, TEXTS[list(PLACES).index(place) % 6 :: 6], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_no_xmp_property_holds_a_picture_in_any_guise(place: str, tmp_path: Path) -> None:
    check_properties(place, TEXTS, tmp_path)


@pytest.mark.parametrize("policy", [*KEPT_POLICIES, "all"])
def test_nothing_around_the_properties_of_a_packet_is_kept(policy: str, tmp_path: Path) -> None:
    for name in ("jpeg base64", "raw hex", "raw percent"):
        text = SMALL[name].decode()
        packets = {
            "about": packet().replace(b'rdf:about=""', f'rdf:about="{text}"'.encode()),
            "namespace": packet(namespaces=f'xmlns:mine="urn:{text}"', attributes='mine:x="1"'),
            "prefix": packet(namespaces=f'xmlns:p{SMALL["raw hex"].decode()}="urn:x"'),
            "comment": packet(f"<!-- {text} -->"),
            "instruction": packet().replace(b"?><x:xmpmeta", f"?><?mine {text}?><x:xmpmeta".encode()),
            "begin": packet().replace(b'begin="\xef\xbb\xbf"', f'begin="{text}"'.encode()),
            "end": packet().replace(b"end='w'", f"end='w' {text}".encode()),
            "toolkit": packet().replace(b"<x:xmpmeta", f'<x:xmpmeta x:xmptk="{text}"'.encode()),
            "second": packet(after=f'<rdf:Description rdf:about="" xmlns:my="urn:my" my:x="{text}"/>'),
            "typed": packet(after=f'<my:Thing xmlns:my="urn:my">{text}</my:Thing>'),
            "behind": packet() + text.encode(),
        }  # fmt: skip
        for where, data in packets.items():
            path = make(tmp_path / "photo.png", xmp=data)
            known = traces(SMALL["raw hex" if where == "prefix" else name])
            assert remains(path.read_bytes(), known), where
            assert remains(protected(path, policy), known) == [], (name, where)


# Pictures elsewhere in the files


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


# People, serial numbers and places

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


# What people want kept


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


@pytest.mark.parametrize("policy", [*KEPT_POLICIES, "all"])
def test_every_property_of_the_table_is_kept_by_its_policy(policy: Any, tmp_path: Path) -> None:
    samples = ["2020-02-02T20:20:20+02:00", "1/2", "1/2 1/2 1/2 1/2", "1", "0232", "2.3.0.0", "True", "52,31.2N", "DE",
               "R98", "A", "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture", "equirectangular",
               "Fine words"]  # fmt: skip
    body = ""
    for name, entry in PROPERTIES.items():
        if isinstance(entry.value, Mapping):
            fields = "".join(
                f"<{key}>{next(s for s in samples if form.allows(s))}</{key}>" for key, form in entry.value.items()
            )
            inner = f'<rdf:Bag><rdf:li rdf:parseType="Resource">{fields}</rdf:li></rdf:Bag>'
            body += (
                f"<{name}>{inner}</{name}>"
                if entry.shape == "Bag"
                else f'<{name} rdf:parseType="Resource">{fields}</{name}>'
            )
        else:
            value = next(s for s in reversed(samples) if entry.value.allows(s))
            list_ = f'<rdf:{entry.shape}><rdf:li xml:lang="x-default">{value}</rdf:li></rdf:{entry.shape}>'
            body += f"<{name}>{value if entry.shape == 'simple' else list_}</{name}>"
    plain = packet(body).replace(b' xmp:CreateDate="2020-02-02T20:20:20"', b"")
    data = protected(make(tmp_path / "photo.jpg", xmp=plain), policy)
    text = xmp_of(data)
    for name, entry in PROPERTIES.items():
        assert (f"<{name}" in text) == (policy == "all" or entry.share in SHARES[policy]), name
    if shutil.which("exiftool") and text:
        (tmp_path / "packet.xmp").write_text(text, encoding="utf-8")
        done = subprocess.run(
            ["exiftool", "-validate", "-warning", "-s3", "-a", str(tmp_path / "packet.xmp")],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == "OK"


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
