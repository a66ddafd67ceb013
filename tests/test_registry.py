from __future__ import annotations

import importlib
import re
import sys
import typing
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, Field

from facecrypt import registry
from facecrypt.errors import FacecryptError, PluginError, UnknownComponentError
from facecrypt.registry import JUDGES, KINDS, Registry, describe_type
from tests import processes


class Example:
    def __init__(
        self,
        *,
        decay: Annotated[float, Field(ge=0, le=1)] = 1.0,
        mode: Literal["a", "b"] = "a",
        pair: tuple[float, float] = (0, 1),
    ) -> None:
        self.decay, self.mode, self.pair = decay, mode, pair


@pytest.fixture
def fresh() -> Registry:
    made = Registry()
    made.register("optimizer", "example", Example, summary="an example")
    return made


def entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> metadata.EntryPoint:
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    return metadata.EntryPoint(name.replace("_", "-"), name, registry.ENTRY_POINT_GROUP)


def with_plugins(monkeypatch: pytest.MonkeyPatch, *plugins: metadata.EntryPoint) -> Registry:
    fresh = Registry()
    monkeypatch.setattr(
        metadata, "entry_points", lambda group: list(plugins) if group == registry.ENTRY_POINT_GROUP else []
    )
    # `facecrypt.register` is bound to the shared registry; a plugin under test must reach the fresh one.
    monkeypatch.setattr("facecrypt.register", fresh.register)
    return fresh


def test_builds_with_arguments_in_their_own_types(fresh: Registry) -> None:
    built = fresh.build("optimizer", "example", {"decay": 0, "pair": [1, 2.5]})
    assert (built.decay, built.mode, built.pair) == (0, "a", (1.0, 2.5))


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        ({"decy": 1.0}, r"unknown argument 'decy'. Did you mean 'decay'\? Accepts: decay \(.*default 1.0\)"),
        ({"decay": "much"}, "argument 'decay': 'much' is wrong: input should be a valid number"),
        ({"decay": "0.5"}, "argument 'decay': '0.5' is wrong"),
        ({"decay": True}, "argument 'decay': True is wrong"),
        ({"decay": 1.5}, "argument 'decay': 1.5 is wrong: input should be less than or equal to 1"),
        ({"mode": "c"}, "argument 'mode': 'c' is wrong: input should be 'a' or 'b'"),
        ({"pair": [1, 2, 3]}, "argument 'pair'"),
        ({"decay": None}, "argument 'decay': None is wrong"),
    ],
)
def test_arguments_that_do_not_fit(fresh: Registry, args: dict[str, Any], fault: str) -> None:
    with pytest.raises(FacecryptError, match=f"optimizer 'example': {fault}"):
        fresh.build("optimizer", "example", args)


def test_a_missing_argument_is_named(fresh: Registry) -> None:
    def needs(*, model: str) -> None: ...

    fresh.register("surrogate", "needs", needs, summary="needs an argument")
    _, faults = fresh.get("surrogate", "needs").bind({})
    assert faults == ["argument 'model' is missing: model (str, required)."]


def test_an_unknown_name_lists_what_there_is(fresh: Registry) -> None:
    with pytest.raises(
        UnknownComponentError, match="no target_selector named 'centre'. Did you mean 'center'. Known: center, "
    ):
        fresh.get("target_selector", "centre")


def test_names_never_clash_silently(fresh: Registry) -> None:
    with pytest.raises(PluginError, match=r"optimizer 'example' already exists \(this program\). Choose another name."):
        fresh.register("optimizer", "example", Example, summary="again")
    with pytest.raises(PluginError, match="unknown kind 'loss'. Known: method, surrogate"):
        fresh.register("loss", "example", Example, summary="no such kind")  # type: ignore[arg-type]


def test_components_take_keyword_only_arguments(fresh: Registry) -> None:
    def positional(decay: float = 1.0) -> None: ...

    fresh.register("optimizer", "positional", positional, summary="takes a positional argument")
    with pytest.raises(PluginError, match="argument decay: 'float' = 1.0 is not both keyword-only and typed"):
        fresh.get("optimizer", "positional").bind({})


