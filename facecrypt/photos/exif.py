"""EXIF directories: read as raw entries, chosen by the tables of `facecrypt.photos.exif_tags`, and packed again."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TypeAlias

from facecrypt.photos.embedded import holds_picture
from facecrypt.photos.exif_tags import (
    EXIF,
    GPS,
    INTEROPERABILITY,
    LONG,
    MAIN,
    RATIONAL,
    SHORT,
    SIZES,
    Share,
    Tags,
    Words,
)

Entries: TypeAlias = dict[int, tuple[int, bytes]]
"""TIFF tags: the type and the bytes of each value."""

ORIENTATION = 274
_EXIF_POINTER, _GPS_POINTER, _INTEROPERABILITY_POINTER = 34665, 34853, 40965
_WIDTH, _HEIGHT = 40962, 40963
_COLOUR_SPACE, _INDEX = 40961, 1
_COLOURS = (301, 318, 319)  # transfer function, white point, primaries
_LARGEST_VALUE = 32 << 10
_LARGEST_BLOCK = 60_000  # a JPEG segment holds 64 KiB
_MOST_ENTRIES = 512
_MAKER_NOTE = 37500
# What says how a TIFF file or a raw photo stores its pixels, where other pictures are, or is written elsewhere: tags of
# TIFF 6.0, XMP, IPTC, Photoshop's resources (thumbnails), ICC, camera makers' print notes, and DNG.
_STRUCTURE = frozenset(
    {*range(254, 269), *range(273, 282), *range(284, 293), 297, 317, *range(320, 348), *range(512, 533), 559}
    | {700, 33421, 33422, 33723, 34377, 34675, 37724, 50341, *range(50706, 52600)}
    | {ORIENTATION, _EXIF_POINTER, _GPS_POINTER, _INTEROPERABILITY_POINTER, _MAKER_NOTE}
)


@dataclass(frozen=True)
class Exif:
    """The directories of an EXIF block, without thumbnails.

    Attributes:
        order: ``<`` or ``>``: the byte order of the values.
        main: Entries of the main directory.
        exif: Entries of the EXIF directory.
        gps: Entries of the GPS directory.
        interoperability: Entries of the interoperability directory.
    """

    order: str = "<"
    main: Entries = field(default_factory=dict)
    exif: Entries = field(default_factory=dict)
    gps: Entries = field(default_factory=dict)
    interoperability: Entries = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.main or self.exif or self.gps or self.interoperability)

    @property
    def is_adobe_rgb(self) -> bool:
        """Whether the block says that the colours are those of Adobe RGB (DCF 2.0)."""
        return self.interoperability.get(_INDEX, (0, b""))[1].rstrip(b"\0") == b"R03"

    def numbers(self, tag: int) -> list[Fraction]:
        """Return the numbers of an entry of the main directory; none where it has none, or one that is infinite."""
        kind, data = self.main.get(tag, (0, b""))
        letter = {SHORT: "H", LONG: "I", RATIONAL: "I"}.get(kind)
        if letter is None:
            return []
        values = struct.unpack(f"{self.order}{len(data) // struct.calcsize(letter)}{letter}", data)
        if kind != RATIONAL:
            return [Fraction(value) for value in values]
        pairs = list(zip(values[::2], values[1::2], strict=True))
        return [Fraction(*pair) for pair in pairs] if all(bottom for _, bottom in pairs) else []

    def choose(self, shares: Collection[Share]) -> Exif:
        """Return the entries that the tables allow.

        Args:
            shares: Which kinds of information.
        """
        return Exif(
            self.order,
            _choose(self.order, self.main, MAIN, shares),
            _choose(self.order, self.exif, EXIF, shares),
            _choose(self.order, self.gps, GPS, shares),
            _choose(self.order, self.interoperability, INTEROPERABILITY, shares),
        )

    def colours(self, *, main: bool) -> Exif:
        """Return the entries without which the colours would be shown as others, where there are any.

        Args:
            main: Whether those of the main directory count, as they do in TIFF files alone.
        """
        kept = {tag: entry for tag, entry in self.main.items() if main and tag in _COLOURS}
        mark = {tag: entry for tag, entry in self.exif.items() if self.is_adobe_rgb and tag == _COLOUR_SPACE}
        index = self.interoperability if self.is_adobe_rgb else {}
        return Exif(self.order, kept, mark, interoperability=index).choose(["technical"])

    def everything(self) -> Exif:
        """Return all entries but maker notes and those with a picture, smaller ones first, as far as there is room."""
        main = {tag: entry for tag, entry in self.main.items() if tag not in _STRUCTURE}
        exif = {tag: entry for tag, entry in self.exif.items() if tag not in _STRUCTURE}
        parts = (main, exif, self.gps, self.interoperability)
        small = sorted((len(entry[1]), place, tag) for place, part in enumerate(parts) for tag, entry in part.items())
        clean: list[Entries] = [{}, {}, {}, {}]
        room = _LARGEST_BLOCK
        for size, place, tag in small:
            room -= size + 14
            if room > 0 and not holds_picture(parts[place][tag][1]):
                clean[place][tag] = parts[place][tag]
        return Exif(self.order, *clean)

    def texts(self) -> tuple[list[str], list[str]]:
        """Return the names and the other texts among the entries that the tables know."""
        names: list[str] = []
        prose: list[str] = []
        for entries, tags in ((self.main, MAIN), (self.exif, EXIF), (self.gps, GPS)):
            for tag, (kind, data) in entries.items():
                form = tags[tag][2] if tag in tags else None
                if isinstance(form, Words) and (text := form.decode(self.order, kind, data)):
                    (names if form.name else prose).append(text)
        return names, prose

    def without_texts(self) -> Exif:
        """Return the entries that the tables know and that are no text."""
        parts = ((self.main, MAIN), (self.exif, EXIF), (self.gps, GPS), (self.interoperability, INTEROPERABILITY))
        return Exif(
            self.order,
            *(
                {tag: entry for tag, entry in entries.items() if not isinstance(tags[tag][2], Words)}
                for entries, tags in parts
            ),
        )

    def upright(self, width: int, height: int) -> Exif:
        """Return the entries for an upright picture of some size in pixels, where there are any."""
        if not self:
            return self
        main = self.main | {ORIENTATION: (SHORT, struct.pack(f"{self.order}H", 1))}
        sizes = {_WIDTH: width, _HEIGHT: height}
        exif = self.exif | {
            tag: (LONG, struct.pack(f"{self.order}I", size)) for tag, size in sizes.items() if tag in self.exif
        }
        return replace(self, main=main, exif=exif)

    def without_orientation(self) -> Exif:
        """Return all entries but the orientation, for a format that says it elsewhere."""
        return replace(self, main={tag: entry for tag, entry in self.main.items() if tag != ORIENTATION})

    def pack(self) -> bytes:
        """Return the block, from its byte order on, as it follows the word Exif in a JPEG file."""
        inner = len(_pack_directory(self.order, self._with_pointer(self.exif, 0), 0)) if self._has_exif else 0
        main = dict(self.main)
        pointers = {_EXIF_POINTER: self._has_exif, _GPS_POINTER: bool(self.gps)}
        main |= {tag: (LONG, bytes(4)) for tag, there in pointers.items() if there}
        start = 8 + len(_pack_directory(self.order, main, 8))
        parts = []
        if self._has_exif:
            main[_EXIF_POINTER] = self._pointer(start)
            parts.append(_pack_directory(self.order, self._with_pointer(self.exif, start + inner), start))
            start += inner
            if self.interoperability:
                parts.append(_pack_directory(self.order, self.interoperability, start))
                start += len(parts[-1])
        if self.gps:
            main[_GPS_POINTER] = self._pointer(start)
            parts.append(_pack_directory(self.order, self.gps, start))
        magic = b"II*\0" if self.order == "<" else b"MM\0*"
        return b"".join([magic, struct.pack(f"{self.order}I", 8), _pack_directory(self.order, main, 8), *parts])

    @property
    def _has_exif(self) -> bool:
        return bool(self.exif or self.interoperability)

    def _with_pointer(self, exif: Entries, start: int) -> Entries:
        return exif | {_INTEROPERABILITY_POINTER: self._pointer(start)} if self.interoperability else exif

    def _pointer(self, start: int) -> tuple[int, bytes]:
        return LONG, struct.pack(f"{self.order}I", start)


def read_exif(tiff: bytes) -> Exif:
    """Return the directories of an EXIF block, or of a whole TIFF file, as they are; damaged parts are left out.

    Args:
        tiff: The block, with or without the word Exif before it.
    """
    tiff = tiff.removeprefix(b"Exif\0\0") if tiff.startswith(b"Exif") else tiff
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return Exif()
    main = _read_directory(tiff, order, struct.unpack_from(f"{order}I", tiff, 4)[0])
    exif = _read_directory(tiff, order, _target(order, main, _EXIF_POINTER))
    gps = _read_directory(tiff, order, _target(order, main, _GPS_POINTER))
    return Exif(order, main, exif, gps, _read_directory(tiff, order, _target(order, exif, _INTEROPERABILITY_POINTER)))


def _choose(order: str, entries: Entries, tags: Tags, shares: Collection[Share]) -> Entries:
    chosen: Entries = {}
    for tag, (kind, data) in entries.items():
        if tag in tags and tags[tag][1] in shares and (kept := tags[tag][2].read(order, kind, data)):
            chosen[tag] = (kind, kept)
    return chosen


def _target(order: str, entries: Mapping[int, tuple[int, bytes]], tag: int) -> int:
    kind, data = entries.get(tag, (0, b""))
    return int(struct.unpack(f"{order}I", data)[0]) if kind == LONG and len(data) == 4 else 0


def _read_directory(tiff: bytes, order: str, start: int) -> Entries:
    """Return the readable entries of a directory that are small."""
    if not 8 <= start <= len(tiff) - 2:
        return {}
    count = min(struct.unpack_from(f"{order}H", tiff, start)[0], _MOST_ENTRIES, (len(tiff) - start - 2) // 12)
    entries: Entries = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from(f"{order}HHI", tiff, place)
        kind = LONG if kind == 13 else kind  # 13 is a pointer to a directory, in some files
        size = length * SIZES.get(kind, 0)
        if not 0 < size <= _LARGEST_VALUE:
            continue
        at = place + 8 if size <= 4 else struct.unpack_from(f"{order}I", tiff, place + 8)[0]
        data = tiff[at : at + size]
        if len(data) == size:
            entries[tag] = (kind, data)
    return entries


def _pack_directory(order: str, entries: Entries, start: int) -> bytes:
    """Return a directory that stands at `start`, followed by its long values."""
    rows, values = bytearray(), bytearray()
    after = start + 2 + 12 * len(entries) + 4
    for tag, (kind, data) in sorted(entries.items()):
        length = len(data) // SIZES[kind]
        if len(data) <= 4:
            field_bytes = data.ljust(4, b"\0")
        else:
            field_bytes = struct.pack(f"{order}I", after + len(values))
            values += data + b"\0" * (len(data) % 2)
        rows += struct.pack(f"{order}HHI", tag, kind, length) + field_bytes
    return struct.pack(f"{order}H", len(entries)) + bytes(rows) + bytes(4) + bytes(values)
