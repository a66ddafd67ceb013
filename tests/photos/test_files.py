"""Photos are found, read upright and written back with nothing else changed; every bad file is a PhotoError."""

from __future__ import annotations

import errno
import io
import os
import random
import resource
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin
from PIL.JpegImagePlugin import JpegImageFile

from facecrypt.errors import PhotoError
from facecrypt.photos import files as photos
from facecrypt.photos.decoding import decode
from facecrypt.photos.files import Photo, find_photos, read_photo, write_photo
from facecrypt.system.limits import Bounds
from facecrypt.system.naming import output_path
from tests.pictures import (
    FORMATS,
    KINDS,
    ORIENTED,
    PROFILE,
    UPRIGHT,
    add_thumbnail,
    chunk,
    exif,
    make_image,
    make_photo,
    make_png,
    make_tiff,
    opened,
    save,
    written,
)

MUCH = 1 << 50


def refused(path: Path, *words: str, read: Callable[[Path], Photo] = read_photo) -> str:
    """The one-line message with which a file is refused; it names the file and holds the words."""
    with pytest.raises(PhotoError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def decode_here(path: Path) -> Photo:
    """Decode a photo in this process, where something can stand in for the system."""
    return decode(path, path, MUCH)


def read_with_much_memory(path: Path) -> Photo:
    """Read a photo as on a machine whose memory is no matter."""
    return read_photo(path, Bounds(MUCH))


# Finding


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = ["b.JPG", "a.png", "c.jpeg", "d.WebP", "e.tif", "f.TIFF", "g.bmp", ".hidden.png", "._a.png", "notes.txt"]
    for name in [*names, "in/h.png", "in/deep/i.jpg", ".cache/j.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("", ["a.png", "b.JPG", "c.jpeg", "d.WebP", "e.tif", "f.TIFF", "g.bmp"]),
        ("/in", ["in/h.png"]),
        ("/notes.txt", ["notes.txt"]),
        ("/.hidden.png", [".hidden.png"]),
        ("/*.png", ["a.png"]),
        ("/[ab].*", ["a.png", "b.JPG"]),
        ("/**/*.png", ["a.png", "in/h.png"]),
        ("/in/**", ["in/deep/i.jpg", "in/h.png"]),
        ("/*", ["a.png", "b.JPG", "c.jpeg", "d.WebP", "e.tif", "f.TIFF", "g.bmp"]),
    ],
)
def test_find_photos_in_a_folder_a_file_or_a_glob(folder: Path, where: str, found: list[str]) -> None:
    assert find_photos(f"{folder}{where}") == [folder / name for name in found]


def test_find_photos_takes_a_name_with_brackets_literally(tmp_path: Path) -> None:
    (tmp_path / "photo[1].png").touch()
    assert find_photos(f"{tmp_path}/photo[1].png") == [tmp_path / "photo[1].png"]


def test_find_photos_knows_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    assert find_photos("~/in") == [folder / "in/h.png"]


