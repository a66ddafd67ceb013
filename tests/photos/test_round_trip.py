"""Every format, mode, orientation and metadata policy: what goes out is what came in, but for the changed pixels."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import ExifTags, Image, PngImagePlugin

from facecrypt.errors import PhotoError
from facecrypt.photos.decoding import decode
from facecrypt.photos.files import Photo, read_photo, write_photo
from tests.pictures import PROFILE, UPRIGHT, add_thumbnail, chunk, make_png

SIZE = (48, 32)  # width and height, even so that chroma can be halved
POLICIES = ("all", "keep", "strip_gps", "strip")
XMP = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:img="http://ns.adobe.com/xap/1.0/g/img/"
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:GImage="http://ns.google.com/photos/1.0/image/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:aux="http://ns.adobe.com/exif/1.0/aux/"
 photoshop:City="PLACE xmp" tiff:Orientation="6" GImage:Data="SECRET original" aux:SerialNumber="ASKED serial">
<xmp:CreatorTool>KEPT xmp</xmp:CreatorTool><photoshop:Headline>WORDS xmp</photoshop:Headline>
<xmp:Thumbnails><rdf:Alt><rdf:li><img:image>SECRET picture</img:image></rdf:li></rdf:Alt></xmp:Thumbnails>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


@dataclass(frozen=True)
class Kind:
    """A sort of file: its extension, its channels, its bits, and whether its encoder loses nothing."""

    extension: str
    channels: int
    bits: int = 8
    lossless: bool = True

    def __str__(self) -> str:
        return f"{self.extension}{self.bits}-{self.channels}{'' if self.lossless else '-lossy'}"


KINDS = [
    *(Kind("png", channels, bits) for channels in (1, 2, 3, 4) for bits in (8, 16)),
    *(Kind("tif", channels, bits) for channels in (1, 3, 4) for bits in (8, 16)),
    Kind("tif", 2),
    *(Kind("bmp", channels) for channels in (1, 3)),
    *(Kind("webp", channels) for channels in (3, 4)),
    *(Kind("webp", channels, lossless=False) for channels in (3, 4)),
    *(Kind("jpg", channels, lossless=False) for channels in (1, 3)),
    *(Kind("avif", channels, lossless=False) for channels in (1, 3, 4)),
    *(Kind("heic", channels, lossless=False) for channels in (1, 3, 4)),
]
# Whatever the orientation and the policy, files differ little by their kind: of all combinations, a third is quick.
CASES = [
    pytest.param(kind, turn, policy, marks=[pytest.mark.slow] * ((number + turn + place) % 3 > 0))
    for number, kind in enumerate(KINDS)
    for turn in (UPRIGHT if kind.extension != "bmp" else (1,))
    for place, policy in enumerate(POLICIES)
]


def stored(kind: Kind) -> np.ndarray:
    """A smooth picture, so that a lossy encoder can keep it, which no turn leaves alike: (H, W, channels)."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] / 48
    planes = np.stack([x, 0.7 * y + 0.1, 0.5 * x * y + 0.2, 0.9 - 0.5 * y], axis=2)
    if kind.channels < 3:
        planes = np.stack([0.6 * x + 0.4 * y, 0.9 - 0.5 * y], axis=2)
    return np.rint(planes[..., : kind.channels] * (2**kind.bits - 1)).astype(np.uint8 if kind.bits == 8 else np.uint16)


def block(orientation: int) -> bytes:
    """EXIF with a program, a title, a place, an owner, a maker note, a date and a thumbnail."""
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    tags[ExifTags.Base.Software] = "KEPT exif"
    tags[ExifTags.Base.ImageDescription] = "WORDS exif"
    tags.get_ifd(ExifTags.IFD.Exif).update(
        {ExifTags.Base.MakerNote: b"SECRET maker note", 36867: "2020:02:02 20:20:20", 42032: "ASKED owner"}
    )
    tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAreaInformation] = b"ASCII\0\0\0PLACE exif"
    return add_thumbnail(tags.tobytes(), b"\xff\xd8\xff SECRET thumbnail")


