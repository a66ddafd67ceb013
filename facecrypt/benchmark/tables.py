"""What a benchmark shows people: the rows of its metrics.json as the tables of TIP-IM's section 5.

A row holds what one recogniser, the evaluator, makes of one method's photos; None stands for what was not measured.
An empty list of rows, and two rows for one cell of a table, are refused with a ValueError.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, product
from typing import Any, Literal

Row = Mapping[str, Any]

_MISSING = "-"
_FACTS = {"Probes": "n_probes", "Gallery images": "n_gallery", "Seed": "seed", "Transform": "transform"}
_QUALITY = {  # heading: the key and its decimals
    "PSNR (dB) ↑": ("psnr", 2),
    "SSIM ↑": ("ssim", 4),
    "JOD ↑": ("jod_monitor", 2),
    "JOD, fitted ↑": ("jod_fitted", 2),
    "JOD, phone ↑": ("jod_phone", 2),
    "JOD, enlarged ↑": ("jod_enlarged", 2),
    "FLIP ↓": ("flip", 4),
    "MMD ↓": ("mmd", 4),
    "No face (%)": ("no_face", 1),
    "Queries per face": ("queries_per_face", 0),
    "Seconds per face": ("seconds_per_face", 2),
}
_FEW = 4
"""Most adversaries that have tables of their own."""
_OPTIONAL = ("jod", "flip", "queries")
"""Measures without a column where no row has them: metrics.json of earlier versions, methods that ask nobody."""
_USES = "Uses"
_LEFT_OUT = ("psnr", "mmd", "jod_fitted", "jod_phone")
"""Measures that only the table of looks and time has, for want of room beside all others."""
_NOTES = """\
- **R1-T, R5-T** (Rank-N-T): percent of the probes for which at least one of the N nearest gallery images shows a target
  identity. **R1-UT, R5-UT** (Rank-N-UT): percent of the probes for which none of the N nearest gallery images shows the
  probe's own identity. Higher is better.
- **\\*** marks white-box results: the evaluator is one of the surrogates that made the masks. They say little about
  recognisers that the masks have never met.
- **†** marks results of an evaluator by which the strength of each mask was chosen. They say as little.
- **Bold** is the best black-box value of a column among lines with the same surrogates. Equal values are all bold.
- **[low, high]** is the 95 % bootstrap interval of R1: how far it would move with other probes, not with other seeds,
  targets or galleries. metrics.json holds the intervals of R5 too.
- **Clean** photos are untouched: their line is what a recogniser gets wrong by itself, and never bold.
- **No face**: a probe whose saved file shows no face any more is no success of Rank-N-T and a success of Rank-N-UT.
  A ruined picture does that too: read Rank-N-UT next to the share of such probes. "a to b" spans the evaluators.
- **Transform**: what happened to every saved photo, the clean ones too, before its face was looked for. The gallery is
  untouched. PSNR, SSIM, JOD, FLIP and MMD are those of the photos as they were saved.
- **JOD**: how near a saved face looks to the original (ColorVideoVDP) on a full-HD monitor with a pixel for a pixel, on
  the same monitor with the whole photo fitted to it, on a phone that shows the whole photo, and at twice its size; 10
  is no visible difference. **FLIP** is 0 then.
- **protected_gallery**: whoever searches has protected photos of the same people, by the same method, and no others.
- **growing_gallery**: it begins with half of the clean photos of the same people. Protected versions of the other half
  come by one after the other, and each joins under the identity that the nearest photo has, if that is near enough.
- **linear_probe**: a linear classifier, trained on the evaluator's embeddings of the clean gallery and of protected
  versions of the same people's gallery photos, names N people. None of them is a distractor.
- **By adversary**: what each does is told in docs/evaluation.md. Rates are means over the evaluators that had no part
  in the masks, and intervals those of a bootstrap over people, each drawn with all of their probes.
- **Not verified**: share of the probes that no photo of their person in that gallery is as near to as strangers there
  are in one of 1,000 pairs. **Purity**: of the pairs of photos in one cluster, those of one person; **completeness**:
  of the pairs of photos of one person, those in one cluster; more of it is worse protection. **AUC**: 50 is chance.
- **Uses**: what a method learns of the surrogates: gradients; scores, how alike two faces are; decisions, whether they
  are one person; or nothing. **Queries per face**: pictures of a face that were shown to them, where a method counts.
- **Best target**: a single-target method runs with every target and reports the one that serves best, picked by these
  very results in its favour. Each rate may have its own; the one named is that of R1-T.
