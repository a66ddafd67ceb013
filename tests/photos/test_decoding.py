from __future__ import annotations

import pytest

from facecrypt.photos.decoding import suffix_of


@pytest.mark.parametrize(
    ("beginning", "suffix"),
    [
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (b"\x89PNG\r\n\x1a\n", ".png"),
        (b"RIFF\n\0\0\nWEBPVP8 ", ".webp"),
        (b"II*\0", ".tif"),
        (b"MM\0+", ".tif"),
        (b"BM6", ".bmp"),
        (b"\0\0\0\x1cftypavif", ".avif"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", ".avif"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", ".heic"),
        (b"\0\0\0\x1cftypheic", ".heic"),
        (b"GIF89a", ".gif"),
        (b"", None),
        (b"%PDF-1.7", None),
    ],
)
def test_a_suffix_is_known_by_how_a_file_begins(beginning: bytes, suffix: str | None) -> None:
    assert suffix_of(beginning) == suffix
