"""Names for components: what a recipe can ask for, from this package and from plugins.

A component is a class or a builder function whose arguments are keyword-only and typed. It is registered under a kind
and a name, usually as ``"package.module:attribute"``, so that listing the components imports none of them.
"""

from __future__ import annotations

import importlib
import inspect
import io
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from functools import wraps
from importlib import metadata
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Concatenate,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import pydantic

from facecrypt.checking import MOST_FAULTS, describe_fault, suggest, validate
from facecrypt.errors import FacecryptError, FacecryptWarning, PluginError, UnknownComponentError
from facecrypt.signatures import UnclearError, read_arguments
from facecrypt.system.texts import Text, brief, plain

if TYPE_CHECKING:
    from facecrypt.surrogates.spec import EmbedderSpec

Kind = Literal[
    "method",
    "surrogate",
    "judge",
    "naturalness",
    "target_selector",
    "gradient",
    "optimizer",
    "view",
    "transform",
    "source",
    "sink",
    "detector",
    "region",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
Kinds = Kind | tuple[Kind, ...]
"""What a key of a recipe may name: one kind, or several, of which the first that has the name is meant."""
JUDGES: tuple[Kind, ...] = ("judge", "surrogate")
"""What may judge saved photos."""
ENTRY_POINT_GROUP = "facecrypt.plugins"
BUILT_IN = "built-in"
API_VERSION = 1
"""Of what plugins import, `facecrypt.plugin`: another one where a plugin made for this one may no longer work."""

_API_NAME = "FACECRYPT_API"
"""By which a plugin's module says for which version it was made."""
_SLOW = 5.0
"""Seconds that a plugin may take to import before its user is told why every command waits."""
_PROGRAM = "this program"
_SPECS = "facecrypt.surrogates.spec"
_BUILT_IN_MODULE = "facecrypt.builtin"  # by its name, as plugins are, since it knows all components


_Result = TypeVar("_Result")


class Promised:
    """Whoever has promised something, and is named where that is not kept: a component, by kind, name and package.

    Attributes:
        kind: What it is for.
        name: What recipes call it.
        origin: ``built-in``, or the name of the plugin.
    """

    kind: str
    name: str
    origin: str
    not_its_fault: ClassVar[tuple[type[BaseException], ...]] = (FacecryptError, MemoryError)
    """What goes through `call` as it is."""

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.name!r} ({self.origin})"

    def broken(self, came: str, expected: str) -> PluginError:
        """Return the error for a component that does not keep its promise."""
        kind = self.kind.replace("_", " ")
        return PluginError(f"{self}: {came}; expected {expected}. Mend it, or name another {kind}.")

    def call(self, function: Callable[..., _Result], *given: Any) -> _Result:
        """Return what one of the component's functions returns.

        Raises:
            PluginError: If a plugin's raises anything but errors of facecrypt: no fault of this program.
        """
        try:
            return function(*given)
        except self.not_its_fault:
            raise
        except (Exception, SystemExit) as error:
            if self.origin == BUILT_IN:
                raise
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}, line {last.lineno}"
            raise self.broken(f"raised {type(error).__name__} ({where}): {_one_line(error)}", "a result") from error

    def require(self, built: object, *methods: str) -> None:
        """Make sure that what was built has the methods of its protocol.

        Raises:
            PluginError: If it has not.
        """
        missing = [name for name in methods if not callable(getattr(built, name, None))]
        if missing or isinstance(built, type):
            what = "a class" if isinstance(built, type) else type(built).__name__
            raise self.broken(f"was built as {what}", f"an object with {' and '.join(methods)}")


