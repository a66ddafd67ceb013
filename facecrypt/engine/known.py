"""What runs of facecrypt left in the folders that a run has to do with, by all their manifests together."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from facecrypt.engine.manifest import NAME, NAME_IN_PLACE, Entry, Manifest, NameKey, name_key
from facecrypt.engine.planned import NoWork
from facecrypt.errors import FacecryptError
from facecrypt.photos.files import file_digest, write_bytes
from facecrypt.system.naming import expand_home
from facecrypt.system.places import file_id
from facecrypt.system.regular import open_regular, read_text

REPORTS = ("report.json", "report.html", "recipe.yaml")
"""What a run leaves in its output folder besides photos and the manifest."""


class Known:
    """Tells the files that facecrypt wrote or keeps from all others.

    Args:
        manifests: What runs noted, the most important first.
    """

    def __init__(self, manifests: Sequence[Manifest]) -> None:
        self._made: dict[str, Manifest] = {}
        self._written: dict[str, list[Manifest]] = {}
        self._kept: dict[NameKey, Manifest] = {}
        for manifest in manifests:
            for entry in manifest.entries:
                self._written.setdefault(entry.output_sha256, []).append(manifest)
                if entry.source:
                    self._made.setdefault(entry.output_sha256, manifest)
            for key in manifest.backups:
                self._kept.setdefault(key, manifest)

    def find_no_work(self, photo: Path, destination: Path, own: Manifest, recipe: str) -> NoWork | None:
        """Return why a photo needs no work; None if it needs some.

        Args:
            photo: The input file.
            destination: Where its protected version would go.
            own: The manifest that would tell of it.
            recipe: Digest of the run's recipe.
        """
        if not self._made or (digest := file_digest(photo)) is None:
            return None
        kept = self._kept.get(name_key(Path(os.path.realpath(photo))))
        for manifest in (own, self._made.get(digest), kept):
            if manifest and (reason := manifest.find_reason(photo, destination, recipe, digest)):
                already = not manifest.has_other_settings(recipe, digest)
                made = None if manifest.find_backup(photo) else destination
                return NoWork(reason, already=already, protected=photo if digest in self._made else made)
        return None

    def entries_of(self, path: Path) -> list[Entry]:
        """Return what is known of a file that facecrypt wrote and nobody changed since; empty for any other."""
        if path.is_symlink() or (digest := file_digest(path)) is None:
            return []
        return [entry for each in self._written.get(digest, ()) for entry in each.entries_of(path, digest)]

    def find_backup(self, path: Path) -> Entry | None:
        """Return the entry of the photo whose original a file is; None if it is none."""
        manifest = self._kept.get(name_key(Path(os.path.realpath(path))))
        return manifest.find_backup(path) if manifest else None


def find_manifests(files: Sequence[Path]) -> list[Manifest]:
    """Return the manifests of all folders that some files lie in, at any depth, by their own names and behind links.

    Files of that name that belong to other programs are passed over.

    Raises:
        FacecryptError: If a manifest of this program is damaged.
    """
    # A photo behind a link may have been made, or kept, where it really is.
    behind = [Path(os.path.realpath(file)) for file in files if os.path.islink(file)]
    parents = {file.parent for file in (*files, *behind)}
    near = {folder for parent in parents for folder in (parent.absolute(), Path(os.path.realpath(parent)))}
    folders = {above for folder in near for above in (folder, *folder.parents)}
    places = sorted(folder / name for folder in folders for name in (NAME, NAME_IN_PLACE))
    known = {file_id(path): path for path in places if _is_manifest(path)}
    return [Manifest(path) for path in known.values()]


def _is_manifest(path: Path) -> bool:
    try:
        if path.is_symlink() or not path.is_file():  # reading a pipe may never end
            return False
        with open_regular(path) as file:
            return b"facecrypt_manifest" in file.read(200)
    except OSError:
        return False


def older_reports(output: Path, manifest: Manifest) -> set[str]:
    """Return the report files that a version of facecrypt left here whose manifest did not tell of them."""
    if manifest.knows_reports or not all((output / name).is_file() for name in REPORTS):
        return set()
    try:
        found = json.loads(read_text(output / "report.json"))
        place = expand_home(found["recipe"]["output"])
        if not {"facecrypt", "versions", "seed", "photos"} <= found.keys() or file_id(place) != file_id(output):
            return set()
        older = {"report.json"}
        page = output / "report.html"
        if "<title>facecrypt report</title>" in read_text(page):
            older.add("report.html")
        recipe = output / "recipe.yaml"
        if yaml.safe_load(read_text(recipe)) == found["recipe"]:
            older.add("recipe.yaml")
        return older
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, yaml.YAMLError):
        return set()


class ResultFiles:
    """The files of fixed names that a benchmark leaves in its output folder, and replaces the next time.

    Args:
        folder: The output folder.
        names: The files.

    Raises:
        FacecryptError: With all files of these names that are somebody else's, or were changed since.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._manifest = Manifest(folder / NAME)
        if not self._manifest.knows_reports and _is_metrics(folder / "metrics.json"):
            return  # An earlier version, whose manifest did not tell of them, left them.
        taken = [path for path in (folder / name for name in names) if os.path.lexists(path) and not self._is_own(path)]
        if taken:
            raise FacecryptError(
                "output: the results would replace files that are not from facecrypt, or were changed since. Name "
                "another output, or move them away:",
                list(map(str, taken)),
            )

    def write(self, path: Path, data: bytes) -> None:
        """Write a file at once or not at all, and note that it is facecrypt's.

        Args:
            path: One of the files.
            data: Its content.

        Raises:
            PhotoError: If it cannot be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        write_bytes(data, path, lambda temporary: self._manifest.add_report(path, digest))

    def _is_own(self, path: Path) -> bool:
        digest = None if path.is_symlink() else file_digest(path)
        return digest is not None and bool(self._manifest.entries_of(path, digest))


def _is_metrics(path: Path) -> bool:
    try:
        rows = json.loads(read_text(path))
        return isinstance(rows, list) and all({"method", "evaluator", "rank1_t"} <= row.keys() for row in rows)
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
