"""The section of table.md that tells who is protected less: a table for each method, and its worst group in a line."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from facecrypt.benchmark.groups import BEHIND, FEWEST, Standing, left_out, standings
from facecrypt.benchmark.tables import Line, Row, conditions_of, escape, lines_of, mark_of

_HEADING = "## Who is protected less"
_NOTES = f"""\
R1-UT by what shows in the original photo: the mean over the evaluators that had no part in the masks, with its 95 %
interval by a bootstrap over people, and how far it is ahead of the other probes (behind them where negative). **‡**
marks a group that is more than {BEHIND:g} points behind. A class of fewer than {FEWEST} probes is joined with its
neighbour. Of so many groups one is behind by chance, too: see whether the interval of the difference reaches 0. Skin is
the tone that the photo shows: light changes it, and a fair face in the shade counts as dark."""


def section(rows: Sequence[Row]) -> str:
    """Return the section as Markdown, empty where no row tells of groups: those of earlier versions do not.

    Args:
        rows: The rows of metrics.json.
    """
    told = [row for row in rows if row.get("groups")]
    conditions = list(dict.fromkeys(", ".join(conditions_of(row)) for row in told))
    parts, worst = [], []
    for condition in conditions:
        found = [row for row in told if ", ".join(conditions_of(row)) == condition]
        for line in lines_of(found):
            judging = [row for row in line.rows.values() if not mark_of(row)]
            if line.clean or not judging:
                continue
            groups = standings(judging)
            if not groups:  # Nor are there any in other lines, which have the same probes.
                return f"{_HEADING}\n\nNot told: no trait has two groups of {FEWEST} probes or more."
            name = " / ".join([line.label, *([condition] if len(conditions) > 1 else []), *_of(line, found)])
            worst.append(f"- {escape(name)}: {_worst(groups)}")
            if condition == conditions[0]:
                parts.append(f"### {escape(name)}\n\n{_table(groups, judging)}")
    if not worst:
        return ""
    return "\n\n".join([_HEADING, "\n".join(worst), _NOTES, *parts])


def _of(line: Line, rows: Sequence[Row]) -> list[str]:
    """Return the surrogates of a line where those of other lines with its label differ."""
    alike = {other.surrogates for other in lines_of(rows) if other.label == line.label}
    return [line.surrogates] if len(alike) > 1 else []


def _worst(groups: Sequence[Standing]) -> str:
    worst = min(groups, key=lambda group: group.ahead)
    return (
        f"worst group {worst.trait}: {worst.group}, n = {worst.n}, R1-UT {worst.rate:.1f} {_shown(worst.interval)}, "
        f"{worst.ahead:+.1f} {_shown(worst.ahead_interval)} against the rest{_mark(worst)}"
    )


def _table(groups: Sequence[Standing], judging: Sequence[Row]) -> str:
    mean = fmean(row["rank1_ut"] for row in judging)
    lines = ["| Trait | Group | n | R1-UT | Against the rest |", "| --- | --- | ---: | ---: | ---: |"]
    lines.append(f"| all |  | {judging[0]['n_probes']} | {mean:.1f} |  |")
    before = ""
    for group in groups:
        trait = "" if group.trait == before else group.trait
        before = group.trait
        lines.append(
            f"| {trait} | {group.group} | {group.n} | {group.rate:.1f} {_shown(group.interval)} | "
            f"{group.ahead:+.1f} {_shown(group.ahead_interval)}{_mark(group)} |"
        )
    text = "\n".join(lines)
    names = ", ".join(row["evaluator"] for row in judging)
    out = left_out(judging[0])
    left = f" Left out, for want of a second group: {'; '.join(out)}." if out else ""
    return f"{text}\n\nMean over {escape(names)}.{left}"


def _mark(group: Standing) -> str:
    return " ‡" if group.marked else ""


def _shown(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.1f}, {interval[1]:.1f}]"
