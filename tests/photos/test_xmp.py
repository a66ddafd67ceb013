"""XMP is written anew from what its table allows, and no property of any shape holds a picture."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from facecrypt.photos.metadata import SHARES
from facecrypt.photos.xmp_properties import NAMESPACES, PROPERTIES
from tests.hiding import guises, remains, traces
from tests.metadata_files import KEPT_POLICIES, make, packet, protected, xmp_of

SMALL = guises(16)
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
