"""What a photo file says besides its pixels: which of it is kept, and that no second picture of the face is.

EXIF is read and written as raw entries, so that every kept value stays as it was, byte by byte. Lists of what is kept,
not of what is dropped, decide: an unknown tag may hold a preview.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias
from xml.dom import minidom

from facecrypt.settings import MetadataPolicy

Entries: TypeAlias = dict[int, tuple[int, bytes]]
"""TIFF tags: the type and the bytes of each value."""

ORIENTATION = 274
_EXIF_POINTER, _GPS_POINTER = 34665, 34853
_SHORT, _LONG = 3, 4
_WIDTH, _HEIGHT = 40962, 40963
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_LARGEST_VALUE = 32 << 10
_LARGEST_BLOCK = 60_000  # a JPEG segment holds 64 KiB
_MOST_ENTRIES = 512
# Title, camera, software, date, artist, resolution, copyright, white point, rating, and Windows' own texts.
_MAIN_KEPT = frozenset({269, 270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 318, 319, 18246, 18249, 33432})
_MAIN_TEXTS = frozenset(range(40091, 40096))
_MAKER_NOTE, _INTEROPERABILITY = 37500, 40965
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"ftyp")

_EXIF_NS = "http://ns.adobe.com/exif/1.0/"
_TIFF_NS = "http://ns.adobe.com/tiff/1.0/"
_XMP_NS = "http://ns.adobe.com/xap/1.0/"
_PHOTOSHOP_NS = "http://ns.adobe.com/photoshop/1.0/"
_IPTC_NS = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
_IPTC_EXTENSION_NS = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
# Previews, depth maps, original pictures, gain maps, parts in other segments, and face regions with people's names.
_DROPPED_NAMESPACES = (
    "http://ns.adobe.com/xap/1.0/g/img/",
    "http://ns.adobe.com/xmp/note/",
    "http://ns.adobe.com/hdr-gain-map/",
    "http://ns.apple.com/",
    "http://ns.google.com/photos/",
    "http://www.metadataworkinggroup.com/schemas/regions/",
    "http://ns.microsoft.com/photo/1.2",
)
_DROPPED_NAMES = {
    (_XMP_NS, "Thumbnails"),
    (_TIFF_NS, "Orientation"),  # the pixels are upright now
    (_TIFF_NS, "ImageWidth"),
    (_TIFF_NS, "ImageLength"),
    (_EXIF_NS, "PixelXDimension"),
    (_EXIF_NS, "PixelYDimension"),
}
_PLACES = {
    (_PHOTOSHOP_NS, "City"),
    (_PHOTOSHOP_NS, "State"),
    (_PHOTOSHOP_NS, "Country"),
    (_IPTC_NS, "Location"),
    (_IPTC_NS, "CountryCode"),
    (_IPTC_EXTENSION_NS, "LocationShown"),
    (_IPTC_EXTENSION_NS, "LocationCreated"),
}
_LARGEST_TEXT = 8 << 10
_ENCODED_PICTURES = ("/9j/", "iVBORw0", "UklGR")  # JPEG, PNG and RIFF in base64


@dataclass(frozen=True)
class Metadata:
    """EXIF and XMP of a photo, without thumbnails and maker notes.

    Attributes:
        order: ``<`` or ``>``: the byte order of the values.
        main: Entries of the main directory.
        exif: Entries of the EXIF directory.
        gps: Entries of the GPS directory.
        xmp: The XMP packet, or nothing.
    """

    order: str = "<"
    main: Entries = field(default_factory=dict)
    exif: Entries = field(default_factory=dict)
    gps: Entries = field(default_factory=dict)
    xmp: bytes = b""

    def select(self, policy: MetadataPolicy, width: int, height: int) -> Metadata:
        """Return what a policy lets through for an upright picture.

        Args:
            policy: ``keep``, ``strip_gps`` or ``strip``.
            width: Width of the picture in pixels.
            height: Its height.
        """
        if policy == "strip":
            return Metadata(self.order)
        main, exif = dict(self.main), dict(self.exif)
        if main or exif or self.gps:
            main[ORIENTATION] = (_SHORT, struct.pack(f"{self.order}H", 1))
            for tag, size in ((_WIDTH, width), (_HEIGHT, height)):
                if tag in exif:
                    exif[tag] = (_LONG, struct.pack(f"{self.order}I", size))
        keep = policy == "keep"
        xmp = clean_xmp(self.xmp, places=keep)
        return replace(self, main=main, exif=exif, gps=self.gps if keep else {}, xmp=xmp)

    def exif_block(self) -> bytes:
        """Return the EXIF block as it follows the word Exif in a JPEG file; empty where there is nothing to say."""
        if not (self.main or self.exif or self.gps):
            return b""
        block = pack_tiff(self.order, self.main, self)
        return block if len(block) <= _LARGEST_BLOCK else b""


def read_metadata(tiff: bytes, xmp: bytes) -> Metadata:
    """Return what may be kept of an EXIF block, or of a whole TIFF file, and of an XMP packet.

    Damaged parts are left out: they hide no photo.

    Args:
        tiff: The block, with or without the word Exif before it.
        xmp: The packet, unchecked.
    """
    tiff = tiff.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return Metadata(xmp=xmp)
    start = struct.unpack_from(f"{order}I", tiff, 4)[0]
    everything = _read_directory(tiff, order, start)
    main = {tag: entry for tag, entry in everything.items() if tag in _MAIN_KEPT | _MAIN_TEXTS}
    exif = _read_directory(tiff, order, _pointer(order, everything, _EXIF_POINTER))
    for tag in (_MAKER_NOTE, _INTEROPERABILITY):
        exif.pop(tag, None)
    gps = _read_directory(tiff, order, _pointer(order, everything, _GPS_POINTER))
    return Metadata(order, main, exif, gps, xmp)


def pack_tiff(order: str, main: Entries, metadata: Metadata) -> bytes:
    """Return a TIFF header with a main directory and the EXIF and GPS directories of some metadata.

    Args:
        order: Byte order of all entries, ``<`` or ``>``.
        main: Entries of the main directory.
        metadata: Whose other directories follow.
    """
    main = dict(main)
    parts = {_EXIF_POINTER: metadata.exif, _GPS_POINTER: metadata.gps}
    parts = {tag: entries for tag, entries in parts.items() if entries}
    for tag in parts:
        main[tag] = (_LONG, bytes(4))
    start = 8 + len(_pack_directory(order, main, 8))
    packed = []
    for tag, entries in parts.items():
        main[tag] = (_LONG, struct.pack(f"{order}I", start))
        packed.append(_pack_directory(order, entries, start))
        start += len(packed[-1])
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return b"".join([magic, struct.pack(f"{order}I", 8), _pack_directory(order, main, 8), *packed])


def clean_xmp(packet: bytes, *, places: bool) -> bytes:
    """Return an XMP packet without pictures and, unless wanted, without places and face regions.

    Args:
        packet: The packet. One that cannot be read is dropped, as nobody can tell what it holds.
        places: Whether to keep positions and names of places.
    """
    try:
        text = packet.strip(b"\0 \r\n\t").decode("utf-8-sig")
        if not text or "<!" in text:  # no comments, and no entities that grow without end
            return b""
        document = minidom.parseString(text.encode())
        found = False
        for node in list(_elements(document)):
            attributes = [node.attributes.item(index) for index in range(node.attributes.length)]
            for attribute in attributes:
                if not isinstance(attribute, minidom.Attr):
                    continue
                if _drop(attribute.namespaceURI, attribute.localName, attribute.value, places):
                    node.removeAttributeNode(attribute)
            if node.parentNode is None or node.parentNode is document:
                continue
            own = "".join(child.data for child in node.childNodes if isinstance(child, minidom.Text))
            if _drop(node.namespaceURI, node.localName, own, places):
                node.parentNode.removeChild(node)
            else:
                found = found or bool(own.strip()) or node.attributes.length > 0
        cleaned = "\n".join(child.toxml() for child in document.childNodes).encode()
    except Exception:  # whatever a parser raises on hostile bytes, no packet is the safe answer
        return b""
    return cleaned if found and len(cleaned) <= _LARGEST_BLOCK else b""


def _elements(node: minidom.Node) -> Iterator[minidom.Element]:
    stack = [child for child in node.childNodes if isinstance(child, minidom.Element)]
    while stack:
        element = stack.pop()
        yield element
        stack += [child for child in element.childNodes if isinstance(child, minidom.Element)]


def _drop(namespace: str | None, name: str | None, value: str, places: bool) -> bool:
    namespace, name = namespace or "", name or ""
    if namespace.startswith(_DROPPED_NAMESPACES) or (namespace, name) in _DROPPED_NAMES:
        return True
    if len(value) > _LARGEST_TEXT or value.lstrip().startswith(_ENCODED_PICTURES):
        return True
    lower = name.lower()
    return not places and ((namespace, name) in _PLACES or "gps" in lower or lower in ("latitude", "longitude"))


def _pointer(order: str, entries: Mapping[int, tuple[int, bytes]], tag: int) -> int:
    kind, data = entries.get(tag, (0, b""))
    # Type 13 is a pointer to a directory, in some files.
    return int(struct.unpack(f"{order}I", data)[0]) if kind == _LONG and len(data) == 4 else 0


def _read_directory(tiff: bytes, order: str, start: int) -> Entries:
    """Return the readable entries of a directory that are small and show no picture."""
    if not 8 <= start <= len(tiff) - 2:
        return {}
    count = min(struct.unpack_from(f"{order}H", tiff, start)[0], _MOST_ENTRIES, (len(tiff) - start - 2) // 12)
    entries: Entries = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from(f"{order}HHI", tiff, place)
        kind = _LONG if kind == 13 else kind
        size = length * _TYPE_SIZES.get(kind, 0)
        if not 0 < size <= _LARGEST_VALUE:
            continue
        at = place + 8 if size <= 4 else struct.unpack_from(f"{order}I", tiff, place + 8)[0]
        data = tiff[at : at + size]
        if len(data) == size and not any(mark in data for mark in _PICTURES):
            entries[tag] = (kind, data)
    return entries


def _pack_directory(order: str, entries: Entries, start: int) -> bytes:
    """Return a directory that stands at `start`, followed by its long values."""
    rows, values = b"", b""
    after = start + 2 + 12 * len(entries) + 4
    for tag, (kind, data) in sorted(entries.items()):
        length = len(data) // _TYPE_SIZES[kind]
        if len(data) <= 4:
            field_bytes = data.ljust(4, b"\0")
        else:
            field_bytes = struct.pack(f"{order}I", after + len(values))
            values += data + b"\0" * (len(data) % 2)
        rows += struct.pack(f"{order}HHI", tag, kind, length) + field_bytes
    return struct.pack(f"{order}H", len(entries)) + rows + bytes(4) + values
