"""The XMP properties that a protected photo may keep: each with its shape, its values and its share.

Whatever is not in these tables goes, and so do qualifiers and any other shape. Names, shapes and values are those of
XMP parts 1 and 2 (ISO 16684), EXIF for XMP (CIPA DC-010) and the IPTC Photo Metadata Standard.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from facecrypt.photos.exif_tags import Share
from facecrypt.photos.prose import is_name, is_prose

Shape = Literal["simple", "Seq", "Bag", "Alt"]
"""One value, or a list: ordered, unordered, or one text in several languages."""


@dataclass(frozen=True)
class Syntax:
    """Values of a fixed form.

    Attributes:
        pattern: Regular expression of the whole value.
        form: What it describes, in words.
    """

    pattern: str
    form: str

    def allows(self, value: str) -> bool:
        """Return whether a value has the form."""
        return re.fullmatch(self.pattern, value, re.ASCII) is not None

    def __str__(self) -> str:
        return self.form


@dataclass(frozen=True)
class Text:
    """Text: the name of a device or a program, or prose.

    Attributes:
        longest: The most characters.
        name: Whether it is a name.
    """

    longest: int
    name: bool = False

    def allows(self, value: str) -> bool:
        """Return whether a value is such a text."""
        return is_name(value, self.longest) if self.name else is_prose(value, self.longest)

    def __str__(self) -> str:
        return f"{'name' if self.name else 'prose'} of at most {self.longest} characters"


Value: TypeAlias = Syntax | Text


@dataclass(frozen=True)
class Property:
    """A property that may be kept.

    Attributes:
        share: What it tells.
        value: What its values are, or those of each field of a structure, by prefix and name.
        shape: How many values there are.
    """

    share: Share
    value: Value | Mapping[str, Value]
    shape: Shape = "simple"


NAMESPACES = {
    "aux": "http://ns.adobe.com/exif/1.0/aux/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "exifEX": "http://cipa.jp/exif/1.0/",
    "GPano": "http://ns.google.com/photos/1.0/panorama/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
}

MOST_ITEMS: dict[Shape, int] = {"simple": 1, "Seq": 4, "Bag": 4, "Alt": 16}
"""Items of a list."""

_DAY = r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?)?)?"
DATE = Syntax(_DAY, "date and time")
INTEGER = Syntax(r"[+-]?\d{1,9}", "whole number")
NUMBER = Syntax(r"[+-]?\d{1,9}(\.\d{1,9})?", "number")
RATIONAL = Syntax(r"-?\d{1,10}/\d{1,10}", "rational")
CODE = Syntax(r"\d{1,5}", "code")
TRUTH = Syntax(r"True|False|true|false", "True or False")
VERSION = Syntax(r"\d{4}", "four digits")
_RATIONALS = Syntax(r"\d{1,10}/\d{1,10}( \d{1,10}/\d{1,10}){3}", "four rationals")
_ANGLE = Syntax(r"\d{1,3},\d{1,2}(,\d{1,2}|\.\d{1,10})?[NSEW]", "degrees and minutes")
_LETTER = Syntax(r"[A-Z0-9]", "one letter or digit")
_COUNTRY = Syntax(r"[A-Za-z]{2,3}", "two or three letters")
_SOURCE = Syntax(r"http://cv\.iptc\.org/newscodes/digitalsourcetype/[A-Za-z]{1,40}", "IPTC's codes")
_PROJECTION = Syntax(r"equirectangular|cylindrical", "equirectangular or cylindrical")
_INDEX = Syntax(r"R98|R03|THM", "R98, R03 or THM")
_NAME, _TITLE, _CAPTION, _PLACE = Text(64, name=True), Text(256), Text(2000), Text(64)
_PLACES: dict[str, Value] = {
    "Iptc4xmpExt:City": _PLACE,
    "Iptc4xmpExt:CountryCode": _COUNTRY,
    "Iptc4xmpExt:CountryName": _PLACE,
    "Iptc4xmpExt:ProvinceState": _PLACE,
    "Iptc4xmpExt:Sublocation": _PLACE,
    "Iptc4xmpExt:WorldRegion": _PLACE,
    "exif:GPSAltitude": RATIONAL,
    "exif:GPSLatitude": _ANGLE,
    "exif:GPSLongitude": _ANGLE,
}
_FLASH: dict[str, Value] = {
    "exif:Fired": TRUTH, "exif:Function": TRUTH, "exif:Mode": CODE, "exif:RedEyeMode": TRUTH, "exif:Return": CODE
}  # fmt: skip


def _all(share: Share, value: Value, prefix: str, names: str) -> dict[str, Property]:
    return {f"{prefix}:{name}": Property(share, value) for name in names.split()}


PROPERTIES: dict[str, Property] = {
    **_all("technical", DATE, "xmp", "CreateDate ModifyDate MetadataDate"),
    "xmp:CreatorTool": Property("technical", _NAME),
    "xmp:Rating": Property("technical", Syntax(r"-?[0-5](\.\d{1,4})?", "-1 to 5")),
    "xmp:Label": Property("text", Text(32)),
    "dc:coverage": Property("place", _PLACE),
    "dc:date": Property("technical", DATE, "Seq"),
    "dc:description": Property("text", _CAPTION, "Alt"),
    "dc:rights": Property("text", _TITLE, "Alt"),
    "dc:title": Property("text", _TITLE, "Alt"),
    "xmpRights:Marked": Property("technical", TRUTH),
    "xmpRights:UsageTerms": Property("text", _CAPTION, "Alt"),
    **_all("technical", CODE, "photoshop", "ColorMode Urgency"),
    "photoshop:DateCreated": Property("technical", DATE),
    "photoshop:Headline": Property("text", _TITLE),
    "photoshop:Instructions": Property("text", _TITLE),
    **_all("place", _PLACE, "photoshop", "City State Country"),
    "Iptc4xmpCore:AltTextAccessibility": Property("text", _TITLE, "Alt"),
    "Iptc4xmpCore:ExtDescrAccessibility": Property("text", _CAPTION, "Alt"),
    "Iptc4xmpCore:CountryCode": Property("place", _COUNTRY),
    "Iptc4xmpCore:Location": Property("place", _PLACE),
    "Iptc4xmpExt:DigitalSourceType": Property("technical", _SOURCE),
    "Iptc4xmpExt:LocationCreated": Property("place", _PLACES, "Bag"),
    "Iptc4xmpExt:LocationShown": Property("place", _PLACES, "Bag"),
    **_all("technical", _NAME, "tiff", "Make Model Software"),
    "tiff:DateTime": Property("technical", DATE),
    **_all("technical", RATIONAL, "tiff", "XResolution YResolution"),
    "tiff:ResolutionUnit": Property("technical", CODE),
    "tiff:Copyright": Property("text", _TITLE, "Alt"),
    "tiff:ImageDescription": Property("text", _CAPTION, "Alt"),
    **_all("technical", VERSION, "exif", "ExifVersion FlashpixVersion"),
    **_all("technical", DATE, "exif", "DateTimeOriginal DateTimeDigitized"),
    **_all(
        "technical", RATIONAL, "exif",
        "ApertureValue BrightnessValue CompressedBitsPerPixel DigitalZoomRatio ExposureBiasValue ExposureIndex "
        "ExposureTime FNumber FlashEnergy FocalLength FocalPlaneXResolution FocalPlaneYResolution MaxApertureValue "
        "ShutterSpeedValue SubjectDistance",
    ),
    **_all(
        "technical", CODE, "exif",
        "ColorSpace Contrast CustomRendered ExposureMode ExposureProgram FileSource FocalLengthIn35mmFilm "
        "FocalPlaneResolutionUnit GainControl LightSource MeteringMode Saturation SceneCaptureType SceneType "
        "SensingMethod Sharpness SubjectDistanceRange WhiteBalance",
    ),
    "exif:ISOSpeedRatings": Property("technical", INTEGER, "Seq"),
    "exif:Flash": Property("technical", _FLASH),
    "exif:UserComment": Property("text", _CAPTION, "Alt"),
    "exif:GPSVersionID": Property("place", Syntax(r"\d(\.\d){3}", "four digits")),
    **_all("place", _ANGLE, "exif", "GPSLatitude GPSLongitude GPSDestLatitude GPSDestLongitude"),
    **_all("place", RATIONAL, "exif", "GPSAltitude GPSDOP GPSSpeed GPSTrack GPSImgDirection GPSDestBearing"),
    **_all("place", RATIONAL, "exif", "GPSDestDistance GPSHPositioningError"),
    **_all("place", _LETTER, "exif", "GPSAltitudeRef GPSDifferential GPSImgDirectionRef GPSMeasureMode GPSSpeedRef"),
    **_all("place", _LETTER, "exif", "GPSStatus GPSTrackRef GPSDestBearingRef GPSDestDistanceRef"),
    "exif:GPSMapDatum": Property("place", Text(32, name=True)),
    "exif:GPSProcessingMethod": Property("place", Text(32, name=True)),
    "exif:GPSTimeStamp": Property("place", DATE),
    **_all("technical", _NAME, "exifEX", "LensMake LensModel"),
    **_all("technical", INTEGER, "exifEX", "PhotographicSensitivity RecommendedExposureIndex ISOSpeed"),
    "exifEX:SensitivityType": Property("technical", CODE),
    "exifEX:Gamma": Property("technical", RATIONAL),
    "exifEX:InteroperabilityIndex": Property("technical", _INDEX),
    "exifEX:LensSpecification": Property("technical", RATIONAL, "Seq"),
    **_all("technical", _NAME, "aux", "Lens Firmware"),
    "aux:LensID": Property("technical", INTEGER),
    "aux:LensInfo": Property("technical", _RATIONALS),
    **_all("technical", RATIONAL, "aux", "ApproximateFocusDistance FlashCompensation"),
    "GPano:ProjectionType": Property("technical", _PROJECTION),
    "GPano:UsePanoramaViewer": Property("technical", TRUTH),
    **_all("technical", NUMBER, "GPano", "PosePitchDegrees PoseRollDegrees InitialHorizontalFOVDegrees"),
    **_all("technical", NUMBER, "GPano", "InitialViewHeadingDegrees InitialViewPitchDegrees InitialViewRollDegrees"),
    **_all("technical", INTEGER, "GPano", "CroppedAreaImageWidthPixels CroppedAreaImageHeightPixels"),
    **_all("technical", INTEGER, "GPano", "CroppedAreaLeftPixels CroppedAreaTopPixels SourcePhotosCount"),
    **_all("technical", INTEGER, "GPano", "FullPanoWidthPixels FullPanoHeightPixels"),
    "GPano:PoseHeadingDegrees": Property("place", NUMBER),
}  # fmt: skip
"""By prefix and name."""
