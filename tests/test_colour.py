"""A protected photo is shown as its original was: colours and sizes are said again, in the words of each format."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from facecrypt.api import Protected, _file_of
from facecrypt.colour import remembered_chunks
from facecrypt.errors import PhotoError
from facecrypt.icc import make_profile, parametric
from facecrypt.photos import as_format, read_photo, write_photo
from tests.hiding import tiff_block
from tests.pictures import PROFILE, chunk, make_png, opened, save

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
POLICIES = ("strip", "strip_gps", "keep", "all")
TARGETS = ("same", "png", "jpg", "webp", "tif", "bmp", "avif", "heic")
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


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", SOURCES)
def test_a_photo_is_shown_as_it_was(name: str, target: str, tmp_path: Path) -> None:
    source = SOURCES[name](tmp_path / name)
    photo = read_photo(source)
    before = shown(source)
    as_stored = ("srgb-over-gamma.png", "cicp-over-gamma.png", "chromaticities.png", "video.avif")
    assert name in as_stored or np.abs(before - photo.pixels).mean() > 3
    for policy in POLICIES if target in ("same", "png") else ("strip_gps",):
        destination = tmp_path / "out" / (name if target == "same" else f"photo.{target}")
        write_photo(as_format(photo, destination), photo.pixels, destination, policy)
        after = shown(destination)
        lossy = destination.suffix in (".jpg", ".avif", ".heic") or source.suffix in (".jpg", ".avif", ".heic")
        assert np.abs(after - before).mean() < (1.5 if lossy else 0.7), policy
        assert np.abs(after - before).max() < (30 if lossy else 4), policy


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install chromium and chromium-driver to see what it shows")
def test_chromium_shows_a_photo_as_it_was(tmp_path: Path) -> None:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-proxy-server",
                     "--force-color-profile=srgb", f"--user-data-dir={tmp_path}/browser"):  # fmt: skip
        options.add_argument(argument)
    script = """
        const [url, done] = arguments, image = new Image();
        image.onload = () => {
            const canvas = document.createElement("canvas"), drawing = canvas.getContext("2d", {colorSpace: "srgb"});
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            drawing.drawImage(image, 0, 0);
            done(Array.from(drawing.getImageData(0, 0, canvas.width, canvas.height).data));
        };
        image.onerror = () => done(null);
        image.src = url;
    """
    types = {".png": "png", ".jpg": "jpeg", ".webp": "webp", ".avif": "avif", ".bmp": "bmp"}
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:

        def seen(path: Path) -> np.ndarray:
            data = base64.b64encode(path.read_bytes()).decode()
            values = browser.execute_async_script(script, f"data:image/{types[path.suffix]};base64,{data}")
            return np.reshape(values, (64, 64, 4))[..., :3].astype(float)

        for name, make in SOURCES.items():
            source = make(tmp_path / name)
            photo = read_photo(source)
            before = seen(source) if source.suffix in types else shown(source)
            for target in (name, "a.png", "a.jpg", "a.webp", "a.avif", "a.bmp"):
                if Path(target).suffix not in types or (name == "adobe.jpg" and target != name):
                    continue  # Chromium takes no notice of the mark of Adobe RGB
                destination = tmp_path / "out" / target
                write_photo(as_format(photo, destination), photo.pixels, destination, "strip_gps")
                assert np.abs(seen(destination) - before).mean() < 1.5, (name, target)
    finally:
        browser.quit()


def test_a_linear_picture_keeps_its_brightness(tmp_path: Path) -> None:
    """Without its chunk, a picture of linear values is shown far too dark."""
    source = png(tmp_path / "photo.png", gamma(1.0))
    assert shown(source).mean() > stored().mean() + 30
    photo = read_photo(source)
    write_photo(photo, photo.pixels, tmp_path / "out.png", "strip_gps")
    assert opened(tmp_path / "out.png").info["gamma"] == 1.0
    np.testing.assert_array_equal(shown(tmp_path / "out.png"), shown(source))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("policy", POLICIES)
def test_every_chunk_of_colour_stays_as_it_was(policy: Any, bits: int, tmp_path: Path) -> None:
    extra = [gamma(0.5), chromaticities(P3), chunk(b"sRGB", b"\1"), cicp(9, 16), chunk(b"mDCV", bytes(range(24))),
             chunk(b"cLLI", bytes(range(8))), chunk(b"pHYs", struct.pack(">IIB", 2835, 2000, 1))]  # fmt: skip
    source = png(tmp_path / "photo.png", *extra, bits=bits)
    photo = read_photo(source)
    write_photo(photo, photo.pixels, tmp_path / "out.png", policy)
    before, after = chunks(source.read_bytes()), chunks((tmp_path / "out.png").read_bytes())
    for name in (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"pHYs"):
        assert after[name] == before[name], name


def test_chunks_that_say_nothing_sensible_go(tmp_path: Path) -> None:
    extra = [chunk(b"sRGB", b"\0" * 400), chunk(b"cICP", b"\1\1\1\0"), chunk(b"gAMA", bytes(4))]
    photo = read_photo(png(tmp_path / "photo.png", *extra))
    write_photo(photo, photo.pixels, tmp_path / "out.png", "keep")
    assert not {b"gAMA", b"cHRM", b"sRGB", b"cICP"} & chunks((tmp_path / "out.png").read_bytes()).keys()


@pytest.mark.parametrize("policy", POLICIES)
def test_nclx_of_avif_and_heic_is_kept(policy: Any, tmp_path: Path) -> None:
    for make, name in ((avif, "photo.avif"), (heic, "photo.heic")):
        photo = read_photo(make(tmp_path / name, 9, 16))
        write_photo(photo, photo.pixels, tmp_path / "out" / name, policy)
        data = (tmp_path / "out" / name).read_bytes()
        assert re.findall(rb"colrnclx(....)", data, re.DOTALL) == [struct.pack(">HH", 9, 16)]


def test_colours_that_a_format_cannot_hold_are_refused(tmp_path: Path) -> None:
    photo = read_photo(avif(tmp_path / "photo.avif", 9, 16))
    write_photo(photo, photo.pixels, tmp_path / "out.png", "strip")
    assert chunks((tmp_path / "out.png").read_bytes())[b"cICP"] == bytes([9, 16, 0, 1])
    for extension in ("jpg", "webp", "tif", "bmp"):
        destination = tmp_path / f"out.{extension}"
        with pytest.raises(
            PhotoError, match=r"out\.\w+: the colours of .*photo\.avif cannot be kept .*9 and 16.*Convert"
        ):
            write_photo(as_format(photo, destination), photo.pixels, destination)
        assert not destination.exists()


def test_a_profile_that_holds_more_than_colours_is_refused(tmp_path: Path) -> None:
    from tests.test_icc import lut, with_table

    photo = read_photo(
        save(tmp_path / "photo.jpg", Image.fromarray(stored()), icc_profile=with_table(lut(bytes(17**3 * 6), 17)))
    )
    with pytest.raises(
        PhotoError, match=r"out\.jpg: the colours of .* cannot be kept \(A2B0 is no .*Convert the photo to sRGB"
    ):
        write_photo(photo, photo.pixels, tmp_path / "out.jpg")


@pytest.mark.parametrize("policy", POLICIES)
def test_the_mark_of_adobe_rgb_is_kept(policy: Any, tmp_path: Path) -> None:
    photo = read_photo(adobe_jpeg(tmp_path / "photo.jpg"))
    write_photo(photo, photo.pixels, tmp_path / "out.jpg", policy)
    tags = opened(tmp_path / "out.jpg").getexif()
    assert tags.get_ifd(0xA005)[1] == "R03"
    assert tags.get_ifd(0x8769)[40961] == 65535


@pytest.mark.parametrize("policy", POLICIES)
def test_colour_tags_of_tiff_are_kept(policy: Any, tmp_path: Path) -> None:
    photo = read_photo(with_tiff_tags(tmp_path / "photo.tif"))
    write_photo(photo, photo.pixels, tmp_path / "out.tif", policy)
    tags = opened(tmp_path / "out.tif").getexif()
    np.testing.assert_allclose([float(value) for value in (*tags[318], *tags[319])], P3, atol=1e-4)
    write_photo(photo, photo.pixels, tmp_path / "out.png", policy)
    np.testing.assert_allclose(shown(tmp_path / "out.png"), to_srgb(stored(), P3, LIGHT[4]), atol=4)


@pytest.mark.parametrize("transform", [0, 1])
def test_what_adobe_says_of_a_jpeg_is_heeded(transform: int, tmp_path: Path) -> None:
    """Three channels may be stored as they are, without a turn into luminance and chrominance."""
    path = tmp_path / "photo.jpg"
    Image.fromarray(stored()).save(path, quality=100, subsampling="4:4:4", keep_rgb=transform == 0)
    assert (b"Adobe" in path.read_bytes()) == (transform == 0)
    photo = read_photo(path)
    assert np.abs(photo.pixels.astype(int) - stored()).max() < 8
    write_photo(photo, photo.pixels, tmp_path / "out.jpg")
    assert np.abs(np.asarray(opened(tmp_path / "out.jpg")).astype(int) - stored()).max() < 9


def test_an_image_of_pillow_remembers_the_colours_of_its_file(tmp_path: Path) -> None:
    pillow_heif.register_heif_opener()
    for name in ("linear.png", "wide.png", "srgb-over-gamma.png", "profile.jpg", "p3.heic", "video.heic"):
        source = SOURCES[name](tmp_path / name)
        copy = _file_of(opened(source), "image", tmp_path / f"{name}-copy").path
        assert np.abs(shown(copy) - shown(source)).mean() < 1
    for info in ({"gamma": -1}, {"gamma": "x"}, {"chromaticity": (1, 2)}, {"srgb": 9}, {"nclx_profile": {"x": 1}}):
        image = Image.fromarray(stored())
        image.info |= info
        assert remembered_chunks(image) == []


@pytest.mark.parametrize("name", ["linear.png", "linear-gray.png", "cicp.png", "2020.avif", "adobe.jpg", "gray.jpg"])
def test_a_protected_picture_in_memory_is_shown_as_the_photo(name: str, tmp_path: Path) -> None:
    source = SOURCES[name](tmp_path / name)
    photo = read_photo(source)
    result = Protected(name, "protected", "", (), "lossless PNG", _metadata="strip", _photo=photo, _pixels=photo.pixels)
    result.image.save(tmp_path / "out.png")
    assert np.abs(shown(tmp_path / "out.png") - shown(source)).mean() < 1


# Size in print


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("name", "options", "dpi"),
    [
        ("a.jpg", {"dpi": (300, 300)}, (300, 300)),
        ("a.jpg", {"dpi": (72, 150)}, (72, 150)),
        ("a.png", {"dpi": (300, 300)}, (300, 300)),
        ("a.tif", {"dpi": (300, 600)}, (300, 600)),
        ("a.bmp", {"dpi": (300, 300)}, (300, 300)),
    ],
)
def test_dots_per_inch_are_kept(name: str, options: Any, dpi: tuple[int, int], policy: Any, tmp_path: Path) -> None:
    photo = read_photo(save(tmp_path / name, Image.fromarray(stored()), **options))
    for target in dict.fromkeys([name, "b.png"]):
        write_photo(photo, photo.pixels, tmp_path / "out" / target, policy)
        np.testing.assert_allclose(
            [float(value) for value in opened(tmp_path / "out" / target).info["dpi"]], dpi, rtol=1e-3
        )


def test_dots_per_inch_that_only_exif_tells(tmp_path: Path) -> None:
    exif = tiff_block([(282, 5, struct.pack("<II", 300, 1)), (283, 5, struct.pack("<II", 300, 1)), (296, 3, b"\2\0")])
    path = save(tmp_path / "a.jpg", Image.fromarray(stored()), exif=b"Exif\0\0" + exif)
    data = path.read_bytes()
    path.write_bytes(data[:2] + data[20:])
    assert b"JFIF" not in path.read_bytes()
    photo = read_photo(path)
    for name in ("b.jpg", "b.png"):
        write_photo(photo, photo.pixels, tmp_path / name, "strip")
        assert [round(float(value)) for value in opened(tmp_path / name).info["dpi"]] == [300, 300]


def test_pixels_that_are_not_square_stay_so(tmp_path: Path) -> None:
    source = png(tmp_path / "a.png", chunk(b"pHYs", struct.pack(">IIB", 3, 2, 0)))
    photo = read_photo(source)
    for name in ("out.png", "out.jpg", "out.tif"):
        write_photo(as_format(photo, tmp_path / name), photo.pixels, tmp_path / name, "strip")
    assert opened(tmp_path / "out.png").info["aspect"] == (3, 2)
    assert opened(tmp_path / "out.jpg").info["jfif_density"] == (3, 2)
    assert opened(tmp_path / "out.jpg").info["jfif_unit"] == 0
    tags = opened(tmp_path / "out.tif").getexif()
    assert (tags[282], tags[283], tags[296]) == (3, 2, 1)
    centimetres = save(tmp_path / "b.jpg", Image.fromarray(stored()))
    data = centimetres.read_bytes()
    centimetres.write_bytes(data[:13] + struct.pack(">BHH", 2, 28, 56) + data[18:])
    photo = read_photo(centimetres)
    write_photo(photo, photo.pixels, tmp_path / "c.jpg", "strip")
    assert (tmp_path / "c.jpg").read_bytes()[13:18] == struct.pack(">BHH", 2, 28, 56)


def test_a_bitmap_with_colours_of_its_own(tmp_path: Path) -> None:
    """The header of version 4 has primaries and exponents; that of version 5 may hold a profile."""
    ends = [round(value * 2**30) for value in matrix(P3).T.flatten()]
    rows = np.ascontiguousarray(stored()[::-1, :, ::-1]).tobytes()
    head = struct.pack("<IiiHHIIiiIIIIII", 108, 64, 64, 1, 24, 0, len(rows), 2835, 2835, 0, 0, 0, 0, 0, 0)
    head += struct.pack("<I9iIII", 0, *ends, *[round(2.2 * 65536)] * 3)
    path = tmp_path / "a.bmp"
    path.write_bytes(struct.pack("<2sIHHI", b"BM", 122 + len(rows), 0, 0, 122) + head + rows)
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.pixels, stored())
    write_photo(photo, photo.pixels, tmp_path / "b.bmp")
    assert (tmp_path / "b.bmp").read_bytes()[70:122] == path.read_bytes()[70:122]
    write_photo(photo, photo.pixels, tmp_path / "b.png")
    np.testing.assert_allclose(shown(tmp_path / "b.png"), to_srgb(stored(), P3, LIGHT[4]), atol=4)
    for gray in (False, True):
        deep = read_photo(png(tmp_path / "c.png", gamma(1.0), gray=gray))
        write_photo(as_format(deep, tmp_path / "c.bmp"), deep.pixels, tmp_path / "c.bmp")
        np.testing.assert_array_equal(read_photo(tmp_path / "c.bmp").pixels, stored(gray))
        again = read_photo(tmp_path / "c.bmp")
        write_photo(again, again.pixels, tmp_path / "d.bmp")
        np.testing.assert_allclose(shown(tmp_path / "d.bmp"), shown(tmp_path / "c.png"), atol=4)


@pytest.mark.parametrize("damage", range(40))
def test_damaged_boxes_hide_no_photo(damage: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(damage)
    data = bytearray(avif(tmp_path / "a.avif", 12, 13).read_bytes())
    for place in rng.integers(0, data.index(b"mdat"), 3):
        data[place] = rng.integers(0, 256)
    (tmp_path / "a.avif").write_bytes(data)
    with contextlib.suppress(PhotoError):
        assert read_photo(tmp_path / "a.avif").pixels.ndim == 3
