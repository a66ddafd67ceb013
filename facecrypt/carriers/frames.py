"""Frames: those of a video file or of a folder with numbered pictures, and a video of the protected ones."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from facecrypt.carriers.base import MOST_FILES, PICTURES, Delivered, Delivery, Room, read_pieces
from facecrypt.errors import PhotoError
from facecrypt.photos.reading import read_photo
from facecrypt.system.child import Child, ChildError
from facecrypt.system.naming import expand_home
from facecrypt.system.private_files import temporary_folder
from facecrypt.system.regular import is_regular, open_regular

_SECONDS = 3600.0
"""Computing time in which a video must be read, in seconds of one core."""
_USUAL_RATE = 25.0
_CODES = {"mp4": "mp4v", "avi": "MJPG"}
"""The encoders that come with OpenCV's own wheels."""

_reader = Child("facecrypt.carriers.frames")


class FramesSource:
    """The frames of a video file, or the pictures of a folder in the order of the numbers in their names.

    A video is read by OpenCV, in a process of its own. Its frames are laid out as PNG files, ``000001.png`` and so on.

    Args:
        most: Most frames to take, the first ones.
    """

    def __init__(self, *, most: Annotated[int, Field(ge=1, le=MOST_FILES)] = 10_000) -> None:
        self._most = most

    def fetch(self, photos: str | None, room: Room) -> None:
        """Lay the frames out."""
        if photos is None:
            raise PhotoError(
                "photos: the source 'frames' reads a video, or a folder of frames. Name one: photos=a.mp4."
            )
        path = expand_home(photos)
        if path.is_dir():
            for frame in numbered_frames(path)[: self._most]:
                with open_regular(frame) as file:
                    room.add(frame.name, read_pieces(file))
        elif is_regular(path):
            try:
                names = _reader.call(read_video, path.absolute(), room.folder, self._most, seconds=_SECONDS)
            except ChildError as error:
                raise PhotoError(f"{photos}: cannot be read as a video ({error}). Copy it again.") from error
            room.names.extend(names)
        if not room.names:
            raise PhotoError(
                f"{photos}: holds no frames. Name a video that OpenCV can read, or a folder of numbered pictures."
            )


def numbered_frames(folder: Path) -> list[Path]:
    """Return the pictures of a folder that have a number in their name, by the last one of it."""
    found = []
    for path in folder.iterdir():
        numbers = re.findall(r"\d+", path.stem)
        if numbers and path.suffix.lower() in PICTURES and not path.name.startswith(".") and is_regular(path):
            found.append((int(numbers[-1]), path.name, path))
    return [path for *_, path in sorted(found)]


def read_video(path: Path, folder: Path, most: int) -> list[str]:
    """Write the frames of a video as PNG files, and return their names; none where it is no video.

    Args:
        path: The video.
        folder: An empty folder.
        most: Most frames.

    Raises:
        PhotoError: If they are more than a source may bring.
    """
    import cv2

    room = Room(folder)
    video = cv2.VideoCapture(str(path))
    try:
        while len(room.names) < most:
            there, frame = video.read()
            if not there:
                break
            done, data = cv2.imencode(".png", frame, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            if not done:
                raise PhotoError(f"{path}: frame {len(room.names) + 1} cannot be written as PNG.")
            room.add(f"{len(room.names) + 1:06d}.png", [data.tobytes()])
    finally:
        video.release()
    return room.names


class FramesSink:
    """The protected frames as files in the output folder and, if wanted, a video of them.

    The video has every frame, those without a face as they were. It is compressed anew, so what recognisers make of it
    was not measured; and it has no sound. Where a frame could not be protected, none is written.

    Args:
        video: The kind of video: MPEG-4 in ``mp4`` or Motion JPEG in ``avi``, by the encoders of OpenCV.
        fps: Frames per second; null for as many as the video has that was read, or else 25.
    """

    private = False

    def __init__(
        self,
        *,
        video: Literal["none", "mp4", "avi"] = "none",
        fps: Annotated[float, Field(gt=0, le=1000)] | None = None,
    ) -> None:
        self._video, self._fps = video, fps

    def files(self, names: Sequence[str], photos: str | None) -> Sequence[str]:
        """Return the name of the video."""
        if self._video == "none":
            return []
        return [f"{expand_home(photos).stem if photos else 'frames'}.{self._video}"]

    def deliver(self, delivery: Delivery) -> None:
        """Write the video."""
        if self._video == "none":
            return
        if failed := [photo.source for photo in delivery.photos if photo.status == "failed"]:
            raise PhotoError(
                f"sink: no video was written, since {len(failed)} frames could not be protected: "
                f"{', '.join(failed[:5])}{', ...' if len(failed) > 5 else ''}."
            )
        with temporary_folder("video") as folder:
            made = folder / f"frames.{self._video}"
            _encode(delivery.photos, made, _CODES[self._video], self._fps or _rate_of(delivery.origin))
            with delivery.file(delivery.allowed[0]) as file, made.open("rb") as video:
                shutil.copyfileobj(video, file)
        shown = sum(photo.protected is None for photo in delivery.photos)
        as_was = f", {shown} of them as they were, since no face was to be protected" if shown else ""
        delivery.notes.append(
            f"{delivery.allowed[0]}: {len(delivery.photos)} frames{as_was}; compressed anew, which was not measured"
        )


def _rate_of(origin: str | None) -> float:
    if origin is None or not is_regular(expand_home(origin)):
        return _USUAL_RATE
    import cv2

    video = cv2.VideoCapture(str(expand_home(origin)))
    try:
        return video.get(cv2.CAP_PROP_FPS) or _USUAL_RATE
    finally:
        video.release()


def _encode(photos: Sequence[Delivered], path: Path, code: str, rate: float) -> None:
    import cv2

    writer: cv2.VideoWriter | None = None
    size: tuple[int, ...] = ()
    try:
        for name, frame in _pixels(photos):
            if writer is None:
                size = frame.shape
                writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), rate, (size[1], size[0]))
                if not writer.isOpened():
                    raise PhotoError(
                        f"sink: this OpenCV cannot write {path.suffix} files. Set sink.args.video to none."
                    )
            if frame.shape != size:
                raise PhotoError(f"sink: no video was written, since {name} is of another size than the first frame.")
            writer.write(frame)
    finally:
        if writer is not None:
            writer.release()


def _pixels(photos: Sequence[Delivered]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield name and pixels of each frame, in the order of colours that OpenCV has."""
    for photo in photos:
        yield photo.source, read_photo(photo.protected or photo.original).pixels[..., ::-1].copy()
