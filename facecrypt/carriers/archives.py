"""Archives: photos in a zip or tar file, WebDataset's shards included, and a new archive of the protected ones."""

from __future__ import annotations

import copy
import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, Literal, cast

from facecrypt.carriers.base import PICTURES, Delivered, Delivery, Room, check_name, read_pieces
from facecrypt.errors import PhotoError
from facecrypt.system.limits import show_size
from facecrypt.system.naming import expand_home
from facecrypt.system.regular import open_regular
from facecrypt.system.texts import brief

Packing = Literal["zip", "tar", "gz", "bz2", "xz"]

_ENDINGS: dict[str, Packing] = {
    ".zip": "zip",
    ".tar": "tar",
    ".tar.gz": "gz",
    ".tgz": "gz",
    ".tar.bz2": "bz2",
    ".tar.xz": "xz",
}
_MOST_MEMBERS = 1_000_000
_GROWTH = 100
"""How many times its own size an archive may hold, beyond a gibibyte: photos do not shrink, so more is a bomb."""
_ALWAYS = 1 << 30
_FAULTS = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, NotImplementedError)
"""What damaged archives raise."""


@dataclass(frozen=True)
class Member:
    """Something in an archive.

    Attributes:
        name: As the archive has it, without a slash at its end.
        header: What the archive says of it, as `zipfile` or `tarfile` have it.
        open: Returns its content, open for reading; None where it has none.
        size: Bytes of its content, as the archive says.
        is_file: Whether it is an ordinary file: no folder, link or device.
    """

    name: str
    header: zipfile.ZipInfo | tarfile.TarInfo
    open: Callable[[], _Content] | None
    size: int
    is_file: bool

    @property
    def is_photo(self) -> bool:
        """Whether it is a picture by its name."""
        return self.is_file and PurePosixPath(self.name).suffix.lower() in PICTURES and not self.is_shadow

    @property
    def is_shadow(self) -> bool:
        """Whether it is what macOS notes of another member, which may hold a picture of that one."""
        return PurePosixPath(self.name).name.startswith("._") or "__MACOSX" in PurePosixPath(self.name).parts