"""


@dataclass(frozen=True)
class Line:
    """One line of a table and one series of a plot: a method in a setting, and its rows by evaluator.

    Attributes:
        surrogates: Their names, or ``none``.
        method: Its label.
        setting: What sets it apart from other lines of the method; may be empty.
        rows: By evaluator.
    """

    surrogates: str
    method: str
    setting: str
    rows: Mapping[str, Row]

    @property
    def label(self) -> str:
        """Method and setting."""
        return f"{self.method}, {self.setting}" if self.setting else self.method

    @property
    def clean(self) -> bool:
        """Whether the photos are untouched."""
        # By what was measured too, as its name is for the user to choose.
        return self.method == "clean" or not (self.surrogates != "none" or self.values("psnr") or self.values("ssim"))

    def values(self, key: str) -> list[float]:
        """Return what was measured, smallest first: a single value unless the evaluator makes a difference."""
        return sorted({value for row in self.rows.values() if not math.isnan(value := value_of(row, key))})


def identification_table(rows: Sequence[Row], kind: Literal["t", "ut"]) -> str:
    """Return Rank-N-T (`kind` is ``t``) or Rank-N-UT (``ut``) as Markdown, as Tables 3 and 4 of TIP-IM show them.

    Lines and columns follow the order of the rows. White-box values carry a star; the best black-box values of a column
    among the lines with the same surrogates are bold, and values that are printed alike are equal.
    """
    lines = lines_of(rows)
    cell = _rates(lines, kind)
    headings = {row["evaluator"]: _rate_heading(row["evaluator"], kind) for row in rows}
    return f"{render_table(lines, headings, cell)}\n\n{_stated(rows)}"


def side_by_side(rows: Sequence[Row]) -> str:
    """Return every method with all that is known of it as one Markdown table: rates, looks, needs and costs.

    Of several transforms and adversaries, the first is shown: methods are compared by the same.
    """
    rows = [row for row in rows if conditions_of(row) == conditions_of(rows[0])]
    lines = lines_of(rows)
    columns: dict[str, Callable[[Line], str]] = {}
    measured = {key for row in rows for key, value in row.items() if value is not None}
    if "uses" in measured:
        columns[_USES] = _uses
    kinds: tuple[Literal["t", "ut"], ...] = ("ut", "t")
    for kind in kinds:
        rates = _rates(lines, kind)
        for name in dict.fromkeys(row["evaluator"] for row in rows):
            columns[_rate_heading(name, kind)] = partial(_at, rates, name)
    for heading, (key, decimals) in _QUALITY.items():
        if key in measured and key not in _LEFT_OUT:
            columns[heading] = partial(range_of, key=key, decimals=decimals)
    table = render_table(lines, {name: name for name in columns}, lambda line, name: columns[name](line))
    return f"{table}\n\n{_stated(rows)}"


def _at(rates: Callable[[Line, str], str], name: str, line: Line) -> str:
    return rates(line, name)


def _rate_heading(evaluator: str, kind: Literal["t", "ut"]) -> str:
    return f"{evaluator} R1-{kind.upper()} / R5-{kind.upper()}"


def _stated(rows: Sequence[Row]) -> str:
    """Return under what conditions rows came about, in a line."""
    facts = {name: dict.fromkeys(str(row[key]) for row in rows) for name, key in _FACTS.items()}
    return " ".join(f"{name}: {escape(', '.join(values))}." for name, values in facts.items())


def _rates(lines: Sequence[Line], kind: Literal["t", "ut"]) -> Callable[[Line, str], str]:
    """Return what a cell shows of a line and an evaluator."""
    keys = (f"rank1_{kind}", f"rank5_{kind}")
    best: dict[tuple[str, str, str], str] = {}  # as printed
    for line in lines:
        for (name, row), key in product(line.rows.items(), keys):
            if not (line.clean or mark_of(row) or row[key] is None):
                place = line.surrogates, name, key
                best[place] = max(best.get(place, "0.0"), f"{row[key]:.1f}", key=float)

    def cell(line: Line, name: str) -> str:
        texts = []
        for key in keys if name in line.rows else ():
            row = line.rows[name]
            text = _MISSING if row[key] is None else f"{row[key]:.1f}{mark_of(row)}"
            if not line.clean and text == best.get((line.surrogates, name, key)):
                text = f"**{text}**"
            if key == keys[0] and (interval := row.get(f"{key}_interval")):
                text += f" [{interval[0]:.1f}, {interval[1]:.1f}]"
            texts.append(text)
        return " / ".join(texts) or _MISSING

    return cell


def quality_table(rows: Sequence[Row]) -> str:
    """Return how natural the photos of every method look, and its time, as Markdown (Table 5 of TIP-IM)."""
    measured = {key for row in rows for key, value in row.items() if value is not None}
    headings = {name: name for name, (key, _) in _QUALITY.items() if key in measured or not key.startswith(_OPTIONAL)}
    if "uses" in measured:
        headings = {_USES: _USES, **headings}

    def cell(line: Line, name: str) -> str:
        if name == _USES:
            return _uses(line)
        return range_of(line, *_QUALITY[name])

    return render_table(lines_of(rows), headings, cell)


def _uses(line: Line) -> str:
    return ", ".join(dict.fromkeys(row.get("uses") or _MISSING for row in line.rows.values()))


def render_markdown(
    title: str,
    rows: Sequence[Row],
    command: str,
    left_out: Mapping[str, str] = {},
    costs: Mapping[str, str] = {},
    groups: str = "",
    overview: Sequence[str] = (),
) -> str:
    """Return table.md: the command that made the rows, the tables, and notes on their marks and measures.

    Of more than a few adversaries, only the first has tables of its own; all stand in the overview.

    Args:
        title: Its heading.
        rows: The rows of metrics.json.
        command: The command.
        left_out: Evaluators that could not judge, each with the reason.
        costs: Judges that were asked who somebody is, each with how often and what it cost.
        groups: The section that `group_tables` makes, if there is one.
        overview: Sections that come before the tables.
    """
    alone = without_many(rows)
    named = [row for row in alone if row["rank1_ut"] is not None or not row.get("measures")]
    sections = [
        f"# {escape(title)}\n\n```\n{command.strip()}\n```",
        *(f"**{escape(each)} could not judge**, so it is left out: {escape(why)}" for each, why in left_out.items()),
        *overview,
        f"## Side by side\n\n{side_by_side(rows)}",
        *([f"## Targeted identification\n\n{_by_condition(named, 't')}"] if named else []),
        *([f"## Untargeted identification\n\n{_by_condition(named, 'ut')}"] if named else []),
        *([groups] if groups else []),
        f"## Image quality and time\n\n{quality_table(_once(rows))}",
    ]
    if single := [row for row in rows if row.get("best_target") is not None]:
        headings = {row["evaluator"]: row["evaluator"] for row in single}
        targets = render_table(
            lines_of(single), headings, lambda line, name: escape(line.rows.get(name, {}).get("best_target", _MISSING))
        )
        sections.append(f"## Best targets\n\n{targets}")
    if streams := [row for row in rows if row.get("stream")]:
        sections.append(f"## Photos that joined a growing gallery\n\n{_stream_table(streams)}")
    if asked := [row for row in rows if row.get("needs") == "ranks"]:
        sections.append(f"## Judges that were asked\n\n{_asked_table(asked)}\n\n{_told(costs)}")
    return "\n\n".join([*sections, f"## Notes\n\n{_NOTES}"])


def without_many(rows: Sequence[Row]) -> Sequence[Row]:
    """Return the rows of adversaries that have tables of their own: of more than a few, the first one alone."""
    names = list(dict.fromkeys(row.get("adversary", "none") for row in rows))
    return rows if len(names) <= _FEW else [row for row in rows if row.get("adversary", "none") == names[0]]


def _once(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the first adversary of each method: how photos look is the same for all."""
    first: dict[tuple[object, ...], object] = {}
    kept = []
    for row in rows:
        place = tuple(row["surrogates"]), row["method"], row.get("setting"), row["transform"], row["seed"]
        if first.setdefault(place, row.get("adversary")) == row.get("adversary"):
            kept.append(row)
    return kept


