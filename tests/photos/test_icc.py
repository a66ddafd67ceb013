"""A profile keeps what decides about colours, byte by byte where it says nothing else, and holds no picture or name."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms

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
from tests.hiding import encoded, guises, picture, remains, traces
from tests.pictures import PROFILE

P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
GUISES = guises(16) | {"small jpeg": encoded("JPEG", 8)}


def tags_of(profile: bytes) -> dict[bytes, bytes]:
    count = struct.unpack_from(">I", profile, 128)[0]
    rows = [struct.unpack_from(">4sII", profile, 132 + 12 * number) for number in range(count)]
    return {name: profile[at : at + size] for name, at, size in rows}


def packed(header: bytes, tags: dict[bytes, bytes], gap: bytes = b"") -> bytes:
    """A profile of tags, with something that belongs to none of them behind the table."""
    start = 132 + 12 * len(tags) + len(gap)
    rows, body = b"", b""
    for name, data in tags.items():
        rows += struct.pack(">4sII", name, start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    return struct.pack(">I", start + len(body)) + header[4:128] + struct.pack(">I", len(tags)) + rows + gap + body


def with_tags(changed: dict[bytes, bytes], gap: bytes = b"") -> bytes:
    return packed(PROFILE, tags_of(PROFILE) | changed, gap)


def shown(profile: bytes, mode: str = "RGB") -> np.ndarray:
    """What littlecms makes of a range of stored colours, as sRGB."""
    levels = np.arange(0, 256, 15, np.uint8)
    values = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 18, 3)
    image = Image.fromarray(values if mode == "RGB" else np.ascontiguousarray(values[..., 0]))
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    result = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return np.asarray(result).astype(int)


def text(words: str) -> bytes:
    encoded_words = words.encode("utf-16-be")
    return struct.pack(">4s4xII4sII", b"mluc", 1, 12, b"enUS", len(encoded_words), 28) + encoded_words


def old_text(words: bytes, rest: bytes = bytes(78)) -> bytes:
    return struct.pack(">4s4xI", b"desc", len(words) + 1) + words + b"\0" + rest


@pytest.mark.parametrize(
    "profile",
    [
        PROFILE,
        make_profile(P3, parametric(0, 2.2)),
        make_profile(SRGB_PRIMARIES, table([round(65535 * (i / 1023) ** 2.2) for i in range(1024)])),
        make_profile(SRGB_PRIMARIES, parametric(0, 1.0), gray=True),
        with_tags({b"desc": text("Display P3"), b"cprt": text("Copyright Apple Inc., 2022")}),
        with_tags({b"cprt": b"text\0\0\0\0Copyright 1999 Adobe Systems Incorporated\0"}),
        with_tags({b"desc": old_text(b"sRGB IEC61966-2.1"), b"dmnd": old_text(b"IEC http://www.iec.ch")}),
        with_tags({b"desc": old_text(b"sRGB IEC61966-2.1", bytes(11) + b"\x12sRGB IEC61966-2.1" + bytes(49))}),
    ],
)
def test_a_profile_of_colours_alone_is_kept_byte_by_byte(profile: bytes) -> None:
    assert clean_profile(profile) == profile


@pytest.mark.parametrize(
    "profile",
    [b"", b"not really a profile" * 20, bytes(500), PROFILE[:300], PROFILE[:36] + b"acsq" + PROFILE[40:],
     packed(PROFILE[:16] + b"CMYK" + PROFILE[20:], tags_of(PROFILE)), packed(PROFILE, {b"desc": text("sRGB")}),
     PROFILE[:128] + b"\xff" * 4 + PROFILE[132:]],
)  # fmt: skip
def test_what_no_reader_takes_for_a_profile_goes(profile: bytes) -> None:
    assert clean_profile(profile) is None


@pytest.mark.parametrize(
    "words",
    ["Color LCD of Jane Doe", "Dell U2715H 1234567 2020-01-01", "Jane's MacBook", "sRGB 4711081512345", "52.52 N 13.40",
     "Anna", "sRGB " + "a" * 300],
)  # fmt: skip
def test_names_of_people_and_monitors_go(words: str) -> None:
    for name in (b"desc", b"cprt", b"dmnd", b"dmdd", b"mmod", b"meta", b"targ"):
        for tag in (text(words), old_text(words.encode()), b"text\0\0\0\0" + words.encode() + b"\0"):
            profile = with_tags({name: tag})
            clean = clean_profile(profile)
            assert clean is not None
            for form in (words.encode(), words.encode("utf-16-be")):
                assert form in profile or tag not in profile or form not in tag
                assert form not in clean
            np.testing.assert_array_equal(shown(clean), shown(profile))


def test_a_serial_number_in_the_header_goes_with_the_rest_of_what_is_reserved() -> None:
    profile = PROFILE[:100] + b"SN 0815 4711 of Jane Doe    " + PROFILE[128:]
    clean = clean_profile(profile)
    assert clean is not None
    assert b"Jane" not in clean
    np.testing.assert_array_equal(shown(clean), shown(PROFILE))


HIDING: dict[str, Callable[[bytes], bytes]] = {
    "private tag": lambda data: with_tags({b"mine": b"data\0\0\0\0" + data}),
    "known tag of another type": lambda data: with_tags({b"tech": b"data\0\0\0\0" + data, b"view": data}),
    "description": lambda data: with_tags({b"desc": text(data.decode("utf-8", "replace"))}),
    "old description": lambda data: with_tags({b"desc": old_text(data)}),
    "behind the old description": lambda data: with_tags({b"desc": old_text(b"sRGB", data)}),
    "copyright": lambda data: with_tags({b"cprt": b"text\0\0\0\0" + data}),
    "behind the copyright": lambda data: with_tags({b"cprt": b"text\0\0\0\0Adobe\0" + data}),
    "behind a text": lambda data: with_tags({b"desc": text("sRGB") + data}),
    "another language": lambda data: with_tags(
        {b"desc": struct.pack(">4s4xII4sII4sII", b"mluc", 2, 12, b"enUS", 8, 40, b"deDE", len(data), 48)
         + "sRGB".encode("utf-16-be") + data}
    ),
    "behind a number": lambda data: with_tags({b"wtpt": tags_of(PROFILE)[b"wtpt"] + data}),
    "between the tags": lambda data: with_tags({}, gap=data + bytes(-len(data) % 4)),
    "behind the profile": lambda data: PROFILE + data,
    "behind the profile, counted": lambda data: (
        struct.pack(">I", len(PROFILE) + len(data)) + PROFILE[4:] + data
    ),
    "table that nobody reads": lambda data: with_tags({b"B2A0": b"mft2\0\0\0\0" + data, b"gamt": data, b"ncl2": data}),
}  # fmt: skip


@pytest.mark.parametrize("place", HIDING)
def test_a_picture_beside_the_colours_goes(place: str) -> None:
    for name, guise in GUISES.items():
        profile = HIDING[place](guise)
        known = traces(guise)
        assert remains(profile, known) or place == "description" or not known
        clean = clean_profile(profile)
        assert clean is not None, name
        assert remains(clean, known) == [], name
        np.testing.assert_array_equal(shown(clean), shown(PROFILE))


def lut(values: bytes, grid: int, wide: bool = True) -> bytes:
    """A table of three channels to Lab, with straight curves (lut16 or lut8)."""
    start = struct.pack(
        ">4s4xBBBx9i", b"mft2" if wide else b"mft1", 3, 3, grid, *[65536, 0, 0, 0, 65536, 0, 0, 0, 65536]
    )
    if wide:
        curve = struct.pack(">2H", 0, 65535) * 3
        return start + struct.pack(">HH", 2, 2) + curve + values + curve
    return start + bytes(range(256)) * 3 + values + bytes(range(256)) * 3


def colours(grid: int) -> np.ndarray:
    """The Lab of a simple display on a grid, as shares of the range of each number."""
    red, green, blue = np.meshgrid(*[np.linspace(0, 1, grid)] * 3, indexing="ij")
    light = 0.3 * red + 0.59 * green + 0.11 * blue
    return np.stack([light, 0.5 + 0.25 * (red - green), 0.5 + 0.25 * (green - blue)], axis=-1)


def with_table(data: bytes, gray: bool = False) -> bytes:
    header = PROFILE[:20] + b"Lab " + PROFILE[24:]
    return packed(
        header,
        {name: tag for name, tag in tags_of(PROFILE).items() if name[1:] not in (b"XYZ", b"TRC")} | {b"A2B0": data},
    )


@pytest.mark.parametrize("wide", [True, False])
def test_a_profile_with_a_table_is_kept(wide: bool) -> None:
    values = np.rint(colours(17) * (65280 if wide else 255)).astype(">u2" if wide else "u1").tobytes()
    profile = with_table(lut(values, 17, wide))
    assert shown(profile).std() > 20, "littlecms does not read it"
    assert clean_profile(profile) == profile


@pytest.mark.parametrize("wide", [True, False])
def test_a_picture_instead_of_colours_is_refused(wide: bool) -> None:
    size = 17**3 * 3 * (1 + wide)
    smooth = np.repeat(picture(17).reshape(17, 17, 1, 1), 17, axis=2).repeat(3, axis=3)
    tables = {name: (guise * (size // len(guise) + 1))[:size] for name, guise in GUISES.items()}
    tables |= {"slices": (smooth.astype(int) * (257 if wide else 1)).astype(">u2" if wide else "u1").tobytes()}
    for name, values in tables.items():
        with pytest.raises(ProfileError, match="A2B0 is no curve or table"):
            clean_profile(with_table(lut(values, 17, wide)))
        assert len(values) == size, name
    good = np.rint(colours(17) * (65280 if wide else 255)).astype(">u2" if wide else "u1").tobytes()
    for data in (
        lut(good, 17, wide) + picture(16).tobytes(),
        lut(good, 17, wide)[:4] + b"hide" + lut(good, 17, wide)[8:],
    ):
        with pytest.raises(ProfileError):
            clean_profile(with_table(data))


def test_a_picture_instead_of_a_curve_is_refused() -> None:
    for guise in GUISES.values():
        values = np.frombuffer(guise[: len(guise) // 2 * 2], ">u2")
        with pytest.raises(ProfileError, match="TRC is no curve or table"):
            clean_profile(with_tags(dict.fromkeys([b"rTRC", b"gTRC", b"bTRC"], table(values[:4096].tolist()))))
    ramp = np.linspace(0, 65280, 4096).astype(int)
    noisy = np.sort(ramp + np.random.default_rng(0).integers(0, 200, 4096))
    with pytest.raises(ProfileError):
        clean_profile(with_tags({b"rTRC": table((noisy + np.resize([0, 14], 4096)).tolist())}))


def test_a_curve_of_any_display_is_a_curve() -> None:
    for size in (2, 17, 256, 1024, 4096):
        for power in (0.4, 0.45455, 1.0, 1.8, 2.2, 2.6):
            curve = table(np.rint(65535 * np.linspace(0, 1, size) ** power).astype(int).tolist())
            profile = with_tags(dict.fromkeys([b"rTRC", b"gTRC", b"bTRC"], curve))
            assert clean_profile(profile) == profile, (size, power)


def test_a_profile_over_1_mib_is_refused() -> None:
    values = np.rint(colours(57) * 65280).astype(">u2").tobytes()
    with pytest.raises(ProfileError, match="over 1 MiB"):
        clean_profile(with_table(lut(values, 57)))


def test_made_profiles_show_what_they_say() -> None:
    """Compared with the plain formulas of the standards, in floating point."""
    levels = np.arange(0, 256, 15) / 255
    linear = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 18, 3)
    display = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    profile = make_profile(SRGB_PRIMARIES, parametric(0, 1.0))
    assert np.abs(shown(profile) - np.rint(display * 255)).max() <= 2
    gray = make_profile(SRGB_PRIMARIES, parametric(0, 1.0), gray=True)
    assert is_gray(gray)
    assert not is_gray(profile)
    np.testing.assert_allclose(shown(gray, "L")[..., 0], np.rint(display[..., 0] * 255), atol=2)
    as_rgb = gray_as_rgb(gray)
    assert as_rgb is not None
    assert np.abs(shown(as_rgb) - shown(profile)).max() <= 1


@pytest.mark.parametrize("points", [(0.3, 0.3, *[0.5, 0.5] * 3), (0.3127, 0, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06),
                                    (0.9, 0.05, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)])  # fmt: skip
def test_primaries_that_make_no_sense(points: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="primaries"):
        make_profile(points, parametric(0, 1.0))


def modern_table(values: np.ndarray, grid: int, gap: bytes = b"") -> bytes:
    """A table of three channels to Lab with curves on both sides (lutAToB)."""
    curve = struct.pack(">4s4xI", b"curv", 0)
    start = 32
    a_curves, b_curves = start, start + 36
    colours_at = b_curves + 36
    clut = bytes([grid] * 3) + bytes(13) + b"\2\0\0\0" + values.astype(">u2").tobytes()
    offsets = struct.pack(">5I", b_curves, 0, 0, colours_at + len(gap), a_curves)
    return b"mAB \0\0\0\0\3\3\0\0" + offsets + curve * 6 + gap + clut


def test_a_modern_table_is_kept_and_holds_no_picture() -> None:
    good = np.rint(colours(9) * 65535)
    profile = with_table(modern_table(good, 9))
    assert shown(profile).std() > 20, "littlecms does not read it"
    assert clean_profile(profile) == profile
    noise = np.random.default_rng(0).integers(0, 65536, good.shape)
    for data in (
        modern_table(noise, 9),
        modern_table(good, 9, picture(16).tobytes()),
        modern_table(good, 9) + bytes(8),
    ):
        with pytest.raises(ProfileError, match="A2B0"):
            clean_profile(with_table(data))
