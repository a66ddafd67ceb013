"""What a judge is: somebody who is shown faces and says whether two are one person, or who of the enrolled one is.

A recogniser that gives embeddings is one of them (`facecrypt.judges.recogniser`). Others tell no more than their
answer: a service behind an address, a matcher that only ranks. Nothing heavy is imported here, since recipes are
checked by it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from facecrypt.choices import Question
from facecrypt.errors import JudgeError

if TYPE_CHECKING:
    from facecrypt.faces.patches import FaceImage

LARGEST_SIDE = 1024
"""Pixels on the longer side of what is encoded for a judge, unless it asks for more or fewer."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A face as judges are shown it.

    Attributes:
        pixels: The part of the photo around the face, ``(H, W, 3)`` uint8, sRGB, at the photo's own resolution. There
            is nothing else of the photo in it, and no metadata.
        face: The same face as recognisers see it, with its landmarks.
    """

    pixels: NDArray[np.uint8]
    face: FaceImage

    def png(self, largest: int = LARGEST_SIDE, *, smallest: int = 1, most_bytes: int | None = None) -> bytes:
        """Return the pixels as a PNG file.

        Args:
            largest: It is shrunk where a side has more pixels.
            smallest: It is enlarged where a side has fewer, as some services take none that are smaller.
            most_bytes: It is shrunk until the file has no more.
        """
        from PIL import Image

        image = Image.fromarray(np.ascontiguousarray(self.pixels))
        if (least := min(image.size)) < smallest:
            image = image.resize([math.ceil(side * smallest / least) for side in image.size], Image.Resampling.BICUBIC)
        while True:
            image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
            content = buffer.getvalue()
            if most_bytes is None or len(content) <= most_bytes or max(image.size) == 1:
                return content
            largest = max(1, int(max(image.size) * 0.95 * math.sqrt(most_bytes / len(content))))


class Opinion(NamedTuple):
    """What a judge says of two pictures.

    Attributes:
        similarity: On a scale of its own, larger for those more alike; None where it tells none.
        same: Whether both show one person; None where it does not decide.
        found: Whether it found a face in both.
    """

    similarity: float | None
    same: bool | None
    found: bool = True


class Match(NamedTuple):
    """Somebody whom a judge takes a picture for.

    Attributes:
        person: As enrolled.
        similarity: As that of an `Opinion`.
    """

    person: str
    similarity: float | None = None


@dataclass
class Spending:
    """What a remote judge has cost so far.

    Attributes:
        requests: Requests that were made, each repetition included.
        unsent: Requests that a dry run did not make.
        price: Of one request, in whatever currency its owner thinks; None where it is not known.
    """

    requests: int = 0
    unsent: int = 0
    price: float | None = None

    @property
    def cost(self) -> float | None:
        """Estimated cost of the requests, those of a dry run included; None where no price is known."""
        return None if self.price is None else self.price * (self.requests + self.unsent)


class Judge(Protocol):
    """Somebody who judges faces. It has the methods of what it answers: `Compares`, `Ranks` or both.

    Attributes:
        remote: Whether pictures leave this machine. Say so on the class, where the check of a recipe looks for it.
    """

    remote: bool

    @property
    def answers(self) -> Collection[Question]:
        """What it can be asked; an attribute will do."""
        ...

    @property
    def spending(self) -> Spending | None:
        """What it cost; None where nothing is counted, as for one on this machine. An attribute will do."""
        ...


class Keeps(Protocol):
    """A judge that keeps something of a run elsewhere, such as faces at a vendor's. A judge need not be one."""

    def close(self) -> None:
        """Clear it away; called at the end of each run, also of one that failed, and once more does no harm.

        Raises:
            JudgeError: If something is left, with its name.
        """
        ...


class Compares(Judge, Protocol):
    """A judge that compares two pictures."""

    def compare(self, first: Picture, second: Picture) -> Opinion:
        """Return what it says of two pictures.

        Raises:
            JudgeError: If it does not answer.
        """
        ...


class Ranks(Judge, Protocol):
    """A judge that ranks the people who were enrolled."""

    def enrol(self, person: str, photos: Sequence[Picture]) -> None:
        """Remember somebody; photos of a person who is enrolled already are added.

        Args:
            person: A name, which tells nothing of the person to a remote judge.
            photos: At least one.

        Raises:
            JudgeError: If it does not answer.
        """
        ...

    def rank(self, photo: Picture, count: int) -> Sequence[Match]:
        """Return at most so many different people, the likeliest first; nobody where it takes the face for none.

        Raises:
            JudgeError: If it does not answer.
        """
        ...


class Sworn(Compares, Ranks, Keeps, Protocol):
    """A judge as it is asked in a run: all that it says was checked, and what it cannot be asked is a `PluginError`."""


class NotSentError(JudgeError):
    """A dry run: what would have been asked was counted, and not sent."""
