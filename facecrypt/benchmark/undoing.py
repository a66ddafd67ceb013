r"""Write facecrypt/data/undoing.json: how often those who know of protection found people, for reports and docs.

    python -m facecrypt.benchmark.undoing results/adversaries/metrics.json --recipe tipim_plus recipes/tipim_plus.yaml
    python -m facecrypt.benchmark.undoing docs/results.md --section "Adversaries that know of protection" \
        --earlier tipim_plus "preset mid of an earlier version"

reads what `facecrypt evaluate` left: metrics.json with the table.md beside it, or a page that holds such a table. A
method of the benchmark counts that is named, by the recipe that made its masks, or in words where no recipe makes such
masks any more. Results of evaluators that had a part in the masks do not count.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from facecrypt.benchmark.groups import standings
from facecrypt.benchmark.tables import Row, mark_of
from facecrypt.errors import FacecryptError
from facecrypt.recipe.check import load_recipe, recipe_values
from facecrypt.report.undoing import deciding
from facecrypt.system.console import say
from facecrypt.system.regular import read_text

FILE = Path(__file__).parents[1] / "data" / "undoing.json"

_RATE = re.compile(r"(?P<rate>\d+\.\d)(?P<mark>[*†]?)(?: \[(?P<low>\d+\.\d), (?P<high>\d+\.\d)\])?")
_FACTS = re.compile(r"Probes: (?P<n_probes>\d+)\..* Seed: (?P<seed>\d+)\. Transform: (?P<transform>.+)\.")


def read_results(file: Path, section: str | None = None) -> tuple[list[Row], str]:
    """Return the rows of a metrics.json or of the tables in a page, and the command that made them.

    Args:
        file: metrics.json, or Markdown that holds the tables of a table.md.
        section: Heading of the section of the page; the whole page by default.

    Raises:
        FacecryptError: If it holds no results.
    """
    if file.suffix == ".json":
        rows: list[Row] = json.loads(read_text(file))
        return rows, _command(read_text(file.with_name("table.md")))
    text = _section(read_text(file), section) if section else read_text(file)
    rows = list(_rows(_section(text, "Untargeted identification")))
    if not rows:
        raise FacecryptError(f"{file}: {section or 'the page'} holds no table of untargeted identification. Name one.")
    return rows, _command(text)


def entry_of(
    rows: Sequence[Row], command: str, method: str, settings: str, recipe: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what undoing.json says of the masks of one method.

    Args:
        rows: The rows of the benchmark.
        command: The command that made them.
        method: Label of the method.
        settings: What the masks are called.
        recipe: The recipe that makes them, as report.json has it; None where none does any more.

    Raises:
        FacecryptError: If no evaluator without a part in the masks judged them.
    """
    own = [
        row
        for row in rows
        if row["method"] == method and row["transform"] == "none" and row["rank1_ut"] is not None and not mark_of(row)
    ]
    if not own:
        raise FacecryptError(f"{method}: no evaluator without a part in the masks judged them. Name another method.")
    adversaries: dict[str, dict[str, Any]] = {}
    for row in own:
        known = adversaries.setdefault(row.get("adversary", "none"), {})
        if row["evaluator"] in known:
            raise FacecryptError(f"{method}: it has several settings. Measure one of them by itself.")
        known[row["evaluator"]] = {"rank1_ut": row["rank1_ut"], "interval": row.get("rank1_ut_interval")}
    grouped = [row for row in own if row.get("adversary", "none") == "none" and row.get("groups")]
    behind = [asdict(group) for group in standings(grouped) if group.marked] if grouped else None
    return {
        "settings": settings,
        "preset": recipe and recipe["preset"],
        "recipe": recipe and deciding(recipe),
        "surrogates": own[0]["surrogates"],
        "n": own[0]["n_probes"],
        "seed": own[0]["seed"],
        "command": command,
        "adversaries": [{"name": name, "evaluators": each} for name, each in adversaries.items()],
        "behind": behind,
    }


