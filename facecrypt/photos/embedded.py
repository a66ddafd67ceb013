"""Tell whether a value of metadata that is kept on request holds a picture, as a file or as text."""

from __future__ import annotations

import re

_FILES = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8[79]a|RIFF....WEBP|ftyp(?:hei|hev|mif|msf|avi)|JXL \r\n|jP  \r\n|II\*\0|MM\0\*",
    re.DOTALL,
)
# The same files in base64 and in hexadecimal digits, and any other long word without an end.
_WORDS = re.compile(rb"(?i:ffd8ff|89504e47|52494646)|/9j/|iVBORw0|UklGR|R0lGOD|AAAA[A-Za-z0-9+/]{4}Z0eX|[!-~]{400}")


def holds_picture(data: bytes) -> bool:
    """Return whether bytes hold a picture file, or text that may be one."""
    return bool(_FILES.search(data) or _WORDS.search(data.replace(b"\0", b"")))