def make(path: Path, kind: Kind, orientation: int) -> Path:
    """Write a picture with libraries, or by hand where they cannot."""
    pixels, exif = stored(kind), block(orientation)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[kind.channels]
    options: dict[str, Any] = {"exif": exif, "icc_profile": PROFILE, "xmp": XMP}
    if kind.bits == 16 and kind.extension == "png":
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
        extra = chunk(b"iCCP", b"x\0\0" + zlib.compress(PROFILE)) + chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
        extra += chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + XMP)
        path.write_bytes(make_png(*SIZE, 16, {1: 0, 2: 4, 3: 2, 4: 6}[kind.channels], rows, extra))
    elif kind.bits == 16:
        tags = [
            (274, 3, 1, orientation, True),
            (270, 2, 0, "WORDS exif", True),
            (305, 2, 0, "KEPT exif", True),
            (700, 1, len(XMP), XMP, True),
        ]
        tifffile.imwrite(
            path, pixels.squeeze(), photometric="rgb" if kind.channels > 2 else "minisblack", metadata=None,
            software=False, iccprofile=PROFILE, extratags=tags,
            extrasamples=["unassalpha"] if kind.channels == 4 else None,
        )  # fmt: skip
    else:
        image = Image.fromarray(pixels.squeeze(), mode) if kind.channels == 1 else Image.fromarray(pixels)
        if kind.extension == "heic":
            pillow_heif.register_heif_opener()
            options["xmp"] = XMP.replace(b'tiff:Orientation="6"', b"")  # this library would turn the picture by it
            image.save(path, "HEIF", quality=95, chroma=444, **options)
        elif kind.extension == "png":
            text = PngImagePlugin.PngInfo()
            text.add_itxt("XML:com.adobe.xmp", XMP.decode())
            text.add_text("Comment", "SECRET comment")
            image.save(path, pnginfo=text, exif=exif, icc_profile=PROFILE)
        elif kind.extension == "tif":
            tags = Image.Exif()
            tags.load(exif)
            tags[700] = XMP
            image.save(path, exif=tags, icc_profile=PROFILE)
        elif kind.extension == "bmp":
            image.save(path)
        else:
            lossless = {"lossless": True, "exact": True} if kind.lossless else {"quality": 95}
            if kind.extension == "jpg":
                options["comment"] = b"SECRET comment"
            image.save(path, **options, **({} if kind.extension == "jpg" else lossless))
    return path


def change(photo: Photo) -> np.ndarray:
    """The photo with a brighter square; the rest is untouched."""
    pixels = photo.pixels.copy()
    pixels[8:16, 8:20] = np.minimum(pixels[8:16, 8:20].astype(int) + 9, 255)
    return pixels


def everything(path: Path) -> np.ndarray:
    """All channels at full depth, as a plain decoder sees them, RGB first."""
    data = path.read_bytes()
    if path.suffix == ".tif":
        read = tifffile.imread(io.BytesIO(data))
    elif data[24:25] == b"\x10" and path.suffix == ".png":
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        read = read if read.ndim == 2 else read[..., [2, 1, 0, 3][: read.shape[2]]]
        read = read[..., [0, 3]] if data[25] == 4 else read
    else:
        read = np.asarray(Image.open(io.BytesIO(data)))
    return read[..., None] if read.ndim == 2 else read


@pytest.mark.parametrize(("kind", "orientation", "policy"), CASES, ids=str)
def test_round_trip(kind: Kind, orientation: int, policy: Any, tmp_path: Path) -> None:
    path = make(tmp_path / f"photo.{kind.extension}", kind, orientation)
    before = path.read_bytes()
    assert b"SECRET" in before or kind.extension == "bmp"
    photo = read_photo(path)
    upright = UPRIGHT[orientation](stored(kind))
    in_grey_levels = upright / (1 if kind.bits == 8 else 257)
    colours = in_grey_levels[..., :1].repeat(3, axis=2) if kind.channels < 3 else in_grey_levels[..., :3]
    assert photo.pixels.shape == colours.shape
    assert np.abs(photo.pixels - colours).mean() < (0.51 if kind.lossless else 3)
    assert photo.grayscale == (kind.channels < 3)

    destination = tmp_path / "out" / path.name
    encoding = write_photo(photo, change(photo), destination, policy)

    assert path.read_bytes() == before
    assert encoding.split()[0] == ("lossless" if kind.lossless else "lossy")
    saved = read_photo(destination)
    assert (saved._format, saved._lossless, saved.grayscale) == (photo._format, photo._lossless, photo.grayscale)
    if kind.lossless:
        full = everything(destination)
        assert full.dtype == upright.dtype
        expected = upright.astype(int)
        colour = slice(0, 1 if kind.channels < 3 else 3)
        step = 1 if kind.bits == 8 else 257
        square = (slice(8, 16), slice(8, 20), colour)
        added = (change(photo).astype(int) - photo.pixels)[8:16, 8:20, colour]
        expected[square] = (expected[square] + added * step).clip(0, 2**kind.bits - 1)
        if not (kind.extension == "bmp" and kind.channels == 1):
            assert full.shape == expected.shape
        np.testing.assert_array_equal(full, expected)
    else:
        assert np.abs(saved.pixels.astype(int) - change(photo)).mean() < 2
        if kind.channels in (2, 4):
            np.testing.assert_array_equal(saved._alpha, photo._alpha)
    check_metadata(destination, kind, policy)