def test_arguments_have_types_that_exist_at_run_time(fresh: Registry) -> None:
    def untyped(*, decay=1.0):  # type: ignore[no-untyped-def]
        ...

    def unknown(*, decay: NoSuchType) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    fresh.register("optimizer", "untyped", untyped, summary="has no types")
    fresh.register("optimizer", "unknown", unknown, summary="has an unknown type")
    with pytest.raises(PluginError, match="argument decay=1.0 is not both keyword-only and typed"):
        fresh.get("optimizer", "untyped").bind({})
    with pytest.raises(PluginError, match="a type of its arguments is not known at run time"):
        fresh.get("optimizer", "unknown").bind({})


def test_what_cannot_be_imported_is_named(fresh: Registry) -> None:
    fresh.register("view", "gone", "no_such_module:View", summary="cannot be imported")
    with pytest.raises(PluginError, match=r"view 'gone' \(this program\): no_such_module:View cannot be imported"):
        fresh.get("view", "gone").load()


def test_a_plugin_registers_under_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import facecrypt\nfacecrypt.register('view', 'from_plugin', dict, summary='a view')\n"
    fresh = with_plugins(monkeypatch, entry_point(tmp_path, monkeypatch, "plugin_good", code))
    assert fresh.get("view", "from_plugin").origin == "plugin-good"
    assert fresh.broken_plugins == {}


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("plugin_raises", "raise RuntimeError('out of tune')", "RuntimeError: out of tune"),
        ("plugin_syntax", "def (", "SyntaxError"),
        ("plugin_imports", "import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("plugin_half", "import facecrypt\nfacecrypt.register('view', 'half', dict, summary='x')\n"
         "len(5)", "TypeError: "),
        ("plugin_leaves", "raise SystemExit(4)", "SystemExit: 4"),
        ("plugin_of_tomorrow", "FACECRYPT_API = 99\nfrom facecrypt.plugin import register",
         "made for version 99 of facecrypt.plugin, this is version 1: get a later facecrypt"),
        ("plugin_of_tomorrow_too", "FACECRYPT_API = 99\nfrom facecrypt.plugin import Something",
         "made for version 99 of facecrypt.plugin, this is version 1: get a later facecrypt"),
        ("plugin_of_yesterday", "FACECRYPT_API = 0",
         "made for version 0 of facecrypt.plugin, this is version 1: get a later version of the plugin"),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_a_warning_and_a_row(
    name: str, code: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = with_plugins(monkeypatch, entry_point(tmp_path, monkeypatch, name, code))
    with pytest.warns(
        UserWarning, match=f"plugin {name.replace('_', '-')!r} .* cannot be loaded: {reason.split(':')[0]}"
    ):
        names = {(component.kind, component.name) for component in fresh.list()}
    assert fresh.broken_plugins[name.replace("_", "-")].startswith(reason)
    assert ("view", "affine") in names
    assert fresh.get("view", "affine").origin == registry.BUILT_IN
    assert ("view", "half") not in names  # What a plugin registered before it broke goes with it.


def test_one_faulty_registration_disables_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "FACECRYPT_API = 1\nimport facecrypt\n"
        "facecrypt.register('view', 'first', dict, summary='x')\n"
        "facecrypt.register('lens', 'second', dict, summary='x')\n"
        "facecrypt.register('view', 'third', dict, summary='x')\n"
        "facecrypt.register('view', 'third', dict, summary='x')\n"
        "facecrypt.register('view', 'third', dict, summary='x')\n"
    )
    fresh = with_plugins(monkeypatch, entry_point(tmp_path, monkeypatch, "plugin_mixed", code))
    with pytest.warns(UserWarning, match="cannot be loaded") as told:
        names = {component.name for component in fresh.list("view") if component.origin == "plugin-mixed"}
    assert names == {"first", "third", "plugin-mixed/third"}
    assert fresh.broken_plugins == {
        "plugin-mixed: lens second": f"plugin-mixed: 'second' has the unknown kind 'lens'. Known: {', '.join(KINDS)}.",
        "plugin-mixed: view plugin-mixed/third": "plugin-mixed: view 'plugin-mixed/third' already exists "
        "(plugin-mixed). Choose another name.",
    }
    assert len(told) == 2


