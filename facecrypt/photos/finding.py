"""Find photos by a file name, a folder or a glob, and tell what of it is left out."""

from __future__ import annotations

import fnmatch
import itertools
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from facecrypt.errors import PhotoError
from facecrypt.system.naming import FORMATS, expand_home
from facecrypt.system.places import FileId, file_id

# Found in folders too, so that the run names them as left out and does not pass over them in silence.
_PICTURES = (*FORMATS, ".gif")
_OWN_REPORTS = ("report.json", "report.html", "recipe.yaml")
_OWN_NAMES = ("manifest.json", "facecrypt-manifest.json")
_OWN_PREFIX = ".facecrypt"
_MOST_KINDS = 6


@dataclass
class LeftOut:
    """What lies where photos were looked for and is not among them.

    Attributes:
        hidden: Number of files and folders whose name starts with a dot.
        linked: Folders that are links to elsewhere.
        kinds: Number of files of each extension that is that of no photo.
        special: Number of broken links, pipes, sockets and devices.
        folders: Number of folders that a glob names.
        unreadable: Folders that this user may not read.
        in_output: Number of photos in the output folder that no run of facecrypt left there.
    """

    hidden: int = 0
    linked: list[Path] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    special: int = 0
    folders: int = 0
    unreadable: list[Path] = field(default_factory=list)
    in_output: int = 0

    def describe(self, where: str, key: str = "photos") -> str:
        """Return one line that says what was left out and how to include it; empty where that is nothing.

        Args:
            where: The folder or glob.
            key: The key of a recipe that names it; empty where it is an argument of the command.
        """
        named = f"{key}=" if key else ""
        parts, ways = [], []
        top = where.rstrip("/") if expand_home(where).is_dir() else str(_plain_part(where))
        if self.hidden:
            parts.append(_count(self.hidden, "hidden file or folder", "hidden files and folders"))
            ways.append(f"{named}'{top}/**/.*' names hidden files")
        if self.linked:
            parts.append(_count(len(self.linked), "linked folder"))
            ways.append(f"{named}'{top}/**/*' follows linked folders")
        if self.kinds:
            total = sum(self.kinds.values())
            parts.append(f"{_count(total, 'file')} of unknown kind ({_kinds(self.kinds)})")
            ways.append("a photo of another extension can be named itself")
        if self.folders:
            parts.append(_count(self.folders, "folder"))
            ways.append(f"{named}'{top}/**' looks into folders")
        if self.unreadable:
            parts.append(f"{_count(len(self.unreadable), 'folder')} that cannot be read")
            ways.append("mend their permissions")
        if self.special:
            parts.append(_count(self.special, "broken link or special file", "broken links and special files"))
        if self.in_output:
            parts.append(f"{_count(self.in_output, 'photo')} in the output folder")
            ways.append("name another output folder to protect what lies in this one")
        if not parts:
            return ""
        return f"{f'{key}: ' if key else ''}{where}: left out {', '.join(parts)}{'; ' if ways else ''}{'; '.join(ways)}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _kinds(kinds: Counter[str]) -> str:
    ranked = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{count} {kind or 'without extension'}" for kind, count in ranked[:_MOST_KINDS]]
    others = sum(count for _, count in ranked[_MOST_KINDS:])
    return ", ".join(named + ([f"{others} others"] if others else []))


@dataclass
class Found:
    """What a file name, a folder or a glob names.

    Attributes:
        photos: The photos, sorted.
        left_out: What is there besides.
    """

    photos: list[Path]
    left_out: LeftOut


def find(where: str, *, recursive: bool = False) -> Found:
    """Return the photos that a file name, a folder or a glob names, and what is there besides.

    Args:
        where: A file (returned whatever its extension), a folder, or a glob, in which ``**`` stands for any depth of
            folders, linked ones included, each of which is looked into once. Hidden files and folders are left out
            unless named.
        recursive: Whether a folder stands for the photos in its subfolders, too, or for those directly inside. Linked
            subfolders are left out.

    Returns:
        At least one photo.

    Raises:
        PhotoError: If nothing is there, nothing there is a photo, or a folder cannot be read.
    """
    path, left_out = expand_home(where), LeftOut()
    try:
        if path.is_dir():
            candidates = _walk(path, left_out) if recursive else _sift(path.iterdir(), left_out)
        elif path.exists():
            return Found([path], left_out)
        elif is_pattern(where):
            candidates = _glob(path, left_out)
        else:
            raise PhotoError(f"{where}: there is no such file or folder. Name a photo, a folder or a glob.")
        photos = sorted({item for item in candidates if _is_photo(item, left_out)})
    except OSError as error:
        raise PhotoError(f"{where}: cannot be read ({error.strerror}). Check its name and your rights.") from error
    if not photos:
        if left_out.unreadable:
            raise PhotoError(f"{left_out.unreadable[0]}: cannot be read. Mend its permissions, or name another folder.")
        raise PhotoError(
            f"{where}: no photos found. A photo ends in {', '.join(FORMATS)}; "
            "name a photo, a folder that holds some, or a glob such as 'photos/**/*.jpg'."
        )
    return Found(photos, left_out)


def find_photos(where: str, *, recursive: bool = False) -> list[Path]:
    """Return the photos that `find` finds. Its arguments and errors are those of this one."""
    return find(where, recursive=recursive).photos