def check_metadata(path: Path, kind: Kind, policy: str) -> None:
    data = path.read_bytes()
    assert b"SECRET" not in data
    if kind.extension == "bmp":
        return
    assert (b"PLACE" in data) == (b"WORDS" in data) == (policy in ("keep", "all"))
    assert (b"ASKED" in data) == (policy == "all")
    assert (b"KEPT xmp" in data) == (b"KEPT exif" in data) == (policy != "strip")
    image = Image.open(io.BytesIO(data))
    assert image.info["icc_profile"] == PROFILE
    tags = image.getexif()
    assert tags.get(ExifTags.Base.Orientation, 1) == 1
    assert not tags.get_ifd(ExifTags.IFD.IFD1)
    if policy != "strip":
        assert tags[ExifTags.Base.Software] == "KEPT exif"
    if policy != "strip" and not (kind.extension == "tif" and kind.bits == 16):
        assert tags.get_ifd(ExifTags.IFD.Exif)[36867] == "2020:02:02 20:20:20"
        assert bool(tags.get_ifd(ExifTags.IFD.GPSInfo)) == (policy in ("keep", "all"))
        assert b"PLACE exif" in data or policy == "strip_gps"


@pytest.mark.parametrize("quality", [40, 80, 99])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_jpeg_to_jpeg_changes_little_outside_the_square(quality: int, subsampling: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 6, (*SIZE[::-1], 3))
    image = Image.fromarray((stored(Kind("jpg", 3)) + noise).clip(0, 255).astype(np.uint8))
    image.save(tmp_path / "a.jpg", quality=quality, subsampling=subsampling)
    photo = read_photo(tmp_path / "a.jpg")
    write_photo(photo, photo.pixels, tmp_path / "b.jpg")
    saved = read_photo(tmp_path / "b.jpg")
    assert np.abs(saved.pixels.astype(int) - photo.pixels).mean() < 1
    assert np.abs(saved.pixels.astype(int) - photo.pixels).max() <= 6


def test_the_masked_gray_level_never_moves_further_than_asked(tmp_path: Path) -> None:
    for kind in (Kind("png", 1), Kind("png", 1, 16), Kind("tif", 1, 16)):
        photo = read_photo(make(tmp_path / f"photo.{kind.extension}", kind, 1))
        pixels = (photo.pixels.astype(int) + np.resize([12, -12, 5], photo.pixels.shape[:2])[..., None]).clip(0, 255)
        write_photo(photo, pixels.astype(np.uint8), tmp_path / "out" / photo.path.name)
        moved = everything(tmp_path / "out" / photo.path.name).astype(int) - stored(kind)
        assert np.abs(moved).max() <= 12 * (1 if kind.bits == 8 else 257)


def test_a_gray_file_with_a_lying_depth_is_refused_or_read(tmp_path: Path) -> None:
    """A header that says 16 bits over data of 8 leaves rows without pixels."""
    rows = b"".join(b"\0" + bytes(SIZE[0]) for _ in range(SIZE[1]))
    path = tmp_path / "photo.png"
    path.write_bytes(make_png(*SIZE, 16, 0, rows))
    with pytest.raises(PhotoError, match="damaged or cut short"):
        read_photo(path)


def test_deep_heic_and_avif_are_refused(tmp_path: Path) -> None:
    deep = pillow_heif.from_bytes("RGB;16", (16, 16), bytes(16 * 16 * 6))
    deep.save(tmp_path / "photo.heic", quality=90)
    with pytest.raises(PhotoError, match="photo.heic: has 10 bits per channel"):
        read_photo(tmp_path / "photo.heic")
    done, data = cv2.imencode(".avif", np.zeros((16, 16, 3), np.uint16), [cv2.IMWRITE_AVIF_DEPTH, 10])
    assert done
    (tmp_path / "photo.avif").write_bytes(data.tobytes())
    with pytest.raises(PhotoError, match="photo.avif: has 10 bits per channel"):
        read_photo(tmp_path / "photo.avif")


def test_heic_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    (tmp_path / "photo.heic").write_bytes(struct.pack(">I", 24) + b"ftypheic" + bytes(12))
    with pytest.raises(PhotoError, match=r"is a HEIC file, .*Install facecrypt\[heif\]"):
        decode(tmp_path / "photo.heic", tmp_path / "photo.heic", 1 << 50)