@pytest.mark.parametrize("where", ["/in/deep/nothing-*.jpg", "/*.txt", "/empty", "/**/*.gif", "/nowhere/*"])
def test_find_photos_says_what_is_allowed_when_there_are_none(folder: Path, where: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(PhotoError, match=r"no photos found.*\.png, \.jpg.*glob") as caught:
        find_photos(f"{folder}{where}")
    assert str(caught.value).startswith(f"{folder}{where}: ")


@pytest.mark.parametrize("where", ["/nowhere", "/nowhere.jpg", "/a\0.jpg", "/" + "x" * 300])
def test_find_photos_refuses_what_does_not_exist(folder: Path, where: str) -> None:
    with pytest.raises(PhotoError, match=r"no such file or folder|cannot be read"):
        find_photos(f"{folder}{where}")


def test_find_photos_in_a_forbidden_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(self: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", forbid)
    with pytest.raises(PhotoError, match="cannot be read \\(Permission denied\\)"):
        find_photos(str(folder))


# Reading


@pytest.mark.parametrize(("extension", "mode", "orientation"), ORIENTED)
def test_read_photo_is_exact_and_upright(tmp_path: Path, extension: str, mode: str, orientation: int) -> None:
    path = make_photo(tmp_path, extension, mode, orientation)
    stored = opened(path) if extension == "jpg" else make_image(mode)  # lossy: what a plain decoder sees
    expected = UPRIGHT[orientation](np.asarray(stored.convert("RGBA")))

    photo = read_photo(path)

    assert photo.path == path
    assert photo.pixels.dtype == np.uint8
    np.testing.assert_array_equal(photo.pixels, expected[..., :3])
    assert photo.grayscale == (mode[0] in "L1")
    assert (photo._alpha is None) == (mode in ("RGB", "L", "P", "1"))
    if photo._alpha is not None:
        assert photo._alpha.min() < 255
        np.testing.assert_array_equal(photo._alpha, expected[..., 3])


def test_pixels_are_read_only(tmp_path: Path) -> None:
    for mode in ("RGB", "L", "RGBA", "1"):
        with pytest.raises(ValueError, match="read-only"):
            read_photo(make_photo(tmp_path, mode=mode)).pixels[0, 0, 0] = 1


def test_a_photo_without_colour_is_grayscale_whatever_the_file_stores(tmp_path: Path) -> None:
    gray = Image.new("RGB", (8, 8), (90, 90, 90))
    assert read_photo(save(tmp_path / "gray.png", gray)).grayscale
    gray.putpixel((3, 3), (90, 90, 91))
    assert not read_photo(save(tmp_path / "colour.png", gray)).grayscale


def test_folders_show_what_cannot_be_read_too(tmp_path: Path) -> None:
    for name in ("a.gif", "b.HEIC", "c.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_photos(str(tmp_path))] == ["a.gif", "b.HEIC", "c.png"]


@pytest.mark.parametrize("size", [(1, 1), (20000, 30), (30, 20000)])
def test_odd_sizes_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    path = save(tmp_path / "odd.png", Image.new("RGB", size, (1, 2, 3)))
    photo = read_photo(path)
    assert photo.pixels.shape == (size[1], size[0], 3)
    write_photo(photo, photo.pixels, tmp_path / "out.png")
    assert opened(tmp_path / "out.png").size == size


def test_the_content_decides_not_the_extension(tmp_path: Path) -> None:
    path = written(make_photo(tmp_path, "webp").read_bytes(), tmp_path / "photo.jpg")
    np.testing.assert_array_equal(read_photo(path).pixels, np.asarray(make_image()))


def test_a_phone_jpeg_with_a_second_picture_is_one_photo(tmp_path: Path) -> None:
    first, second = make_image(seed=1), make_image(seed=2)
    path = tmp_path / "portrait.jpg"
    first.save(path, "MPO", save_all=True, append_images=[second])
    assert getattr(opened(path), "n_frames", 1) == 2
    np.testing.assert_array_equal(read_photo(path).pixels, np.asarray(opened(path)))


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_orientations_that_do_not_exist_are_ignored(tmp_path: Path, orientation: int) -> None:
    photo = read_photo(make_photo(tmp_path, orientation=orientation))
    np.testing.assert_array_equal(photo.pixels, np.asarray(make_image()))


@pytest.mark.parametrize("extension", ["png", "jpg", "webp"])
@pytest.mark.parametrize(
    "damaged",
    [
        b"nonsense",
        b"",
        b"II*\0\x08\0\0\0\xff\xff",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\xff\xff\xff\xff\0\0\xff\xff",
        b"II*\0\xff\xff\xff\xff",
        exif(6).tobytes()[:-7],
    ],
)
def test_damaged_exif_hides_no_photo(tmp_path: Path, extension: str, damaged: bytes) -> None:
    path = save(tmp_path / f"photo.{extension}", make_image(), exif=b"Exif\0\0" + damaged)
    assert read_photo(path).pixels.shape == (9, 13, 3)


def test_a_tiff_with_its_orientation_in_xmp_too_is_turned_once(tmp_path: Path) -> None:
    tags = exif(6)
    tags[700] = b'<x tiff:Orientation="6"/>'
    path = save(tmp_path / "photo.tif", make_image(), exif=tags)
    np.testing.assert_array_equal(read_photo(path).pixels, UPRIGHT[6](np.asarray(make_image())))


def test_no_file_stays_open(tmp_path: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("counts open files in /proc")
    paths = [make_photo(tmp_path, extension) for extension in FORMATS]
    paths.append(save(tmp_path / "packed.tiff", make_image(), compression="tiff_lzw"))
    damaged = [written(path.read_bytes()[:-60], path.with_stem("cut")) for path in paths]
    read_photo(paths[0])
    before = set(os.listdir("/proc/self/fd"))
    kept = [read_photo(path) for path in paths]
    for path in damaged:
        refused(path)
    assert set(os.listdir("/proc/self/fd")) == before
    assert len(kept) == 6


def test_threads_may_read_at_once_and_warning_filters_survive(tmp_path: Path) -> None:
    path = save(tmp_path / "photo.jpg", make_image(), exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    before = list(warnings.filters)
    faults: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(20):
                read_photo(path)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert list(warnings.filters) == before


# Refusing


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.png", "no such file", "Check its name")


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder", "Name a photo inside it")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_instead_of_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "not a regular file")


def test_empty_file(tmp_path: Path) -> None:
    refused(written(b"", tmp_path / "empty.jpg"), "empty (0 bytes)")


def test_name_too_long(tmp_path: Path) -> None:
    refused(tmp_path / ("x" * 300 + ".png"), "File name too long")


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_photo(tmp_path)

    def forbid(name: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(name))

    monkeypatch.setattr(os, "open", forbid)
    refused(path, "cannot be read (Permission denied)", "Check", read=decode_here)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permission_really_denied(tmp_path: Path) -> None:
    path = make_photo(tmp_path)
    path.chmod(0)
    refused(path, "cannot be read (Permission denied)", "Check")


@pytest.mark.parametrize("data", [b"just some text", b"BMW makes cars", b"%!PS-Adobe", b"II", b"RIFF"])
def test_what_is_no_photo(tmp_path: Path, data: bytes) -> None:
    refused(written(data, tmp_path / "photo.jpg"), "PNG")


@pytest.mark.parametrize("frames", [1, 2])
def test_gif(tmp_path: Path, frames: int) -> None:
    images = [make_image("P", seed=i) for i in range(frames)]
    images[0].save(tmp_path / "photo.gif", save_all=True, append_images=images[1:])
    refused(tmp_path / "photo.gif", "is a GIF file", "save it as PNG")


@pytest.mark.parametrize("extension", ["png", "webp", "tif"])
def test_animations_and_pages(tmp_path: Path, extension: str) -> None:
    images = [make_image(seed=i) for i in range(3)]
    images[0].save(tmp_path / f"photo.{extension}", save_all=True, append_images=images[1:])
    refused(tmp_path / f"photo.{extension}", "holds 3 pictures", "save the one you want as PNG")


@pytest.mark.parametrize("extension", ["jpg", "tif"])
def test_cmyk(tmp_path: Path, extension: str) -> None:
    refused(save(tmp_path / f"photo.{extension}", Image.new("CMYK", (3, 3))), "CMYK", "convert it to RGB")


DEEP = [258, 65535, 1, 40000, 300, 7, 20000, 65280]


@pytest.mark.parametrize(
    ("data", "channels"),
    [
        pytest.param(make_png(2, 1, 16, 0, b"\0" + struct.pack(">2H", *DEEP[:2])), 1, id="png-gray"),
        pytest.param(make_png(2, 1, 16, 2, b"\0" + struct.pack(">6H", *DEEP[:6])), 3, id="png-rgb"),
        pytest.param(make_png(2, 1, 16, 4, b"\0" + struct.pack(">4H", *DEEP[:4])), 2, id="png-gray-alpha"),
        pytest.param(make_png(2, 1, 16, 6, b"\0" + struct.pack(">8H", *DEEP)), 4, id="png-rgba"),
        pytest.param(make_tiff(2, 1, [16], 1, struct.pack("<2H", *DEEP[:2])), 1, id="tiff-gray"),
        pytest.param(make_tiff(2, 1, [16] * 3, 2, struct.pack("<6H", *DEEP[:6])), 3, id="tiff-rgb"),
    ],
)
def test_16_bits_are_read_whole(tmp_path: Path, data: bytes, channels: int) -> None:
    photo = read_photo(written(data, tmp_path / "photo.png"))
    values = np.array(DEEP[: 2 * channels]).reshape(1, 2, channels)
    colours = values[..., :1].repeat(3, axis=2) if channels < 3 else values[..., :3]
    assert photo._deep is not None
    np.testing.assert_array_equal(photo._deep, colours)
    np.testing.assert_array_equal(photo.pixels, np.rint(colours / 257))
    assert photo.grayscale == (channels < 3)
    if channels in (2, 4):
        np.testing.assert_array_equal(photo._alpha, values[..., -1])


def test_16_bits_in_planes(tmp_path: Path) -> None:
    path = written(make_tiff(2, 1, [16] * 3, 2, struct.pack("<6H", *DEEP[:6]), planar=2), tmp_path / "photo.tif")
    refused(path, "16 bits per channel in a way that is not read", "plain 16-bit PNG")


@pytest.mark.parametrize("data", [make_tiff(2, 1, [32], 1, bytes(8)), make_tiff(2, 1, [12], 1, bytes(3))])
def test_other_depths(tmp_path: Path, data: bytes) -> None:
    refused(written(data, tmp_path / "photo.tif"), "photo.tif")


def test_a_transparent_colour_of_16_bits(tmp_path: Path) -> None:
    data = make_png(2, 1, 16, 2, bytes(13), extra=chunk(b"tRNS", bytes(6)))
    refused(written(data, tmp_path / "photo.png"), "16 bits per channel", "plain 16-bit PNG")


@pytest.mark.parametrize("mode", ["F", "I"])
def test_more_than_16_bits(tmp_path: Path, mode: str) -> None:
    refused(save(tmp_path / "photo.tif", Image.new(mode, (3, 3))), "32 bits per channel", "Save it with 8 bits")


def test_hand_made_files_of_8_bits_are_read(tmp_path: Path) -> None:
    """Otherwise the tests above would prove nothing."""
    data = bytes(range(6))
    expected = np.arange(6).reshape(1, 2, 3)
    for blob in (make_png(2, 1, 8, 2, b"\0" + data), make_tiff(2, 1, [8] * 3, 2, data)):
        np.testing.assert_array_equal(read_photo(written(blob, tmp_path / "photo")).pixels, expected)
    planes = expected.transpose(2, 0, 1).astype(np.uint8).tobytes()
    blob = make_tiff(2, 1, [8] * 3, 2, planes, planar=2)
    np.testing.assert_array_equal(read_photo(written(blob, tmp_path / "photo")).pixels, expected)


def test_a_16_bit_bitmap_has_5_bits_per_channel_and_is_read(tmp_path: Path) -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0) + struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    blob = b"BM" + struct.pack("<IHHI", 70, 0, 0, 66) + header + struct.pack("<HH", 0xF800, 0x1F)
    photo = read_photo(written(blob, tmp_path / "photo.bmp"))
    np.testing.assert_array_equal(photo.pixels, [[[255, 0, 0], [0, 0, 255]]])


def test_other_colours(tmp_path: Path) -> None:
    refused(save(tmp_path / "photo.tif", make_image().convert("LAB")), "LAB colours", "convert it to RGB")


def huge_bmp() -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 30000, 30000, 1, 24, 0, 0, 0, 0, 0, 0)
    )


def huge_jpeg() -> bytes:
    buffer = io.BytesIO()
    make_image("L").save(buffer, "JPEG")
    data = buffer.getvalue()
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", 65000, 65000) + data[at + 9 :]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(make_png(20000, 20000, 8, 2), id="png"),
        pytest.param(make_png(2**31 - 1, 2**31 - 1, 8, 2), id="png-largest"),
        pytest.param(make_tiff(20000, 20000, [8], 1, bytes(9)), id="tiff"),
        pytest.param(make_tiff(14000, 13000, [8], 1, bytes(9)), id="tiff-beyond-pillow"),
        pytest.param(b"RIFF\xff\0\0\0WEBPVP8X\n\0\0\0" + bytes(4) + b"\xff\x3f\0" * 2 + bytes(9), id="webp"),
        pytest.param(huge_bmp(), id="bmp"),
        pytest.param(huge_jpeg(), id="jpeg"),
    ],
)
def test_too_many_pixels(tmp_path: Path, data: bytes) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    path = written(data, tmp_path / "photo.jpg")
    # Whatever memory this machine has.
    refused(path, "too large", "200 megapixels", "scale it down", read=read_with_much_memory)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("data", [make_png(10000, 10000, 8, 0), make_tiff(10000, 10000, [8], 1, bytes(9))])
