"""What a sink promises: `facecrypt.carriers.base.Sink`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

from facecrypt.carriers.archives import members_of
from facecrypt.carriers.base import Delivered, Delivery, Sink, Status, check_name, read_pieces
from facecrypt.errors import FacecryptError
from facecrypt.photos.files import file_digest
from facecrypt.photos.reading import read_photo
from facecrypt.pipeline.runner import sample_photo
from facecrypt.system.private_files import temporary_folder
from facecrypt.testing.inputs import expect, works


def names_its_files_before_it_writes_them(sink: Sink) -> None:
    """What a run would replace is known before anything is computed: a sink names all files that it will write."""
    promise, remedy = "names its files before it writes them", "Return from files() the names that deliver() writes."
    with _made(sink) as delivery:
        expect(
            isinstance(getattr(sink, "private", None), bool),
            promise,
            measured=f"private = {getattr(sink, 'private', None)!r}",
            allowed="True or False",
            remedy="Say whether the run leaves nothing but what the sink delivers.",
        )
        with works(promise, remedy):
            for name in delivery.allowed:
                check_name(name)
            before = _files(delivery.output)
            sink.deliver(delivery)
        new = sorted(set(_files(delivery.output)) - set(before))
        expect(
            new == sorted(delivery.allowed),
            promise,
            measured=f"{new or 'no files'} written",
            allowed=f"{sorted(delivery.allowed) or 'none'}, which it named",
            remedy=remedy,
        )


def leaves_photos_as_they_are(sink: Sink) -> None:
    """Originals and protected photos are read, never changed."""
    promise = "leaves photos as they are"
    with _made(sink) as delivery:
        before = _digests(delivery)
        with works(promise, "Read the files of the photos."):
            sink.deliver(delivery)
        expect(
            _digests(delivery) == before,
            promise,
            measured="another content of a photo",
            allowed="the same",
            remedy="Open them for reading alone, and write by Delivery.file.",
        )


def writes_the_same_again(sink: Sink) -> None:
    """The same photos make the same files, so that nobody takes an unchanged run for a change."""
    promise = "writes the same again"
    with _made(sink) as delivery:
        found = []
        for _ in range(2):
            with works(promise, "Deliver the same photos twice."):
                sink.deliver(delivery)
            found.append([file_digest(delivery.output / name) for name in delivery.allowed])
        expect(
            found[0] == found[1],
            promise,
            measured="other content the second time",
            allowed="the same",
            remedy="Write no times and no random numbers.",
        )


def delivers_no_photo_that_could_not_be_protected(sink: Sink) -> None:
    """A photo that failed is never passed on as if it were protected."""
    promise = "delivers no photo that could not be protected"
    with _made(sink, failed=True) as delivery:
        (failed,) = [photo for photo in delivery.photos if photo.status == "failed"]
        with suppress(FacecryptError):  # To refuse the whole is right, too.
            sink.deliver(delivery)
        secret = failed.original.read_bytes()
        leaks = [name for name in delivery.allowed if _holds(delivery.output / name, secret)]
        expect(
            not leaks,
            promise,
            measured=f"the original of {failed.source} in {', '.join(leaks)}",
            allowed="no trace of it",
            remedy="Deliver photos whose 'protected' is a file, and leave out or refuse the others.",
        )


@contextmanager
def _made(sink: Sink, *, failed: bool = False) -> Iterator[Delivery]:
    """Give what a run made of two photos, or of as many as the sink takes; the last one may have failed."""
    pixels = read_photo(sample_photo()).pixels[60:220, 160:288]
    with temporary_folder("check") as folder:
        (folder / "in").mkdir()
        (folder / "out").mkdir()
        photos = []
        for number, name in enumerate(("000001.png", "000002.png")):
            original, protected = folder / "in" / name, folder / "out" / name
            picture = np.roll(pixels, 10 * number, axis=1)
            Image.fromarray(picture).save(original)
            status: Status = "failed" if failed and number else "written"
            if status == "written":
                Image.fromarray(picture // 2).save(protected)
            photos.append(Delivered(name, name, status, original, protected if status == "written" else None))
        try:
            allowed = sink.files([photo.source for photo in photos], None)
        except FacecryptError:
            photos = photos[-1:]
            with works("takes photos", "Name in files() what deliver() writes."):
                allowed = sink.files([photo.source for photo in photos], None)
        yield Delivery(photos, None, folder / "out", allowed, lambda path, digest: None)


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _digests(delivery: Delivery) -> list[str | None]:
    files = [file for photo in delivery.photos for file in (photo.original, photo.protected) if file is not None]
    return [file_digest(file) for file in files]


def _holds(file: Path, secret: bytes) -> bool:
    """Return whether a file holds bytes as they are, or in an archive; not whether it shows the picture otherwise."""
    if not file.is_file() or secret in file.read_bytes():
        return file.is_file()
    with suppress(FacecryptError), members_of(str(file)) as members:
        for member in members:
            if member.open is not None:
                with member.open() as content:
                    if secret in b"".join(read_pieces(content)):
                        return True
    return False


CHECKS = (
    names_its_files_before_it_writes_them,
    leaves_photos_as_they_are,
    writes_the_same_again,
    delivers_no_photo_that_could_not_be_protected,
)
