"""Names of protected photos and of backups, from templates such as ``{stem}-protected{suffix}``."""

from __future__ import annotations

import string
from pathlib import Path, PurePosixPath

from facecrypt.settings import PhotoFormat

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".jif": "JPEG",
    ".mpo": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".hif": "HEIF",
}
"""Extensions of photos, and Pillow's name of the format of each."""


def template_fault(template: str, *, folders: bool = False) -> str | None:
    """Return what is wrong with a template for file names, or None.

    Args:
        template: Such as ``{stem}-protected{suffix}``.
        folders: Whether it may name folders, relative to the photo's own.
    """
    try:
        fields = {name for _, name, spec, conversion in string.Formatter().parse(template) if name is not None}
        plain = not any(spec or conversion for _, _, spec, conversion in string.Formatter().parse(template))
    except ValueError:
        fields, plain = set(), False
    parts = template.replace("\\", "/").split("/")
    if not plain or "stem" not in fields or fields - {"stem", "suffix"} or not template.endswith("{suffix}"):
        return f"{template!r} must contain {{stem}}, end in {{suffix}}, and name no other field."
    if any(part in ("", ".", "..") for part in parts) or (len(parts) > 1 and not folders) or "\0" in template:
        return f"{template!r} must be a plain file name{', after folders inside that of the photo' if folders else ''}."
    return None


def output_path(photo_path: Path, folder: Path, format: PhotoFormat, name: str = "{stem}{suffix}") -> Path:
    """Return where the protected version of a photo goes; two photos may share one path.

    Args:
        photo_path: The photo; it need not exist.
        folder: The folder to write to.
        format: ``png`` for a lossless ``.png``, ``same`` for the photo's own extension.
        name: Template of the file name, which `template_fault` finds right.

    Raises:
        ValueError: If the format is another.
    """
    if format not in ("png", "same"):
        raise ValueError(f"format: {format!r} is not known. Allowed: 'png', 'same'.")
    return folder / name.format(stem=photo_path.stem, suffix=".png" if format == "png" else photo_path.suffix)


def beside(photo_path: Path, template: str) -> Path:
    """Return where the backup of a photo goes, by a template relative to the photo's folder."""
    return photo_path.parent / PurePosixPath(template.format(stem=photo_path.stem, suffix=photo_path.suffix))
