"""What runs of facecrypt left in the folders that a run has to do with, by all their manifests together."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import yaml

from facecrypt.manifest import NAME, NAME_IN_PLACE, Manifest, NameKey, name_key
from facecrypt.naming import expand_home
from facecrypt.photos import file_digest
from facecrypt.places import file_id
from facecrypt.regular import open_regular, read_text

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

    def find_reason(self, photo: Path, destination: Path, own: Manifest, recipe: str) -> tuple[str, bool]:
        """Return why a photo needs no work, and whether it is as the recipe wants it; an empty reason if it does.

        Args:
            photo: The input file.
            destination: Where its protected version would go.
            own: The manifest that would tell of it.
            recipe: Digest of the run's recipe.
        """
        if not self._made or (digest := file_digest(photo)) is None:
            return "", False
        kept = self._kept.get(name_key(Path(os.path.realpath(photo))))
        for manifest in (own, self._made.get(digest), kept):
            if manifest and (reason := manifest.find_reason(photo, destination, recipe, digest)):
                return reason, not manifest.has_other_settings(recipe, digest)
        return "", False

    def wrote(self, path: Path) -> bool:
        """Return whether facecrypt wrote a file, and nobody changed it since."""
        if path.is_symlink() or (digest := file_digest(path)) is None:
            return False
        return any(manifest.wrote(path, digest) for manifest in self._written.get(digest, ()))


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
