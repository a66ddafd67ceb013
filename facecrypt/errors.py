"""The errors that a user can cause. The command line prints them without a traceback.

    FacecryptError
    ├── RecipeError            a recipe, or what it names, is wrong
    ├── UnknownComponentError  no component of that name
    ├── PluginError            a plugin registered something that cannot be used
    ├── WeightsError           weights are missing, corrupt or not the expected file
    ├── EmbeddingError         a recogniser gives something that is no embedding
    ├── JudgeError             a judge does not answer, or not as it should
    ├── ProtocolError          an identification protocol is wrong, or cannot be built
    ├── PhotoError             a photo cannot be read, protected or written
    └── NoFaceFoundError       (a PhotoError) no face was found where one is needed

Every message says where, what was given, what is allowed, and what to do.
Anything else that is raised is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence


class FacecryptError(Exception):
    """Base of every error that a user can cause and mend.

    Args:
        message: What is wrong.
        faults: A line for each fault, where it names several.
    """

    def __init__(self, message: str, faults: Sequence[str] = ()) -> None:
        self.faults = tuple(faults)
        self._message = message
        super().__init__("\n  ".join(self.lines))

    @property
    def lines(self) -> tuple[str, ...]:
        """The message: a line, and one for each fault where it names several."""
        return self._message, *self.faults

    def __reduce__(self) -> tuple[type[FacecryptError], tuple[str, tuple[str, ...]]]:
        """Keep both arguments when the error crosses a process boundary."""
        return type(self), (self._message, self.faults)


class RecipeError(FacecryptError):
    """One or more faults of a recipe, reported together.

    Args:
        source: The recipe file, or a word for where it came from.
        faults: One line per fault, each starting with its key path.
    """

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.source = source
        super().__init__(source, faults)

    @property
    def lines(self) -> tuple[str, ...]:
        """The file with the number of its faults, and these."""
        return (f"{self.source}: {_count(self.faults)}", *self.faults)


def _count(faults: Sequence[str]) -> str:
    return "1 problem" if len(faults) == 1 else f"{len(faults)} problems"


class UnknownComponentError(FacecryptError):
    """No component of that kind has that name."""


class PluginError(FacecryptError):
    """A plugin registered something that cannot be used."""


class WeightsError(FacecryptError):
    """Weights are missing, corrupt, or not the file that was expected."""


class EmbeddingError(FacecryptError):
    """A recogniser gives something that is no embedding, so that nothing can be compared."""


class JudgeError(FacecryptError):
    """A judge does not answer, or not as it should, so that it has no verdict."""


class ProtocolError(FacecryptError):
    """An identification protocol is wrong, cannot be read, built or written.

    Args:
        message: What is wrong; the file, where there are faults.
        faults: One line per fault of the file, each starting with its place.
    """

    @property
    def lines(self) -> tuple[str, ...]:
        """The message, or the file with the number of its faults, and these."""
        return (f"{self._message}: {_count(self.faults)}", *self.faults) if self.faults else (self._message,)


class PhotoError(FacecryptError):
    """A photo cannot be read, protected or written."""


class FacecryptWarning(UserWarning):
    """Something that a user should know and the run survives: a fallback taken, a judge left out, a broken plugin."""


class NoFaceFoundError(PhotoError):
    """No face was found in a photo that needs one."""
