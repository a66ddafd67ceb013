"""How a photo's colours and its size are to be shown: read from any format, and said again in any other.

What a format says in its own way is written back that way; where another format cannot say it so, an ICC profile that
shows the same takes its place.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Real
from typing import Any, Literal

from PIL import Image
from PIL.ImageFile import ImageFile

from facecrypt.photos.containers import Cicp, png_chunks, read_bmp_colours, read_nclx
from facecrypt.photos.exif import Exif, read_exif
from facecrypt.photos.icc import (
    SRGB_PRIMARIES,
    ProfileError,
    clean_profile,
    gray_as_rgb,
    is_gray,
    make_profile,
    parametric,
    table,
)

Unit = Literal["none", "inch", "centimetre", "metre"]

_ADOBE_RGB = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_PRIMARIES = {
    1: SRGB_PRIMARIES,
    5: (0.3127, 0.329, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.329, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (0.3127, 0.329, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (0.3127, 0.329, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (0.3127, 0.329, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (0.3127, 0.329, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
"""White, red, green and blue by the numbers of ITU-T H.273."""

_SRGB_CURVE = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_VIDEO = (1, 6, 11, 14, 15)
_CURVES = {
    **dict.fromkeys(_VIDEO, parametric(0, 2.4)),
    4: parametric(0, 2.2),
    5: parametric(0, 2.8),
    7: parametric(3, 1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0913),
    8: parametric(0, 1.0),
    13: _SRGB_CURVE,
}
_NCLX = ("AVIF", "HEIF")
_ONE_CHANNEL = ("PNG", "JPEG", "TIFF")  # the others store gray as RGB, or readers make it that
_UNKNOWN, _SRGB_CICP = (2, 2), (1, 13)
_WHITE_POINT, _CHROMATICITIES, _TRANSFER = 318, 319, 301
_UNITS: dict[int, Unit] = {1: "none", 2: "inch", 3: "centimetre"}
_JFIF_UNITS: tuple[Unit, ...] = ("none", "inch", "centimetre")
_METRES = {"inch": Fraction(10000, 254), "centimetre": Fraction(100), "metre": Fraction(1), "none": Fraction(1)}


@dataclass(frozen=True)
class Density:
    """Pixels per unit of length, or the shape of a pixel.

    Attributes:
        x: Pixels per unit across.
        y: Pixels per unit down.
        unit: The unit; with ``none``, only the ratio of the two counts.
    """

    x: Fraction
    y: Fraction
    unit: Unit

    def per_metre(self) -> tuple[int, int]:
        """Return pixels per metre, rounded."""
        return round(self.x * _METRES[self.unit]), round(self.y * _METRES[self.unit])

    def as_jfif(self) -> bytes:
        """Return the unit and both numbers as JFIF stores them."""
        number = {"none": 0, "inch": 1, "centimetre": 2}
        if self.unit in number:
            values, unit = [self.x, self.y], number[self.unit]
        else:
            # What most programs mean is a whole number of pixels per inch.
            inch = [value * Fraction(254, 10000) for value in (self.x, self.y)]
            near = all(abs(value - round(value)) < Fraction(1, 50) for value in inch)
            values, unit = (inch, 1) if near else ([self.x / 100, self.y / 100], 2)
        return struct.pack(">BHH", unit, *(min(max(round(value), 1), 65535) for value in values))

    def as_phys(self) -> bytes:
        """Return both numbers and the unit as PNG stores them."""
        return struct.pack(">IIB", *self.per_metre(), self.unit != "none")

    def as_tiff(self) -> tuple[Fraction, Fraction, int]:
        """Return both numbers and the unit as TIFF stores them."""
        if self.unit == "metre":
            return self.x / 100, self.y / 100, 3
        return self.x, self.y, {"none": 1, "inch": 2, "centimetre": 3}[self.unit]


@dataclass(frozen=True)
class Colour:
    """What a file says of its colours and of its size in print.

    Attributes:
        container: Pillow's name of its format.
        profile: Its ICC profile, unchecked.
        cicp: Primaries and transfer function by the numbers of ITU-T H.273.
        chunks: What a PNG file says, by the name of the chunk.
        fields: What the header of a BMP file says.
        primaries: White, red, green and blue of a TIFF file as x and y each.
        curves: Curves of a TIFF file, as ICC stores them.
        density: Its pixels per unit of length.
    """

    container: str = ""
    profile: bytes | None = field(default=None, repr=False)
    cicp: Cicp | None = None
    chunks: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    fields: bytes = b""
    primaries: tuple[float, ...] | None = None
    curves: tuple[bytes, ...] = field(default=(), repr=False)
    density: Density | None = None

    def said_in(self, file_format: str, *, gray: bool, adobe_rgb: bool = False) -> Colour:
        """Return what a file of some format has to say, so that its colours are shown as those of this one.

        Args:
            file_format: Pillow's name of the format.
            gray: Whether the photo has one channel.
            adobe_rgb: Whether EXIF says that the colours are those of Adobe RGB.

        Raises:
            ProfileError: If the profile holds more than colours, or the format cannot say what this one says.
        """
        profile = clean_profile(self.profile) if self.profile else None
        if file_format == self.container:
            return Colour(file_format, profile, self.cicp, self.chunks, self.fields, density=self.density)
        gray = gray and file_format in _ONE_CHANNEL
        if profile and is_gray(profile) and not gray:  # nobody uses it for RGB, which a gray photo becomes
            profile = gray_as_rgb(profile)
        cicp = self._meant()
        if profile and not (cicp and self.container == "PNG"):  # PNG alone puts cICP over a profile
            return Colour(file_format, profile, density=self.density)
        if cicp is None:
            return Colour(file_format, self._own_profile(gray, adobe_rgb), density=self.density)
        if cicp == _SRGB_CICP:
            return Colour(file_format, density=self.density)
        if file_format in _NCLX and (self.container in _NCLX or cicp[1] not in _VIDEO):
            return Colour(file_format, None, self.cicp, density=self.density)
        primaries, curve = _PRIMARIES.get(cicp[0]), _CURVES.get(cicp[1])
        made = _made(primaries, [curve], gray) if primaries and curve else None
        if file_format == "PNG" and max(cicp) < 256:
            chunks = {b"cICP": bytes([*cicp, 0, 1])}
            return Colour(file_format, made, None, chunks, density=self.density)
        if made is None:
            raise ProfileError(f"its colours, {cicp[0]} and {cicp[1]} of H.273, have no place in {file_format}")
        return Colour(file_format, made, density=self.density)

    def _meant(self) -> Cicp | None:
        """Return the primaries and the curve with which programs show the file; None where they are not told by these.

        Browsers show the curves of video as that of sRGB in AVIF and HEIC files, and by BT.1886 in PNG files.
        """
        if self.cicp in (None, _UNKNOWN):
            return None
        primaries, transfer = self.cicp
        primaries, transfer = (1 if primaries == 2 else primaries), (13 if transfer == 2 else transfer)
        return primaries, 13 if transfer in _VIDEO and self.container != "PNG" else transfer

    def _own_profile(self, gray: bool, adobe_rgb: bool) -> bytes | None:
        """Return a profile for what the format says in its own way; None where that is sRGB, as without any profile."""
        if adobe_rgb and self.container != "PNG":
            return make_profile(_ADOBE_RGB, parametric(0, 563 / 256), gray=gray)
        if self.container == "PNG" and b"sRGB" not in self.chunks:
            gamma, primaries = self.chunks.get(b"gAMA"), self.chunks.get(b"cHRM")
            if not gamma:  # programs heed no primaries then
                return None
            points = [value / 100_000 for value in struct.unpack(">8I", primaries)] if primaries else SRGB_PRIMARIES
            return _made(points, [parametric(0, 100_000 / struct.unpack(">I", gamma)[0])], gray)
        if self.primaries or self.curves:
            # TIFF 6.0: without a curve, values are those of a display of gamma 2.2.
            return _made(self.primaries or SRGB_PRIMARIES, self.curves or [parametric(0, 2.2)], gray)
        if self.fields:
            points, curves = _bmp_colours(self.fields)
            return _made(points, curves, gray) if points else None
        return None


def read_colour(image: ImageFile, data: bytes) -> Colour:
    """Return what a file says of its colours.

    Args:
        image: The opened file.
        data: Its bytes.
    """
    container = str(image.format)
    profile = image.info.get("icc_profile")
    profile = profile if isinstance(profile, bytes) and profile else None  # damaged TIFF tags hold other things
    density = _read_density(image, data)
    if container == "PNG":
        chunks = png_chunks(data)
        if chunks.get(b"gAMA") == bytes(4):
            del chunks[b"gAMA"]
        cicp = chunks.get(b"cICP")
        if cicp and cicp[2:] != b"\0\1":  # nothing but RGB of full range makes sense here
            del chunks[b"cICP"]
            cicp = None
        chunks.pop(b"pHYs", None)
        return Colour(container, profile, (cicp[0], cicp[1]) if cicp else None, chunks, density=density)
    if container in ("AVIF", "HEIF"):
        return Colour(container, profile, read_nclx(data), density=density)
    if container == "BMP":
        fields, profile = read_bmp_colours(data)
        return Colour(container, profile, fields=fields, density=density)
    if container == "TIFF":
        primaries, curves = _read_tiff(read_exif(data))
        return Colour(container, profile, primaries=primaries, curves=curves, density=density)
    return Colour(container, profile, density=density)


def remembered_chunks(image: Image.Image) -> list[tuple[bytes, bytes]]:
    """Return what a PIL image remembers of the colours of its file, as PNG says it; Pillow itself keeps ICC profiles.

    Args:
        image: The image, as Pillow or pillow-heif opened it.
    """
    info, chunks = image.info, []
    gamma, points, intent = info.get("gamma"), info.get("chromaticity"), info.get("srgb")
    if isinstance(gamma, int | float) and 0 < gamma < 1000:
        chunks.append((b"gAMA", struct.pack(">I", round(gamma * 100_000))))
    numbers = _numbers(points)
    if len(numbers) == 8 and all(0 <= number < 1000 for number in numbers):
        chunks.append((b"cHRM", struct.pack(">8I", *(round(number * 100_000) for number in numbers))))
    if intent in (0, 1, 2, 3):
        chunks.append((b"sRGB", bytes([intent])))
    nclx = info.get("nclx_profile")
    if isinstance(nclx, dict) and not info.get("icc_profile"):
        numbers = _numbers((nclx.get("color_primaries"), nclx.get("transfer_characteristics")))
        meant = Colour("HEIF", cicp=(int(numbers[0]), int(numbers[1])))._meant() if len(numbers) == 2 else None
        if meant and max(meant) < 256:
            chunks.append((b"cICP", bytes([*meant, 0, 1])))
    return chunks


def _made(primaries: Any, curves: Any, gray: bool) -> bytes | None:
    """Return a profile; None for primaries that make no sense, which readers ignore."""
    try:
        return make_profile(primaries, *curves, gray=gray)
    except ValueError:
        return None


def _bmp_colours(fields: bytes) -> tuple[list[float], list[bytes]]:
    """Return primaries, with the white that they make, and curves by the fields of a BMP header."""
    numbers = struct.unpack("<4x9i3I", fields)
    ends = [[value / 2**30 for value in numbers[start : start + 3]] for start in (0, 3, 6)]
    powers = [value / 2**16 for value in numbers[9:]]
    if any(sum(end) <= 0 for end in ends) or not all(0.1 < power < 10 for power in powers):
        return [], []
    white = [sum(values) for values in zip(*ends, strict=True)]
    points = [value / sum(each) for each in (white, *ends) for value in each[:2]]
    # Some programs write the exponent that encoded, others the one that decodes.
    return points, [parametric(0, power if power >= 1 else 1 / power) for power in powers]


def _read_tiff(tags: Exif) -> tuple[tuple[float, ...] | None, tuple[bytes, ...]]:
    points = [float(value) for value in tags.numbers(_WHITE_POINT) + tags.numbers(_CHROMATICITIES)]
    values = [int(value) for value in tags.numbers(_TRANSFER) if value <= 65535]
    tables = [values[start : start + 256] for start in range(0, len(values), 256)] if len(values) in (256, 768) else []
    rising = all(each == sorted(each) and each[-1] > 0 for each in tables)
    return tuple(points) if len(points) == 8 else None, tuple(table(each) for each in tables if rising)


def _numbers(value: Any) -> list[float]:
    values = value if isinstance(value, tuple) else (value,)
    return [
        float(each) for each in values if isinstance(each, Real) and abs(float(each)) < 1e9
    ]  # neither infinite nor NaN


def _read_density(image: ImageFile, data: bytes) -> Density | None:
    info = image.info
    if image.format == "PNG" and (chunk := png_chunks(data).get(b"pHYs")):
        x, y, unit = struct.unpack(">IIB", chunk)
        return _density(x, y, "metre" if unit == 1 else "none")
    if image.format == "JPEG" and "jfif_density" in info and info.get("jfif_unit") in (0, 1, 2):
        x, y = info["jfif_density"]
        return _density(x, y, _JFIF_UNITS[info["jfif_unit"]])
    if image.format == "BMP" and len(data) >= 46:
        x, y = struct.unpack_from("<ii", data, 38)
        return _density(x, y, "metre")
    if image.format == "TIFF":
        tags = read_exif(data)
        found, unit = tags.numbers(282) + tags.numbers(283), tags.numbers(296)
        name = _UNITS.get(int(unit[0]) if unit else 2, "inch")
        return _density(found[0], found[1], name) if len(found) == 2 else None
    if image.format == "JPEG" and isinstance(info.get("dpi"), tuple):  # from EXIF
        numbers = _numbers(info["dpi"])
        return _density(numbers[0], numbers[1], "inch") if len(numbers) == 2 else None
    return None


def _density(x: float | Fraction, y: float | Fraction, unit: Unit) -> Density | None:
    """Return a density that means something."""
    if not (0 < x < 1e8 and 0 < y < 1e8) or (unit == "none" and x == y):
        return None
    return Density(Fraction(x).limit_denominator(10_000), Fraction(y).limit_denominator(10_000), unit)
