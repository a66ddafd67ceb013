"""A protected photo is shown as its original was: colours and sizes are said again, in the words of each format."""

from __future__ import annotations

import base64
import contextlib
import re
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from facecrypt.api import Protected, _file_of
from facecrypt.errors import PhotoError
from facecrypt.photos.colour import remembered_chunks
from facecrypt.photos.files import as_format, read_photo, write_photo
from tests.coloured import (
    LIGHT,
    P3,
    SOURCES,
    adobe_jpeg,
    avif,
    chromaticities,
    chunks,
    cicp,
    gamma,
    heic,
    matrix,
    png,
    shown,
    stored,
    to_srgb,
    with_tiff_tags,
)  # fmt: skip
from tests.hiding import tiff_block
from tests.pictures import chunk, opened, save

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
POLICIES = ("strip", "strip_gps", "keep", "all")
TARGETS = ("same", "png", "jpg", "webp", "tif", "bmp", "avif", "heic")


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
    from tests.photos.test_icc import lut, with_table

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
    result = Protected(name, "written", "", (), "lossless PNG", _metadata="strip", _photo=photo, _pixels=photo.pixels)
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
