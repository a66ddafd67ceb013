"""Open-set identification protocols: who is protected, who is aimed at, and which photos are searched (section 5.1).

A protocol is a CSV file with the columns image, identity and role. Probes are the photos to protect, targets the
photos to aim at, and the gallery holds other photos of both, and photos of further people.
"""

from __future__ import annotations

import csv
import glob
import io
import os
import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

from facecrypt.checking import suggest
from facecrypt.errors import PhotoError, ProtocolError
from facecrypt.photos.files import find_photos
from facecrypt.system.regular import open_regular

Role = Literal["probe", "target", "gallery"]

_ROLES: tuple[str, ...] = get_args(Role)
_COLUMNS = ("image", "identity", "role")
_RESERVED = "distractor/"
"""Begins the identity of every distractor. No folder can have such a name, and files that use it are refused."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One photo of a protocol.

    Attributes:
        image: The photo file.
        identity: Whom it shows.
        role: What it is used for.
    """

    image: Path
    identity: str
    role: Role


@dataclass(frozen=True)
class IdentificationProtocol:
    """The photos of an identification experiment.

    Attributes:
        probes: Photos to protect; the gallery holds other photos of these people.
        targets: Photos to aim at, none of a protected person; the gallery holds other photos of these people.
        gallery: Photos that are searched.
    """

    probes: list[Entry]
    targets: list[Entry]
    gallery: list[Entry]


_Row = tuple[int, str, str, str]
"""Line, image, identity and role, as they stand in the file."""


def load_protocol(path: Path) -> IdentificationProtocol:
    """Return the protocol in a CSV file.

    Args:
        path: UTF-8, with a header that names image, identity and role; further columns are ignored. Images are
            relative to the file's folder.

    Raises:
        ProtocolError: If the file cannot be read, or with every fault in it, each with its line.
    """
    rows, faults = _read_rows(path)
    faults += _find_faults(rows, path.parent)
    texts = [f"line {line}: {text}" for line, text in sorted(faults)]
    roles = {role for *_, role in rows}
    for role, use in (("probe", "protect"), ("target", "aim at")):
        if role not in roles:
            texts.append(f"no {role}s: no row has the role {role!r}. Add a row for each photo to {use}.")
    if texts:
        raise ProtocolError(str(path), texts)
    return _by_role([Entry(path.parent / image, identity, cast(Role, role)) for _, image, identity, role in rows])


def save_protocol(protocol: IdentificationProtocol, path: Path) -> None:
    """Write a protocol as CSV, whole or not at all, with images relative to the file's folder.

    Args:
        protocol: What to write, without distractors: they are added to a gallery where it is searched.
        path: The file to write or replace; its folder is created.

    Raises:
        ValueError: If the protocol holds distractors.
        ProtocolError: If the file cannot be written.
    """
    entries = [*protocol.probes, *protocol.targets, *protocol.gallery]
    if any(entry.identity.startswith(_RESERVED) for entry in entries):
        raise ValueError("protocol: holds distractors. Save it without them and add them after loading.")
    temporary = path.parent / f".facecrypt-{uuid.uuid4().hex}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Both ends are resolved, or ".." would lead astray from a folder that is reached through a symbolic link.
        folder = path.parent.resolve()
        try:
            with temporary.open("x", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(_COLUMNS)
                for entry in entries:
                    image = os.path.relpath(entry.image.parent.resolve() / entry.image.name, folder)
                    writer.writerow((Path(image).as_posix(), entry.identity, entry.role))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, UnicodeEncodeError) as error:
        raise ProtocolError(f"{path}: cannot be written ({error}). Check names, free space and rights.") from error


def build_protocol(
    folder: Path, *, seed: int, protected: int = 500, targets: int = 10, further: int = 500
) -> IdentificationProtocol:
    """Return the paper's protocol on photos in the layout of LFW, ``<identity>/<photo>``.

    The same photos and seed give the same protocol. Which photo of an identity is singled out depends on the seed and
    that identity alone.

    Args:
        folder: Holds a folder per identity.
        seed: Seed of every choice.
        protected: Identities with one random photo as probe and all others in the gallery.
        targets: Other identities, with one random photo to aim at and all others in the gallery.
        further: Other identities with all photos in the gallery.

    Raises:
        ValueError: If nobody is protected or aimed at, or a number is negative.
        ProtocolError: If the folder does not hold enough identities.
    """
    if protected < 1 or targets < 1 or further < 0:
        raise ValueError(f"protected {protected}, targets {targets}, further {further}. Allowed: at least 1, 1 and 0.")
    photos: dict[str, list[Path]] = {}
    for photo in _find(folder, "*/*"):
        photos.setdefault(photo.parent.name, []).append(photo)
    several = [name for name, images in photos.items() if len(images) > 1]
    paired = protected + targets
    if len(several) < paired or len(photos) < paired + further:
        raise ProtocolError(
            f"{folder}: {len(photos)} identities, {len(several)} of them with two or more photos. Needed: "
            f"{paired + further} ({protected} protected, {targets} targets, {further} further), "
            f"{paired} of them with two or more photos. Add photos or ask for fewer identities."
        )
    _generator(seed, "identities").shuffle(several)
    others = sorted(photos.keys() - set(several[:paired]))
    _generator(seed, "further").shuffle(others)
    entries = []
    for place, name in enumerate(several[:paired]):
        chosen = _generator(seed, f"photo of {name}").choice(photos[name])
        role: Role = "probe" if place < protected else "target"
        entries += [Entry(image, name, role if image == chosen else "gallery") for image in photos[name]]
    entries += [Entry(image, name, "gallery") for name in others[:further] for image in photos[name]]
    return _by_role(entries)


