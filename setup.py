"""What pyproject.toml cannot say: recipes/ goes into the package, so that an installed facecrypt finds them by name."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """Copies the folder of recipes into what is built; an editable install finds it where it is."""

    def run(self) -> None:
        """Build, and copy."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "facecrypt" / "data" / "recipes"
            shutil.copytree("recipes", target, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithRecipes})
