"""Photos with metadata, written by libraries or by hand, and what independent readers find in protected ones."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

from facecrypt.photos.exif import read_exif
from facecrypt.photos.files import read_photo, write_photo
from facecrypt.photos.xmp_properties import NAMESPACES
from tests.hiding import tiff_block
from tests.pictures import chunk, make_image

KEPT_POLICIES = ("keep", "strip_gps", "strip")
FORMATS = ("jpg", "png", "webp", "tif", "avif", "heic")


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