def subset(protocol: IdentificationProtocol, probes: int, seed: int) -> IdentificationProtocol:
    """Return the protocol with a random part of its probes, in their order; targets and gallery stay whole.

    Args:
        protocol: The whole protocol.
        probes: How many probes to keep. A larger part with the same seed holds the smaller one.
        seed: Seed of the choice.

    Raises:
        ProtocolError: If there are not so many probes.
    """
    if not 1 <= probes <= len(protocol.probes):
        raise ProtocolError(f"probes: {probes} of {len(protocol.probes)}. Allowed: 1 to {len(protocol.probes)}.")
    order = list(range(len(protocol.probes)))
    _generator(seed, "subset").shuffle(order)
    return replace(protocol, probes=[protocol.probes[place] for place in sorted(order[:probes])])


def distractor_entries(folders: Sequence[Path]) -> list[Entry]:
    """Return every photo below some folders as a gallery entry of its own identity, which nobody else has.

    Args:
        folders: Searched at any depth, leaving out hidden files; overlapping folders count once.

    Raises:
        ProtocolError: If one of them is not a folder or holds no photos.
    """
    photos = dict.fromkeys(photo for folder in folders for photo in _find(folder.resolve(), "**/*"))
    return [Entry(photo, f"{_RESERVED}{photo}", "gallery") for photo in photos]


def is_distractor(entry: Entry) -> bool:
    """Return whether an entry shows somebody whom nobody names."""
    return entry.identity.startswith(_RESERVED)


def _generator(seed: int, purpose: str) -> random.Random:
    # Names of folders need not be valid Unicode.
    return random.Random(f"{seed}: {purpose}".encode(errors="surrogateescape"))


def _find(folder: Path, pattern: str) -> list[Path]:
    """Return the photos below a folder, sorted."""
    if not folder.is_dir():
        raise ProtocolError(f"{folder}: there is no such folder. Name a folder of photos.")
    try:
        return find_photos(f"{glob.escape(str(folder))}/{pattern}")
    except PhotoError as error:
        raise ProtocolError(
            f"{folder}: no photos found as {pattern}. Name a folder that holds some there, and check your rights."
        ) from error


def _read_rows(path: Path) -> tuple[list[_Row], list[tuple[int, str]]]:
    """Return the rows that have a value for each column, and line and fault of the others."""
    rows: list[_Row] = []
    faults: list[tuple[int, str]] = []
    try:
        # Spreadsheets begin a CSV file with a mark.
        with io.TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or [])
            if wrong := [column for column in _COLUMNS if header.count(column) != 1]:
                text = f"columns missing or there twice: {', '.join(wrong)}. The header is {','.join(header)!r}"
                raise ProtocolError(str(path), [f"line 1: {text}; write {','.join(_COLUMNS)}."])
            for row in reader:
                line = reader.reader.line_num  # DictReader's own forgets empty lines.
                if None in row or None in row.values():  # DictReader's marks for too many and too few.
                    text = f"not one value for each of {len(header)} columns. Quote a value that holds a comma."
                    faults.append((line, text))
                else:
                    rows.append((line, row["image"], row["identity"], row["role"]))
    except csv.Error as error:
        text = f"line {reader.line_num + 1}: {error}. Check the quotation marks from here on."
        raise ProtocolError(str(path), [text]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(
            f"{path}: cannot be read ({error}). Name a CSV file in UTF-8; check your rights."
        ) from error
    return rows, faults


def _find_faults(rows: Sequence[_Row], folder: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every fault that rows show alone or together."""
    files: dict[str, int] = {}
    lines: dict[tuple[str, str], int] = {}
    for line, _, identity, role in rows:
        lines.setdefault((identity, role), line)
    for line, image, identity, role in rows:
        first = files.setdefault(os.path.normpath(folder / image), line)
        if first != line:
            yield line, f"image {image!r} is listed in line {first} already. List each image once."
        elif not os.path.isfile(folder / image):
            yield line, f"image {image!r} is not a file in {folder}. Correct its path or remove the row."
        if role not in _ROLES:
            yield line, f"role {role!r} is unknown.{suggest(role, [*_ROLES])} Allowed: {', '.join(_ROLES)}."
        if not identity or identity != identity.strip():
            yield line, f"identity {identity!r} is empty or has spaces around it. Write whom the image shows."
        elif identity.startswith(_RESERVED):
            yield line, f"identity {identity!r} begins with {_RESERVED!r}, reserved for distractors. Choose another."
        elif role in ("probe", "target") and (identity, "gallery") not in lines:
            yield line, f"{role} identity {identity!r} has no gallery images. Add some, or remove the row."
        if identity and role == "target" and (identity, "probe") in lines:
            other = lines[identity, "probe"]
            yield line, f"target identity {identity!r} is protected in line {other}. Aim at other people than those."


def _by_role(entries: Sequence[Entry]) -> IdentificationProtocol:
    probes, targets, gallery = ([entry for entry in entries if entry.role == role] for role in _ROLES)
    return IdentificationProtocol(probes, targets, gallery)