def _stream_table(rows: Sequence[Row]) -> str:
    """Return how many photos came by, joined, and joined rightly, of each method's first transform."""

    def cell(line: Line, name: str) -> str:
        stream = line.rows[name]["stream"] if name in line.rows else None
        return f"{stream['joined']} of {stream['photos']}, {stream['right']} rightly" if stream else _MISSING

    shown = [row for row in rows if row["transform"] == rows[0]["transform"]]
    return render_table(lines_of(shown), {row["evaluator"]: row["evaluator"] for row in shown}, cell)


def _asked_table(rows: Sequence[Row]) -> str:
    """Return how often judges were asked about each method's first transform."""

    def cell(line: Line, name: str) -> str:
        return f"{line.rows[name]['queries']:,}" if name in line.rows else _MISSING

    shown = [row for row in rows if row["transform"] == rows[0]["transform"]]
    return render_table(lines_of(shown), {row["evaluator"]: f"{row['evaluator']}, queries" for row in shown}, cell)


def _told(costs: Mapping[str, str]) -> str:
    lines = [f"{name} with the gallery's enrolment and all rows: {cost}." for name, cost in costs.items()]
    why = "They rank people, not photos, and tell no embeddings: among N people, each stands once."
    return escape(" ".join([why, *lines]))


def _by_condition(rows: Sequence[Row], kind: Literal["t", "ut"]) -> str:
    """Return a table per adversary and transform, each under its name: only what met the same is compared."""
    tables: dict[str, list[Row]] = {}
    for row in rows:
        tables.setdefault(", ".join(conditions_of(row)), []).append(row)
    if len(tables) == 1:
        return identification_table(rows, kind)
    return "\n\n".join(f"### {escape(name)}\n\n{identification_table(each, kind)}" for name, each in tables.items())