def test_where_names_clash_the_package_tells_them_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import facecrypt\nfor name in ('affine', 'tilt'):\n    facecrypt.register('view', name, dict, summary='x')\n"
    )
    plugins = [entry_point(tmp_path, monkeypatch, name, code) for name in ("plugin_a", "plugin_b")]
    fresh = with_plugins(monkeypatch, *plugins)
    origins = {name: fresh.get("view", name).origin for name in ("affine", "tilt", "plugin-a/affine", "plugin-b/tilt")}
    assert origins == {
        "affine": registry.BUILT_IN, "tilt": "plugin-a", "plugin-a/affine": "plugin-a", "plugin-b/tilt": "plugin-b"
    }  # fmt: skip
    assert fresh.get("view", "plugin-a/tilt") == fresh.get("view", "tilt")
    assert fresh.broken_plugins == {}
    with pytest.raises(UnknownComponentError, match="no view named 'plugin-b/blur'"):
        fresh.get("view", "plugin-b/blur")


def test_built_in_components_need_no_plugin_and_what_one_prints_is_not_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = f"import pathlib\npathlib.Path({str(tmp_path / 'come')!r}).touch()\nprint('hello')\n"
    fresh = with_plugins(monkeypatch, entry_point(tmp_path, monkeypatch, "plugin_talks", code))
    assert fresh.get("view", "affine").origin == registry.BUILT_IN
    assert not (tmp_path / "come").exists()
    fresh.list()
    assert (tmp_path / "come").exists()
    assert capsys.readouterr().out == ""


def test_a_slow_plugin_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_SLOW", 0.01)
    fresh = with_plugins(monkeypatch, entry_point(tmp_path, monkeypatch, "plugin_slow", "import time; time.sleep(0.1)"))
    with pytest.warns(UserWarning, match=r"plugin 'plugin-slow' takes 0 s to import, for which commands wait"):
        fresh.list()
    assert fresh.broken_plugins == {}


@pytest.mark.parametrize("raised", ["ZeroDivisionError('out')", "SystemExit(3)"])
def test_what_a_plugin_raises_when_it_is_built_names_it(
    raised: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        f"import facecrypt\ndef build() -> object:\n    raise {raised}\n"
        "facecrypt.register('view', 'broken', build, summary='x')\n"
    )
    fresh = with_plugins(monkeypatch, entry_point(tmp_path, monkeypatch, f"plugin_breaks_{raised[:4].lower()}", code))
    with pytest.raises(PluginError, match=r"view 'broken' \(plugin-breaks-\w+\): cannot be built \((Zero|System)"):
        fresh.build("view", "broken", {})


def test_what_plugins_import_is_light_and_complete() -> None:
    from facecrypt import plugin

    assert all(getattr(plugin, name) is not None for name in plugin.__all__)
    code = "import sys, facecrypt.plugin; print([name for name in ('torch', 'kornia', 'numpy') if name in sys.modules])"
    assert processes.run([sys.executable, "-c", code], check=True).stdout.strip() == "[]"


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from facecrypt import registry; assert registry.list_components(); "
        "print([name for name in ('torch', 'lightning', 'kornia', 'timm', 'onnx', 'cv2') if name in sys.modules])"
    )
    result = processes.run([sys.executable, "-c", code], check=True)
    assert result.stdout.strip() == "[]"


def test_every_kind_has_components() -> None:
    assert {component.kind for component in registry.list_components()} == set(KINDS)


def test_public_surface() -> None:
    import facecrypt

    assert facecrypt.__all__ == ["protect", "Protected", "register"]
    assert facecrypt.register is registry.register


