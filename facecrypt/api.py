"""Protect pictures from Python: files, arrays and PIL images in, typed results out. See docs/python.md."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast, overload

import numpy as np
import pydantic
from numpy.typing import NDArray
from PIL import Image, ImageOps

from facecrypt.choices import MetadataPolicy
from facecrypt.errors import FacecryptWarning, NoFaceFoundError, PhotoError
from facecrypt.photos.colour import remembered_chunks
from facecrypt.photos.containers import with_png_chunks
from facecrypt.photos.encoding import display_profile
from facecrypt.photos.files import FORMATS, Photo, as_format, file_digest, read_photo, write_bytes, write_photo
from facecrypt.recipe.check import Recipe
from facecrypt.recipe.resolve import AnyRecipe, resolve_recipe
from facecrypt.report.summary import summarise
from facecrypt.system.naming import expand_home, output_path, path_fault
from facecrypt.system.places import file_id
from facecrypt.system.private_files import temporary_folder

if TYPE_CHECKING:
    from facecrypt.engine.callbacks import Progress
    from facecrypt.evaluation.verification import FaceReport, Verdict
    from facecrypt.verdicts.verdict import FaceVerdict

Picture = str | os.PathLike[str] | NDArray[np.uint8] | Image.Image
"""A photo: the path of a file, an array ``(H, W, 3)`` uint8 RGB, or a PIL image."""

Status = Literal["written", "unchanged", "failed"]

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_SHOWN_SIDE = 480
_GAP = 8


@dataclass(frozen=True, eq=False, repr=False)
class Protected:
    """What became of one picture. Nothing is written anywhere before `save`.

    Attributes:
        source: The path that was given, or ``image``, with its place where several were given.
        status: ``written`` (a picture was made), ``unchanged`` (no face was found, or it was made by an earlier run) or
            ``failed``.
        reason: Why none was made, or empty.
        faces: Its changed faces, as measured on the encoded 8-bit picture, in which faces were found afresh.
        verdict: The worst of these faces; None where there is none.
        summary: The verdict, how visible the change is and what to do if it protects too little, in plain words.
        encoding: How that picture was encoded: ``lossless PNG``, ``lossy JPEG``, ...; None where none was made.
    """

    source: str
    status: Status
    reason: str
    faces: tuple[FaceReport, ...]
    encoding: str | None
    _metadata: MetadataPolicy
    verdict: FaceVerdict | None = None
    summary: str = ""
    _photo: Photo | None = field(default=None)
    _file: bytes = field(default=b"")
    _pixels: NDArray[np.uint8] | None = field(default=None)
    _already: bool = False
    _inputs: tuple[Path, ...] = ()

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The protected picture, ``(H, W, 3)`` uint8 RGB, upright, read-only.

        Raises:
            PhotoError: If the picture was not protected, so that nobody takes it for a protected one.
        """
        return self._pixels if self._pixels is not None else self._refuse()

    @property
    def image(self) -> Image.Image:
        """The protected picture as a PIL image in RGB, upright, with its ICC profile. Raises what `pixels` raises."""
        image = Image.fromarray(self.pixels)
        profile = display_profile(self._photo) if self._photo is not None else None
        if profile:
            image.info["icc_profile"] = profile
        return image

    @property
    def original(self) -> NDArray[np.uint8]:
        """The picture as it was given, ``(H, W, 3)`` uint8 RGB, upright, read-only.

        Raises:
            PhotoError: If it could not be read.
        """
        return self._photo.pixels if self._photo is not None else self._refuse()

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the protected picture at once or not at all, in the format of the extension.

        A file in the format that `encoding` names is the very one that `faces` was measured on. Transparency, bits
        beyond eight, ICC profile and metadata of the input are kept as far as the format and the recipe let them.

        Args:
            path: The file to write; its folder is created. Never an input of the call, by whatever name.
            overwrite: Whether to replace a file that is there. One that holds the very same is no hindrance.

        Returns:
            The path.

        Raises:
            PhotoError: If the picture was not protected, the file cannot be written, or another one would be lost.
        """
        pixels, destination = self.pixels, _path(path, "save")
        assert self._photo is not None
        assert self.encoding is not None
        photo = as_format(self._photo, destination)
        if (here := file_id(destination)) is not None and here in map(file_id, self._inputs):
            which = "the input photo itself" if here == file_id(self._photo.path) else "another input of the call"
            raise PhotoError(f"{destination}: is {which}. Choose another name.")

        def announce(digest: str) -> None:
            if not overwrite and os.path.lexists(destination) and file_digest(destination) != digest:
                raise PhotoError(f"{destination}: exists. Choose another name, or give overwrite=True to replace it.")

        if FORMATS[destination.suffix.lower()] == self.encoding.split()[1]:
            write_bytes(self._file, destination, lambda _: announce(hashlib.sha256(self._file).hexdigest()))
            return destination
        written = write_photo(photo, pixels, destination, self._metadata, announce=announce)
        if written.startswith("lossy"):
            warnings.warn(
                f"{destination}: was written with loss, after its faces were measured: the numbers are not those of "
                "this file. Save it as PNG, or protect a photo of that format.",
                FacecryptWarning,
                stacklevel=2,
            )
        return destination

    def __repr__(self) -> str:
        return f"<Protected {self.source!r}: {self.status}. {self.reason or self.summary}>"

    def _repr_png_(self) -> bytes | None:
        """Return the original and the protected picture side by side, for notebooks."""
        if self._photo is None or self._pixels is None:
            return None
        pair = [Image.fromarray(pixels) for pixels in (self.original, self.pixels)]
        for image in pair:
            image.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
        width, height = pair[0].size
        both = Image.new("RGB", (2 * width + _GAP, height), "white")
        both.paste(pair[0], (0, 0))
        both.paste(pair[1], (width + _GAP, 0))
        buffer = io.BytesIO()
        both.save(buffer, "PNG")
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        """Return that picture and what the recognisers say, for notebooks."""
        title = f"<p><b>{html.escape(self.source)}</b>: {html.escape(self.summary) if self.faces else self.status}"
        picture = self._repr_png_()
        if picture is None:
            return f"{title}. {html.escape(self.reason)}</p>"
        data = base64.b64encode(picture).decode()
        rows = "".join(
            f"<tr><td>{number}</td><td>{html.escape(name)}{'*' if verdict.white_box or verdict.chooses else ''}</td>"
            f"<td>{_number(verdict.similarity, _without_similarity(verdict))}</td>"
            f"<td>{_number(verdict.threshold, 'unknown')}</td><td>{html.escape(_says(verdict))}</td></tr>"
            for number, face in enumerate(self.faces, 1)
            for name, verdict in face.recognisers.items()
        )
        return (
            f"{title}</p><p>Left the original, right the changed picture ({self.encoding}).</p>"
            f'<img src="data:image/png;base64,{data}" alt="original and changed picture">'
            f"<table><thead><tr><th>Face</th><th>Recogniser</th>"
            f"<th>Similarity</th><th>Same person from</th><th>It says</th></tr></thead><tbody>{rows}</tbody></table>"
            "<p>* helped to make the mask (white-box) or chose its strength: says nothing about other recognisers.</p>"
        )

    def _refuse(self) -> NoReturn:
        no_face = self.status == "unchanged" and not self._already
        raise (NoFaceFoundError if no_face else PhotoError)(self.reason)


def _without_similarity(verdict: Verdict) -> str:
    return "none" if verdict.cannot_judge or verdict.still_recognised is not None else "no face found"


def _says(verdict: Verdict) -> str:
    if verdict.cannot_judge:
        return f"could not judge: {verdict.cannot_judge}"
    return {True: "still the same person", False: "another person", None: "no verdict"}[verdict.still_recognised]


@overload
def protect(
    images: Picture,
    recipe: AnyRecipe = None,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    **overrides: Any,
) -> Protected: ...


@overload
def protect(
    images: Sequence[Picture],
    recipe: AnyRecipe = None,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    **overrides: Any,
) -> list[Protected]: ...


def protect(
    images: Picture | Sequence[Picture],
    recipe: AnyRecipe = None,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    **overrides: Any,
) -> Protected | list[Protected]:
    """Protect the faces of one picture, or of several together. Inputs never change, and no file is written.

    Args:
        images: The path of a photo, an array ``(H, W, 3)`` uint8 RGB, a PIL image (turned upright by its EXIF
            orientation), or a list of these.
        recipe: A YAML file, a `Recipe`, or a mapping of its keys, such as a ``DictConfig`` of OmegaConf;
            ``recipes/quickstart.yaml`` by default. Its keys about files (``photos``, ``output``, ``in_place``,
            ``backup``, ``name``) play no part.
        on_progress: Told of every step; what it raises ends the call.
        **overrides: Keys of the recipe with other values: ``epsilon=8, steps=20``.

    Returns:
        A result for one picture, a list of them for a list. In a list, a picture that cannot be read or protected
        has ``status == "failed"``, and the others are done.

    Raises:
        RecipeError: If the recipe or an override is wrong.
        PhotoError: If an argument is no picture, or the only one cannot be read or protected.
        FacecryptError: If weights cannot be loaded, or something else stops the run as a whole.
    """
    made = resolve_recipe(recipe, overrides)
    several = isinstance(images, list | tuple)
    pictures = list(cast(Sequence[Picture], images)) if several else [cast(Picture, images)]
    with temporary_folder("protect") as folder:
        labels = [f"images[{number}]" if several else "image" for number in range(len(pictures))]
        sources = [
            _file_of(picture, label, Path(folder, "in", str(number)))
            for number, (picture, label) in enumerate(zip(pictures, labels, strict=True))
        ]
        recipe_file = Path(recipe) if isinstance(recipe, str | os.PathLike) else None
        results = _run(made, sources, Path(folder, "out"), on_progress, recipe_file) if sources else []
    if several:
        return results
    (result,) = results
    if result.status == "failed":
        raise PhotoError(result.reason)
    return result


@dataclass(frozen=True)
class _Source:
    """A picture as the file that the pipeline reads, how messages call it, and the file that it came from."""

    path: Path
    name: str
    origin: Path | None = None


def _file_of(picture: Picture, label: str, folder: Path) -> _Source:
    """Return a file with a picture, written losslessly into a folder of its own if it is none yet."""
    if isinstance(picture, str | os.PathLike):
        path = _path(picture, label)
        return _Source(path, os.fsdecode(picture), path.absolute())
    origin = None
    if isinstance(picture, Image.Image):
        image = _png_ready(picture, label)
        name = getattr(picture, "filename", "")  # empty where it was not opened from a file
        origin = Path(os.fsdecode(name)).absolute() if name else None
    elif isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3:
        if not picture.size:
            raise PhotoError(f"{label}: is an array without pixels, {picture.shape}. Give at least one.")
        image = Image.fromarray(np.ascontiguousarray(picture))
    else:
        given = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
        raise PhotoError(
            f"{label}: {given} is no picture. Allowed: a path, a PIL image, an array (H, W, 3) of uint8 in RGB, "
            "or a list of these; turn floats in [0, 1] into (x * 255).round().astype('uint8')."
        )
    folder.mkdir(parents=True)
    # One name for all: the seed of a face depends on it, and must not depend on the place in a list.
    path = folder / "image.png"
    image.save(path, "PNG", compress_level=1)
    if chunks := remembered_chunks(image):
        path.write_bytes(with_png_chunks(path.read_bytes(), chunks))
    return _Source(path, label, origin)


def _path(given: str | os.PathLike[str], label: str) -> Path:
    if fault := path_fault(os.fsdecode(given)):
        raise PhotoError(f"{label}: {fault}")
    return expand_home(given)


def _png_ready(picture: Image.Image, label: str) -> Image.Image:
    """Return a PIL image upright, in a mode that a PNG file holds without loss."""
    try:
        image = ImageOps.exif_transpose(picture)
    except Exception as error:  # a lazily loaded file: whatever its decoder raises, the picture is at fault
        raise PhotoError(
            f"{label}: is damaged or cut short ({' '.join(str(error).split())}). Load it anew, or give its path."
        ) from error
    image = image.convert("RGBA") if image.mode == "PA" else image
    if image.mode not in _PNG_MODES:
        raise PhotoError(f"{label}: has {image.mode} colours. RGB and grayscale are allowed; convert it to RGB.")
    return image


def _run(
    recipe: Recipe,
    sources: Sequence[_Source],
    output: Path,
    on_progress: Callable[[Progress], None] | None,
    recipe_file: Path | None,
) -> list[Protected]:
    # Imported after the recipe and the pictures are known to be right: torch and Lightning take seconds.
    from facecrypt.evaluation.verification import FaceReport
    from facecrypt.pipeline import runner
    from facecrypt.pipeline.inputs import named_files

    read = [*(source.origin for source in sources), *(path for path, _ in named_files(recipe)), recipe_file]
    inputs = tuple(path.absolute() for path in read if path is not None)
    faces = pydantic.TypeAdapter(tuple[FaceReport, ...])
    chosen = [
        (source.path, output_path(source.path, output / str(number), recipe.format))
        for number, source in enumerate(sources)
    ]
    with _quiet_lightning():
        report = runner.run(
            replace(recipe, output=str(output)), chosen=chosen, on_progress=on_progress or (lambda progress: None)
        )
    results = []
    for entry, source in zip(report.photos, sources, strict=True):
        photo, pixels, data = None, None, b""
        if entry["status"] != "failed":
            photo = read_photo(source.path)
        if entry["output"] is not None and entry["status"] == "written":
            pixels, data = read_photo(Path(entry["output"])).pixels, Path(entry["output"]).read_bytes()
        results.append(
            Protected(
                source=source.name,
                status=entry["status"],
                reason=entry["reason"].replace(str(source.path), source.name),
                faces=faces.validate_python(entry["faces"]),
                verdict=entry["verdict"],
                summary=summarise([entry], report.recipe),
                encoding=entry["encoding"] if pixels is not None else None,
                _metadata=recipe.metadata,
                _photo=photo,
                _file=data,
                _pixels=pixels,
                _already=entry["already"],
                _inputs=inputs,
            )
        )
    return results


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _number(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:.3f}"
