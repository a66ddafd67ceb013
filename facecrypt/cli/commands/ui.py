"""``facecrypt ui``: a page of this machine."""

from __future__ import annotations

import argparse
import logging

from facecrypt.cli.statuses import DONE
from facecrypt.cli.table import add_environment
from facecrypt.errors import FacecryptError
from facecrypt.system import interrupts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    from facecrypt.cli.completing import complete_keys, complete_recipes

    parser.add_argument("--port", type=int, default=7860, help="where to listen on 127.0.0.1; 0 for any free port")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")
    add_environment(parser)
    recipe = parser.add_argument(
        "--recipe", metavar="RECIPE", help="a YAML file or a shipped recipe; the quickstart recipe by default"
    )
    recipe.completer = complete_recipes  # type: ignore[attr-defined]
    overrides = parser.add_argument("overrides", metavar="key=value", nargs="*", help="replace a value of the recipe")
    overrides.completer = complete_keys  # type: ignore[attr-defined]


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until somebody stops it."""
    from importlib.util import find_spec

    from facecrypt.recipe.check import load_recipe
    from facecrypt.recipe.resolve import quickstart

    path = arguments.recipe or quickstart()
    # What is wrong with it is said before torch takes seconds to import.
    load_recipe(path, arguments.overrides, allow_env=arguments.allow_env)
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise FacecryptError("ui: needs starlette and uvicorn, which are not installed. Install facecrypt[ui].")
    from facecrypt.ui.server import serve
    from facecrypt.ui.session import load_choices

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    interrupts.tell_ending("the page's photo and all that was made of it are removed; the same command starts anew")
    choices = load_choices(path, arguments.overrides, allow_env=arguments.allow_env)
    serve(choices, arguments.port, not arguments.no_browser)
    return DONE