def test_sizes_that_make_pillow_warn_are_allowed(tmp_path: Path, data: bytes) -> None:
    refused(written(data, tmp_path / "photo.jpg"), "damaged or cut short", read=read_with_much_memory)


def test_too_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: JpegImageFile) -> None:
        raise MemoryError

    monkeypatch.setattr(JpegImageFile, "load", fail)
    refused(make_photo(tmp_path, "jpg"), "memory", read=decode_here)


def test_too_many_bytes(tmp_path: Path) -> None:
    path = make_photo(tmp_path)
    os.truncate(path, 2**31)  # sparse
    refused(path, "too large", read=read_with_much_memory)


@pytest.mark.parametrize(("extension", "mode"), [*KINDS, ("tif+lzw", "RGB"), ("jpg+progressive", "RGB")])
def test_cut_short_anywhere(tmp_path: Path, extension: str, mode: str) -> None:
    """A file cut short is refused, unless all of its pixels are there."""
    extension, _, kind = extension.partition("+")
    options: dict[str, Any] = {"compression": "tiff_lzw"} if kind == "lzw" else {}
    if kind == "progressive":
        options = {"progressive": True}
    path = save(tmp_path / f"photo.{extension}", make_image(mode), **options)
    whole, data = read_photo(path).pixels, path.read_bytes()
    cuts = [*range(1, len(data), max(1, len(data) // 40)), *range(len(data) - 12, len(data))]
    refusals = 0
    for cut in cuts:
        short = written(data[:cut], tmp_path / f"{cut}")  # a new file: to replace one is slow
        try:
            np.testing.assert_array_equal(read_photo(short).pixels, whole)
        except PhotoError:
            refusals += 1
    assert refusals > len(cuts) / 2


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    """150 damaged files of every format, mode and orientation: each is read or refused."""
    rng = random.Random(0)
    originals = []
    for extension, mode, orientation in rng.sample(ORIENTED, 50):
        originals.append(make_photo(tmp_path, extension, mode, orientation).read_bytes())
    outcomes = {"read": 0, "refused": 0}
    for number, original in enumerate(originals * 3):
        mutant = bytearray(original)
        for _ in range(rng.choice([1, 2, 8])):
            mutant[rng.randrange(len(mutant))] = rng.randrange(256)
        path = written(mutant, tmp_path / f"{number}")
        try:
            photo = read_photo(path)
            assert photo.pixels.ndim == 3
            outcomes["read"] += 1
        except PhotoError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20


# Writing


@pytest.mark.parametrize(
    ("name", "format", "expected"),
    [
        ("a.jpg", "png", "a.png"),
        ("a.PNG", "png", "a.png"),
        ("a.b.tiff", "png", "a.b.png"),
        ("a", "png", "a.png"),
        ("a.JPG", "same", "a.JPG"),
        ("a", "same", "a"),
    ],
)
def test_output_path_needs_no_file(tmp_path: Path, name: str, format: Any, expected: str) -> None:
    assert output_path(Path("somewhere") / name, tmp_path, format) == tmp_path / expected


def test_output_path_refuses_other_formats(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'jpg' is not known\. Allowed: 'png', 'same'"):
        output_path(Path("a.png"), tmp_path, "jpg")  # type: ignore[arg-type]


def change(photo: Photo) -> np.ndarray:
    """Other pixels for a photo, grayscale if it is."""
    noise = np.random.default_rng(7).integers(0, 256, photo.pixels.shape, np.uint8)
    return np.repeat(noise[..., :1], 3, axis=2) if photo.grayscale else noise


@pytest.mark.parametrize("format", ["png", "same"])
@pytest.mark.parametrize(("extension", "mode", "orientation"), ORIENTED)
def test_round_trip(tmp_path: Path, extension: str, mode: str, orientation: int, format: Any) -> None:
    photo = read_photo(make_photo(tmp_path, extension, mode, orientation))
    pixels = change(photo)
    destination = output_path(photo.path, tmp_path / "new" / "folder", format)

    write_photo(photo, pixels, destination)

    saved = opened(destination)
    assert saved.format == ("PNG" if format == "png" else FORMATS[extension])
    assert saved.mode == ("L" if photo.grayscale else "RGB") + ("A" if photo._alpha is not None else "")
    assert len(saved.getexif()) == 0 or extension == "tif"
    assert ExifTags.Base.Orientation not in saved.getexif()
    if (extension, format) == ("jpg", "same"):
        assert saved.size == (pixels.shape[1], pixels.shape[0])
    else:
        np.testing.assert_array_equal(np.asarray(saved.convert("RGB")), pixels)
    if photo._alpha is not None:
        np.testing.assert_array_equal(np.asarray(saved.getchannel("A")), photo._alpha)
    again = read_photo(destination)
    assert again.grayscale == photo.grayscale
    assert sorted(path.name for path in destination.parent.iterdir()) == [destination.name]


@pytest.mark.parametrize("format", ["png", "same"])
@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tif"])
def test_the_icc_profile_is_kept_and_all_other_metadata_goes(tmp_path: Path, extension: str, format: Any) -> None:
    thumbnail = io.BytesIO()
    make_image(size=(8, 8)).save(thumbnail, "JPEG", comment=b"SECRET thumbnail")
    tags = exif(3)
    tags[ExifTags.Base.ImageDescription] = "SECRET description"
    tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAreaInformation] = b"SECRET position"
    options: dict[str, Any] = {"exif": add_thumbnail(tags.tobytes(), thumbnail.getvalue()), "icc_profile": PROFILE}
    if extension == "png":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", "SECRET comment")
        text.add_itxt("XML:com.adobe.xmp", "SECRET xmp")
        options["pnginfo"] = text
    elif extension == "jpg":
        options |= {"comment": b"SECRET comment", "xmp": b"SECRET xmp"}
    elif extension == "webp":
        options["xmp"] = b"SECRET xmp"
    else:
        tags[700] = b"SECRET xmp"
        tags[ExifTags.Base.Artist] = "SECRET name"
        options["exif"] = tags
    path = save(tmp_path / f"photo.{extension}", make_image(), **options)
    assert path.read_bytes().count(b"SECRET") >= 3
    assert b"SECRET thumbnail" in path.read_bytes() or extension == "tif"
    photo = read_photo(path)
    destination = output_path(path, tmp_path / "out", format)

    write_photo(photo, photo.pixels, destination)

    assert b"SECRET" not in destination.read_bytes()
    assert b"Exif" not in destination.read_bytes()
    saved = opened(destination)
    assert saved.info["icc_profile"] == PROFILE
    assert not {"exif", "xmp", "comment", "Comment", "XML:com.adobe.xmp"} & set(saved.info)


def test_bytes_that_are_no_profile_go(tmp_path: Path) -> None:
    for junk in (bytes(2**20 + 1), b"not really a profile" * 9):
        photo = read_photo(save(tmp_path / "photo.tif", make_image(), icc_profile=junk))
        for name in ("out.png", "out.tif"):
            write_photo(photo, photo.pixels, tmp_path / name, "keep")
            assert "icc_profile" not in opened(tmp_path / name).info


@pytest.mark.parametrize("quality", [30, 95, 100])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_is_never_coarser_than_the_input_or_quality_95(tmp_path: Path, mode: str, quality: int) -> None:
    path = save(tmp_path / "photo.jpg", make_image(mode), quality=quality)
    photo = read_photo(path)
    write_photo(photo, photo.pixels, tmp_path / "out" / "photo.jpg")
    with (
        JpegImageFile(path) as source,
        JpegImageFile(tmp_path / "out/photo.jpg") as saved,
        JpegImageFile(save(tmp_path / "95.jpg", make_image(mode), quality=95)) as fine,
    ):
        assert saved.quantization.keys() == source.quantization.keys()
        for key, table in saved.quantization.items():
            assert table == [min(pair) for pair in zip(source.quantization[key], fine.quantization[key], strict=True)]
        assert {(horizontal, vertical) for _, horizontal, vertical, _ in saved.layer} == {(1, 1)}


def test_a_colour_under_full_transparency_is_kept_in_webp(tmp_path: Path) -> None:
    image = make_image("RGBA")
    image.putalpha(0)
    photo = read_photo(save(tmp_path / "photo.webp", image))
    write_photo(photo, photo.pixels, tmp_path / "out.webp")
    np.testing.assert_array_equal(read_photo(tmp_path / "out.webp").pixels, np.asarray(image)[..., :3])


def test_a_bitmap_with_transparency_is_written_as_png_only(tmp_path: Path) -> None:
    header = struct.pack("<IiiHHIIiiII", 56, 1, 1, 1, 32, 3, 4, 0, 0, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    blob = b"BM" + struct.pack("<IHHI", 74, 0, 0, 70) + header + bytes([3, 2, 1, 128])
    photo = read_photo(written(blob, tmp_path / "photo.bmp"))
    assert photo.pixels.tolist() == [[[1, 2, 3]]]
    with pytest.raises(PhotoError, match=r"out\.bmp: a BMP file cannot keep the transparency.*Use format png"):
        write_photo(photo, photo.pixels, tmp_path / "out.bmp")
    write_photo(photo, photo.pixels, tmp_path / "out.png")
    assert opened(tmp_path / "out.png").getpixel((0, 0)) == (1, 2, 3, 128)


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_colour_is_refused_for_a_grayscale_photo(tmp_path: Path, mode: str) -> None:
    photo = read_photo(make_photo(tmp_path, mode=mode))
    pixels = photo.pixels.copy()
    pixels[4, 4, 2] ^= 1
    with pytest.raises(ValueError, match=r"channels differ.*grayscale"):
        write_photo(photo, pixels, tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    "pixels", [np.zeros((9, 13, 3)), np.zeros((9, 13, 4), np.uint8), np.zeros((13, 9, 3), np.uint8)]
)
def test_pixels_that_do_not_fit_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    photo = read_photo(make_photo(tmp_path))
    with pytest.raises(ValueError, match=r"do not fit.*Allowed: \(9, 13, 3\) uint8"):
        write_photo(photo, pixels, tmp_path / "out.png")


def test_an_extension_of_another_format_is_refused(tmp_path: Path) -> None:
    photo = read_photo(make_photo(tmp_path))
    with pytest.raises(ValueError, match=r"out\.jpg does not end like a PNG file"):
        write_photo(photo, photo.pixels, tmp_path / "out.jpg")


@pytest.mark.parametrize(
    ("kind", "name"), [("tif", "photo.TIFF"), ("webp", "photo.jpg"), ("png", "photo"), ("jpg", "photo.x")]
)
def test_format_same_keeps_a_misleading_name_and_the_real_format(tmp_path: Path, kind: str, name: str) -> None:
    photo = read_photo(written(make_photo(tmp_path, kind).read_bytes(), tmp_path / name))
    destination = output_path(photo.path, tmp_path / "out", "same")
    write_photo(photo, photo.pixels, destination)
    assert opened(destination).format == FORMATS[kind]


@pytest.mark.parametrize("link", ["same", "relative", "symlink", "hard link"])
def test_the_input_is_never_replaced(tmp_path: Path, link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = read_photo(make_photo(tmp_path))
    before = photo.path.read_bytes()
    destination = tmp_path / "link.png"
    if link == "same":
        destination = photo.path
    elif link == "relative":
        monkeypatch.chdir(tmp_path)
        destination = Path("photo.png")
    elif link == "symlink":
        destination.symlink_to(photo.path)
    else:
        destination.hardlink_to(photo.path)
    with pytest.raises(PhotoError, match=r"is the input photo itself\. Choose another"):
        write_photo(photo, change(photo), destination)
    assert photo.path.read_bytes() == before


def test_an_existing_output_is_replaced(tmp_path: Path) -> None:
    photo = read_photo(make_photo(tmp_path))
    destination = written(b"old", tmp_path / "out.png")
    write_photo(photo, change(photo), destination)
    np.testing.assert_array_equal(read_photo(destination).pixels, change(photo))


def test_a_symlink_to_elsewhere_is_replaced_not_followed(tmp_path: Path) -> None:
    photo = read_photo(make_photo(tmp_path))
    elsewhere = written(b"keep", tmp_path / "elsewhere.png")
    (tmp_path / "out.png").symlink_to(elsewhere)
    write_photo(photo, photo.pixels, tmp_path / "out.png")
    assert elsewhere.read_bytes() == b"keep"
    assert not (tmp_path / "out.png").is_symlink()


def test_the_output_has_the_usual_rights(tmp_path: Path) -> None:
    photo = read_photo(make_photo(tmp_path))
    write_photo(photo, photo.pixels, tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_mode == written(b"", tmp_path / "usual").stat().st_mode


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the operating system refuse larger files, as it does when the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("old", [b"old", None])
def test_nothing_half_written_stays_when_the_disk_is_full(tmp_path: Path, old: bytes | None) -> None:
    photo = read_photo(save(tmp_path / "photo.png", make_image(size=(300, 200))))
    destination = tmp_path / "out" / "photo.png"
    destination.parent.mkdir()
    if old is not None:
        destination.write_bytes(old)
    with (
        pytest.raises(PhotoError, match=r"out.photo\.png: cannot be written \(File too large\).*free space"),
        largest_file(50_000),
    ):
        write_photo(photo, photo.pixels, destination)
    assert [path.read_bytes() for path in destination.parent.iterdir()] == ([] if old is None else [old])


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_at_the_last_step_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, fault: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise fault

    photo = read_photo(make_photo(tmp_path))
    destination = tmp_path / "out" / "photo.png"
    destination.parent.mkdir()
    destination.write_bytes(b"old")
    monkeypatch.setattr(photos.os, step, fail)
    with pytest.raises(PhotoError if isinstance(fault, OSError) else KeyboardInterrupt):
        write_photo(photo, photo.pixels, destination)
    assert [path.read_bytes() for path in destination.parent.iterdir()] == [b"old"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("x" * 300 + ".png", "File name too long"),
        ("file/photo.png", "File exists"),
        ("file/deeper/photo.png", "Not a directory"),
        ("folder.png", "Is a directory"),
    ],
)
def test_a_destination_that_cannot_be(tmp_path: Path, name: str, reason: str) -> None:
    photo = read_photo(make_photo(tmp_path))
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(PhotoError) as caught:
        write_photo(photo, photo.pixels, tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: cannot be written ({reason}).")
    assert "choose another output folder" in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    photo = read_photo(make_photo(tmp_path))
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(PhotoError, match="cannot be written \\(Permission denied\\)"):
        write_photo(photo, photo.pixels, tmp_path / "out" / "photo.png")
