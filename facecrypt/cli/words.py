"""The words after ``facecrypt run``, told apart: photos, a recipe, and values for its keys."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from facecrypt.errors import FacecryptError, RecipeError
from facecrypt.photos.finding import is_pattern
from facecrypt.recipe.shipped import SUFFIXES, shipped_names, shipped_recipe
from facecrypt.system.naming import FORMATS, expand_home
from facecrypt.system.texts import brief

STREAM = "-"
"""The photo on standard input."""


@dataclass(frozen=True)
class Words:
    """What was typed.

    Attributes:
        recipe: The file of a recipe; None where none is named.
        photos: Files, folders, globs, and `STREAM`.
        overrides: ``key=value`` each.
    """

    recipe: str | None
    photos: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)


def sort_words(words: Sequence[str], recipe: str | None = None) -> Words:
    """Return words by what they are.

    Args:
        words: As they were typed.
        recipe: The recipe that an option names, by its file or as one that is shipped.

    Raises:
        FacecryptError: If a word stands for nothing, or for a recipe and a folder.
    """
    photos, overrides, recipes = list[str](), list[str](), list[str]()
    for word in words:
        if is_override(word):
            overrides.append(word)
        elif (path := _as_recipe(word, alone=recipe is None and not recipes and not photos)) is not None:
            recipes.append(path)
        elif fault := why_no_photo(word):
            raise FacecryptError(fault)
        else:
            photos.append(word)
    if recipe is not None:
        recipes.insert(0, str(shipped_recipe(recipe)) if recipe in shipped_names() else recipe)
    if len(recipes) > 1:
        raise RecipeError(
            "run", [f"{recipes[0]} and {recipes[1]} are both recipes, and a run follows one. Leave one out."]
        )
    return Words(recipes[0] if recipes else None, photos, overrides)


def is_override(word: str) -> bool:
    """Return whether a word is ``key=value``, and not a file of that name."""
    key, equals, _ = word.partition("=")
    return bool(equals) and not os.path.lexists(word) and not ("/" in key and _is_picture(word))


def why_no_photo(word: str) -> str:
    """Return why a word that is no recipe file stands for nothing; empty where it stands for something.

    Args:
        word: What was typed.
    """
    if word == STREAM or is_override(word) or os.path.lexists(expand_home(word)):
        return ""
    if is_pattern(word) or _is_picture(word) or word.endswith(SUFFIXES) or word in shipped_names():
        return ""  # Whoever looks for it will say that it is not there.
    from facecrypt.checking import suggest
    from facecrypt.cli.table import COMMANDS

    near = [*shipped_names(), *COMMANDS, *_beside(word)]
    return f"{brief(word)}: there is no such photo, folder, recipe or command.{suggest(word, near)} See facecrypt help."


def _as_recipe(word: str, *, alone: bool) -> str | None:
    """Return the file of a recipe that a word names; None where it names none.

    Args:
        word: What was typed.
        alone: Whether nothing else was given before, so that a file of any other name is a recipe, as it always was.
    """
    path = expand_home(word)
    shipped = word in shipped_names()
    if shipped and path.is_dir():
        raise FacecryptError(
            f"{word}: is the name of a recipe, and of a folder here. Write ./{word} for the folder, or --recipe {word} "
            "for the recipe."
        )
    if word.endswith(SUFFIXES) and not path.is_dir():
        return word
    if not os.path.lexists(path):
        return str(shipped_recipe(word)) if shipped else None
    if not alone or path.is_dir() or _is_picture(word) or _holds_picture(path):
        return None
    return word


def _is_picture(word: str) -> bool:
    return word.lower().endswith((*FORMATS, ".gif"))


def _holds_picture(path: os.PathLike[str]) -> bool:
    """Return whether a file, whatever it is called, begins as a photo does."""
    from facecrypt.photos.decoding import suffix_of

    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return suffix_of(file.read(128)) is not None
    except OSError:
        return False


def _beside(word: str) -> list[str]:
    """Return what lies where a word says that something lies."""
    folder = os.path.dirname(word)
    try:
        return [os.path.join(folder, name) for name in os.listdir(expand_home(folder or "."))]
    except OSError:
        return []
