"""What arguments a built-in component has, read from its source, since importing it would import torch.

Only what is needed is evaluated: the annotations and defaults of one function, and the names in them.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from functools import cache
from inspect import Parameter
from pathlib import Path
from typing import Any

_PACKAGE = "facecrypt"
_LIGHT = ("typing", "collections", "pathlib", "pydantic")
"""Libraries whose names may stand in annotations: they are imported for every command anyway."""


class UnclearError(Exception):
    """The source does not tell, so that whoever asks must import."""


def read_arguments(target: str) -> dict[str, tuple[Any, Any]]:
    """Return the type annotation and the default (`inspect.Parameter.empty`: none) of a builder's arguments.

    Args:
        target: A class or function of facecrypt, ``"facecrypt.module:attribute"``.

    Raises:
        UnclearError: If it has other than keyword-only, typed arguments, or they use names of heavy libraries.
    """
    module, _, attribute = target.partition(":")
    scope = _scope(module)
    builder = scope.defined.get(attribute)
    if isinstance(builder, ast.ClassDef):
        own = [each for each in builder.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
        if not own and not builder.bases and not builder.decorator_list:
            return {}
        builder = own[0] if own else None
    if not isinstance(builder, ast.FunctionDef) or builder.decorator_list:
        raise UnclearError(target)
    given = builder.args
    positional = [each.arg for each in (*given.posonlyargs, *given.args)]
    if positional not in ([], ["self"]) or given.vararg or given.kwarg:
        raise UnclearError(target)
    arguments = {}
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        if argument.annotation is None:
            raise UnclearError(target)
        value = Parameter.empty if default is None else scope.evaluate(default)
        arguments[argument.arg] = scope.evaluate(argument.annotation), value
    return arguments


class _Scope(dict[str, Any]):
    """The names of a module, evaluated when they are asked for.

    Args:
        module: A module of facecrypt.
    """

    def __init__(self, module: str) -> None:
        super().__init__()
        path = Path(__file__).parents[1].joinpath(*module.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if module.partition(".")[0] != _PACKAGE or not file.is_file():
            raise UnclearError(module)
        self.defined: dict[str, ast.AST] = {}
        self.imported: dict[str, tuple[str, str]] = {}
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            self._take(node)

    def _take(self, node: ast.stmt) -> None:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            self.defined[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            self.defined[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            self.defined[node.target.id] = node.value
        elif isinstance(node, ast.ImportFrom) and node.module:
            self.imported |= {each.asname or each.name: (node.module, each.name) for each in node.names}
        elif isinstance(node, ast.If):  # of what is imported for its types
            for each in node.body:
                self._take(each)

    def evaluate(self, expression: ast.AST) -> Any:
        """Return the value of an expression of the module."""
        if not isinstance(expression, ast.expr):
            raise UnclearError(type(expression).__name__)
        return eval(compile(ast.Expression(expression), "<annotation>", "eval"), {"__builtins__": {}}, self)

    def __missing__(self, name: str) -> Any:
        if name in self.defined:
            self[name] = self.evaluate(self.defined[name])
        elif name in self.imported:
            module, attribute = self.imported[name]
            if module in sys.modules or module.partition(".")[0] in _LIGHT:
                self[name] = getattr(importlib.import_module(module), attribute)
            else:
                self[name] = _scope(module)[attribute]
        elif hasattr(builtins, name):
            return getattr(builtins, name)
        else:
            raise UnclearError(name)
        return self[name]


@cache
def _scope(module: str) -> _Scope:
    return _Scope(module)
