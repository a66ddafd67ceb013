"""What a run works on: files where they are, or what a source has laid out, and what a sink gets in the end."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from facecrypt.carriers.base import Delivered, GuardedSink, Room, Status, build_sink, build_source
from facecrypt.engine.planned import PlannedPhoto
from facecrypt.errors import FacecryptError, PhotoError
from facecrypt.pipeline.inputs import choose_photos
from facecrypt.recipe.check import Recipe
from facecrypt.system.locks import is_first_process
from facecrypt.system.naming import expand_home, output_path
from facecrypt.system.private_files import temporary_folder

_SHARED = "FACECRYPT_MATERIAL"
"""Environment variable by which processes that Lightning starts know the folders of the first one."""
_STANDARD_OUTPUT = "standard output"


@dataclass(frozen=True)
class Material:
    """The photos of a run.

    Attributes:
        chosen: Each photo with the file that its protected version goes to.
        output: The output folder.
        sink: Who gets the protected ones; None where they stay in the output folder.
        origin: What a source has read; None where the photos are files.
        names: How photos are called that a source has laid out, by their files.
        further: Names of the files that the sink writes to the output folder.
        replaced: Texts that no reader should see, and what to write for them.
    """

    chosen: Sequence[tuple[Path, Path]]
    output: Path
    sink: GuardedSink | None = None
    origin: str | None = None
    names: Mapping[Path, Path] = field(default_factory=dict)
    further: Sequence[str] = ()
    replaced: Mapping[str, str] = field(default_factory=dict)

    @property
    def originals(self) -> dict[str, Path]:
        """The files of photos that a source has laid out, by what a report calls them."""
        return {str(name): file for file, name in self.names.items()}

    def tell(self, text: str) -> str:
        """Return a text in which photos have the names that the user knows."""
        for private, shown in self.replaced.items():
            text = text.replace(private, shown)
        return text

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Let errors that leave this block call photos by the names that the user knows."""
        try:
            yield
        except FacecryptError as error:
            told = [self.tell(line) for line in error.lines]
            if told == list(error.lines):
                raise
            raise (PhotoError if isinstance(error, PhotoError) else FacecryptError)(told[0], told[1:]) from error


@contextmanager
def gather(
    recipe: Recipe, sample: Path, notes: list[str], chosen: Sequence[tuple[Path, Path]] | None = None
) -> Iterator[Material]:
    """Give what a run works on; what a source lays out is there for as long as a block runs.

    Args:
        recipe: A checked recipe.
        sample: The photo of a recipe that names none.
        notes: Is added to, if something is left out.
        chosen: The photos instead of those that the recipe names; then it has no source and no sink.

    Raises:
        PhotoError: If there are none.
        FacecryptError: If the source or the sink cannot be used.
    """
    if chosen is not None:
        yield Material(chosen, expand_home(recipe.output))
        return
    source = build_source(recipe.source.name, recipe.source.args)
    sink = build_sink(recipe.sink.name, recipe.sink.args)
    if source is None and sink is None:
        yield Material(choose_photos(recipe, sample, notes), expand_home(recipe.output))
        return
    with temporary_folder("source") as folder, temporary_folder("output") as private:
        shared = _share({"source": str(folder), "output": str(private)})
        output = Path(shared["output"]) if sink is not None and sink.private else expand_home(recipe.output)
        place = Path(shared["source"])
        replaced = {str(output): _STANDARD_OUTPUT} if sink is not None and sink.private else {}
        names: dict[Path, Path] = {}
        if source is None:
            pairs = choose_photos(replace(recipe, output=str(output)), sample, notes)
            shown = [str(path) for path, _ in pairs]
        else:
            room = Room(place)
            if is_first_process():
                source.fetch(recipe.photos, room)
                (place / _LIST).write_text(json.dumps(room.names), encoding="utf-8")
            shown = json.loads((place / _LIST).read_text(encoding="utf-8"))
            called = recipe.photos or recipe.source.name
            names = {place.joinpath(*name.split("/")): Path(called, *name.split("/")) for name in shown}
            pairs = [
                (file, output_path(file, output / file.parent.relative_to(place), recipe.format, recipe.name))
                for file in names
            ]
            replaced |= {f"{place}{os.sep}": f"{called.rstrip(os.sep)}{os.sep}", str(place): called}
        origin = None if source is None else recipe.photos
        further = sink.files(shown, origin) if sink is not None else []
        yield Material(pairs, output, sink, origin, names, further, replaced)


_LIST = ".facecrypt-photos.json"


def _share(folders: dict[str, str]) -> dict[str, str]:
    """Return the folders of the first process of this run."""
    if is_first_process():
        os.environ[_SHARED] = json.dumps(folders)
        return folders
    if _SHARED not in os.environ:
        raise FacecryptError(
            "source: only the first of these processes can read it. Let facecrypt start the others itself "
            "(trainer.devices), or lay the photos out as files."
        )
    shared: dict[str, str] = json.loads(os.environ[_SHARED])
    return shared


def delivered(
    material: Material,
    planned: Sequence[PlannedPhoto],
    photos: Sequence[Mapping[str, Any]],
    left_out: Collection[int] = (),
) -> list[Delivered]:
    """Return the photos of a run as a sink gets them.

    Only what facecrypt made counts as protected, and only photos that were searched as ones without a face: what a
    limit left out, and backups, which are originals, count as failed.

    Args:
        material: What the run worked on.
        planned: What it was to do with each photo.
        photos: What became of each, as `PhotoReport` has it.
        left_out: Numbers of the photos that a limit left out.
    """
    result = []
    for index, (each, photo) in enumerate(zip(planned, photos, strict=True)):
        file: Path | None = each.destination if photo["status"] == "written" else None
        if each.no_work is not None:
            file = each.no_work.protected
            file = file if file is not None and file.is_file() else None
        faceless = photo["status"] == "unchanged" and each.no_work is None and index not in left_out
        status: Status = "written" if file else "unchanged" if faceless else "failed"
        name = each.name.relative_to(material.origin or each.name.parts[0]) if each.name else Path(each.source.name)
        made = each.destination
        below = made.relative_to(material.output) if made.is_relative_to(material.output) else Path(made.name)
        result.append(Delivered(name.as_posix(), below.as_posix(), status, each.source, file))
    return result
