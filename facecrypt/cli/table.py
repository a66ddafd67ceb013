"""The commands: what each is for, and the parser of them all. Each is a module of `facecrypt.cli.commands`.

Such a module has ``add_arguments(parser)`` and ``run(arguments)``, which returns the exit status. It is imported when
its command is used, and imports what takes long when it runs.
"""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType
from typing import NamedTuple

from facecrypt.cli.statuses import STATUSES
from facecrypt.system import console


class Command(NamedTuple):
    """A command.

    Attributes:
        help: What it is for, in a line.
        online: Whether it may open a connection, so that it takes ``--offline``.
    """

    help: str
    online: bool = False


COMMANDS = {
    "run": Command("protect photos; photos alone mean this command, too", online=True),
    "recipes": Command("list the recipes that come with facecrypt"),
    "cp": Command("copy a recipe that comes with facecrypt, to change it"),
    "ui": Command("protect a photo on a web page of this machine", online=True),
    "check": Command("name every fault of a recipe, building nothing"),
    "show": Command("print a recipe with every default filled in"),
    "migrate": Command("write a recipe of flat keys, as those of 0.1 are, in groups"),
    "evaluate": Command("compare methods by identification on labelled photos", online=True),
    "bench": Command("measure how fast a recipe is, and where its time and memory go", online=True),
    "learn": Command("learn one mask for all photos of a person", online=True),
    "train": Command("train a network that makes masks in one pass", online=True),
    "list": Command("list the components and presets that recipes can name"),
    "weights": Command("list, fetch and verify the recognisers' weights", online=True),
    "new": Command("write the files of a plugin to begin with"),
    "completion": Command("print what completes commands in bash, zsh or fish"),
    "help": Command("tell what a command does, and its options"),
}
"""Every command, those that most people use first."""

GLOBAL_FLAGS = ("--offline", "-q", "--quiet", "-v", "--verbose")
"""Options that may stand before the command, too."""


def load(name: str) -> ModuleType:
    """Return the module of a command."""
    return importlib.import_module(f"facecrypt.cli.commands.{name}")


def make_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Args:
        only: The command whose arguments it is to know; empty for none, None for all.
    """
    shared = console.Parser(add_help=False)
    # Suppressed, because a default here would overwrite what an option before the command's name has set.
    shared.add_argument(
        "-q", "--quiet", action="store_true", default=argparse.SUPPRESS, help="say nothing but what is wrong"
    )
    shared.add_argument(
        "-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="say all that a report notes, too"
    )
    offline = offline_option()
    parser = console.Parser(
        prog="facecrypt",
        usage="facecrypt PHOTO ... [-o FOLDER]\n       facecrypt COMMAND ...",
        description="Change faces in photos so that face recognition takes them for others, and people see the same\n"
        "picture. 'facecrypt photo.jpg' makes photo_protected.jpg; 'facecrypt help run' tells more.",
        epilog=STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[offline, shared],
    )
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", prog="facecrypt")
    for name, command in COMMANDS.items():
        parents = [offline, shared] if command.online else [shared]
        parser_of = commands.add_parser(name, help=command.help, description=_sentence(command.help), parents=parents)
        if only in (None, name):
            module = load(name)
            module.add_arguments(parser_of)
            if parser_of.get_default("command") is None:
                parser_of.set_defaults(command=module.run)
    return parser


def offline_option() -> console.Parser:
    """Return a parser of the option that forbids connections, as a parent of others."""
    offline = console.Parser(add_help=False)
    offline.add_argument(
        "--offline", action="store_true", default=argparse.SUPPRESS, help="open no connection (FACECRYPT_OFFLINE=1)"
    )
    return offline


class _Version(argparse.Action):
    """Prints the version, which is looked up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata

        console.say(f"facecrypt {metadata.version('facecrypt')}")
        parser.exit()


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a command that takes a recipe and values for its keys."""
    from facecrypt.cli.completing import complete_keys, complete_recipes

    add_environment(parser)
    recipe = parser.add_argument(
        "recipe", metavar="RECIPE", help="a YAML file, or the name of a recipe that is shipped"
    )
    recipe.completer = complete_recipes  # type: ignore[attr-defined]
    overrides = parser.add_argument(
        "overrides", metavar="key=value", nargs="*", help="replace a value, as in surrogates[0].weight=2"
    )
    overrides.completer = complete_keys  # type: ignore[attr-defined]


def add_environment(parser: argparse.ArgumentParser) -> None:
    """Add the option by which a recipe may read the environment."""
    parser.add_argument("--allow-env", action="store_true", help="let ${oc.env:NAME} in a recipe read the environment")
