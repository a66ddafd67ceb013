"""A run planned to the last file before anything is computed or written, so that no original can be lost in it.

Every file that the run would write is compared with its inputs, with the other files that it would write, and with what
is there already. What is there may be replaced if a manifest says that facecrypt wrote it, or the recipe says
``overwrite: true``; an input never. A photo that an earlier run made, or kept as a backup, is left out.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from facecrypt.engine.digest import recipe_digest
from facecrypt.engine.known import REPORTS, Known, find_manifests, older_reports
from facecrypt.engine.manifest import NAME, Manifest, manifest_path, open_manifests
from facecrypt.engine.planned import NoWork, PlannedPhoto
from facecrypt.engine.records import RECORDS
from facecrypt.errors import FacecryptError, PhotoError
from facecrypt.photos.files import backup_fault, file_digest
from facecrypt.pipeline.inputs import named_files
from facecrypt.recipe.check import Recipe, dump_recipe
from facecrypt.recipe.face_rules import face_rules
from facecrypt.system.locks import NAME as LOCK
from facecrypt.system.naming import beside, expand_home
from facecrypt.system.places import FileId, Places, State, file_id, state
from facecrypt.system.regular import read_regular, read_text

_MOST_SHOWN = 10
_EMPTY = 1 << 20  # bytes of a file that is looked at for having no content
_NAMED_BY = ", which the recipe names by "


@dataclass(frozen=True)
class Plan:
    """A run.

    Attributes:
        photos: The photos in the order of the input, those that are left out among them.
        manifest: Tells of the report files.
        reports: The report files to write, each with what is in its place.
        settings: Of the run, from `recipe_digest`.
        notes: What a reader of the report must know.
        further: The files that a sink will write, likewise.
    """

    photos: Sequence[PlannedPhoto]
    manifest: Manifest
    reports: Mapping[str, State | None]
    settings: str
    notes: list[str] = field(default_factory=list)
    further: Mapping[str, State | None] = field(default_factory=dict)


def make_plan(
    recipe: Recipe,
    chosen: Sequence[tuple[Path, Path]],
    *,
    recipe_file: Path | None = None,
    bases: Sequence[Path] = (),
    closed: Mapping[Path, str] | None = None,
    names: Mapping[Path, Path] | None = None,
    further: Sequence[str] = (),
) -> Plan:
    """Return what a run is to do; nothing is written.

    Args:
        recipe: A checked recipe.
        chosen: The photos, each with the file that its protected version goes to.
        recipe_file: The file of the recipe, which is an input too.
        bases: The files that it is laid over, likewise.
        closed: Folders that cannot be written to, each with the reason.
        names: How photos are called that a source has laid out, by their files.
        further: Names of files that a sink will write to the output folder.

    Raises:
        PhotoError: If faces of one photo are given by hand, and there are several.
        FacecryptError: If the run would destroy a file, naming all such files and what would help, or a manifest is
            damaged.
    """
    output = expand_home(recipe.output)
    manifests = open_manifests(output, [destination for _, destination in chosen], recipe.in_place)
    known = Known([*manifests.values(), *find_manifests([path for pair in chosen for path in pair])])
    settings = recipe_digest(recipe, [source for source, _ in chosen])
    checker = _Checker(recipe, output, known, recipe_file, bases)
    photos = []
    for source, destination in chosen:
        manifest = manifests[manifest_path(destination, output, recipe.in_place)]
        backup = beside(destination, recipe.backup) if recipe.in_place else None
        photo = PlannedPhoto(source, destination, manifest, state(destination), backup, name=(names or {}).get(source))
        if no_work := known.find_no_work(source, destination, manifest, settings):
            photo = replace(photo, no_work=no_work)
        elif file_id(source) is None:
            pass  # Whoever reads it will say why.
        elif closed and (fault := closed.get(Path(os.path.realpath(destination.parent)))):
            way = "" if recipe.in_place else ", or name an output folder"
            reason = f"{source}: its folder cannot be written to ({fault}). Mend its permissions{way}."
            photo = replace(photo, no_work=NoWork(reason, "failed"))
        else:
            photo = checker.claim(photo)
        photos.append(photo)
    todo = [photo for photo in photos if photo.no_work is None]
    if (key := face_rules(recipe.faces).by_hand) and len(todo) > 1:
        raise PhotoError(
            f"faces.{key}: gives a face of one photo by hand, but photos names {len(todo)}. Name that photo alone, "
            "and protect the others without it."
        )
    reports = checker.check(todo, list(manifests.values()), manifests[output / NAME], further)
    notes = [*checker.notes, *(_name_notes(todo) if recipe.in_place else ())]
    seen = {name: state(output / name) for name in further}
    return Plan(photos, manifests[output / NAME], reports, settings, notes, seen)


def _name_notes(photos: Sequence[PlannedPhoto]) -> Iterator[str]:
    """Yield what to know of photos that are replaced and have other names, which keep showing the original."""
    names = Counter(file_id(photo.source) for photo in photos)
    found = [photo for photo in photos if _links(photo.destination) > names[file_id(photo.source)]]
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        yield (
            f"{found[0].destination}{more}: has other names (hard links) outside this run, which keep the original and "
            "so the unprotected face"
        )


def _links(path: Path) -> int:
    try:
        return path.stat().st_nlink
    except OSError:
        return 0


class _Claim(NamedTuple):
    """A file that a run would write, how messages call it, and the photo that it belongs to."""

    path: Path
    label: str
    photo: PlannedPhoto | None


class _Checker:
    """Compares the files that a run would write with everything that they could destroy.

    Args:
        recipe: The recipe.
        output: Its output folder.
        known: Tells what facecrypt wrote.
        recipe_file: The file of the recipe.
        bases: The files that it is laid over.
    """

    def __init__(
        self, recipe: Recipe, output: Path, known: Known, recipe_file: Path | None, bases: Sequence[Path]
    ) -> None:
        self.notes: list[str] = []
        self._recipe = recipe
        self._output = output
        self._known = known
        self._recipe_file = recipe_file
        self._bases = bases
        self._places = Places()
        self._claims: list[_Claim] = []
        self._inputs: dict[FileId | None, str] = {}
        self._faults: dict[tuple[Path, str], str] = {}

    def claim(self, photo: PlannedPhoto) -> PlannedPhoto:
        """Take the place of a protected photo; return it left out where the very same file has that place already."""
        other = self._take(photo.destination, f"{photo.source}, protected", photo)
        first = other.photo.source if other and other.photo else None
        if first is not None and file_id(first) == file_id(photo.source):
            reason = f"{photo.source}: is the same file as {first}, which goes to {photo.destination}."
            return replace(photo, no_work=NoWork(reason, already=True, protected=photo.destination))
        if first is not None:
            way = _way_apart(photo.source, first, self._recipe.format)
            self._refuse(photo.destination, f"would be both {first} and {photo.source}, protected. {way}")
        return photo

    def check(
        self,
        photos: Sequence[PlannedPhoto],
        manifests: Sequence[Manifest],
        manifest: Manifest,
        further: Sequence[str] = (),
    ) -> dict[str, State | None]:
        """Check everything that a run would write.

        Args:
            photos: Those that are not left out; their places are taken.
            manifests: All that would be written to.
            manifest: That of the output folder.
            further: Names of files that a sink will write to the output folder.

        Returns:
            The report files to write, each with what is in its place.

        Raises:
            FacecryptError: With all files that would be destroyed.
        """
        self._inputs = {file_id(photo.source): str(photo.source) for photo in photos}
        self._inputs |= {file_id(path): f"{path}{_NAMED_BY}{key}" for path, key in named_files(self._recipe)}
        self._inputs |= {file_id(path): f"{path}, a base of the recipe" for path in self._bases}
        if self._recipe_file is not None:
            self._inputs[file_id(self._recipe_file)] = f"{self._recipe_file}, the recipe"
        self._inputs.pop(None, None)
        for each in manifests:
            for path in (each.path, each.path.with_name(f".{each.path.name}.lock"), each.path.with_name(LOCK)):
                self._reserve(path, "what facecrypt notes of that folder")
        self._reserve(self._output / RECORDS, "the records of the run")
        if (records := state(self._output / RECORDS)) and not stat.S_ISDIR(records[0]):
            self._refuse(self._output / RECORDS, "is no folder, and facecrypt needs one. Set another output.")
        older = older_reports(self._output, manifest)
        reports = {}
        for name in REPORTS:
            path = self._output / name
            self._reserve(path, "the report")
            if not self._is_kept(path, name in older):
                reports[name] = state(path)
                self._check_file(path, "the report", "Set another output, or move it away", own=name in older)
        for name in further:
            if (other := self._take(self._output / name, "what the sink makes")) is not None:
                way = "Rename that photo, or set another name." if other.photo else "Name another file for the sink."
                self._refuse(self._output / name, f"would be what the sink makes, and {other.label}. {way}")
            self._check_file(self._output / name, "what the sink makes", "Set another output, or move it away")
        for photo in photos:
            if photo.backup is None:
                self._check_output(photo)
            else:
                self._check_replaced(photo, photo.backup)
        for claim in self._claims:
            if (number := self._places.inside(claim.path)) is not None:
                above = self._claims[number]
                words = f"would be {above.label}, and a folder for {claim.label}. Set another name or output."
                self._refuse(above.path, words)
        if self._faults:
            faults = list(self._faults.values())
            more = [f"and {len(faults) - _MOST_SHOWN} more"] if len(faults) > _MOST_SHOWN else []
            raise FacecryptError("the run would destroy files, so nothing was begun:", [*faults[:_MOST_SHOWN], *more])
        return reports

    def _refuse(self, path: Path, why: str) -> None:
        # One line for each file and kind of clash: many photos may be after the same place.
        self._faults.setdefault((path, why.partition("(")[0][:20]), f"{path}: {why}")

    def _check_output(self, photo: PlannedPhoto) -> None:
        way = 'Set another output, or name: "{stem}-protected{suffix}"'
        if file_id(photo.destination) == file_id(photo.source) is not None:
            way += ", or in_place: true, which keeps a backup"
        self._check_file(photo.destination, f"{photo.source}, protected", way, photo=photo)

    def _check_replaced(self, photo: PlannedPhoto, backup: Path) -> None:
        name = self._inputs.get(file_id(photo.destination), "")
        if _NAMED_BY in name:
            self._refuse(photo.destination, f"is {name}, and would be replaced. Move it out of photos.")
        label, here = f"the backup of {photo.source}", file_id(backup)
        other = self._take(backup, label, photo)
        if here in self._inputs and here != file_id(photo.destination):
            self._refuse(backup, f"is an input of this run, and would be {label}. Set another backup.")
        elif other is not None:
            self._refuse(backup, f"would be {label}, and {other.label}, too. Set another backup.")
        elif os.path.lexists(backup):
            fault = backup_fault(photo.destination, file_digest(photo.destination), backup)
            if fault:
                self._refuse(photo.source, f"{fault}. Set another backup, or move that file away.")

    def _check_file(
        self, path: Path, label: str, way: str, *, own: bool = False, photo: PlannedPhoto | None = None
    ) -> None:
        """Check a file that would replace what is in its place.

        Args:
            path: The file.
            label: What it is.
            way: What would help.
            own: Whether it is known that facecrypt wrote what is there.
            photo: The photo that it is the protected version of.
        """
        if not os.path.lexists(path):
            return
        name, kept = self._inputs.get(file_id(path)), None if path.is_symlink() else self._known.find_backup(path)
        if name is not None:
            which = "" if name == str(path) else f" ({name})"
            self._refuse(path, f"is an input of this run{which}, and would be replaced by {label}. {way}.")
        elif kept is not None:
            self._refuse(path, f"is the backup of {kept.output}, and would be replaced by {label}. {way}.")
        elif path.is_dir() and not path.is_symlink():
            self._refuse(path, f"is a folder, and would be {label}. {way}.")
        elif not (own or self._recipe.overwrite) and (what := self._find_owner(path, photo)):
            self._refuse(path, f"{what}, and would be replaced by {label}. {way}, or overwrite: true to replace it.")

    def _find_owner(self, path: Path, photo: PlannedPhoto | None) -> str:
        """Return whose a file is; nothing if it is what an earlier run left for the same purpose, or empty."""
        if not path.is_symlink() and path.is_file():
            if _is_void(path):
                return ""
            entries = self._known.entries_of(path)
            if photo is None and entries:
                return ""
            # A photo that was replaced is somebody's, although facecrypt made what it is now.
            made = [entry for entry in entries if entry.source and entry.backup is None]
            if photo is not None and made:
                digest, real = file_digest(photo.source), os.path.realpath(photo.known_as)
                if any(entry.source_sha256 == digest or os.path.realpath(entry.source) == real for entry in made):
                    return ""
                return f"is what facecrypt made of {made[-1].source}"
        return "is not from facecrypt, or was changed since"

    def _is_kept(self, path: Path, older: bool) -> bool:
        """Return whether a report file is the recipe that runs, which facecrypt made, and which is not to change."""
        if self._recipe_file is None or file_id(path) is None or file_id(path) != file_id(self._recipe_file):
            return False
        if not older and self._find_owner(path, None):
            return False
        if read_text(path) != dump_recipe(self._recipe):
            self.notes.append(
                f"{path}: is the recipe that was run, so it stays as it is; report.json has what this run made of it"
            )
        return True

    def _reserve(self, path: Path, label: str) -> None:
        if (other := self._take(path, label)) is not None and other.photo is not None:
            self._refuse(path, f"would be {label}, and {other.label}. Rename that photo, or set another name.")

    def _take(self, path: Path, label: str, photo: PlannedPhoto | None = None) -> _Claim | None:
        """Take a place; return who has it already, if it is taken."""
        number = self._places.add(path, len(self._claims))
        if number == len(self._claims):
            self._claims.append(_Claim(path, label, photo))
            return None
        return self._claims[number]


def _is_void(path: Path) -> bool:
    """Return whether a file holds nothing, as after a power cut."""
    try:
        return path.stat().st_size <= _EMPTY and not read_regular(path, _EMPTY).strip(b"\0")
    except OSError:
        return False


def _way_apart(first: Path, second: Path, file_format: str) -> str:
    """Return how two photos whose protected versions would be one file can be told apart."""
    if file_format == "png" and first.stem == second.stem and first.parent == second.parent:
        return "Set format: same, which keeps their extensions, or rename one."
    if first.parent != second.parent:
        return "Set photos to the folder of both, whose subfolders are kept, or another output for each."
    return "Rename one, or set another output for each."
