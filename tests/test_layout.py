"""Where modules live and what may import what. ``python tests/test_layout.py`` prints the rooms, floors and circles."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

from tests import processes

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "facecrypt"

Kind = Literal["top", "late", "types"]
"""When an import happens: with its module, when a function runs, or never but for a checker of types."""

FLOORS = (
    "errors choices templates verdicts",
    "system optimizers vision",
    "photos checking gradients naturalness signatures",
    "faces registry",
    "transforms carriers surrogates",
    "detectors targets views recipe plugin",
    "builtin regions evaluation",
    "methods report data",
    "engine judges",
    "pipeline",
    "api testing benchmark ui",
    "cli metrics __init__",
    "__main__",
)
"""The rooms, folders and modules of the package: each may import those of the lines above its own, and itself."""

LIBRARIES = {"omegaconf": "recipe", "pydantic": "recipe", "lightning": "engine"}
"""The one room of each library."""

ELSEWHERE = {
    "api > pydantic",
    "benchmark.adversaries.entries > pydantic",
    "benchmark.config > pydantic",
    "carriers.frames > pydantic",
    "checking > pydantic",
    "detectors.yunet > pydantic",
    "gradients.base > pydantic",
    "judges.faceplusplus > pydantic",
    "judges.http > pydantic",
    "judges.rekognition > pydantic",
    "methods.evolutionary > pydantic",
    "methods.fawkes > pydantic",
    "methods.gaman > pydantic",
    "methods.generator > pydantic",
    "methods.hiding > pydantic",
    "methods.k_same > pydantic",
    "methods.lots > pydantic",
    "methods.lowkey > pydantic",
    "methods.square > pydantic",
    "naturalness.base > pydantic",
    "naturalness.paint > pydantic",
    "optimizers.base > pydantic",
    "regions.shapes > pydantic",
    "registry > pydantic",
    "report.writer > pydantic",
    "surrogates.onnx.recogniser > pydantic",
    "surrogates.spec > pydantic",
    "targets.selectors > pydantic",
    "transforms.changes > pydantic",
    "transforms.entries > pydantic",
    "ui.server > pydantic",
    "views.base > pydantic",
    "views.published > pydantic",
    "views.spectrum > pydantic",
    "views.warps > pydantic",
}
"""Libraries imported out of their rooms: by components, that state the ranges of their arguments with pydantic as those
of plugins do, and where plain data is read back. None may be added; one that is gone is taken away here."""

LATE = {
    "system.interrupts > system.locks",
    "system.interrupts > system.private_files",
}
"""Imports inside functions that close a circle. None may be added; one that is gone is taken away here."""


class Import(NamedTuple):
    """One module imports another, or a library. Modules are named below ``facecrypt``; a package is its folder."""

    source: str
    target: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.source} > {self.target}"


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def imports() -> frozenset[Import]:
    """Every import of the package, of its own modules and of libraries."""
    return frozenset(
        Import(name, target, kind)
        for name, path in MODULES.items()
        for target, kind in _imports(ast.parse(path.read_text(encoding="utf-8")), "top")
        if target != name
    )


def _imports(node: ast.AST, kind: Kind) -> Iterator[tuple[str, Kind]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((_module(alias.name), kind) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.module, f"line {child.lineno}: a relative import"
            yield from ((_module(f"{child.module}.{alias.name}"), kind) for alias in child.names)
        else:
            inner = kind
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                inner = "types"
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and kind == "top":
                inner = "late"
            yield from _imports(child, inner)


def _module(dotted: str) -> str:
    """Return the module that holds what an import names: one of ours, or the first part of a library's name."""
    first, _, rest = dotted.partition(".")
    if first != "facecrypt":
        return first
    while rest and rest not in MODULES:
        rest = rest.rpartition(".")[0]
    return rest or "__init__"


def room(module: str) -> str:
    return module.partition(".")[0]


