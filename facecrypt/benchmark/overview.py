"""What a benchmark of several adversaries shows first: methods against adversaries, in one table per question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from facecrypt.benchmark.metrics import bootstrap_interval
from facecrypt.benchmark.tables import Line, Row, escape, lines_of, mark_of, render_table

_MISSING = "-"
_ASKED = {
    "rank1_ut": (
        "Not found (R1-UT), by adversary",
        "Percent of the probes of whom the adversary's first guess is wrong",
    ),
    "not_verified": ("Not verified at a false match rate of 1e-3, by adversary", "Percent of the probes"),
}
"""Rates with a digit per probe, with heading and meaning."""


class Rate(NamedTuple):
    """A rate in percent with its interval, and the mark of evaluators that had a part in the masks."""

    value: float
    low: float
    high: float
    mark: str = ""

    def __str__(self) -> str:
        return f"{self.value:.1f}{self.mark} [{self.low:.1f}, {self.high:.1f}]"


def overview(rows: Sequence[Row]) -> list[str]:
    """Return sections of Markdown on the adversaries of a benchmark; none where there is but one that measures nothing.

    Args:
        rows: The rows of metrics.json.
    """
    adversaries = list(dict.fromkeys(row.get("adversary", "none") for row in rows))
    transforms = list(dict.fromkeys(row["transform"] for row in rows))
    sections = []
    for key, (heading, meaning) in _ASKED.items():
        asked = [row for row in rows if row.get(f"{key}_probes")]
        if len({row.get("adversary", "none") for row in asked}) > 1:
            texts = []
            for transform in transforms:
                shown = [row for row in asked if row["transform"] == transform]
                name = f"### {escape(transform)}\n\n" if len(transforms) > 1 else ""
                texts += [f"{name}{_matrix(shown, key)}"] if shown else []
            sections.append(f"## {heading}\n\n{_facts(asked, meaning)}\n\n" + "\n\n".join(texts))
    first = [row for row in rows if row["transform"] == transforms[0]]
    for adversary in adversaries:
        own = [row for row in first if row.get("adversary", "none") == adversary]
        if any(row.get("measures") for row in own):
            sections.append(f"## {escape(adversary)}\n\n{_measures(own)}")
    if chosen := [row for row in first if row.get("chosen")]:
        sections.append(f"## What adversaries chose\n\n{_choices(chosen)}")
    return sections


def mean_rate(rows: Sequence[Row], key: str) -> Rate | None:
    """Return the mean of a rate over evaluators, with its bootstrap interval over people; None where nobody knows it.

    Only evaluators without a mark count, where there is one.

    Args:
        rows: What the evaluators make of the same probes.
        key: The rate, whose ``_probes`` has a digit per probe.
    """
    known = [row for row in rows if row.get(f"{key}_probes")]
    unmarked = [row for row in known if not mark_of(row)]
    counted = unmarked or known
    if not counted:
        return None
    digits = torch.tensor([[int(digit) for digit in row[f"{key}_probes"]] for row in counted], dtype=torch.float64)
    people: Tensor | None = torch.tensor(counted[0]["probe_people"]) if counted[0].get("probe_people") else None
    values = digits.mean(dim=0)
    low, high = bootstrap_interval(values, seed=counted[0]["seed"], groups=people)
    return Rate(100 * values.mean().item(), 100 * low, 100 * high, "" if unmarked else mark_of(counted[0]))


def _matrix(rows: Sequence[Row], key: str) -> str:
    cells: dict[tuple[str, str, str], dict[str, Line]] = {}
    for adversary in dict.fromkeys(row.get("adversary", "none") for row in rows):
        for line in lines_of([row for row in rows if row.get("adversary", "none") == adversary]):
            cells.setdefault((line.surrogates, line.method, line.setting), {})[adversary] = line
    # In the order of the method that faces most of them: others face not all, but none out of turn.
    faced: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        faced.setdefault((row["method"], row.get("setting") or ""), {})[row.get("adversary", "none")] = None
    order = dict.fromkeys(name for each in sorted(faced.values(), key=len, reverse=True) for name in each)
    headings = {name: name for name in order}
    lines = [next(iter(each.values())) for each in cells.values()]

    def cell(line: Line, adversary: str) -> str:
        found = cells[line.surrogates, line.method, line.setting].get(adversary)
        rate = mean_rate(list(found.rows.values()), key) if found else None
        return str(rate) if rate else _MISSING

    return render_table(lines, headings, cell)


def _facts(rows: Sequence[Row], meaning: str) -> str:
    names = list(dict.fromkeys(row["evaluator"] for row in rows if not mark_of(row)))
    judges = ", ".join(names or dict.fromkeys(row["evaluator"] for row in rows))
    probes, people = rows[0]["n_probes"], len(set(rows[0].get("probe_people") or range(rows[0]["n_probes"])))
    seeds = ", ".join(dict.fromkeys(str(row["seed"]) for row in rows))
    facts = f"mean over {judges}; {probes} probes of {people} people; seed {seeds}"
    return escape(
        f"{meaning}: {facts}. In brackets, the 95 % interval of a bootstrap over people. Higher protects better."
    )


def _measures(rows: Sequence[Row]) -> str:
    """Return each measure by each evaluator."""
    names = list(dict.fromkeys(name for row in rows for name in row["measures"]))
    columns = {f"{row['evaluator']}/{name}": f"{row['evaluator']}, {name}" for row in rows for name in names}

    def cell(line: Line, column: str) -> str:
        evaluator, _, name = column.rpartition("/")
        measure: Mapping[str, Any] | None = line.rows.get(evaluator, {}).get("measures", {}).get(name)
        if measure is None:
            return _MISSING
        low, high = measure["interval"]
        return str(Rate(measure["value"], low, high, mark_of(line.rows[evaluator])))

    return f"{render_table(lines_of(rows), columns, cell)}\n\nPercent. Known photos: {rows[0]['n_gallery']}."


def _choices(rows: Sequence[Row]) -> str:
    def cell(line: Line, evaluator: str) -> str:
        return escape(str(line.rows[evaluator]["chosen"])) if evaluator in line.rows else _MISSING

    tables = []
    for adversary in dict.fromkeys(row["adversary"] for row in rows):
        own = [row for row in rows if row["adversary"] == adversary]
        table = render_table(lines_of(own), {row["evaluator"]: row["evaluator"] for row in own}, cell)
        tables.append(f"### {escape(adversary)}\n\n{table}")
    return "\n\n".join(tables)
