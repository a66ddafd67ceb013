"""A picture in every guise in which metadata can hold it, and a search for what is left of it in a file."""

from __future__ import annotations

import base64
import io
import re
import struct
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

SIDE = 32
WINDOW = 12


def picture(side: int = SIDE) -> np.ndarray:
    """A gray picture (side, side), smooth like a face and rough enough that no stretch of it occurs by chance."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    rough = np.random.default_rng(5).normal(0, 6, (side, side))
    return (
        (130 + 90 * np.exp(-8 * (x**2 + 1.5 * y**2)) + 30 * np.sin(9 * x + 4 * y) + rough)
        .clip(60, 250)
        .astype(np.uint8)
    )


def encoded(file_format: str, side: int = SIDE) -> bytes:
    buffer = io.BytesIO()
    options = {"optimize": True, "quality": 70} if file_format == "JPEG" else {}
    Image.fromarray(picture(side)).save(buffer, file_format, **options)
    return buffer.getvalue()


def guises(side: int = SIDE) -> dict[str, bytes]:
    """The picture as files, as pixels, and as text of every sort."""
    raw = picture(side).tobytes()
    files = {"jpeg": encoded("JPEG", side), "png": encoded("PNG", side), "webp": encoded("WEBP", side), "raw": raw}
    art = "\n".join("".join(" .:-=+*#%@&"[value // 25] for value in row) for row in picture(side).tolist())
    letters = " ".join("".join(chr(97 + value // 10) for value in row) for row in picture(side).tolist())
    texts = {"art": art, "letters": letters, "cut letters": re.sub(r"(\w{7})", r"\1 ", letters)}
    for name in ("jpeg", "raw"):
        data = files[name]
        in_base64 = base64.b64encode(data).decode()
        texts |= {
            f"{name} base64": in_base64,
            f"{name} base64 in lines": re.sub(r"(.{60})", r"\1\n", in_base64),
            f"{name} base64 in words": re.sub(r"(.{6})", r"\1 ", in_base64),
            f"{name} base64 address": f"data:image/jpeg;base64,{in_base64}",
            f"{name} base32": re.sub(r"(.{6})", r"\1 ", base64.b32encode(data).decode()),
            f"{name} base85": base64.b85encode(data).decode(),
            f"{name} hex": data.hex(),
            f"{name} hex in pairs": data.hex(" "),
            f"{name} numbers": " ".join(map(str, data)),
            f"{name} commas": ",".join(map(str, data)),
            f"{name} percent": "".join(f"%{value:02X}" for value in data),
            f"{name} letters of Latin-1": data.decode("latin-1"),
            f"{name} letters of Greek": "".join(chr(0x370 + value) for value in data),
            f"{name} Chinese": "".join(chr(0x4E00 + 50 * value) for value in data),
            f"{name} selectors": "A" + "".join(chr(0xE0100 + value % 240) for value in data),
        }
    printable = {name: text for name, text in texts.items() if text.isprintable() or "\n" in text}
    wide = (raw + raw[:1] * (len(raw) % 2)).decode("utf-16-le", "replace").encode("utf-16-le", "replace")
    return files | {name: text.encode() for name, text in printable.items()} | {"raw as UTF-16": wide}


def traces(guise: bytes) -> set[bytes]:
    """Stretches by which a guise is known: as it is, as text of two bytes a character, in base64 and in hexadecimal."""
    guise = guise[40:-14]  # every file of a format starts and ends alike
    forms = [
        guise,
        guise.decode("utf-8", "replace").encode("utf-16-le"),
        guise.decode("utf-8", "replace").encode("utf-16-be"),
    ]
    forms += [base64.b64encode(guise[start:]) for start in range(3)] + [
        guise.hex().encode(),
        guise.hex().upper().encode(),
    ]
    windows = {form[at : at + WINDOW] for form in forms for at in range(len(form) - WINDOW)}
    return {window for window in windows if len(set(window)) >= 7}


def streams(data: bytes) -> Iterator[bytes]:
    """A file, and whatever zlib streams are in it."""
    yield data
    for found in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data):
        try:
            yield zlib.decompressobj().decompress(data[found.start() :], 1 << 22)
        except zlib.error:
            continue


def remains(data: bytes, known: set[bytes]) -> list[bytes]:
    """What is left of a picture in a file."""
    found = []
    for stream in streams(data):
        windows = {stream[at : at + WINDOW] for at in range(len(stream) - WINDOW)}
        found += sorted(windows & known)
    return found


SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 129: 1}
Entries = Iterable[tuple[int, int, bytes]]


def tiff_block(
    main: Entries, exif: Entries = (), gps: Entries = (), interoperability: Entries = (), order: str = "<"
) -> bytes:
    """An EXIF block of entries: tag, type and bytes."""
    main, exif = list(main), list(exif)

    def directory(entries: Entries, start: int) -> bytes:
        entries = sorted(entries)
        rows, values = b"", b""
        after = start + 6 + 12 * len(entries)
        for tag, kind, data in entries:
            data += bytes(-len(data) % SIZES[kind])
            place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(f"{order}I", after + len(values))
            values += data + bytes(len(data) % 2) if len(data) > 4 else b""
            rows += struct.pack(f"{order}HHI", tag, kind, len(data) // SIZES[kind]) + place
        return struct.pack(f"{order}H", len(entries)) + rows + bytes(4) + values

    def pointer(tag: int, start: int) -> tuple[int, int, bytes]:
        return tag, 4, struct.pack(f"{order}I", start)

    sizes = [
        len(directory([*main, pointer(34665, 0), pointer(34853, 0)], 8)),
        len(directory([*exif, pointer(40965, 0)], 0)),
    ]
    sizes.append(len(directory(gps, 0)))
    starts = [8 + sizes[0], 8 + sum(sizes[:2]), 8 + sum(sizes)]
    parts = [
        directory([*main, pointer(34665, starts[0]), pointer(34853, starts[1])], 8),
        directory([*exif, pointer(40965, starts[2])], starts[0]),
        directory(gps, starts[1]),
        directory(interoperability, starts[2]),
    ]
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}I", 8) + b"".join(parts)
