"""Nothing that could show or name somebody stays in a protected photo unless asked for; what is harmless does."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pillow_heif
import pytest
from PIL import Image

from facecrypt.exif_tags import EXIF, GPS, INTEROPERABILITY, MAIN, Words
from facecrypt.photos import read_photo, write_photo
from facecrypt.xmp_properties import NAMESPACES, PROPERTIES, Text
from tests.hiding import guises, remains, tiff_block, traces
from tests.pictures import chunk, make_image

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
        tags = Image.Exif()
        if exif:
            tags.load(b"Exif\0\0" + exif)
        if xmp:
            tags[700] = xmp
        image.save(path, exif=tags)
    else:
        image.save(path, xmp=xmp, **options)
    return path


def protected(path: Path, policy: Any, name: str = "") -> bytes:
    """What becomes of a photo's file."""
    photo = read_photo(path)
    destination = path.parent / "out" / (name or path.name)
    write_photo(photo, photo.pixels, destination, policy)
    return destination.read_bytes()


def exif_of(data: bytes) -> Image.Exif:
    return Image.open(io.BytesIO(data)).getexif()


def xmp_of(data: bytes) -> str:
    image = Image.open(io.BytesIO(data))
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
