"""``facecrypt migrate``: a recipe written in flat keys, written in groups."""

from __future__ import annotations

from pathlib import Path

from facecrypt.errors import FacecryptError, FacecryptWarning
from facecrypt.photos.files import write_bytes
from facecrypt.recipe.config_values import read_text
from facecrypt.recipe.migrate import migrate
from facecrypt.system import console


def migrate_file(path: str, in_place: bool) -> None:
    """Print a recipe in groups, or write it in its place with a backup beside it.

    Args:
        path: The recipe.
        in_place: Whether to write it.

    Raises:
        RecipeError: If it cannot be read, or a key stands in two places.
        FacecryptError: If the backup is there already, or a file cannot be written.
    """
    text = read_text(path)
    done = migrate(text, path)
    if not done.comments:
        console.warn(FacecryptWarning(f"{path}: some comments had no place in the groups and are left out"))
    if not in_place:
        console.write(done.text)
        return
    if not done.changed:
        console.say(f"{path}: is written in groups already")
        return
    backup = Path(f"{path}.bak")
    if backup.exists() or backup.is_symlink():
        raise FacecryptError(f"{backup}: is there already, and would be the backup of {path}. Move it away.")
    write_bytes(Path(path).read_bytes(), backup)
    write_bytes(done.text.encode(), Path(path))
    console.say(f"{path}: written in groups; as it was: {backup}")