def test_of_several_kinds_the_first_that_has_the_name_is_meant(
    fresh: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fresh.get(JUDGES, "http").kind == "judge"
    assert fresh.get(JUDGES, "sface").kind == "surrogate"
    assert not fresh._complete, "built-in components of either kind need no plugin"
    code = "".join(
        f"import facecrypt\nfacecrypt.register({kind!r}, {name!r}, dict, summary='x')\n"
        for kind, name in (("judge", "both"), ("surrogate", "both"), ("judge", "sface"), ("surrogate", "http"))
    )
    fresh = with_plugins(monkeypatch, entry_point(tmp_path, monkeypatch, "plugin_both", code))
    assert fresh.get(JUDGES, "both").kind == "judge"
    assert fresh.get(JUDGES, "sface").origin == registry.BUILT_IN
    assert fresh.get(JUDGES, "plugin-both/sface").kind == "judge"
    assert fresh.get(JUDGES, "plugin-both/http").kind == "surrogate"
    with pytest.raises(UnknownComponentError, match=r"no judge or surrogate named 'sfce'. Did you mean 'sface'\?"):
        fresh.get(JUDGES, "sfce")


def test_a_plugin_that_a_program_imports_first_is_a_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import facecrypt\nfacecrypt.register('view', 'early', dict, summary='a view')\n"
    fresh = with_plugins(monkeypatch, entry_point(tmp_path, monkeypatch, "plugin_early", code))
    importlib.import_module("plugin_early")
    assert fresh.get("view", "early").origin == "plugin-early"
    assert fresh.broken_plugins == {}


def test_every_guard_says_the_same_of_the_same_fault() -> None:
    from facecrypt.methods.calls import Source

    def fail() -> None:
        raise ZeroDivisionError("out of tune")

    for promised in (
        registry.Component("target_selector", "mine", "", "", "plug"),
        Source("target_selector", "mine", "plug"),
    ):
        with pytest.raises(PluginError) as raised:
            promised.call(fail)
        assert re.fullmatch(
            r"target selector 'mine' \(plug\): raised ZeroDivisionError \(test_registry.py, line \d+\): out of tune; "
            r"expected a result. Mend it, or name another target selector.",
            str(raised.value),
        )
        with pytest.raises(
            PluginError, match=r"^target selector 'mine' \(plug\): was built as a class; expected an object with x"
        ):
            promised.require(dict, "x")
        with pytest.raises(FacecryptError, match="^enough$"):
            promised.call(raise_enough)
    with pytest.raises(ZeroDivisionError):
        registry.Component("view", "mine", "", "", registry.BUILT_IN).call(fail)


def raise_enough() -> None:
    raise FacecryptError("enough")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("print('hello')\nraise SystemExit(3)", "SystemExit: 3"),
        ("print('hello')\nraise ValueError('one\\ntwo')", "ValueError: one two"),
        ("print('hello')", "AttributeError: module .* has no attribute 'View'"),
    ],
)
def test_a_module_that_is_imported_late_harms_no_command(
    code: str, says: str, fresh: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "plugin_late.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "plugin_late", raising=False)
    fresh.register("view", "late", "plugin_late:View", summary="x")
    with pytest.raises(PluginError, match=rf"view 'late' \(this program\): plugin_late:View cannot .*\({says}\)"):
        fresh.build("view", "late", {})
    assert capsys.readouterr().out == ""


def test_what_a_component_prints_while_it_is_built_is_not_heard(fresh: Registry, capsys: Any) -> None:
    fresh.register("view", "loud", lambda: print("hello"), summary="x")
    assert fresh.build("view", "loud", {}) is None
    assert capsys.readouterr().out == ""


FAULTY = {
    "'view', 'bad', dict, sumary='x'": ("view bad", "register was called wrongly: .*'sum+ary'"),
    "'view', 'bad', dict": ("view bad", "register was called wrongly: .*'summary'"),
    "'view', 5, dict, summary='x'": ("view 5", "plugin-faulty: view 5: a name is a text"),
    "'view', ['bad'], dict, summary='x'": (r"view \['bad'\]", "a name is a text that can be printed"),
    "'view', 'a\\nb', dict, summary='x'": (r"view a\\nb", "a name is a text"),
    "['view'], 'bad', dict, summary='x'": (r"\['view'\] bad", "'bad' has the unknown kind"),
    "'view', 'bad', 5, summary='x'": ("view bad", "its target is 5. Give a class"),
    "'view', 'bad', {}, summary='x'": ("view bad", "its target is {}"),
    "'view', 'bad', 'somewhere', summary='x'": ("view bad", "its target is 'somewhere'"),
    "'view', 'bad', dict, summary=5": ("view bad", "its summary is 5"),
    "'surrogate', 'bad', dict, summary='x', spec={'height': 112}": ("surrogate bad", "its spec is {'height': 112}"),
    "'view', 'bad', dict, summary='x', spec=3": ("view bad", "its spec is 3"),
}


@pytest.mark.parametrize("call", FAULTY)
def test_what_cannot_be_registered_disables_itself_alone(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import facecrypt\nfacecrypt.register('view', 'before', dict, summary='x')\n"
        f"facecrypt.register({call})\nfacecrypt.register('view', 'after', dict, summary='x')\n"
    )
    monkeypatch.delitem(sys.modules, "plugin_faulty", raising=False)
    fresh = with_plugins(monkeypatch, entry_point(tmp_path, monkeypatch, "plugin_faulty", code))
    with pytest.warns(UserWarning, match="cannot be loaded"):
        names = {component.name for component in fresh.list("view") if component.origin == "plugin-faulty"}
    assert names == {"before", "after"}
    ((label, why),) = fresh.broken_plugins.items()
    expected, says = FAULTY[call]
    assert re.fullmatch(f"plugin-faulty: {expected}", label)
    assert re.search(says, why)
    assert "\n" not in why


class Stranger:
    """A type that pydantic does not know."""


def explode(value: float) -> float:
    raise ZeroDivisionError("no such value")


def untypable(annotation: str) -> Any:
    def build(*, strange: float = 1.0) -> None: ...

    build.__annotations__["strange"] = annotation
    return build


def with_type(annotation: Any) -> Any:
    def build(*, strange: Any = None) -> None: ...

    build.__annotations__["strange"] = annotation
    return build


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (untypable("float >"), "its arguments cannot be read .SyntaxError: "),
        (untypable("1 / 0"), "its arguments cannot be read .ZeroDivisionError: division by zero"),
        (untypable("re.nothing"), "its arguments cannot be read .AttributeError: "),
        (dict, "its arguments cannot be read .ValueError: "),
        (
            with_type(Annotated[float, AfterValidator(explode)]),
            "its argument 'strange' cannot be checked .ZeroDivision",
        ),
    ],
)
def test_arguments_that_cannot_be_read_are_told_in_a_line(target: Any, says: str, fresh: Registry) -> None:
    fresh.register("view", "odd", target, summary="x")
    with pytest.raises(PluginError, match=rf"^view 'odd' \(this program\): {says}") as raised:
        fresh.build("view", "odd", {"strange": 2.0})
    assert "\n" not in str(raised.value)


def test_a_type_that_no_recipe_can_give_is_told_where_it_is_given(fresh: Registry) -> None:
    fresh.register("view", "odd", with_type(Stranger), summary="x")
    assert fresh.build("view", "odd", {}) is None
    with pytest.raises(FacecryptError, match="argument 'strange': its type, Stranger, is none that a recipe can give"):
        fresh.build("view", "odd", {"strange": 2.0})


def test_a_target_that_is_no_class_is_told_when_it_is_imported(fresh: Registry) -> None:
    fresh.register("view", "odd", "tests.test_registry:FAULTY", summary="x")
    with pytest.raises(PluginError, match="tests.test_registry:FAULTY is {.*, which is neither a class nor a function"):
        fresh.get("view", "odd").bind({})


@pytest.mark.parametrize("annotation", [typing.List, typing.Dict, tuple[()], typing.Tuple, list[int]])  # noqa: UP006
def test_every_type_can_be_described(annotation: Any) -> None:
    assert describe_type(annotation)
