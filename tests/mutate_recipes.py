"""Feed damaged recipes to check, show and load: each must end with a right answer, soon, and never with a traceback.

    python tests/mutate_recipes.py --count 1400 --seed 0

Every shipped recipe is mutated: a value replaced by a hostile one, the text damaged, the encoding changed, overrides
added. What a number stands for depends on the seed and that number alone,
so that ``--only 17`` makes one of them again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from facecrypt.benchmark.config import is_benchmark
from facecrypt.cli import main as cli
from facecrypt.recipe.check import dump_recipe, load_recipe

ROOT = Path(__file__).parents[1]
MOST_SECONDS = 5.0
"""Longest time of one recipe, in seconds of this process on a processor, however busy the machine is."""
MOST_MEMORY = 300 * 2**20
"""Most memory that one recipe may take beyond what all before it took, in bytes."""

_MARK = "MUTATED_VALUE"

SCALARS = (
    "", "~", "null", "no", "true", "0", "-0", "-0.0", "1", "-1", "2.5", "1e-3", "1e40", "-1e40", "1e400", ".inf",
    "-.inf", ".nan",
    "9" * 5000, "0x_", "._", "010", "1:30", "0b2", "1_000", str(2**31), str(2**63), str(2**64), str(10**30), "1e-320",
    "2024-05-01", "2024-13-45", "=", "<<", "text", "'text'", '"a\\0b"', '"\\ud800"', '"\\udce9.jpg"', '"\\e[31mred"',
    '"\\u202e"',
    '"\\UFFFFFFFF"', '"\\x"', '"a\\nb"', "album/#2", "'*.jpg'", "*.jpg", "!x", "&x", "%x", "@x", "`x", "a: b", "{",
    "[", "]", "}",
    "!!int abc", "!!int 5", "!!float x", "!!bool maybe", "!!timestamp x", "!!binary aGk", "!!str 5", "!!null x",
    "!!omap [a: 1]",
    "!!set {a, b}", "!!python/name:os.system ''", "!!python/object/apply:os.system ['true']", "!local {a: 1}",
    "!<tag:x,1:y> z",
    "${steps}", "${nowhere}", "${.name}", "${..name}", "${...........}", "${", "${}", "${a.${b}}", "x${steps}y",
    "\\${steps}",
    "${oc.env:HOME}", "${oc.env:NOWHERE,x}", "${oc.decode:'1'}", "${oc.create:{a: 1}}", "${oc.select:steps}",
    "${oc.dict.keys:faces}",
    "${mutated}", "${surrogates}", "${surrogates[0]}", "${surrogates[9]}", "[]", "{}", "[[]]", "[null]",
    "[1, a, {b: c}]", "{a: {b: {c: 1}}}",
    "{name: sface}", "{name: sfaec}", "{name: onnx}", "{name: onnx, args: {path: 5, dimension: 0}}", "{name: [1]}",
    "{name: {a: 1}}",
    "{name: momentum, args: [1]}", "{name: greedy, args: {every: 1e9}}", "{1: 2}", "{null: 1}", "{[1]: 2}",
    "{? {a: b} : c}", "{a: 1, a: 2}",
    "[{name: sface}, {name: sface}]", "gpu", "tpu", "bf16-true", "fsdp", "auto", "linf", "l2", "batch", "virtual", "-",
    "..", "/dev/null",
    "'~nobody/x'", "'~/x'", "[0, 1]", "[0, 0]", "[-1]", "caf\u00e9", "\u202egpj.exe", "\u200b", "\U0001f600",
    "x" * 5000, "[" * 60 + "]" * 60,
    "[" * 10000, "{a: " * 10000, "- " * 3000, "[" + "1, " * 30000 + "]", "[" + "{name: affine}, " * 300 + "]",
    "[" + "{name: nothing}, " * 3000 + "]", "{" + ", ".join(f"k{i}: {i}" for i in range(3000)) + "}",
)  # fmt: skip
"""Values in YAML, of which some are none."""

TYPED = (
    "", "#2", "2024", "no", "null", "~", "-", "~/x", "a=b", "a: b", "[x]", "[x", "{x}", "{x", "'x", '"x"', " x ",
    "*.jpg", "!x", "&x",
    "${x}", "${seed}", "\\x", "caf\udce9.jpg", "\U0001f600", "a\nb", "\x1b]0;x\x07", "\u202e", "9" * 5000, "1e40",
    ".nan", "x" * 20000,
    "[[" * 5000, "{name: sface}", "[{name: sface}]", "[1, 2]", "{a: 1}", "gpu", "0", "-1", "[]", "true", "*a",
    "!!int x", "a, b",
)  # fmt: skip
"""Values as they are typed after ``key=``."""

TAILS = (
    "\n---\nsecond: document\n", "\n...\n", "\n\0", "\n\x1b[2J", "\n\tx: 1", "\n? [a]\n: b",
    "\nsurrogates: [{name: sface}]\n",
    "\nsteps: 1\nsteps: 2\n", "\n<<: {steps: 3}\n", "\n<<: [1]\n", "\n<<: *nowhere\n", "\n\udce9: 1\n", "\n: 1\n",
    "\n- 1\n", "\n'",
    "\na: &a0 [x, x, x, x, x, x, x, x]\n"
    + "".join(f"b{i}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(9)),
    "\nl0: xxxxxxxxxx\n" + "".join(f"l{i + 1}: ${{l{i}}}${{l{i}}}\n" for i in range(28)) + "output: ${l28}\n",
    "\nl0: ''\n" + "".join(f"l{i + 1}: ${{l{i}}}${{l{i}}}\n" for i in range(28)) + "output: ${l28}\n",
    "\nl0: [1]\n" + "".join(f"l{i + 1}: ['${{l{i}}}', '${{l{i}}}']\n" for i in range(28)) + "views: ${l28}\n",
    "\na: ${b}\nb: ${a}\n", "\na: {b: '${a}'}\n", "\na: ${a.b}\n",
    "".join(f"\nc{i}: ${{c{i + 1}}}" for i in range(2000)) + "\n",
    "\n" + "".join(f"{' ' * i}a:\n" for i in range(300)), "\n# " + "x" * 3000 + "\n", "\nx: |\n" + " y\n" * 3000,
    "\n" + "k: v\n" * 3000,
    "\n" + "".join(f"k{i}: v\n" for i in range(3000)), "\nsteps: " + "1" * 400, "\n" * 3000, "\n%YAML 9.9\n",
    "\n%TAG ! x\n---\n",
    "\nx: " + "${seed}" * 3000 + "\n", "\nx: " + "a" * 600_000 + "\n",
)  # fmt: skip
"""What is added to the end of a file."""


@dataclass(frozen=True)
class Mutant:
    """A damaged recipe.

    Attributes:
        origin: The recipe that it was.
        content: The file.
        overrides: What is typed after its name.
    """

    origin: Path
    content: bytes
    overrides: tuple[str, ...]


def make(seed: int, number: int) -> Mutant:
    """Return a mutant, which depends on the arguments alone."""
    draw = random.Random(f"{seed}/{number}")
    origin = draw.choice(ORIGINS)
    text = origin.read_text(encoding="utf-8")
    if draw.random() < 0.5:
        text = _full(origin, text)
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3))):
        text = draw.choice((_replace, _replace, _replace, _damage, _add))(draw, text)
    overrides = tuple(_override(draw, text) for _ in range(draw.choice((0, 0, 1, 1, 2, 4))))
    return Mutant(origin, _encode(draw, text), overrides)


ORIGINS = sorted([*(ROOT / "recipes").rglob("*.yaml"), *(ROOT / "plugins").rglob("recipe.yaml")])


def _full(origin: Path, text: str) -> str:
    """Return a recipe with every key, so that every key is mutated."""
    return text if is_benchmark(origin) else dump_recipe(load_recipe(origin))


def _replace(draw: random.Random, text: str) -> str:
    """Replace, remove or add a value at any depth."""
    tree = _tree(text)
    if not tree:
        return draw.choice((_damage, _add))(draw, text)
    node: Any = tree
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = draw.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and draw.random() < 0.7:
            node = node[key]
            continue
        how = draw.random()
        if how < 0.7:
            node[key] = _MARK
        elif how < 0.8:
            del node[key]
        elif isinstance(node, dict):
            node[f"{key}{draw.choice(('s', '_', ' ', '.', '[0]', chr(27), chr(0x202E)))}"] = node[key]
        else:
            node += node * draw.choice((1, 40))
        break
    dumped: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return dumped.replace(_MARK, draw.choice(SCALARS))


def _tree(text: str) -> dict[str, Any]:
    """Return a recipe as a tree; an empty one where it is damaged too much already."""
    if len(text) > 50_000 or "!!" in text or text.count("&") > 3:
        return {}
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, OverflowError, LookupError, RecursionError):  # of PyYAML itself
        return {}
    return tree if isinstance(tree, dict) else {}


def _damage(draw: random.Random, text: str) -> str:
    """Change a few characters or lines."""
    place = draw.randrange(len(text) + 1)
    how = draw.randrange(5)
    if how == 0:
        return text[:place]
    if how == 1:
        return text[:place] + draw.choice("\0\t\x1b\x85\u2028\ufeff:#&*!|>%@`{}[],'\"-?\n ") + text[place:]
    if how == 2:
        return text[:place] + text[place + draw.randrange(1, 20) :]
    lines = text.splitlines(keepends=True) or [""]
    line = draw.randrange(len(lines))
    if how == 3:
        lines.insert(draw.randrange(len(lines)), lines[line])
    else:
        lines[line] = "  " * draw.randrange(4) + lines[line].lstrip()
    return "".join(lines)


def _add(draw: random.Random, text: str) -> str:
    return text + draw.choice(TAILS)


def _override(draw: random.Random, text: str) -> str:
    path, node = "", _tree(text)
    while isinstance(node, dict | list) and node and (not path or draw.random() < 0.6):
        key = draw.choice(list(node) if isinstance(node, dict) else range(len(node)))
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else str(key)
        node = node[key]
    if draw.random() < 0.3:
        path = draw.choice(PATHS)
    if draw.random() < 0.1:
        path += draw.choice(("", ".", "[0]", "[99]", ".x.y", ":", "[", "." + "x." * 30 + "y", "\x1b"))
    typed = draw.choice(TYPED) if draw.random() < 0.7 else draw.choice(SCALARS)[:20000].replace("\0", "")
    return draw.choice((f"{path}={typed}",) * 30 + (path, f"={typed}", f"{path}:={typed}"))


PATHS = (
    "photos", "output", "targets", "name", "backup", "receipt.gallery", "receipt.cache", "faces.only",
    "faces.except", "own_photos",
    "preset", "steps",
    "faces", "seed", "surrogates[0].args.path", "surrogates[0].name", "trainer.devices", "trainer.accelerator",
    "trainer.precision",
    "protocol.file", "protocol.folder", "distractors", "methods[0].recipe", "methods[1].set", "settings", "views",
    "strength",
    "strength.levels[0]", "budget.ssim", "limits.memory", "limits.seconds", "overwrite", "metadata", "batch_size",
    "workers", "held_out", "epsilon", "cache",
)  # fmt: skip


def _encode(draw: random.Random, text: str) -> bytes:
    how = draw.random()
    if how < 0.85:
        return text.encode("utf-8", "surrogateescape")
    if how < 0.9:
        return text.encode(draw.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig")), "replace")
    if how < 0.95:
        return text.encode("latin-1", "replace").replace(b"\n", draw.choice((b"\r\n", b"\r", b"\n")))
    content = bytearray(text.encode("utf-8", "surrogateescape"))
    for _ in range(draw.randrange(1, 8)):
        if content:
            content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content)


def examine(mutant: Mutant, folder: Path) -> str:
    """Return what is wrong with what the commands make of a mutant, or nothing.

    Args:
        mutant: The recipe.
        folder: Where its file goes.
    """
    file = folder / "mutant.yaml"
    file.write_bytes(mutant.content)
    began, memory = time.process_time(), _peak()
    complaint = _check_and_show(file, mutant.overrides, folder)
    seconds, more = time.process_time() - began, _peak() - memory
    if not complaint and seconds > MOST_SECONDS:
        complaint = f"took {seconds:.1f} s"
    if not complaint and more > MOST_MEMORY:
        complaint = f"took {more / 2**20:.0f} MiB more"
    return complaint


def _check_and_show(file: Path, overrides: tuple[str, ...], folder: Path) -> str:
    status, out, err = _call("check", str(file), *overrides)
    if status not in (cli.DONE, cli.WRONG):
        return err
    shown, text, err = _call("show", str(file), *overrides)
    if shown != status:
        return err or f"check says {status}, show {shown}"
    if any(not each.isprintable() and each != "\n" and not each.isspace() for each in out + text + err):
        return f"unseen characters in {(out + text + err)!r}"
    if status == cli.WRONG:
        return "" if err.startswith("facecrypt: ") and len(err) < 100_000 else f"no message: {err[:200]!r}"
    if not text.isprintable() and any(each in text for each in "\x1b\x07\u202e"):
        return "control characters in show"
    resolved = folder / "resolved.yaml"
    resolved.write_text(text, encoding="utf-8")
    again, second, err = _call("show", str(resolved))
    if is_benchmark(resolved):
        return "" if again in (cli.DONE, cli.WRONG) else err
    return "" if (again, second) == (cli.DONE, text) else f"the resolved recipe is another one: {err}"


def _call(*arguments: str) -> tuple[int, str, str]:
    """Return the exit status of a command, -1 for a traceback, and what it printed; of a traceback, that."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        except Exception:  # What is looked for.
            return -1, out.getvalue(), traceback.format_exc()
    return status, out.getvalue(), err.getvalue()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def examine_many(numbers: range, seed: int) -> Iterator[tuple[int, Mutant, str]]:
    """Give the number, the mutant and the complaint of every mutant that something is wrong with."""
    _warm_up()
    with tempfile.TemporaryDirectory() as name:
        for origin in ORIGINS:  # Benchmarks name recipes by where these lie beside them.
            copied = Path(name) / origin.relative_to(ROOT)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(origin, copied)
        for number in numbers:
            mutant = make(seed, number)
            complaint = examine(mutant, Path(name) / mutant.origin.parent.relative_to(ROOT))
            if complaint:
                yield number, mutant, complaint


def _warm_up() -> None:
    """Import what checks import, which takes time and memory once."""
    for origin in ORIGINS:
        _call("check", str(origin))
    _call("list")


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="examine the mutant of this number alone, and show it")
    given = parser.parse_args()
    os.environ.setdefault("FACECRYPT_OFFLINE", "1")
    signal.signal(signal.SIGPROF, lambda *_: os.abort())
    signal.setitimer(signal.ITIMER_PROF, 60 + given.count * MOST_SECONDS)
    numbers = range(given.count) if given.only is None else range(given.only, given.only + 1)
    bad = 0
    for number, mutant, complaint in examine_many(numbers, given.seed):
        bad += 1
        print(f"--- {number}: {mutant.origin.name} {mutant.overrides!a}\n{mutant.content[:2000]!a}\n{complaint}")
    print(f"{len(numbers)} recipes, {bad} of them with a wrong answer")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
