"""Words that people write are texts, in any language; data in the guise of text is none."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from facecrypt.photos.prose import are_names, are_prose, is_name, is_prose
from tests.hiding import guises

WORDS = (Path(__file__).parents[1] / "languages.txt").read_text(encoding="utf-8").splitlines()
CAMERAS = [
    ["Canon", "Canon EOS 5D Mark IV", "Adobe Photoshop Lightroom Classic 12.3 (Windows)", "EF24-70mm f/2.8L II USM"],
    ["samsung", "SM-G991B", "G991BXXU5CVDD", "Samsung S5KHM3 f/1.8 7mm"],
    ["Apple", "iPhone 12 Pro", "17.4.1", "iPhone 12 Pro back triple camera 4.2mm f/1.6"],
    ["Google", "Pixel 7 Pro", "HDR+ 1.0.540104767zd", "Pixel 7 Pro back camera 6.81mm f/1.85"],
    ["NIKON CORPORATION", "NIKON D850", "Ver.1.10 ", "GIMP 2.10.34", "AF-S NIKKOR 24-70mm f/2.8E ED VR"],
    ["SONY", "ILCE-7M3", "ILCE-7M3 v3.10", "FE 24-105mm F4 G OSS", "Capture One 22 Macintosh"],
    ["FUJIFILM", "X-T3", "Digital Camera X-T3 Ver3.10", "XF18-55mmF2.8-4 R LM OIS"],
    ["OLYMPUS CORPORATION", "E-M1MarkII", "Version 3.0", "OLYMPUS M.12-40mm F2.8"],
    ["Panasonic", "DC-GH5", "Ver.2.7", "LUMIX G VARIO 12-35/F2.8II", "darktable 4.4.2"],
    ["HUAWEI", "ELE-L29", "ELE-L29 9.1.0.186(C432E5R1P8)"],
    ["DJI", "FC3411", "10.06.04.61", "GoPro", "HERO9 Black", "Microsoft Windows Photo Viewer 6.1.7600.16385"],
]


@pytest.mark.parametrize("words", WORDS)
def test_what_people_write_is_prose(words: str) -> None:
    assert is_prose(words, 2000)
    assert are_prose([words, "Köln", "Deutschland"])


@pytest.mark.parametrize("names", CAMERAS, ids=lambda names: names[0])
def test_names_of_cameras_and_programs_are_names(names: list[str]) -> None:
    assert [name for name in names if not is_name(name)] == []
    assert are_names(names * 2)


GUISES = guises()


@pytest.mark.parametrize("name", GUISES)
def test_a_picture_is_no_text(name: str) -> None:
    for codec in ("utf-8", "latin-1", "utf-16-le", "utf-16-be"):
        text = GUISES[name].decode(codec, "replace")
        for length in (200, 1000, 2000):
            assert not is_prose(text[:length], 2000), (codec, length)
        pieces = [text[start : start + 30] for start in range(0, 900, 30)]
        prose, names = [each for each in pieces if is_prose(each, 256)], [each for each in pieces if is_name(each)]
        assert len(" ".join(prose)) < 160 or not are_prose(prose)
        assert len(" ".join(names)) < 60 or not are_names(names)


def test_random_data_in_letters_is_no_text() -> None:
    rng = random.Random(0)
    for letters in (
        "abcdefghijklmnopqrstuvwxyz",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
        "0123456789abcdef",
        "a\u0435\u03bfu",
    ):
        for length in (2, 4, 6, 9):
            words = ["".join(rng.choice(letters) for _ in range(length)) for _ in range(400 // length)]
            assert not is_prose(" ".join(words), 2000), (letters, length)
    for first, count in (
        (0x4E00, 20_000),
        (0xAC00, 11_000),
        (0x1F300, 500),
        (0x2800, 256),
        (0xE000, 900),
        (0x300, 100),
    ):
        text = "Look: " + "".join(chr(first + rng.randrange(count)) for _ in range(300))
        assert not is_prose(text, 2000), hex(first)


@pytest.mark.parametrize(
    "text",
    ["", "a" * 65, "x\ny", "x\0y", "Jane's phone", "Jane\u2019s phone", "52.5200", "-13,40501 x", "13°", "geo:1,2",
     "a@b.example", "http://x.example", "www.x.example", "🎉", "Фото", "A" * 25, "\u202eabc"],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    assert not is_name(text)


def test_texts_are_bounded() -> None:
    assert not is_prose("word " * 500, 2000)
    assert not are_prose([f"{number} words of one text " * 40 for number in range(9)])
    assert not are_names([f"Camera number {number} of many" for number in range(12)])