def circles(edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the groups of modules of which each leads to all others of its group (Tarjan, 1972)."""
    graph: dict[str, list[str]] = {}
    for source, target in sorted(edges):
        graph.setdefault(source, []).append(target)
    found: list[list[str]] = []
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(at: str) -> None:
        numbers[at] = lowest[at] = len(numbers)
        stack.append(at)
        for other in graph.get(at, []):
            if other not in numbers:
                visit(other)
                lowest[at] = min(lowest[at], lowest[other])
            elif other in stack:
                lowest[at] = min(lowest[at], numbers[other])
        if lowest[at] == numbers[at]:
            group = stack[stack.index(at) :]
            del stack[stack.index(at) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in graph:
        if module not in numbers:
            visit(module)
    return found


def edges(kinds: Mapping[Kind, bool], *, without: Iterable[str] = ()) -> set[tuple[str, str]]:
    """Return who imports whom by imports of these kinds; with True, importing a module runs its packages, too."""
    result = set()
    for each in imports():
        if each.kind not in kinds or each.target not in MODULES or str(each) in without:
            continue
        result.add((each.source, each.target))
        if kinds[each.kind]:
            parts = each.target.split(".")
            packages = {".".join(parts[:n]) for n in range(1, len(parts))}
            own = {package for package in packages if f"{each.source}.".startswith(f"{package}.")}
            result |= {(each.source, package) for package in packages - own}
    return result


def wrong_rooms() -> set[str]:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names.split()}
    named = [each for each in imports() if {room(each.source), room(each.target)} <= floor.keys()]
    return {
        str(each)
        for each in named
        if each.kind != "types"
        and room(each.source) != room(each.target)
        and floor[room(each.target)] >= floor[room(each.source)]
    }


def wrong_libraries() -> set[str]:
    return {
        str(each)
        for each in imports()
        if each.kind != "types" and each.target in LIBRARIES and room(each.source) != LIBRARIES[each.target]
    }


def test_every_room_has_a_floor() -> None:
    rooms = [name for line in FLOORS for name in line.split()]
    assert sorted(rooms) == sorted({room(module) for module in MODULES})


def test_no_circle_of_imports() -> None:
    assert circles(edges({"top": True})) == []


def test_no_circle_of_imports_inside_functions() -> None:
    kinds: dict[Kind, bool] = {"top": False, "late": False}
    assert circles(edges(kinds, without=LATE)) == []
    late = {str(each) for each in imports() if each.kind == "late"}
    for each in sorted(LATE):
        assert each in late, f"{each}: is not there any more: take it out of LATE"
        assert circles(edges(kinds, without=LATE - {each})), f"{each}: closes no circle: take it out of LATE"


def test_rooms_import_only_from_the_floors_below_them() -> None:
    assert wrong_rooms() == set(), "these imports go up: move what is needed down"


def test_libraries_are_imported_in_their_rooms() -> None:
    found = wrong_libraries()
    assert found - ELSEWHERE == set(), f"see LIBRARIES: {LIBRARIES}"
    assert ELSEWHERE - found == set(), "take these out of ELSEWHERE"


def test_the_checks_see_what_they_look_for() -> None:
    assert circles([("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")]) == [["b", "c"]]
    source = "if TYPE_CHECKING:\n    import facecrypt.api\ndef f():\n    from facecrypt.errors import RecipeError\n"
    assert set(_imports(ast.parse(f"import torch.nn\n{source}"), "top")) == {
        ("torch", "top"),
        ("api", "types"),
        ("errors", "late"),
    }


@pytest.mark.parametrize("words", [["--help"], ["list"], ["list", "surrogate"]], ids=" ".join)
def test_commands_that_only_tell_import_no_torch(words: list[str]) -> None:
    program = (
        "import sys\nfrom facecrypt.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('heavy:', sorted({'torch', 'lightning', 'omegaconf'} & set(sys.modules)))\n"
    )
    done = processes.run([sys.executable, "-c", program, *words], check=True)
    assert done.stdout.endswith("heavy: []\n"), done.stdout[-200:]


def main() -> None:
    """Print what the tests judge, and the circles that types make, which no test counts."""
    for number, names in enumerate(FLOORS, 1):
        for name in names.split():
            inside = [module for module in MODULES if room(module) == name]
            needs = sorted({room(e.target) for e in imports() if e.source in inside and e.target in MODULES} - {name})
            print(f"{number:2} {name} ({len(inside)}): {' '.join(needs)}")
    print("circles at import:", circles(edges({"top": True})))
    print("circles with late imports:", circles(edges({"top": False, "late": False})))
    print("circles with imports for types:", circles(edges({"top": False, "types": False})))
    print("imports against the floors:", sorted(wrong_rooms()))
    print("libraries elsewhere:", sorted(wrong_libraries()))


if __name__ == "__main__":
    main()