def _section(text: str, title: str) -> str:
    """Return what stands under a heading, up to the next one that is as high."""
    start = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    if start is None:
        return ""
    end = re.compile(rf"^#{{1,{len(start[1])}}} ", re.MULTILINE).search(text, start.end())
    return text[start.end() : end.start() if end else len(text)]


def _command(text: str) -> str:
    """Return the first block of code of a page."""
    found = re.search(r"^```\w*\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def _rows(text: str) -> Iterator[Row]:
    """Return the rows of tables as `tables.identification_table` writes them, each under its condition."""
    parts = re.split(r"^#+ (.*)$", text, flags=re.MULTILINE)
    for heading, body in zip(["none", *parts[1::2]], parts[::2], strict=True):
        table = [_cells(line) for line in body.splitlines() if line.startswith("|")]
        facts = _FACTS.search(body)
        if not table or facts is None:
            continue
        _, _, adversary = heading.partition(", ")
        names, surrogates = [name.partition(" R1-UT / ")[0] for name in table[0]], ""
        for cells in table[2:]:
            surrogates = cells[0] or surrogates
            known = {
                "method": cells[1],
                "surrogates": [] if surrogates == "none" else surrogates.split(" + "),
                "adversary": adversary or "none",
                "transform": facts["transform"],
                "n_probes": int(facts["n_probes"]),
                "seed": int(facts["seed"]),
            }
            for name, cell in zip(names, cells, strict=True):
                rate = _RATE.match(cell.replace("**", ""))
                if name not in _LABELS and rate:
                    low, high = rate["low"], rate["high"]
                    yield known | {
                        "evaluator": name,
                        "white_box": rate["mark"] == "*",
                        "chooses": rate["mark"] == "†",
                        "rank1_ut": float(rate["rate"]),
                        "rank1_ut_interval": [float(low), float(high)] if low else None,
                    }


_LABELS = ("Surrogates", "Method", "Setting")


def _cells(line: str) -> list[str]:
    """Return the cells of a line of a table as they were before `tables.escape`."""
    return [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in line.strip()[2:-2].split(" | ")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file.

    Args:
        arguments: The command line; of the process by default.
    """
    parser = argparse.ArgumentParser(
        prog="python -m facecrypt.benchmark.undoing", description="Write what reports say of adversaries."
    )
    parser.add_argument("results", type=Path, help="metrics.json of facecrypt evaluate, or a page with its table.md")
    parser.add_argument("--section", help="heading of the section of the page")
    parser.add_argument(
        "--recipe",
        nargs="+",
        action="append",
        default=[],
        metavar="WORD",
        help="label of a method, its recipe, overrides",
    )
    parser.add_argument(
        "--earlier",
        nargs=2,
        action="append",
        default=[],
        metavar="WORD",
        help="label of a method, and what its masks are",
    )
    parser.add_argument("--output", type=Path, default=FILE, help="the file to write")
    given = parser.parse_args(arguments)
    if not given.recipe and not given.earlier:
        parser.error("name a method by --recipe or --earlier")
    try:
        rows, command = read_results(given.results, given.section)
        entries = [entry_of(rows, command, label, text, None) for label, text in given.earlier]
        for label, file, *overrides in given.recipe:
            recipe = recipe_values(load_recipe(file, overrides))
            settings = f"preset {recipe['preset']}" if recipe["preset"] else " ".join([file, *overrides])
            entries.append(entry_of(rows, command, label, settings, recipe))
    except (FacecryptError, OSError, ValueError, KeyError) as error:
        parser.error(f"{given.results}: {error}")
    words = [str(given.results)]
    words += ["--section", given.section] if given.section else []
    words += [word for each in given.recipe for word in ("--recipe", *each)]
    words += [word for each in given.earlier for word in ("--earlier", *each)]
    content = {
        "made_by": shlex.join(["python", "-m", "facecrypt.benchmark.undoing", *words]),
        "date": date.today().isoformat(),
        "measured": entries,
    }
    given.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    say(str(given.output))


if __name__ == "__main__":
    main()
