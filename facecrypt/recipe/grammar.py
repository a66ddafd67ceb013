"""OmegaConf's grammar of interpolations. Imported for a text that has some, as it takes a third of a second.

OmegaConf parses and evaluates a text; what its references and functions stand for is up to whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from omegaconf._utils import split_key
from omegaconf.errors import GrammarParseError, InterpolationResolutionError
from omegaconf.grammar_parser import parse as parse_text
from omegaconf.grammar_visitor import GrammarVisitor

Tree = Any
"""A text as OmegaConf parsed it."""

LookUp = Callable[[int, tuple[str, ...]], object]
"""Returns what a key stands for: the number of points before it, its parts."""

Call = Callable[[str, Sequence[Any], Sequence[str]], object]
"""Returns what a function gives: its name, its arguments, and these as they were written."""


class GrammarError(ValueError):
    """A text breaks the grammar; the message says why."""


class _Visitor(GrammarVisitor):
    def visitSequence(self, ctx: Any) -> Generator[Any, None, None]:  # noqa: N802
        # OmegaConf takes an argument that is left out for an empty text, and warns of it on the terminal.
        if ctx.getChildCount() != 2 * len(ctx.element()) - 1:
            raise GrammarError("an argument is left out between commas")
        return super().visitSequence(ctx)


def parse(text: str) -> Tree:
    """Return a text parsed, in time and recursion that grow with its length and its brackets, so bound them first.

    Raises:
        GrammarError: If it breaks the grammar.
    """
    try:
        return parse_text(text)
    except GrammarParseError as error:
        raise GrammarError(" ".join(str(error).split())) from error


def evaluate(tree: Tree, look_up: LookUp, call: Call) -> Any:
    """Return what a text stands for: a str, or, where it is one interpolation alone, what the callback returned.

    Args:
        tree: The text.
        look_up: Gives the value of a reference. What it returns is written by ``str()``, and is a str where its text
            may be part of a key.
        call: Gives the value of a function.

    Raises:
        GrammarError: If what stands for a key or a name is no text.
    """

    def find(key: Any, memo: object) -> Any:
        if not isinstance(key, str):
            return look_up(key.relative_dots, key.parts)
        path = key.lstrip(".")  # Before OmegaConf 2.4 it is one text.
        return look_up(len(key) - len(path), tuple(split_key(path)))

    def run(name: str, args: tuple[Any, ...], args_str: tuple[str, ...]) -> object:
        return call(name, args, args_str)

    try:
        return _Visitor(node_interpolation_callback=find, resolver_interpolation_callback=run, memo=None).visit(tree)
    except InterpolationResolutionError as error:
        raise GrammarError(" ".join(str(error).split())) from error
