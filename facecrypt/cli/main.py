"""The command ``facecrypt``.

Exit status: `STATUSES`.

What takes long to import is imported where it is used, so that the program soon knows what to do with a signal.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from facecrypt.errors import FacecryptError, FacecryptWarning
from facecrypt.system import console, interrupts

if TYPE_CHECKING:
    from facecrypt.cli.bench import Figures
    from facecrypt.recipe.check import Recipe
    from facecrypt.report.writer import Report

DONE, SOME_FAILED, WRONG, WEAK, INTERRUPTED = 0, 1, 2, 3, 130

STATUSES = f"""\
exit status:
  {DONE}   done; of a run: every face that was written passes
  {SOME_FAILED}   some photos could not be written, or some weights are wrong
  {WRONG}   the recipe or the input is wrong
  {WEAK}   of a run: all was written, but some face is weak, not judged or not found again; {DONE} with --allow-weak
  {INTERRUPTED} stopped by Ctrl-C (128 and the number of the signal)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        argv: Arguments without the program's name; by default those of the process, which then is this program's own
            and splits in two (`facecrypt.system.interrupts`).
    """
    console.prepare()  # First, or what is opened here would take the place of a stream that is closed.
    if argv is None:
        interrupts.supervise()
    try:
        return _main(argv)
    except KeyboardInterrupt:  # where nobody waits for signals
        console.report(FacecryptError(f"stopped: {interrupts.ending()}"))
        return INTERRUPTED


def _main(argv: Sequence[str] | None) -> int:
    from facecrypt.surrogates import weights

    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and (any(each.startswith("-") for each in rest) or "overrides" not in arguments):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # argparse takes no key=value after an option any more.
        arguments.overrides += rest
    if getattr(arguments, "recipe", None):
        from facecrypt.recipe.shipped import find_recipe

        arguments.recipe = find_recipe(arguments.recipe)
    if "offline" in arguments:
        os.environ[weights.OFFLINE] = "1"  # In the environment, so that processes which a run starts are offline too.
    command: Callable[[argparse.Namespace], int] = arguments.command
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        warnings.simplefilter("always", FacecryptWarning)
        # What a dependency deprecates is news for its callers' developers, who see it as an error in the tests.
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        try:
            return command(arguments)
        except FacecryptError as error:
            console.report(error)
            return WRONG


_ALLOW_ENV = "let ${oc.env:NAME} in a recipe read the environment"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    from importlib import metadata

    from facecrypt.cli import weights as weights_cli
    from facecrypt.cli.template import template_kinds
    from facecrypt.registry import KINDS
    from facecrypt.surrogates import weights

    offline = console.Parser(add_help=False)
    # Suppressed, because a default here would overwrite what an option before the command's name has set.
    offline.add_argument(
        "--offline",
        action="store_true",
        default=argparse.SUPPRESS,
        help=f"open no connection ({weights.OFFLINE}=1)",
    )
    parser = console.Parser(
        prog="facecrypt",
        description="Change faces in photos by a few grey levels so that face recognition takes them for others.",
        epilog=STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[offline],
    )
    parser.add_argument("--version", action="version", version=f"facecrypt {metadata.version('facecrypt')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", parents=[offline], help="protect the photos that a recipe names")
    run.set_defaults(command=_run)
    run.add_argument(
        "--allow-weak", action="store_true", help=f"end with {DONE}, not {WEAK}, where the verdict on a face is no pass"
    )
    run.add_argument(
        "--protect",
        metavar="SHARE",
        help="the least visible masks with which this share of unseen recognisers, such as 0.8, is expected to take "
        "each face for somebody else; the same as protect=SHARE",
    )
    evaluate = commands.add_parser(
        "evaluate", parents=[offline], help="compare methods by identification on labelled photos"
    )
    evaluate.set_defaults(command=_evaluate)
    bench = commands.add_parser(
        "bench", parents=[offline], help="measure how fast a recipe is, and where its time and memory go"
    )
    bench.set_defaults(command=_bench)
    bench.add_argument("--faces", type=_count, metavar="N", default=4, help="measure on at least N faces (default: 4)")
    bench.add_argument("--literal", action="store_true", help="time the paper's Algorithm 1 to the letter beside it")
    bench.add_argument("--json", action="store_true", help="print the figures as JSON")
    check = commands.add_parser("check", help="name every fault of a recipe, building nothing")
    check.set_defaults(command=_check)
    show = commands.add_parser("show", help="print a recipe with every default filled in")
    show.set_defaults(command=_show)
    show.add_argument("--grouped", action="store_true", help="write the keys in their groups")
    ways = show.add_mutually_exclusive_group()
    ways.add_argument("--resolved", action="store_true", help="every value as a run would take it (the default)")
    ways.add_argument(
        "--origin", action="store_true", help="say of each value where it comes from: default, preset, file, override"
    )
    learn = commands.add_parser("learn", parents=[offline], help="learn one mask for all photos of a person")
    learn.add_argument("-o", "--output", metavar="FILE", required=True, help="the mask, a new .safetensors file")
    learn.set_defaults(command=_learn)
    train = commands.add_parser("train", parents=[offline], help="train a network that makes masks in one pass")
    train.add_argument("-o", "--output", metavar="FILE", required=True, help="the network, a new .safetensors file")
    train.set_defaults(command=_train)
    for each in (run, evaluate, bench, check, show, learn, train):
        each.add_argument("--allow-env", action="store_true", help=_ALLOW_ENV)
        each.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of a recipe that is shipped")
        each.add_argument(
            "overrides", metavar="key=value", nargs="*", help="replace a value, as in surrogates[0].weight=2"
        )

    moving = commands.add_parser("migrate", help="write a recipe of flat keys, as those of 0.1 are, in groups")
    moving.set_defaults(command=_migrate)
    moving.add_argument("recipe", metavar="RECIPE", help="a YAML file")
    moving.add_argument("--in-place", action="store_true", help="replace the file, which stays as FILE.bak")

    page = commands.add_parser("ui", parents=[offline], help="protect a photo on a web page of this machine")
    page.add_argument("--port", type=int, default=7860, help="where to listen on 127.0.0.1; 0 for any free port")
    page.add_argument("--no-browser", action="store_true", help="do not open the page")
    page.add_argument("--allow-env", action="store_true", help=_ALLOW_ENV)
    page.add_argument(
        "--recipe", metavar="RECIPE", help="a YAML file or a shipped recipe; the quickstart recipe by default"
    )
    page.add_argument("overrides", metavar="key=value", nargs="*", help="replace a value of the recipe")
    page.set_defaults(command=_ui)

    listing = commands.add_parser("list", help="list the components and presets that recipes can name")
    kinds = (*KINDS, "preset")
    listing.add_argument("kind", metavar="KIND", nargs="?", choices=kinds, help=f"only one kind: {', '.join(kinds)}")
    listing.add_argument("name", metavar="NAME", nargs="?", help="all about one component: its arguments, its source")
    listing.set_defaults(command=_list)
    new = commands.add_parser("new", help="write the files of a plugin to begin with")
    things = new.add_subparsers(metavar="WHAT", required=True)
    plugin = things.add_parser("plugin", help="a package with one component, its test and its entry point")
    plugin.add_argument("name", metavar="NAME", help="the name of the package, such as facecrypt-mine")
    plugin.add_argument("--folder", metavar="FOLDER", default=".", help="where its folder is made (default: here)")
    plugin.add_argument(
        "--kind",
        metavar="KIND",
        default="naturalness",
        choices=template_kinds(),
        help=f"of its component (default: naturalness): {', '.join(template_kinds())}",
    )
    plugin.set_defaults(command=_new)
    stored = commands.add_parser("weights", parents=[offline], help="list, fetch and verify the recognisers' weights")
    weights_cli.add_commands(stored, offline)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from facecrypt.recipe.check import load_recipe

    asked = [] if arguments.protect is None else [f"protect={arguments.protect}"]
    recipe = load_recipe(arguments.recipe, [*arguments.overrides, *asked], allow_env=arguments.allow_env)
    if recipe.sink.name != "stdout":
        return _run_recipe(recipe, arguments)
    from facecrypt.carriers.streams import stdout_for_data

    with stdout_for_data():
        return _run_recipe(recipe, arguments)


def _run_recipe(recipe: Recipe, arguments: argparse.Namespace) -> int:
    from facecrypt.photos.reading import warm_up
    from facecrypt.recipe.compose import read_composed

    warm_up()
    # Imported after the recipe is known to be right: torch and Lightning take seconds.
    from facecrypt.pipeline import runner

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    bases = read_composed(arguments.recipe).files
    result = runner.run(recipe, recipe_file=Path(arguments.recipe), bases=bases, on_start=interrupts.tell_run)
    where = f"the report is {result.recipe['output']}/report.html"
    interrupts.tell_ending(f"all was done; {where if recipe.sink.name != 'stdout' else 'the photo was delivered'}")
    _summarise(result)
    if not result.complete:
        return SOME_FAILED
    return DONE if arguments.allow_weak or result.verdict in (None, "pass") else WEAK


def _evaluate(arguments: argparse.Namespace) -> int:
    from facecrypt.benchmark.config import load_benchmark
    from facecrypt.system.naming import expand_home

    benchmark, rows = load_benchmark(arguments.recipe, arguments.overrides, allow_env=arguments.allow_env)
    interrupts.tell_ending(f"what was made so far is kept in {benchmark.output}; the same command goes on from there")
    from facecrypt.benchmark import identification

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    allowed = ["--allow-env"] if arguments.allow_env else []
    command = shlex.join(["facecrypt", "evaluate", *allowed, arguments.recipe, *arguments.overrides])
    identification.evaluate(benchmark, rows, command)
    output = expand_home(benchmark.output)
    console.write((output / "table.md").read_text(encoding="utf-8"))
    console.say(f"tables, plots and numbers: {output}")
    return DONE


_HELPED = "* by the recognisers that gave gradients (white-box): says nothing about others."


def _learn(arguments: argparse.Namespace) -> int:
    from facecrypt.recipe.check import load_recipe
    from facecrypt.system.naming import given_path

    recipe = load_recipe(arguments.recipe, arguments.overrides, allow_env=arguments.allow_env)
    output = given_path(arguments.output)
    from facecrypt.pipeline.learning import learn_person

    learned = learn_person(recipe, output)
    for path in learned.faceless:
        console.say(f"no face found, left out: {path}")
    console.say(f"written: {output}, a mask learned from {learned.photos} photos")
    for name, similarity in learned.similarities.items():
        console.say(f"  {name}*: similarity of these faces with themselves {similarity:+.3f} under it")
    console.say(_HELPED)
    return DONE


def _train(arguments: argparse.Namespace) -> int:
    from facecrypt.recipe.check import load_recipe
    from facecrypt.system.naming import given_path

    recipe = load_recipe(arguments.recipe, arguments.overrides, allow_env=arguments.allow_env)
    output = given_path(arguments.output)
    from facecrypt.pipeline.training import train_generator

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trained = train_generator(recipe, output)
    console.say(f"written: {output}, a network trained on {trained.faces} faces")
    console.say(f"  similarity of faces that it was not trained on with themselves*: {trained.similarity:+.3f}")
    console.say(_HELPED)
    return DONE


def _bench(arguments: argparse.Namespace) -> int:
    started = time.process_time()
    began = time.perf_counter()
    from facecrypt.recipe.check import load_recipe

    recipe = load_recipe(arguments.recipe, arguments.overrides, allow_env=arguments.allow_env)
    from facecrypt.cli import bench
    from facecrypt.system import limits

    started += time.perf_counter() - began
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with limits.applied(limits.resolve(recipe.limits)):
        figures = bench.measure(recipe, arguments.faces, arguments.literal, started)
    if arguments.json:
        from dataclasses import asdict

        console.write(json.dumps(asdict(figures), indent=2, allow_nan=False) + "\n")
    else:
        _tabulate(figures)
    return DONE


def _tabulate(figures: Figures) -> None:
    table = console.make_table("stage")
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    for row in (*figures.stages, None):
        if row:
            table.add_row(row.stage, f"{row.seconds:.2f}", f"{row.share:.1%}")
        else:
            table.add_row("all", f"{figures.seconds:.2f}", f"{sum(row.share for row in figures.stages):.1%}")
    console.print_table(table)
    machine = f"{figures.device}, {figures.threads} of {figures.cores} cores"
    console.say("")
    console.say(f"{figures.faces} faces of {figures.photos} photos, {figures.steps} steps each, on {machine}:")
    console.say(
        f"{figures.seconds_per_face:.3g} s per face without start-up and build, {figures.faces_per_second:.3g} faces/s"
    )
    sizes = {"main memory": figures.peak_memory, "GPU memory": figures.gpu_peak_memory}
    console.say("at the peak " + ", ".join(f"{size / 2**20:.0f} MiB of {name}" for name, size in sizes.items() if size))
    each, what = figures.seconds_per_face_and_step, figures.arithmetic
    console.say(
        f"{each:.3g} s per face and step; one forward and backward pass has {what.forward_backward_gflop:.3g} GFLOP, "
        f"{what.floor_seconds:.3g} s at this machine's {what.machine_gflops:.3g} GFLOP/s: {what.ratio:.3g} times that"
    )
    console.say(f"a step does {what.done_gflop:.3g} GFLOP in all, at {what.used:.0%} of the machine's rate")
    if figures.literal:
        slower = figures.literal
        console.say(
            f"Algorithm 1 to the letter: {slower.seconds_per_step:.3g} s per step, {slower.ratio:.3g} times this recipe"
        )


def _check(arguments: argparse.Namespace) -> int:
    from facecrypt.benchmark.config import is_benchmark, load_benchmark
    from facecrypt.recipe.check import load_recipe
    from facecrypt.recipe.trainer_options import names_classes

    costs: list[str] = []
    if is_benchmark(arguments.recipe):
        load_benchmark(arguments.recipe, arguments.overrides, allow_env=arguments.allow_env)
    else:
        recipe = load_recipe(arguments.recipe, arguments.overrides, allow_env=arguments.allow_env)
        from facecrypt.cli.costs import describe_costs

        costs = describe_costs(recipe)
        if names_classes(recipe.trainer):
            from facecrypt.engine.class_paths import build_classes

            build_classes(recipe.trainer)
    console.say(f"{arguments.recipe}: no problems")
    for line in costs:
        console.say(line)
    return DONE


def _show(arguments: argparse.Namespace) -> int:
    from facecrypt.benchmark.config import dump_benchmark, is_benchmark, load_benchmark
    from facecrypt.recipe.check import show_recipe

    if is_benchmark(arguments.recipe):
        if arguments.origin:
            raise FacecryptError(
                f"show: {arguments.recipe} is a benchmark, and --origin tells of recipes. Leave it out."
            )
        benchmark, _ = load_benchmark(arguments.recipe, arguments.overrides, allow_env=arguments.allow_env)
        console.write(dump_benchmark(benchmark, ascii_only=not console.takes_unicode()))
    else:
        shown = show_recipe(
            arguments.recipe,
            arguments.overrides,
            origin=arguments.origin,
            grouped=arguments.grouped,
            allow_env=arguments.allow_env,
            ascii_only=not console.takes_unicode(),
        )
        console.write(shown)
    return DONE


def _migrate(arguments: argparse.Namespace) -> int:
    from facecrypt.benchmark.config import is_benchmark
    from facecrypt.cli.migrate import migrate_file

    if is_benchmark(arguments.recipe):
        raise FacecryptError(
            f"migrate: {arguments.recipe} is a benchmark, whose keys have no groups. Nothing is to do."
        )
    migrate_file(arguments.recipe, arguments.in_place)
    return DONE


def _ui(arguments: argparse.Namespace) -> int:
    from importlib.util import find_spec

    from facecrypt.recipe.check import load_recipe
    from facecrypt.recipe.resolve import quickstart

    path = arguments.recipe or quickstart()
    load_recipe(
        path, arguments.overrides, allow_env=arguments.allow_env
    )  # What is wrong with it is said before torch takes seconds to import.
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise FacecryptError("ui: needs starlette and uvicorn, which are not installed. Install facecrypt[ui].")
    from facecrypt.ui.server import serve
    from facecrypt.ui.session import load_choices

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    interrupts.tell_ending("the page's photo and all that was made of it are removed; the same command starts anew")
    choices = load_choices(path, arguments.overrides, allow_env=arguments.allow_env)
    serve(choices, arguments.port, not arguments.no_browser)
    return DONE


def _list(arguments: argparse.Namespace) -> int:
    from facecrypt.cli import listing

    if arguments.name is None:
        listing.list_components(arguments.kind)
    else:
        listing.describe(arguments.kind, arguments.name)
    return DONE


def _new(arguments: argparse.Namespace) -> int:
    from facecrypt.cli.template import write_plugin

    folder = write_plugin(arguments.name, Path(arguments.folder), arguments.kind)
    console.say(f"written: {folder}. Next: pip install -e {folder}, and python -m pytest {folder}/tests")
    return DONE


def _summarise(result: Report) -> None:
    console.say(result.summary)
    for photo in result.photos:
        if photo["status"] != "written":
            console.say(f"{photo['status']}: {photo['reason']}")
            continue
        console.say(f"written: {photo['source']} -> {photo['output']}")
        for skipped in photo["skipped"]:
            console.say(f"  face {skipped['index']}: left as it is, {skipped['reason']}")
        for face in photo["faces"]:
            _tell(face)
    if any(v["white_box"] for p in result.photos for f in p["faces"] for v in f["recognisers"].values()):
        loop = result.recipe["method"]["name"] == "iterative"
        part = "gave gradients" if loop else "answered while masks were made"
        console.say(f"* {part} (white-box): says nothing about recognisers that did not.")
    private = ""
    if any(photo["faces"] for photo in result.photos) and result.recipe["report"]["originals"]:
        private = "; it shows the original faces, too: keep it private, or leave them out by report.originals=false"
    if not result.faults and result.recipe["sink"]["name"] != "stdout":
        console.say(f"report: {result.recipe['output']}/report.html ({result.seconds:.1f} s){private}")


def _tell(face: dict[str, Any]) -> None:
    which = face["index"] or f"given by hand ({face['landmarks']})"
    seen = f", {face['visible']} visible" if face["visible"] else ""
    console.say(f"  face {which}: {face['verdict']}{seen}, changed by at most {face['max_abs']} grey levels")
    if face["level"] is not None:
        console.say(f"    strength: {face['level']}{', which was not enough' if face['escaped'] is False else ''}")
    for name, verdict in face["recognisers"].items():
        mark = "*" if verdict["white_box"] else " (chose the strength)" if verdict["chooses"] else ""
        console.say(f"    {name}{mark}: {_sentence(verdict)}")
    if face["expected"] is not None:
        from facecrypt.verdicts.sentences import of_others

        console.say(f"    others: {of_others(face['expected'])}")


def _sentence(verdict: dict[str, object]) -> str:
    if verdict["cannot_judge"]:
        return f"could not judge: {verdict['cannot_judge']}"
    if verdict.get("asked") and (verdict["similarity"], verdict["still_recognised"]) != (None, None):
        from facecrypt.verdicts.sentences import heard

        recognised = verdict["still_recognised"]
        says = "no verdict" if recognised is None else "still the same person" if recognised else "another person"
        return f"{says} ({heard(verdict)})"
    if verdict["similarity"] is None:
        return "finds no face any more, so it gives no verdict"
    if verdict["threshold"] is None:
        return f"similarity {verdict['similarity']:+.3f}; its threshold is unknown, so it gives no verdict"
    says = "still the same person" if verdict["still_recognised"] else "another person"
    return f"{says} (similarity {verdict['similarity']:+.3f}, same person from {verdict['threshold']:.3f})"


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    # What others write over several lines is one here, as everything that commands say.
    ours = issubclass(category, FacecryptWarning)
    console.warn(message if ours else " ".join(str(message).split()))
