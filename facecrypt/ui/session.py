"""What the page works on: one photo at a time, its faces, one run, and the files that the run leaves."""

from __future__ import annotations

import io
import logging
import os
import re
import shutil
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from facecrypt.engine.callbacks import Progress
from facecrypt.errors import FacecryptError, PhotoError, RecipeError
from facecrypt.faces.face import Face
from facecrypt.photos.files import FORMATS, Photo, output_path, read_photo
from facecrypt.pipeline import runner
from facecrypt.pipeline.builders import build_detector
from facecrypt.recipe.check import Recipe, load_recipe
from facecrypt.recipe.face_rules import Faces
from facecrypt.recipe.judge_rules import is_remote
from facecrypt.recipe.presets import load_presets
from facecrypt.recipe.resolve import resolve_recipe
from facecrypt.report.summary import next_choice
from facecrypt.system import limits
from facecrypt.system.private_files import make_temporary_folder, remove_temporary_folder, sweep_temporary_folders
from facecrypt.verdicts.verdict import ASKED

RECEIPTS = ("report.html", "report.json", "recipe.yaml")

State = Literal["empty", "looking", "ready", "running", "done", "failed", "cancelled"]

_SHOWN_SIDE = 1600
_MOST_AT_ONCE = 16
"""Faces protected together: more would take more memory than a small machine has."""
_LONGEST_NAME = 120


class BusyError(FacecryptError):
    """The page is at work on something else."""


class _CancelledError(Exception):
    pass


@dataclass
class _Run:
    """A run, as the page sees it."""

    picked: list[int]
    strength: str
    asked: float | None
    steps: int
    step: int = 0
    similarity: float | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Choices:
    """What the page offers: how visible the masks may be, or how much they are to protect.

    Attributes:
        presets: The recipe with every preset, by its name.
        protect: The recipe with a protection that is asked for; None where nothing can be expected of its masks.
        first: What is chosen when the page opens: the name of a preset, or ``protect``.
    """

    presets: Mapping[str, Recipe]
    protect: Recipe | None
    first: str


def load_choices(path: str | Path, overrides: Sequence[str], *, allow_env: bool = False) -> Choices:
    """Return a recipe with everything that the page offers.

    Args:
        path: A YAML file.
        overrides: ``key=value`` each; they hold whatever is chosen, but for a preset or a protection that they name,
            which is chosen when the page opens.
        allow_env: Whether ``${oc.env:NAME}`` in the recipe may read the environment.

    Raises:
        RecipeError: With every fault.
    """

    def load(*more: str) -> Recipe:
        recipe = load_recipe(path, [*overrides, *more], allow_env=allow_env)
        # Where a judge is not installed, the page works without it, and says so; and nothing leaves the machine.
        judges = [replace(judge, optional=True) for judge in recipe.held_out if not is_remote(judge)]
        return resolve_recipe(replace(recipe, held_out=judges, faces="all"))

    given = load()
    presets = {name: load(f"preset={name}") for name in load_presets()}
    protect: Recipe | None = given
    if given.protect is None:
        try:
            protect = load(f"protect={ASKED}")
        except RecipeError:  # All is right with presets: it is that nothing can be expected, or found.
            protect = None
    first = "protect" if given.protect is not None else str(given.preset)
    return Choices(presets, protect, first if first in (*presets, "protect") else "mid")