def folder_of(where: str) -> Path:
    """Return the folder that a name leads to: itself, that of a file, or the one that a glob begins in.

    Args:
        where: As for `find`; it need not exist.
    """
    path = expand_home(where)
    if path.is_dir():
        return path
    return expand_home(_plain_part(where)) if is_pattern(where) and not path.exists() else path.parent


def _plain_part(where: str) -> Path:
    return Path(*itertools.takewhile(lambda part: not is_pattern(part), Path(where).parts))


def files_below(folder: Path) -> list[Path]:
    """Return all files in a folder and below it, linked folders included, but for hidden ones."""
    return _below([folder], LeftOut(), files=True)


def common_root(where: str | None, paths: Sequence[Path]) -> Path:
    """Return the folder below which photos have their places: that which was named, or else the deepest of all.

    Args:
        where: What names the photos.
        paths: The photos; all of them lie elsewhere where a source has laid them out.
    """
    root = expand_home(where) if where else Path()
    if not paths or (root.is_dir() and all(path.is_relative_to(root) for path in paths)):
        return root
    return Path(os.path.commonpath([path.parent for path in paths]))


def _is_photo(path: Path, left_out: LeftOut) -> bool:
    if path.is_dir():
        return False
    if not path.is_file():
        left_out.special += 1
        return False
    suffix = path.suffix.lower()
    if suffix in _PICTURES:
        return True
    if not is_own(path):
        left_out.kinds[suffix if suffix.isprintable() and len(suffix) < 12 else "others"] += 1
    return False


def is_own(path: Path) -> bool:
    """Return whether a file is one that facecrypt leaves beside photos."""
    if path.name in _OWN_REPORTS:
        return path.with_name(_OWN_NAMES[0]).exists()
    return path.name in _OWN_NAMES


def _sift(children: Iterable[Path], left_out: LeftOut) -> Iterator[Path]:
    """Return what is not hidden."""
    for child in children:
        if not _is_hidden(child.name):
            yield child
        elif not child.name.startswith(_OWN_PREFIX):
            left_out.hidden += 1


def _walk(folder: Path, left_out: LeftOut) -> list[Path]:
    """Return all files below a folder, without those behind linked folders."""
    found, seen, linked, waiting = [], {file_id(folder)}, [], deque([folder])
    while waiting:
        for child in _sift(sorted(waiting.popleft().iterdir()), left_out):
            if not child.is_dir():
                found.append(child)
            elif child.is_symlink():
                linked.append(child)
            elif (known := file_id(child)) not in seen:  # a mount may lead back to where it is
                seen.add(known)
                waiting.append(child)
    left_out.linked += [link for link in linked if file_id(link) not in seen]
    return found


def _glob(pattern: Path, left_out: LeftOut) -> list[Path]:
    """Return what a pattern names, each file once, however many linked folders lead to it below a ``**``."""
    parts = pattern.parts
    start = 1 if pattern.anchor else 0
    found = [Path(pattern.anchor or ".")] if start else [Path()]
    for index, part in enumerate(parts[start:], start + 1):
        last = index == len(parts)
        if part == "**":
            found = _below(found, left_out, files=last)
        elif is_pattern(part):
            children = [child for folder in found for child in _children(folder, left_out)]
            if not part.startswith("."):
                matching = [child for child in children if fnmatch.fnmatch(child.name, part)]
                children = list(_sift(matching, left_out)) if last else [c for c in matching if not _is_hidden(c.name)]
            else:
                children = [child for child in children if fnmatch.fnmatch(child.name, part)]
            found = children if last else [child for child in children if child.is_dir()]
            if last and "**" not in parts:
                left_out.folders += sum(child.is_dir() for child in children)
        else:
            found = [folder / part for folder in found if os.path.lexists(folder / part)]
    if "**" not in parts:
        return found
    once: dict[tuple[FileId | None, str], Path] = {}
    for path in found:
        once.setdefault((file_id(path.parent), path.name), path)
    return list(once.values())


def _below(folders: list[Path], left_out: LeftOut, *, files: bool) -> list[Path]:
    """Return folders and all folders below them, each once, or all files in these."""
    seen: set[FileId | None] = set()
    found: list[Path] = []
    # Links come last, so that a folder is found by its own name where it has one here.
    waiting, linked, loops = deque(folders), deque[Path](), list[Path]()
    while waiting or linked:
        folder = waiting.popleft() if waiting else linked.popleft()
        known = file_id(folder)
        if known in seen or not folder.is_dir():
            continue
        seen.add(known)
        if not files:
            found.append(folder)
        for child in _sift(_children(folder, left_out), left_out):
            if not child.is_dir():
                found += [child] if files else []
            elif not child.is_symlink():
                waiting.append(child)
            else:
                (loops if _leads_up(child) else linked).append(child)
    left_out.linked += [link for link in loops if file_id(link) not in seen]
    return found


def _leads_up(link: Path) -> bool:
    """Return whether a linked folder is one of those that it lies in: to follow it would be to leave where it is."""
    folder = Path(os.path.realpath(link.parent))
    return Path(os.path.realpath(link)) in (folder, *folder.parents)


def _children(folder: Path, left_out: LeftOut) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except NotADirectoryError:
        return []
    except OSError:
        left_out.unreadable.append(folder)
        return []


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def is_pattern(text: str) -> bool:
    """Return whether a name may be a glob."""
    return bool(set("*?[") & set(text))