@contextmanager
def members_of(where: str) -> Iterator[Iterator[Member]]:
    """Open an archive and give its members in their order.

    Raises:
        PhotoError: If it cannot be read, is damaged, or holds far more than its size.
    """
    with ExitStack() as stack:
        with _naming(where):
            file = stack.enter_context(open_regular(expand_home(where)))
            size = file.seek(0, 2)
            file.seek(0)
            if zipfile.is_zipfile(file):
                members = _zip_members(stack.enter_context(zipfile.ZipFile(file)), where)
            else:
                file.seek(0)
                members = _tar_members(stack.enter_context(tarfile.open(fileobj=file, mode="r:*")), where)
        yield _bounded(members, where, size)


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Turn what a damaged archive raises into one line."""
    try:
        yield
    except PhotoError:
        raise
    except tarfile.ReadError as error:
        raise PhotoError(f"{where}: is no archive, or a damaged one. Allowed: {', '.join(_ENDINGS)}.") from error
    except _FAULTS as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise PhotoError(f"{where}: cannot be read ({reason}). Check its name, and copy it again.") from error


def _bounded(members: Iterator[Member], where: str, size: int) -> Iterator[Member]:
    total, number = 0, 0
    while True:
        with _naming(where):
            member = next(members, None)
        if member is None:
            return
        total, number = total + member.size, number + 1
        if number > _MOST_MEMBERS or total > _ALWAYS + _GROWTH * size:
            raise PhotoError(
                f"{where}: would unpack to more than {_MOST_MEMBERS} files, or than {_GROWTH} times its size "
                f"({show_size(size)}), as no archive of photos does. Unpack it by hand if you trust it."
            )
        yield member


class _Content:
    """A member, open for reading; what a damaged one raises is one line."""

    def __init__(self, file: IO[bytes], where: str) -> None:
        self._file, self._where = file, where

    def read(self, size: int = -1) -> bytes:
        with _naming(self._where):
            return self._file.read(size)

    def seek(self, place: int, start: int = 0) -> int:
        with _naming(self._where):
            return self._file.seek(place, start)

    def __enter__(self) -> _Content:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _zip_members(archive: zipfile.ZipFile, where: str) -> Iterator[Member]:
    for info in archive.infolist():
        if info.flag_bits & 1:
            raise PhotoError(f"{where}: {brief(info.filename)} is encrypted. Unpack it by hand.")
        kind = info.external_attr >> 28  # the type of file, where a Unix system made the archive
        is_file = not info.is_dir() and kind in (0, 8)
        yield Member(
            info.filename.rstrip("/"), info, partial(_open_zipped, archive, info, where), info.file_size, is_file
        )


def _open_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> _Content:
    with _naming(where):  # Reading goes no further than the header says, and compares the checksum.
        return _Content(archive.open(info), where)


def _tar_members(archive: tarfile.TarFile, where: str) -> Iterator[Member]:
    for info in archive:
        content = partial(_open_tarred, archive, info, where) if info.isreg() else None
        yield Member(info.name.rstrip("/"), info, content, info.size, info.isreg())


def _open_tarred(archive: tarfile.TarFile, info: tarfile.TarInfo, where: str) -> _Content:
    with _naming(where):
        content = archive.extractfile(info)
    assert content is not None  # It is a regular file.
    return _Content(content, where)


class ArchiveSource:
    """The photos in a zip or tar file (``.zip``, ``.tar``, ``.tar.gz``, ...), WebDataset's shards included.

    Every member whose name ends like a picture's is one. An archive with a member that would land elsewhere, with two
    of one name, an encrypted one, or far more than its size is refused as a whole.
    """

    def __init__(self) -> None: ...

    def fetch(self, photos: str | None, room: Room) -> None:
        """Lay the photos out."""
        if photos is None:
            raise PhotoError("photos: the source 'archive' reads an archive. Name it: photos=photos.zip.")
        with members_of(photos) as members:
            for member in members:
                if member.name and member.name != ".":
                    check_name(member.name.removeprefix("./"))
                if member.is_photo and member.open is not None:
                    with member.open() as content:
                        room.add(member.name.removeprefix("./"), read_pieces(content))
        if not room.names:
            raise PhotoError(f"{photos}: holds no photos. A photo ends in {', '.join(PICTURES[:-1])}.")


class ArchiveSink:
    """A new archive in the output folder, with the protected photos in the place of the originals.

    Where the photos came from an archive, the new one has the same order and names, and members that are no photos
    are carried over untouched. Photos that could not be protected are left out, and so are those without a face.

    Args:
        name: Its file name in the output folder, which tells its kind; empty for that of the archive that was read, or
            else ``photos.zip``.
        faceless: What becomes of photos in which no face is to be protected: left out, or kept as they were.
    """

    private = False

    def __init__(self, *, name: str = "", faceless: Literal["leave_out", "keep"] = "leave_out") -> None:
        if name and (_packing(name) is None or "/" in name):
            raise PhotoError(f"sink: {brief(name)} is no name of an archive. It ends in {', '.join(_ENDINGS)}.")
        self._name, self._faceless = name, faceless

    def files(self, names: Sequence[str], photos: str | None) -> Sequence[str]:
        """Return the name of the new archive."""
        name = self._name or (expand_home(photos).name if photos else "photos.zip")
        if _packing(name) is None:
            raise PhotoError(
                f"sink: {brief(name)} does not tell the kind of the new archive. Set sink.args.name, which ends in "
                f"{', '.join(_ENDINGS)}."
            )
        return [name]

    def deliver(self, delivery: Delivery) -> None:
        """Write the archive."""
        (name,) = delivery.allowed
        packing = _packing(name)
        assert packing is not None
        kept = {photo.source: photo for photo in delivery.photos if self._file_of(photo)}
        with delivery.file(name) as file, _writer(file, packing) as write:
            if delivery.origin is None or not _is_archive(delivery.origin):
                for photo in kept.values():
                    self._write(write, photo, None)
            else:
                with members_of(delivery.origin) as members:
                    self._rewrite(write, members, kept, {photo.source for photo in delivery.photos})
        if left := [photo.source for photo in delivery.photos if photo.source not in kept]:
            delivery.notes.append(
                f"{name}: {len(left)} of {len(delivery.photos)} photos are left out, since they have no protected "
                f"version: {', '.join(left[:5])}{', ...' if len(left) > 5 else ''}"
            )

    def _rewrite(self, write: _Write, members: Iterator[Member], kept: dict[str, Delivered], photos: set[str]) -> None:
        for member in members:
            source = member.name.removeprefix("./")
            if member.is_photo:
                if source not in photos:
                    raise PhotoError(f"{brief(source)}: came into the archive while the run was at work. Run again.")
                if source in kept:
                    self._write(write, kept[source], member)
            elif not member.is_shadow:
                write(member, member.name, member.open)

    def _write(self, write: _Write, photo: Delivered, member: Member | None) -> None:
        file = self._file_of(photo)
        assert file is not None
        before = "./" if member is not None and member.name.startswith("./") else ""
        write(member, before + photo.name, lambda: open_regular(file))

    def _file_of(self, photo: Delivered) -> Path | None:
        if photo.protected is None and photo.status == "unchanged" and self._faceless == "keep":
            return photo.original
        return photo.protected


_Write = Callable[[Member | None, str, Callable[[], _Content | BinaryIO] | None], None]
"""Writes a member: what there was in its place, its name, and its content."""


def _packing(name: str) -> Packing | None:
    return next((each for ending, each in _ENDINGS.items() if name.lower().endswith(ending)), None)


def _is_archive(where: str) -> bool:
    path = expand_home(where)
    return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))


@contextmanager
def _writer(file: BinaryIO, packing: Packing) -> Iterator[_Write]:
    with ExitStack() as stack:
        if packing == "zip":
            yield _zip_writer(stack.enter_context(zipfile.ZipFile(file, "w")))
            return
        if packing == "gz":  # without a name and a time, so that the same content makes the same file
            file = cast(BinaryIO, stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)))
        mode = f"w:{packing}" if packing in ("bz2", "xz") else "w"
        opened = tarfile.open(fileobj=file, mode=cast(Any, mode), format=tarfile.PAX_FORMAT)  # noqa: SIM115
        yield _tar_writer(stack.enter_context(opened))


def _zip_writer(archive: zipfile.ZipFile) -> _Write:
    def write(member: Member | None, name: str, content: Callable[[], _Content | BinaryIO] | None) -> None:
        old = member.header if member is not None else None
        if isinstance(old, zipfile.ZipInfo):
            info = zipfile.ZipInfo(f"{name}/" if old.is_dir() else name, old.date_time)
            info.compress_type, info.external_attr, info.comment = old.compress_type, old.external_attr, old.comment
            info.create_system = old.create_system
        elif content is None:
            return  # A link or a folder of a tar file, for which a zip file has no use.
        else:
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o644 << 16
        assert content is not None  # A zip file has content for each of its members.
        with content() as data, archive.open(info, "w", force_zip64=True) as place:
            for piece in read_pieces(data):
                place.write(piece)

    return write


def _tar_writer(archive: tarfile.TarFile) -> _Write:
    def write(member: Member | None, name: str, content: Callable[[], _Content | BinaryIO] | None) -> None:
        old = member.header if member is not None else None
        if isinstance(old, tarfile.TarInfo):
            info = copy.copy(old)
            info.pax_headers = {key: value for key, value in old.pax_headers.items() if key not in ("size", "path")}
            info.name = name
        elif content is None:
            return
        else:
            info = tarfile.TarInfo(name)
        if content is None:
            archive.addfile(info)
            return
        with content() as data:
            info.size = data.seek(0, 2)
            data.seek(0)
            archive.addfile(info, cast(BinaryIO, data))

    return write