@dataclass(frozen=True)
class Component(Promised):
    """One registered component.

    Attributes:
        kind: What it is for.
        name: What recipes call it.
        target: The class or builder, or where to import it from (``"package.module:attribute"``).
        summary: One line for ``facecrypt list``.
        origin: ``built-in``, or the name of the plugin.
        spec: For surrogates, what is known about the recogniser; None for the other kinds, and for surrogates whose
            network the recipe's arguments decide.
    """

    kind: Kind
    name: str
    target: str | Callable[..., Any]
    summary: str
    origin: str
    spec: EmbedderSpec | None = None

    def load(self) -> Callable[..., Any]:
        """Return the class or builder, importing it where needed.

        Raises:
            PluginError: If it cannot be imported.
        """
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        try:
            # What a module prints is not what a command was asked for, here as in `Registry.load_plugins`.
            with redirect_stdout(io.StringIO()):
                loaded: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        except (Exception, SystemExit) as error:
            raise self.fault(f"{self.target} cannot be imported ({_told(error)})") from error
        if not callable(loaded):
            raise self.fault(f"{self.target} is {brief(loaded)}, which is neither a class nor a function")
        return loaded

    def fault(self, what: str) -> PluginError:
        """Return the error for a component that cannot be used."""
        return PluginError(f"{self.kind} {self.name!r} ({self.origin}): {what}. Install what is missing, or mend it.")

    def arguments(self) -> dict[str, tuple[Any, Any]]:
        """Return the type annotation and the default (`inspect.Parameter.empty`: none) of what a recipe may give.

        Raises:
            PluginError: If the component cannot be imported, or an argument is not keyword-only or not typed.
        """
        if self.origin == BUILT_IN and isinstance(self.target, str):
            try:
                return read_arguments(self.target)
            except UnclearError:
                pass  # What the source does not tell, the function does.
        builder = self.load()
        try:
            hints = get_type_hints(builder.__init__ if inspect.isclass(builder) else builder, include_extras=True)
            parameters = inspect.signature(builder).parameters
            for name, parameter in parameters.items():
                describe_parameter(name, hints.get(name), parameter.default)
        except NameError as error:
            raise self.fault(f"a type of its arguments is not known at run time ({error})") from error
        except Exception as error:  # Annotations and defaults of a plugin run its code.
            raise self.fault(f"its arguments cannot be read ({_told(error)})") from error
        arguments = {}
        for name, parameter in parameters.items():
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or name not in hints:
                raise self.fault(
                    f"argument {parameter} is not both keyword-only and typed, so recipes cannot be checked"
                )
            arguments[name] = hints[name], parameter.default
        return arguments

    def bind(self, args: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Check arguments against the component's own signature, building nothing.

        Args:
            args: Arguments as a recipe gives them.

        Returns:
            The arguments in the types that the component asks for (YAML knows no tuples), and one line per fault.

        Raises:
            PluginError: If the component cannot be imported or has arguments that a recipe cannot give.
        """
        arguments = self.arguments()
        described = {name: describe_parameter(name, *each) for name, each in arguments.items()}
        bound: dict[str, Any] = {}
        faults: list[str] = []
        for name, value in args.items():
            if name not in described:
                accepts = ", ".join(described.values()) or "no arguments"
                faults.append(f"unknown argument {brief(name)}.{suggest(name, described)} Accepts: {accepts}.")
                continue
            try:
                bound[name], fault = check_value(value, arguments[name][0])
            except Exception as error:  # A check of a plugin's own may raise anything.
                if self.origin == BUILT_IN:
                    raise
                raise self.fault(f"its argument {name!r} cannot be checked ({_told(error)})") from error
            if fault:
                faults.append(f"argument {name!r}: {fault}")
        for name, (_, default) in arguments.items():
            if default is inspect.Parameter.empty and name not in args:
                faults.append(f"argument {name!r} is missing: {described[name]}.")
        return bound, faults


_Given = ParamSpec("_Given")


def _each_alone(
    register: Callable[Concatenate[Registry, _Given], None],
) -> Callable[Concatenate[Registry, _Given], None]:
    """Return a way to register of which a plugin's call that does not fit disables what it is about alone."""

    @wraps(register)
    def registering(self: Registry, /, *args: _Given.args, **kwargs: _Given.kwargs) -> None:
        self._declare_built_ins()  # So that no other component can take a built-in name first.
        origin = self._origin
        if origin == _PROGRAM:  # or a program imports a plugin before this registry does
            origin = _plugin_of(str(sys._getframe(1).f_globals.get("__name__")))
        if origin not in (BUILT_IN, _PROGRAM):
            try:
                inspect.signature(register).bind(self, *args, **kwargs)
            except TypeError as error:
                what = " ".join(plain(each) for each in args[:2])
                self._disable(f"{origin}: {what}", f"register was called wrongly: {_one_line(error)}")
                return
        with self._as(origin):
            register(self, *args, **kwargs)

    return registering


@dataclass
class Registry:
    """Every component that recipes can name, by kind and name.

    The module's functions use one shared registry; tests make their own.
    """

    components: dict[tuple[Kind, str], Component] = field(default_factory=dict)
    broken_plugins: dict[str, str] = field(default_factory=dict)
    _origin: str = _PROGRAM
    _declared: bool = False
    _complete: bool = False

    @_each_alone
    def register(
        self, kind: Kind, name: str, target: str | Callable[..., Any], *, summary: str, spec: EmbedderSpec | None = None
    ) -> None:
        """Make a component available to recipes.

        Args:
            kind: One of `KINDS`.
            name: What recipes call it.
            target: A class or builder with keyword-only typed arguments, or ``"package.module:attribute"``.
            summary: One line for ``facecrypt list``.
            spec: For a surrogate, what is known about the recogniser.

        What is wrong with a component of a plugin disables that one. Where a name is taken, it goes by ``plugin/name``,
        as every component of a plugin may be called.

        Raises:
            PluginError: If the kind does not exist or the name is taken.
        """
        origin = self._origin
        of_plugin = origin not in (BUILT_IN, _PROGRAM)
        fault = _fault_of(kind, name, target, summary, spec)
        if not fault and (taken := self.components.get((kind, name))) is not None:
            if of_plugin:
                name = f"{origin}/{name}"
                taken = self.components.get((kind, name))
            if taken is not None:
                fault = f"{kind} {name!r} already exists ({taken.origin}). Choose another name."
        fault = f"{origin}: {fault}" if fault else ""
        if fault and of_plugin:
            self._disable(f"{origin}: {plain(kind)} {plain(name)}", fault)
        elif fault:
            raise PluginError(fault)
        else:
            self.components[kind, name] = Component(kind, name, target, summary, origin, spec)

    def get(self, kind: Kinds, name: str) -> Component:
        """Return the component of that name, of one kind or of the first of several that has it.

        A built-in component of any of them comes before a plugin's, which then goes by ``plugin/name``.

        Raises:
            UnknownComponentError: If there is none; the message lists what there is.
        """
        self._declare_built_ins()
        kinds: tuple[Kind, ...] = (kind,) if isinstance(kind, str) else kind
        named = [component for each in kinds if (component := self.components.get((each, name)))]
        component = next((each for each in named if each.origin == BUILT_IN), None)
        if component is None:
            self.load_plugins()
            found = (self.components.get((each, name)) or self._prefixed(each, name) for each in kinds)
            component = next(filter(None, found), None)
        if component is None:
            known = sorted(component.name for each in kinds for component in self.list(each))
            broken = "".join(f" Plugin {plugin} is broken: {why}" for plugin, why in self.broken_plugins.items())
            raise UnknownComponentError(
                f"no {' or '.join(kinds)} named {brief(name)}.{suggest(name, known)} Known: {', '.join(known)}.{broken}"
            )
        return component

    def list(self, kind: Kind | None = None) -> list[Component]:
        """Return all components, or those of one kind: built-in ones first, then by name."""
        self.load_plugins()
        chosen = [component for component in self.components.values() if kind in (None, component.kind)]
        return sorted(chosen, key=lambda c: (KINDS.index(c.kind), c.origin != BUILT_IN, c.origin, c.name))

    def build(self, kind: Kind, name: str, args: Mapping[str, Any]) -> Any:
        """Build a component from a recipe's arguments.

        Raises:
            UnknownComponentError: If there is no such component.
            FacecryptError: If the arguments do not fit.
        """
        component = self.get(kind, name)
        bound, faults = component.bind(args)
        if faults:
            raise FacecryptError(f"{kind} {name!r}: {' '.join(faults)}")
        builder = component.load()
        quiet = nullcontext() if component.origin == BUILT_IN else redirect_stdout(io.StringIO())
        try:
            with quiet:
                return builder(**bound)
        except (FacecryptError, MemoryError):
            raise
        except (Exception, SystemExit) as error:
            if component.origin == BUILT_IN:
                raise
            raise component.fault(f"cannot be built ({_told(error)})") from error

    def _prefixed(self, kind: Kind, name: str) -> Component | None:
        """Return what ``plugin/name`` names, which may go by its own name, too."""
        origin, _, own = name.partition("/")
        component = self.components.get((kind, own))
        return component if component is not None and component.origin == origin else None

    def _declare_built_ins(self) -> None:
        if not self._declared:
            self._declared = True
            with self._as(BUILT_IN):
                importlib.import_module(_BUILT_IN_MODULE).declare(self)

    def load_plugins(self) -> None:
        """Declare the built-in components and import every installed plugin, once. A broken plugin is a warning."""
        self._declare_built_ins()
        if self._complete:
            return
        self._complete = True
        for entry_point in sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
            self._load_plugin(entry_point)

    def _load_plugin(self, entry_point: metadata.EntryPoint) -> None:
        before, began, made_for = dict(self.components), time.monotonic(), None
        try:
            # What a plugin prints is not what a command was asked for.
            with self._as(entry_point.name), redirect_stdout(io.StringIO()):
                entry_point.load()
            made_for = getattr(sys.modules.get(entry_point.module), _API_NAME, None)
            fault = ""
        except (
            Exception,
            SystemExit,
        ) as error:  # Somebody else's code: whatever it raises must not stop other recipes.
            fault = f"{type(error).__name__}: {error}".splitlines()[0]
            made_for = _made_for(error, entry_point.module)
        if made_for is not None and made_for != API_VERSION:
            newer = isinstance(made_for, int) and made_for > API_VERSION
            remedy = "a later facecrypt" if newer else "a later version of the plugin"
            fault = f"made for version {made_for!r} of facecrypt.plugin, this is version {API_VERSION}: get {remedy}"
        if fault:
            self.components = before
            self._disable(entry_point.name, fault, f" ({entry_point.value})")
        elif (seconds := time.monotonic() - began) > _SLOW:
            warnings.warn(
                f"plugin {entry_point.name!r} takes {seconds:.0f} s to import, for which commands wait that look "
                "beyond built-in components. Tell its author, or uninstall it.",
                FacecryptWarning,
                stacklevel=2,
            )

    def _disable(self, name: str, why: str, where: str = "") -> None:
        self.broken_plugins[name] = why
        warnings.warn(
            f"plugin {name!r}{where} cannot be loaded: {why}. Update or uninstall it; everything else works.",
            FacecryptWarning,
            stacklevel=3,
        )

    @contextmanager
    def _as(self, origin: str) -> Iterator[None]:
        previous, self._origin = self._origin, origin
        try:
            yield
        finally:
            self._origin = previous


def _fault_of(kind: object, name: object, target: object, summary: object, spec: object) -> str:
    """Return why this is no component, or nothing."""
    if kind not in KINDS:
        return f"{brief(name)} has the unknown kind {brief(kind)}. Known: {', '.join(KINDS)}."
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        return f"{kind} {brief(name)}: a name is a text that can be printed. Give one."
    if not callable(target) and not (isinstance(target, str) and all(target.partition(":"))):
        return f"{kind} {name!r}: its target is {brief(target)}. Give a class, a builder or 'package.module:attribute'."
    if not isinstance(summary, str):
        return f"{kind} {name!r}: its summary is {brief(summary)}. Give a line of text."
    if spec is not None:
        known = sys.modules.get(_SPECS)  # Whoever has such a spec has imported it; nobody else needs to.
        if kind != "surrogate" or known is None or not isinstance(spec, known.EmbedderSpec):
            return f"{kind} {name!r}: its spec is {brief(spec)}. Give surrogates an EmbedderSpec, and others none."
        if not isinstance(spec.weights, known.Weights) or spec.weights.origin not in known.ORIGINS:
            return f"{kind} {name!r}: the weights of its spec are {brief(spec.weights)}. Give Weights."
    return ""


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {_one_line(error)}"


def _one_line(error: BaseException) -> str:
    """Return what an error says, on one line."""
    try:
        return " ".join(str(error).split())
    except Exception:  # An error of a plugin may not even be shown.
        return "it cannot be shown"


def _plugin_of(module: str) -> str:
    """Return the plugin that a module belongs to, or that it is of this program."""
    for entry_point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        if module == entry_point.module or module.startswith(f"{entry_point.module}."):
            return entry_point.name
    return _PROGRAM


def _made_for(error: BaseException, module: str) -> object:
    """Return for which version of `facecrypt.plugin` a module was made whose import failed, or None."""
    frames = [frame.f_globals for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((each.get(_API_NAME) for each in frames if each.get("__name__") == module), None)


def describe_type(annotation: Any) -> str:
    """Return a type annotation as people read it: ``float >= 0, <= 1``, ``'linf' or 'l2'``, ``list of float > 0``."""
    if get_origin(annotation) is Annotated:
        base, *constraints = get_args(annotation)
        if Text(path=True) in constraints:
            return "path"
        limits = [limit for each in constraints for limit in getattr(each, "metadata", [each])]
        signs = [
            f"{sign} {_describe_number(getattr(limit, key))}"
            for limit in limits
            for key, sign in _SIGNS.items()
            if hasattr(limit, key)
        ]
        return f"{describe_type(base)} {', '.join(signs)}".strip()
    if get_origin(annotation) is Literal:
        return " or ".join(map(repr, get_args(annotation)))
    if get_origin(annotation) is not None and not get_args(annotation):  # typing.List and tuple[()], for example
        return str(annotation)
    if get_origin(annotation) in (list, Sequence):
        return f"list of {describe_type(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        key, value = get_args(annotation)
        return "mapping" if value is Any else f"mapping of {describe_type(key)} to {describe_type(value)}"
    if get_origin(annotation) is tuple:
        parts = [describe_type(each) for each in get_args(annotation)]
        return f"{len(parts)} times {parts[0]}" if len(set(parts)) == 1 else ", ".join(parts)
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(describe_type(each) for each in get_args(annotation))
    if annotation is NoneType:
        return "null"
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)


def _describe_number(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
"""How the constraints of ``pydantic.Field`` are written."""


def describe_parameter(name: str, annotation: Any, default: Any) -> str:
    """Return an argument as people read it: ``decay (float >= 0, <= 1, default 1.0)``."""
    rest = "required" if default is inspect.Parameter.empty else f"default {default!r}"
    return f"{name} ({describe_type(annotation)}, {rest})"


def check_value(value: object, annotation: Any) -> tuple[Any, str]:
    """Check one YAML value against a type annotation.

    Args:
        value: What YAML gave: text, number, truth value, None, list or mapping.
        annotation: A type, possibly ``Annotated`` with pydantic constraints such as ``Field(gt=0)``.

    Returns:
        The value in the annotated type and an empty string, or the value as given and the fault.
    """
    try:
        return validate(pydantic.TypeAdapter(annotation), value), ""
    except pydantic.ValidationError as error:
        return value, "; ".join(describe_fault(fault) for fault in error.errors(include_url=False)[:MOST_FAULTS])
    except pydantic.PydanticUserError:
        return value, f"its type, {describe_type(annotation)}, is none that a recipe can give. Leave it out."
    except TypeError as error:
        return value, str(error)


_shared = Registry()
register = _shared.register
get = _shared.get
list_components = _shared.list
build = _shared.build


def broken_plugins() -> dict[str, str]:
    """Return the plugins that could not be loaded, with the reason for each."""
    _shared.load_plugins()
    return dict(_shared.broken_plugins)
