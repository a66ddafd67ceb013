"""The EXIF tags that a protected photo may keep: each with its standard type, its count, its values and its share.

Whatever is not in these tables goes: unknown tags, maker notes, thumbnails, raw pictures, regions, people, serial
numbers and names of owners. Names and types are those of EXIF 3.0 (CIPA DC-008-2023) and TIFF 6.0; ``XP`` tags are
Windows' own.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Literal, TypeAlias

from facecrypt.photos.prose import is_name, is_prose

Share = Literal["technical", "text", "place"]
"""What a value tells: how the picture was made and is to be shown, what somebody wrote about it, or where it was."""

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SLONG, SRATIONAL, UTF8 = 1, 2, 3, 4, 5, 7, 9, 10, 129
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, UTF8: 1}
"""Bytes of one value of each type."""

_LETTERS = {BYTE: "B", UNDEFINED: "B", SHORT: "H", LONG: "I", RATIONAL: "I", SLONG: "i", SRATIONAL: "i"}


@dataclass(frozen=True)
class Numbers:
    """Numbers of some types.

    Attributes:
        types: Types that the standard allows.
        least: Fewest values.
        most: Most values.
        largest: Largest number where they are integers; all are 0 or more.
        rising: Whether each is at least as large as the one before, up to three curves of 256 values.
    """

    types: tuple[int, ...]
    least: int = 1
    most: int = 1
    largest: int | None = None
    rising: bool = False

    def read(self, order: str, kind: int, data: bytes) -> bytes | None:
        """Return the bytes of a value that is allowed, else nothing."""
        count = len(data) // SIZES[kind]
        if kind not in self.types or not self.least <= count <= self.most:
            return None
        values = struct.unpack(f"{order}{len(data) // struct.calcsize(_LETTERS[kind])}{_LETTERS[kind]}", data)
        if self.largest is not None and max(values) > self.largest:
            return None
        curves = [values[start : start + 256] for start in range(0, count, 256)] if self.rising else []
        if any(list(curve) != sorted(curve) or len(curve) != 256 for curve in curves):
            return None
        return data

    def __str__(self) -> str:
        names = {BYTE: "BYTE", SHORT: "SHORT", LONG: "LONG", UNDEFINED: "UNDEFINED"}
        names |= {RATIONAL: "RATIONAL", SLONG: "SLONG", SRATIONAL: "SRATIONAL"}
        count = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
        limit = "" if self.largest is None else f", up to {self.largest}"
        return f"{count} {' or '.join(names[kind] for kind in self.types)}{limit}{', rising' if self.rising else ''}"


@dataclass(frozen=True)
class Pattern:
    """ASCII, or UNDEFINED where the standard says so, of a fixed form: dates, digits, reference letters.

    Attributes:
        pattern: Regular expression of the whole value.
        form: What it describes, in words.
        kind: Its type.
    """

    pattern: str
    form: str
    kind: int = ASCII

    def read(self, order: str, kind: int, data: bytes) -> bytes | None:
        """Return the bytes of a value that is allowed, else nothing."""
        text = data.removesuffix(b"\0") if kind == ASCII else data
        return data if kind == self.kind and re.fullmatch(self.pattern.encode(), text) else None

    def __str__(self) -> str:
        return self.form


@dataclass(frozen=True)
class Words:
    """Text: the name of a device or a program, or prose.

    Attributes:
        longest: The most characters.
        name: Whether it is a name.
        stored: ``text`` is ASCII or UTF-8, ``comment`` has the name of its character set in front, ``wide`` is UTF-16.
    """

    longest: int
    name: bool = False
    stored: Literal["text", "comment", "wide"] = "text"

    def read(self, order: str, kind: int, data: bytes) -> bytes | None:
        """Return the bytes of a value that is allowed, without anything behind its end, else nothing."""
        text = self.decode(order, kind, data)
        if text is None or not (is_name(text, self.longest) if self.name else is_prose(text, self.longest)):
            return None
        if self.stored == "wide":
            return text.encode("utf-16-le") + bytes(2)
        if self.stored == "comment":
            wide = "utf-16-le" if order == "<" else "utf-16-be"
            return b"ASCII\0\0\0" + text.encode() if text.isascii() else b"UNICODE\0" + text.encode(wide)
        return text.encode() + b"\0"

    def decode(self, order: str, kind: int, data: bytes) -> str | None:
        """Return the text of a value; None where it is none."""
        try:
            if self.stored == "wide" and kind == BYTE:
                return data.decode("utf-16-le").rstrip("\0 ")
            if self.stored == "comment" and kind == UNDEFINED:
                wide = "utf-16-le" if order == "<" else "utf-16-be"
                codec = {b"ASCII\0\0\0": "ascii", b"UNICODE\0": wide, bytes(8): "utf-8"}.get(data[:8])
                return data[8:].decode(codec).rstrip("\0 ") if codec else None
            if self.stored == "text" and kind in (ASCII, UTF8):
                return data.decode().rstrip("\0 ")
        except UnicodeDecodeError:
            pass
        return None

    def __str__(self) -> str:
        kinds = {"text": "ASCII or UTF-8", "comment": "UNDEFINED with its character set", "wide": "BYTE, UTF-16"}
        return f"{'name' if self.name else 'prose'}, {kinds[self.stored]}, at most {self.longest} characters"


Form: TypeAlias = Numbers | Pattern | Words
Tags: TypeAlias = dict[int, tuple[str, Share, Form]]

_DATE = Pattern(r"[\d ]{4}[:/-][\d ]{2}[:/-][\d ]{2}[ T][\d ]{2}:[\d ]{2}:[\d ]{2}", "date and time, ASCII")
_ZONE = Pattern(r"[+-]\d\d:\d\d *| {3}: {2} *", "hours from UTC, ASCII")
_FRACTION = Pattern(r"\d{1,9} *", "digits, ASCII")
_VERSION = Pattern(r"\d{4}", "four digits, UNDEFINED", UNDEFINED)
_NAME, _TITLE, _CAPTION = Words(64, name=True), Words(256), Words(2000)
_RATIO = Numbers((RATIONAL,))
_SIGNED_RATIO = Numbers((SRATIONAL,))
_COUNT = Numbers((LONG,))
_SIZE = Numbers((SHORT, LONG), largest=1_000_000)
_FLAG = Numbers((UNDEFINED,), largest=3)


def _code(largest: int) -> Numbers:
    return Numbers((SHORT,), largest=largest)


MAIN: Tags = {
    11: ("ProcessingSoftware", "technical", _NAME),
    269: ("DocumentName", "text", _TITLE),
    270: ("ImageDescription", "text", _CAPTION),
    271: ("Make", "technical", _NAME),
    272: ("Model", "technical", _NAME),
    282: ("XResolution", "technical", _RATIO),
    283: ("YResolution", "technical", _RATIO),
    296: ("ResolutionUnit", "technical", _code(3)),
    301: ("TransferFunction", "technical", Numbers((SHORT,), 256, 768, rising=True)),
    305: ("Software", "technical", _NAME),
    306: ("DateTime", "technical", _DATE),
    318: ("WhitePoint", "technical", Numbers((RATIONAL,), 2, 2)),
    319: ("PrimaryChromaticities", "technical", Numbers((RATIONAL,), 6, 6)),
    18246: ("Rating", "technical", _code(5)),
    18249: ("RatingPercent", "technical", _code(100)),
    33432: ("Copyright", "text", _TITLE),
    40091: ("XPTitle", "text", Words(256, stored="wide")),
    40092: ("XPComment", "text", Words(2000, stored="wide")),
    40095: ("XPSubject", "text", Words(256, stored="wide")),
}
"""The main directory."""

EXIF: Tags = {
    33434: ("ExposureTime", "technical", _RATIO),
    33437: ("FNumber", "technical", _RATIO),
    34850: ("ExposureProgram", "technical", _code(9)),
    34855: ("PhotographicSensitivity", "technical", Numbers((SHORT,), 1, 3)),
    34864: ("SensitivityType", "technical", _code(7)),
    34865: ("StandardOutputSensitivity", "technical", _COUNT),
    34866: ("RecommendedExposureIndex", "technical", _COUNT),
    34867: ("ISOSpeed", "technical", _COUNT),
    34868: ("ISOSpeedLatitudeyyy", "technical", _COUNT),
    34869: ("ISOSpeedLatitudezzz", "technical", _COUNT),
    36864: ("ExifVersion", "technical", _VERSION),
    36867: ("DateTimeOriginal", "technical", _DATE),
    36868: ("DateTimeDigitized", "technical", _DATE),
    36880: ("OffsetTime", "technical", _ZONE),
    36881: ("OffsetTimeOriginal", "technical", _ZONE),
    36882: ("OffsetTimeDigitized", "technical", _ZONE),
    37121: ("ComponentsConfiguration", "technical", Numbers((UNDEFINED,), 4, 4, 6)),
    37122: ("CompressedBitsPerPixel", "technical", _RATIO),
    37377: ("ShutterSpeedValue", "technical", _SIGNED_RATIO),
    37378: ("ApertureValue", "technical", _RATIO),
    37379: ("BrightnessValue", "technical", _SIGNED_RATIO),
    37380: ("ExposureBiasValue", "technical", _SIGNED_RATIO),
    37381: ("MaxApertureValue", "technical", _RATIO),
    37382: ("SubjectDistance", "technical", _RATIO),
    37383: ("MeteringMode", "technical", _code(255)),
    37384: ("LightSource", "technical", _code(255)),
    37385: ("Flash", "technical", _code(127)),
    37386: ("FocalLength", "technical", _RATIO),
    37510: ("UserComment", "text", Words(2000, stored="comment")),
    37520: ("SubSecTime", "technical", _FRACTION),
    37521: ("SubSecTimeOriginal", "technical", _FRACTION),
    37522: ("SubSecTimeDigitized", "technical", _FRACTION),
    37888: ("AmbientTemperature", "place", _SIGNED_RATIO),
    37889: ("Humidity", "place", _RATIO),
    37890: ("Pressure", "place", _RATIO),
    37891: ("WaterDepth", "place", _SIGNED_RATIO),
    37892: ("Acceleration", "technical", _RATIO),
    37893: ("CameraElevationAngle", "technical", _SIGNED_RATIO),
    40960: ("FlashpixVersion", "technical", _VERSION),
    40961: ("ColorSpace", "technical", _code(65535)),
    40962: ("PixelXDimension", "technical", _SIZE),
    40963: ("PixelYDimension", "technical", _SIZE),
    41483: ("FlashEnergy", "technical", _RATIO),
    41486: ("FocalPlaneXResolution", "technical", _RATIO),
    41487: ("FocalPlaneYResolution", "technical", _RATIO),
    41488: ("FocalPlaneResolutionUnit", "technical", _code(5)),
    41493: ("ExposureIndex", "technical", _RATIO),
    41495: ("SensingMethod", "technical", _code(8)),
    41728: ("FileSource", "technical", _FLAG),
    41729: ("SceneType", "technical", _FLAG),
    41985: ("CustomRendered", "technical", _code(9)),
    41986: ("ExposureMode", "technical", _code(2)),
    41987: ("WhiteBalance", "technical", _code(1)),
    41988: ("DigitalZoomRatio", "technical", _RATIO),
    41989: ("FocalLengthIn35mmFilm", "technical", _code(65535)),
    41990: ("SceneCaptureType", "technical", _code(4)),
    41991: ("GainControl", "technical", _code(4)),
    41992: ("Contrast", "technical", _code(2)),
    41993: ("Saturation", "technical", _code(2)),
    41994: ("Sharpness", "technical", _code(2)),
    41996: ("SubjectDistanceRange", "technical", _code(3)),
    42034: ("LensSpecification", "technical", Numbers((RATIONAL,), 4, 4)),
    42035: ("LensMake", "technical", _NAME),
    42036: ("LensModel", "technical", _NAME),
    42038: ("ImageTitle", "text", _TITLE),
    42041: ("CameraFirmware", "technical", _NAME),
    42042: ("RAWDevelopingSoftware", "technical", _NAME),
    42043: ("ImageEditingSoftware", "technical", _NAME),
    42044: ("MetadataEditingSoftware", "technical", _NAME),
    42080: ("CompositeImage", "technical", _code(3)),
    42081: ("SourceImageNumberOfCompositeImage", "technical", Numbers((SHORT,), 2, 2)),
    42240: ("Gamma", "technical", _RATIO),
}
"""The EXIF directory."""

INTEROPERABILITY: Tags = {
    1: ("InteroperabilityIndex", "technical", Pattern(r"R98|R03|THM", "R98, R03 or THM, ASCII")),
    2: ("InteroperabilityVersion", "technical", _VERSION),
}
"""The interoperability directory: R03 means the colours of Adobe RGB."""


def _reference(letters: str) -> Pattern:
    return Pattern(f"[{letters}]", f"one of {', '.join(letters)}, ASCII")


_HALF, _AROUND = Numbers((RATIONAL,), 3, 3), _reference("TM")

GPS: Tags = {
    0: ("GPSVersionID", "place", Numbers((BYTE,), 4, 4, 9)),
    1: ("GPSLatitudeRef", "place", _reference("NS")),
    2: ("GPSLatitude", "place", _HALF),
    3: ("GPSLongitudeRef", "place", _reference("EW")),
    4: ("GPSLongitude", "place", _HALF),
    5: ("GPSAltitudeRef", "place", Numbers((BYTE,), largest=3)),
    6: ("GPSAltitude", "place", _RATIO),
    7: ("GPSTimeStamp", "place", _HALF),
    9: ("GPSStatus", "place", _reference("AV")),
    10: ("GPSMeasureMode", "place", _reference("23")),
    11: ("GPSDOP", "place", _RATIO),
    12: ("GPSSpeedRef", "place", _reference("KMN")),
    13: ("GPSSpeed", "place", _RATIO),
    14: ("GPSTrackRef", "place", _AROUND),
    15: ("GPSTrack", "place", _RATIO),
    16: ("GPSImgDirectionRef", "place", _AROUND),
    17: ("GPSImgDirection", "place", _RATIO),
    18: ("GPSMapDatum", "place", Words(32, name=True)),
    19: ("GPSDestLatitudeRef", "place", _reference("NS")),
    20: ("GPSDestLatitude", "place", _HALF),
    21: ("GPSDestLongitudeRef", "place", _reference("EW")),
    22: ("GPSDestLongitude", "place", _HALF),
    23: ("GPSDestBearingRef", "place", _AROUND),
    24: ("GPSDestBearing", "place", _RATIO),
    25: ("GPSDestDistanceRef", "place", _reference("KMN")),
    26: ("GPSDestDistance", "place", _RATIO),
    27: ("GPSProcessingMethod", "place", Words(32, stored="comment")),
    28: ("GPSAreaInformation", "place", Words(128, stored="comment")),
    29: ("GPSDateStamp", "place", Pattern(r"\d{4}:\d\d:\d\d", "date, ASCII")),
    30: ("GPSDifferential", "place", _code(1)),
    31: ("GPSHPositioningError", "place", _RATIO),
}
"""The GPS directory."""