def conditions_of(row: Row) -> list[str]:
    """Return what a row's photos met: the transform, and the adversary if there is one."""
    adversary = row.get("adversary", "none")
    return [row["transform"], *([] if adversary == "none" else [adversary])]


def lines_of(rows: Sequence[Row]) -> list[Line]:
    """Return the lines, grouped by surrogates, then by method, each in order of first appearance."""
    if not rows:
        raise ValueError("rows: none given; a benchmark leaves at least one.")
    differing = [key for key in ("transform", "adversary", "seed") if len({row.get(key) for row in rows}) > 1]
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        surrogates = " + ".join(row["surrogates"]) or "none"
        # A setting that only names the surrogates says nothing new, but what differs between rows must be said.
        notes = [row["setting"]] if row.get("setting") not in (None, "", surrogates) else []
        place = surrogates, row["method"], ", ".join([*notes, *(f"{key} {row[key]}" for key in differing)])
        if row["evaluator"] in found.setdefault(place, {}):
            raise ValueError(f"rows: two for {place} and {row['evaluator']}. Give one of them another setting.")
        found[place][row["evaluator"]] = row
    ordered = sorted(found, key=lambda place: [[other[:n] for other in found].index(place[:n]) for n in (1, 2)])
    return [Line(*place, found[place]) for place in ordered]


def blocks_of(lines: Iterable[Line]) -> list[list[Line]]:
    """Return the lines by their surrogates."""
    return [list(block) for _, block in groupby(lines, lambda line: line.surrogates)]


def mark_of(row: Row) -> str:
    """Return the mark of a result that says little about recognisers which the masks have never met."""
    return "*" if row["white_box"] else "†" if row.get("chooses") else ""


def value_of(row: Row, key: str) -> float:
    """Return what was measured, NaN where it was not, or where it is not finite."""
    value = row.get(key)
    return math.nan if value is None or math.isinf(value) else float(value)


def range_of(line: Line, key: str, decimals: int) -> str:
    """Return a measure as it is printed, ``-`` where it is missing, ``a to b`` where evaluators make a difference."""
    texts = [f"<{10**-decimals}" if 0 < v < 0.5 * 10**-decimals else f"{v:z.{decimals}f}" for v in line.values(key)]
    return " to ".join(dict.fromkeys([*texts[:1], *texts[-1:]])) or _MISSING


def render_table(lines: Sequence[Line], headings: Mapping[str, str], cell: Callable[[Line, str], str]) -> str:
    """Return a Markdown table; a block's surrogates stand in its first line only, as in print."""
    names = ["Surrogates", "Method", "Setting"][: 3 if any(line.setting for line in lines) else 2]
    table = [[*names, *map(escape, headings.values())], ["---"] * len(names) + ["---:"] * len(headings)]
    for position, line in ((position, line) for block in blocks_of(lines) for position, line in enumerate(block)):
        texts = [line.surrogates if position == 0 else "", line.method, line.setting or _MISSING]
        table.append([*map(escape, texts[: len(names)]), *(cell(line, key) for key in headings)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def escape(text: str) -> str:
    """Return the text as Markdown that shows it as it is, in a table too."""
    return re.sub(r"([\\|*<`\[\]])", r"\\\1", " ".join(text.split()))