class Session:
    """One photo and what becomes of it. Every method may be called from any thread.

    Args:
        folder: From `make_folder`; `close` removes it.
        choices: From `load_choices`.
    """

    def __init__(self, folder: Path, choices: Choices) -> None:
        self._folder = folder
        self._choices = choices
        self._detector = build_detector(next(iter(choices.presets.values())).detector)
        self._lock = threading.Lock()
        self._state: State = "empty"
        self._message = ""
        self._photo: Photo | None = None
        self._faces: list[Face] = []
        self._run: _Run | None = None
        self._result: dict[str, Any] | None = None
        self._files: dict[str, Path] = {}
        self._thread: threading.Thread | None = None

    @property
    def presets(self) -> dict[str, float | None]:
        """The JOD that each preset keeps; None where the recipe has no budget of it."""
        return {name: recipe.budget.jod if recipe.budget else None for name, recipe in self._choices.presets.items()}

    @property
    def asked(self) -> float | None:
        """The protection that is asked for unless somebody says how much; None where none can be."""
        return self._choices.protect.protect if self._choices.protect else None

    @property
    def first(self) -> str:
        """What is chosen when the page opens: the name of a preset, or ``protect``."""
        return self._choices.first

    def expect(self, name: str) -> Path:
        """Return the file to write a new photo into, which takes the old one's place; then call `take` or `abandon`.

        Args:
            name: What the user calls the photo.

        Raises:
            BusyError: If another photo is being read or protected.
        """
        with self._lock:
            if self._state in ("looking", "running"):
                raise BusyError("Another photo is being worked on. Wait for it, or cancel it.")
            self._forget()
            self._state = "looking"
            path = self._folder / "in" / _safe_name(name)
            path.parent.mkdir(mode=0o700)
            return path

    def take(self, path: Path) -> None:
        """Read a new photo and find its faces.

        Args:
            path: From `expect`.

        Raises:
            PhotoError: If it is no photo that can be read; call `abandon` then.
        """
        with limits.applied(limits.resolve(next(iter(self._choices.presets.values())).limits)):
            photo = self._read(path)
            faces = self._detector.find(photo, "all")
        with self._lock:
            self._photo, self._faces, self._state = photo, faces, "ready"

    def abandon(self) -> None:
        """Forget the photo that was expected."""
        with self._lock:
            self._forget()

    def forget(self) -> None:
        """Remove the photo and all that was made of it.

        Raises:
            BusyError: If it is being worked on.
        """
        with self._lock:
            if self._state in ("looking", "running"):
                raise BusyError("The photo is being worked on. Wait for it, or cancel it.")
            self._forget()

    def start(self, picked: Sequence[int], strength: str, asked: float | None = None) -> None:
        """Protect some faces of the photo, in another thread.

        Args:
            picked: Positions of the faces, from 0, the largest first.
            strength: Name of a preset, or ``protect``.
            asked: For the latter, the share of unseen recognisers that are to take each face for somebody else.

        Raises:
            BusyError: If a run is under way, or there is no photo.
            FacecryptError: If there is no such strength or face.
        """
        with self._lock:
            if self._photo is None or self._state in ("looking", "running"):
                raise BusyError("There is no photo to protect now. Choose one, or wait for the one at work.")
            chosen_recipe = self._recipe(strength, asked)
            chosen = sorted(set(picked))
            if not chosen or chosen[0] < 0 or chosen[-1] >= len(self._faces):
                raise FacecryptError(f"faces: {list(picked)} are not among the {len(self._faces)} faces of the photo.")
            at_once = min(len(chosen), _MOST_AT_ONCE)
            recipe = replace(
                chosen_recipe,
                faces=Faces(index=[place + 1 for place in chosen]),
                output=str(self._output),
                batch_size=at_once,
                workers=0,
            )
            self._clear_result()
            rounds = -(-len(chosen) // at_once)
            self._run = _Run(chosen, strength, chosen_recipe.protect, recipe.steps * rounds)
            self._state = "running"
            self._thread = threading.Thread(target=self._work, args=(recipe, self._photo.path, self._run), daemon=True)
            self._thread.start()

    def cancel(self) -> None:
        """Stop the run, if there is one, at its next step."""
        with self._lock:
            if self._run:
                self._run.cancelled.set()

    def status(self) -> dict[str, Any]:
        """Return what the page shows, for JSON."""
        with self._lock:
            photo = None
            if self._photo is not None:
                height, width = self._photo.pixels.shape[:2]
                boxes = [list(face.box) for face in self._faces]
                photo = {"name": self._photo.path.name, "width": width, "height": height, "faces": boxes}
            run = self._run
            order = run and {"picked": run.picked, "strength": run.strength, "asked": run.asked}
            progress = run and {"step": run.step, "steps": run.steps, "similarity": run.similarity}
            return {
                "state": self._state,
                "message": self._message,
                "photo": photo,
                "order": order,
                "progress": progress if self._state == "running" else None,
                "result": self._result,
            }

    def file(self, name: str) -> Path | None:
        """Return a file of the finished run by its name, or None."""
        with self._lock:
            return self._files.get(name)

    def preview(self, protected: bool) -> bytes | None:
        """Return the photo, or what was made of it, as a JPEG for the page; None where there is none.

        Args:
            protected: Whether the protected photo is wanted.
        """
        with self._lock:
            photo = self._photo
            path = self._files[self._result["name"]] if self._result else None
        if protected:
            photo = read_photo(path) if path else None
        if photo is None:
            return None
        image = Image.fromarray(photo.pixels)
        image.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=95, subsampling=0)  # coarser would hide the mask
        return buffer.getvalue()

    def close(self) -> None:
        """End the run and remove every file."""
        self.cancel()
        if self._thread is not None:
            self._thread.join(timeout=10)
        remove_temporary_folder(self._folder)

    def _recipe(self, strength: str, asked: float | None) -> Recipe:
        allowed = {**self._choices.presets, **({"protect": self._choices.protect} if self._choices.protect else {})}
        if strength not in allowed:
            raise FacecryptError(f"strength: {strength!r} is not known. Allowed: {', '.join(allowed)}.")
        recipe = allowed[strength]
        return recipe if strength != "protect" or asked is None else replace(recipe, protect=asked)

    @property
    def _output(self) -> Path:
        return self._folder / "out"

    def _read(self, path: Path) -> Photo:
        if path.suffix.lower() not in FORMATS:
            raise PhotoError(f"{path.name}: ends in no known extension. Allowed: {', '.join(FORMATS)}.")
        try:
            return read_photo(path)
        except PhotoError as error:
            raise PhotoError(self._plain(error)) from error

    def _forget(self) -> None:
        self._clear_result()
        shutil.rmtree(self._folder / "in", ignore_errors=True)
        self._photo, self._faces, self._run, self._state = None, [], None, "empty"

    def _clear_result(self) -> None:
        shutil.rmtree(self._output, ignore_errors=True)
        self._result, self._message = None, ""
        self._files = {}

    def _work(self, recipe: Recipe, source: Path, run: _Run) -> None:
        def tell(progress: Progress) -> None:
            if run.cancelled.is_set():
                raise _CancelledError
            if progress.similarity is not None:
                with self._lock:
                    if run.step == run.steps:  # The masks were too weak, and stronger ones are made.
                        run.steps += first
                    run.step, run.similarity = run.step + 1, progress.similarity

        first = run.steps
        state: State = "failed"
        message = ""
        result: dict[str, Any] | None = None
        files: dict[str, Path] = {}
        destination = output_path(source, self._output, recipe.format)
        try:
            report = runner.run(recipe, chosen=[(source, destination)], on_progress=tell)
            (photo,) = report.photos
            if run.cancelled.is_set():
                raise _CancelledError
            if photo["status"] == "written":
                state, files = "done", {name: self._output / name for name in RECEIPTS}
                files[destination.name] = destination
                result = {
                    "name": destination.name,
                    "receipts": RECEIPTS,
                    "summary": report.summary,
                    "verdict": report.verdict,
                    "next": next_choice(report.recipe, photo["faces"]),
                    "notes": report.notes,
                    "encoding": photo["encoding"],
                    "faces": photo["faces"],
                }
            else:
                message = self._plain(photo["reason"])
        except _CancelledError:
            state, message = "cancelled", "Cancelled. Nothing was kept of the run."
        except FacecryptError as error:
            message = self._plain(error)
        except Exception:
            logging.getLogger("facecrypt").exception("the run failed")
            message = "This is a fault of facecrypt; the terminal in which it runs says more."
        if state != "done":
            shutil.rmtree(self._output, ignore_errors=True)
        with self._lock:
            self._state, self._message, self._result, self._files = state, message, result, files

    def _plain(self, message: object) -> str:
        """Return a message without the names of the private folder."""
        return str(message).replace(f"{self._folder / 'in'}{os.sep}", "").replace(f"{self._output}{os.sep}", "")


def make_folder() -> Path:
    """Return a new folder that only this user can read; remove those of killed programs first."""
    sweep_temporary_folders()
    return make_temporary_folder("ui")


def _safe_name(name: str) -> str:
    """Return a file name that stays inside its folder and hides nothing."""
    plain = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    plain = "".join(each for each in plain if unicodedata.category(each)[0] != "C").strip(". ")
    stem, suffix = os.path.splitext(plain)
    # File systems count bytes, of which a letter takes up to four.
    short = stem.encode()[:_LONGEST_NAME].decode(errors="ignore")
    return f"{short or 'photo'}{suffix[:16]}"
