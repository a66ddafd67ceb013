"""Photos that say their colours in every way, and what a viewer shows of a file that follows the standards."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image, ImageCms, TiffImagePlugin

from facecrypt.photos.icc import make_profile, parametric
from tests.hiding import tiff_block
from tests.pictures import PROFILE, chunk, make_png, save

SRGB = [0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06]
P3 = [0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06]
BT_2020 = [0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046]
ADOBE = [0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06]
PRIMARIES = {1: SRGB, 2: SRGB, 9: BT_2020, 12: P3}
SIDE = 16


def stored(gray: bool = False) -> np.ndarray:
    """Colours of every sort in patches that a lossy encoder keeps."""
    x, y = np.meshgrid(np.arange(64) // SIDE, np.arange(64) // SIDE)
    pixels = np.stack([60 + 50 * x, 40 + 55 * y, 30 + 30 * (x + y)], axis=-1).astype(np.uint8)
    return pixels[..., :1].repeat(3, axis=-1) if gray else pixels


def matrix(points: list[float]) -> np.ndarray:
    """From linear light of some primaries to XYZ."""
    x, y = np.reshape(points, (4, 2)).T
    light = np.stack([x / y, np.ones(4), (1 - x - y) / y])
    return light[:, 1:] * np.linalg.solve(light[:, 1:], light[:, 0])


def to_srgb(values: np.ndarray, points: list[float], light: Any) -> np.ndarray:
    """What a display of sRGB shows for values of some primaries and some curve, 0 to 255."""
    linear = light(values / 255) @ (np.linalg.inv(matrix(SRGB)) @ matrix(points)).T
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


LIGHT: dict[int, Any] = {
    1: lambda v: v**2.4,  # as Chromium shows it in PNG; in AVIF, it shows it like 13
    4: lambda v: v**2.2,
    8: lambda v: v,
    13: lambda v: np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4),
}


def chunks(data: bytes) -> dict[bytes, bytes]:
    found, place = {}, 8
    while place < len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        found.setdefault(name, data[place + 8 : place + 8 + size])
        place += 12 + size
    return found


def shown(path: Path) -> np.ndarray:
    """What a viewer that follows the standards shows of a file, as sRGB; it shares no code with the package."""
    data = path.read_bytes()
    pillow_heif.register_heif_opener()
    image = Image.open(io.BytesIO(data))
    values = np.asarray(image.convert("RGB")).astype(float)
    profile = image.info.get("icc_profile")
    cicp = None
    if image.format == "PNG":
        said = chunks(data)
        if b"cICP" in said:
            cicp, profile = tuple(said[b"cICP"][:2]), None
        elif not profile and b"sRGB" not in said and b"gAMA" in said:
            points = [v / 1e5 for v in struct.unpack(">8I", said[b"cHRM"])] if b"cHRM" in said else SRGB
            power = 1e5 / struct.unpack(">I", said[b"gAMA"])[0]
            return to_srgb(values, points, lambda v: v**power)
    elif image.format in ("AVIF", "HEIF") and not profile:
        found = re.search(rb"colrnclx(..)(..)", data, re.DOTALL)
        cicp = tuple(int.from_bytes(part) for part in found.groups()) if found else None
    elif image.format == "BMP" and data[14] == 124 and data[70:74] == b"DEBM":
        start, size = struct.unpack_from("<II", data, 126)
        profile = data[14 + start : 14 + start + size]
    elif not profile and image.getexif().get_ifd(0xA005).get(1) == "R03":
        return to_srgb(values, ADOBE, lambda v: v ** (563 / 256))
    if profile:
        gray = profile[16:20] == b"GRAY"
        if gray and image.mode not in ("L", "LA", "I;16"):
            return values  # a profile for one channel says nothing about three
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        read = image.convert("L") if gray else image.convert("RGB")
        return np.asarray(
            ImageCms.profileToProfile(read, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        ).astype(float)
    if cicp and cicp not in ((2, 2), (1, 13)):
        transfer = 13 if cicp[1] == 2 or (cicp[1] in (1, 6) and image.format != "PNG") else cicp[1]
        return to_srgb(values, PRIMARIES[cicp[0]], LIGHT[transfer])
    return values


def png(path: Path, *extra: bytes, gray: bool = False, bits: int = 8, profile: bytes | None = None) -> Path:
    pixels = stored(gray)[..., :1] if gray else stored()
    wide = pixels.astype(">u2") * 257 if bits == 16 else pixels
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    path.write_bytes(make_png(64, 64, bits, 0 if gray else 2, rows, b"".join(extra)))
    return path


def gamma(power: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(power * 100_000)))


def chromaticities(points: list[float]) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in points)))


def cicp(primaries: int, transfer: int) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


def avif(path: Path, primaries: int, transfer: int, profile: bytes | None = None) -> Path:
    Image.fromarray(stored()).save(path, quality=95, subsampling="4:4:4", icc_profile=profile)
    data = path.read_bytes()
    place = data.index(b"colrnclx") + 8
    path.write_bytes(data[:place] + struct.pack(">HH", primaries, transfer) + data[place + 4 :])
    return path


def heic(path: Path, primaries: int, transfer: int) -> Path:
    options = {"color_primaries": primaries, "transfer_characteristics": transfer}
    pillow_heif.from_pillow(Image.fromarray(stored())).save(path, quality=95, chroma=444, **options)
    return path


def adobe_jpeg(path: Path) -> Path:
    exif = tiff_block([], [(40961, 3, b"\xff\xff")], [], [(1, 2, b"R03\0"), (2, 7, b"0100")])
    Image.fromarray(stored()).save(path, quality=95, subsampling="4:4:4", exif=b"Exif\0\0" + exif)
    return path


def with_tiff_tags(path: Path) -> Path:
    white = [(3127, 10000), (3290, 10000)]
    primaries = [(round(value * 10000), 10000) for value in P3[2:]]
    tags = Image.Exif()
    tags[318], tags[319] = (tuple(TiffImagePlugin.IFDRational(*each) for each in part) for part in (white, primaries))
    Image.fromarray(stored()).save(path, exif=tags)
    return path


def tagged(path: Path, profile: bytes, gray: bool = False) -> Path:
    image = Image.fromarray(stored(True)[..., 0] if gray else stored())
    return save(path, image, icc_profile=profile, **({"quality": 95} if path.suffix == ".jpg" else {}))


MINE = make_profile(P3, parametric(0, 1.8))
LINEAR_GRAY = make_profile(SRGB, parametric(0, 1.0), gray=True)
SOURCES: dict[str, Any] = {
    "linear.png": lambda path: png(path, gamma(1.0)),
    "linear-gray.png": lambda path: png(path, gamma(1.0), gray=True),
    "linear-deep.png": lambda path: png(path, gamma(1.0), bits=16),
    "wide.png": lambda path: png(path, gamma(0.45455), chromaticities(BT_2020)),
    "chromaticities.png": lambda path: png(path, chromaticities(P3)),
    "video.avif": lambda path: avif(path, 1, 1),
    "video.heic": lambda path: heic(path, 12, 6),
    "video.png": lambda path: png(path, cicp(1, 1)),
    "srgb-over-gamma.png": lambda path: png(path, chunk(b"sRGB", b"\0"), gamma(1.0)),
    "cicp.png": lambda path: png(path, cicp(12, 13)),
    "cicp-over-gamma.png": lambda path: png(path, cicp(1, 13), gamma(1.0)),
    "cicp-over-profile.png": lambda path: png(path, cicp(9, 1), chunk(b"iCCP", b"x\0\0" + zlib.compress(PROFILE))),
    "cicp-gray.png": lambda path: png(path, cicp(1, 8), gray=True),
    "p3.avif": lambda path: avif(path, 12, 13),
    "2020.avif": lambda path: avif(path, 9, 1),
    "profile.avif": lambda path: avif(path, 12, 8, MINE),
    "p3.heic": lambda path: heic(path, 12, 13),
    "linear.heic": lambda path: heic(path, 1, 8),
    "adobe.jpg": adobe_jpeg,
    "profile.jpg": lambda path: tagged(path, MINE),
    "gray.jpg": lambda path: tagged(path, LINEAR_GRAY, gray=True),
    "gray-with-rgb.jpg": lambda path: tagged(path, make_profile(P3, parametric(0, 1.0)), gray=True),
    "profile.webp": lambda path: tagged(path, MINE),
    "profile.tif": lambda path: tagged(path, MINE),
}
