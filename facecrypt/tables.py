"""What a benchmark shows people: the rows of its metrics.json as the tables and plots of TIP-IM's section 5.

A row holds what one recogniser, the evaluator, makes of one method's photos; None stands for what was not measured.
An empty list of rows, and two rows for one cell of a table, are refused with a ValueError.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, groupby, product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from facecrypt.errors import FacecryptError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

_MISSING = "-"
_FACTS = {"Probes": "n_probes", "Gallery images": "n_gallery", "Seed": "seed", "Transform": "transform"}
_QUALITY = {  # heading: the key and its decimals
    "PSNR (dB) ↑": ("psnr", 2),
    "SSIM ↑": ("ssim", 4),
    "JOD ↑": ("jod_monitor", 2),
    "JOD, phone ↑": ("jod_phone", 2),
    "JOD, enlarged ↑": ("jod_enlarged", 2),
    "FLIP ↓": ("flip", 4),
    "MMD ↓": ("mmd", 4),
    "No face (%)": ("no_face", 1),
    "Seconds per face": ("seconds_per_face", 2),
}
_LOOKS = ("jod", "flip")
"""Measures without a column where no row has them: metrics.json of earlier versions."""
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
  a phone that shows the whole photo, and at twice its size; 10 is no visible difference. **FLIP** is 0 then.
- **protected_gallery**: whoever searches has protected photos of the same people, by the same method, and no others.
- **growing_gallery**: it begins with half of the clean photos of the same people. Protected versions of the other half
  come by one after the other, and each joins under the identity that the nearest photo has, if that is near enough.
- **linear_probe**: a linear classifier, trained on the evaluator's embeddings of the clean gallery and of protected
  versions of the same people's gallery photos, names N people. None of them is a distractor.
- **Best target**: a single-target method runs with every target and reports the one that serves best, picked by these
  very results in its favour. Each rate may have its own; the one named is that of R1-T.
"""
# Paul Tol's "muted" colours, which people with any colour vision tell apart.
_COLOURS = ("#332288", "#CC6677", "#117733", "#88CCEE", "#882255", "#DDCC77", "#44AA99", "#999933", "#AA4499")
_HATCH = "/////"
_MARKS = {"*": "white-box", "†": "chose the strength"}


@dataclass(frozen=True)
class _Line:
    """One line of a table and one series of a plot: a method in a setting, and its rows by evaluator."""

    surrogates: str
    method: str
    setting: str
    rows: Mapping[str, Row]

    @property
    def label(self) -> str:
        return f"{self.method}, {self.setting}" if self.setting else self.method

    @property
    def clean(self) -> bool:
        # By what was measured too, as its name is for the user to choose.
        return self.method == "clean" or not (self.surrogates != "none" or self.values("psnr") or self.values("ssim"))

    def values(self, key: str) -> list[float]:
        """Return what was measured, smallest first: a single value unless the evaluator makes a difference."""
        return sorted({value for row in self.rows.values() if not math.isnan(value := _value(row, key))})


def identification_table(rows: Sequence[Row], kind: Literal["t", "ut"]) -> str:
    """Return Rank-N-T (`kind` is ``t``) or Rank-N-UT (``ut``) as Markdown, as Tables 3 and 4 of TIP-IM show them.

    Lines and columns follow the order of the rows. White-box values carry a star; the best black-box values of a column
    among the lines with the same surrogates are bold, and values that are printed alike are equal.
    """
    lines, keys = _lines(rows), (f"rank1_{kind}", f"rank5_{kind}")
    best: dict[tuple[str, str, str], str] = {}  # as printed
    for line in lines:
        for (name, row), key in product(line.rows.items(), keys):
            if not (line.clean or _mark(row) or row[key] is None):
                place = line.surrogates, name, key
                best[place] = max(best.get(place, "0.0"), f"{row[key]:.1f}", key=float)

    def cell(line: _Line, name: str) -> str:
        texts = []
        for key in keys if name in line.rows else ():
            row = line.rows[name]
            text = _MISSING if row[key] is None else f"{row[key]:.1f}{_mark(row)}"
            if not line.clean and text == best.get((line.surrogates, name, key)):
                text = f"**{text}**"
            if key == keys[0] and (interval := row.get(f"{key}_interval")):
                text += f" [{interval[0]:.1f}, {interval[1]:.1f}]"
            texts.append(text)
        return " / ".join(texts) or _MISSING

    headings = {row["evaluator"]: f"{row['evaluator']} R1-{kind.upper()} / R5-{kind.upper()}" for row in rows}
    facts = {name: dict.fromkeys(str(row[key]) for row in rows) for name, key in _FACTS.items()}
    stated = " ".join(f"{name}: {_escape(', '.join(values))}." for name, values in facts.items())
    return f"{_table(lines, headings, cell)}\n\n{stated}"


def quality_table(rows: Sequence[Row]) -> str:
    """Return how natural the photos of every method look, and its time, as Markdown (Table 5 of TIP-IM)."""
    measured = {key for row in rows for key, value in row.items() if value is not None}
    headings = {name: name for name, (key, _) in _QUALITY.items() if key in measured or not key.startswith(_LOOKS)}
    return _table(_lines(rows), headings, lambda line, name: _range(line, *_QUALITY[name]))


def render_markdown(title: str, rows: Sequence[Row], command: str, left_out: Mapping[str, str] = {}) -> str:
    """Return table.md: the command that made the rows, the tables, and notes on their marks and measures.

    Args:
        title: Its heading.
        rows: The rows of metrics.json.
        command: The command.
        left_out: Evaluators that could not judge, each with the reason.
    """
    sections = [
        f"# {_escape(title)}\n\n```\n{command.strip()}\n```",
        *(f"**{_escape(each)} could not judge**, so it is left out: {_escape(why)}" for each, why in left_out.items()),
        f"## Targeted identification\n\n{_by_condition(rows, 't')}",
        f"## Untargeted identification\n\n{_by_condition(rows, 'ut')}",
        f"## Image quality and time\n\n{quality_table(rows)}",
    ]
    if single := [row for row in rows if row.get("best_target") is not None]:
        headings = {row["evaluator"]: row["evaluator"] for row in single}
        targets = _table(
            _lines(single), headings, lambda line, name: _escape(line.rows.get(name, {}).get("best_target", _MISSING))
        )
        sections.append(f"## Best targets\n\n{targets}")
    if streams := [row for row in rows if row.get("stream")]:
        sections.append(f"## Photos that joined a growing gallery\n\n{_stream_table(streams)}")
    return "\n\n".join([*sections, f"## Notes\n\n{_NOTES}"])


def _stream_table(rows: Sequence[Row]) -> str:
    """Return how many photos came by, joined, and joined rightly, of each method's first transform."""

    def cell(line: _Line, name: str) -> str:
        stream = line.rows[name]["stream"] if name in line.rows else None
        return f"{stream['joined']} of {stream['photos']}, {stream['right']} rightly" if stream else _MISSING

    shown = [row for row in rows if row["transform"] == rows[0]["transform"]]
    return _table(_lines(shown), {row["evaluator"]: row["evaluator"] for row in shown}, cell)


def _by_condition(rows: Sequence[Row], kind: Literal["t", "ut"]) -> str:
    """Return a table per adversary and transform, each under its name: only what met the same is compared."""
    tables: dict[str, list[Row]] = {}
    for row in rows:
        tables.setdefault(", ".join(_conditions(row)), []).append(row)
    if len(tables) == 1:
        return identification_table(rows, kind)
    return "\n\n".join(f"### {_escape(name)}\n\n{identification_table(each, kind)}" for name, each in tables.items())


def _conditions(row: Row) -> list[str]:
    adversary = row.get("adversary", "none")
    return [row["transform"], *([] if adversary == "none" else [adversary])]


PLOTS = tuple(f"{name}.{suffix}" for name in ("rank1", "ssim", "tradeoff", "frontier") for suffix in ("png", "svg"))
"""The files that `plot` may write."""


def plot(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write the plots into a folder, as PNG and SVG, and return their files; the same rows give the same files.

    ``rank1`` shows Rank-1-T and Rank-1-UT by evaluator and method, with 95 % intervals; ``ssim`` the SSIM of methods
    (Figure 3 of TIP-IM); ``tradeoff`` Rank-1-T against SSIM, with a line through the settings of a method (Figure 5);
    ``frontier`` Rank-1-UT in the same way, and ``looks`` against JOD. Of several transforms and adversaries, the first
    is drawn. What cannot be drawn, because no photo was protected or nothing was measured, is not written.

    Raises:
        FacecryptError: If matplotlib is not installed, or a file cannot be written.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise FacecryptError("Plots need matplotlib, which is missing. Run: pip install facecrypt[plot]") from error
    lines = _lines([row for row in rows if _conditions(row) == _conditions(rows[0])])
    measured = [line for line in lines if not line.clean and line.values("ssim")]
    seen = [line for line in measured if line.values("jod_monitor")]
    drawings: dict[str, tuple[Callable[[Figure, Sequence[_Line]], None], list[_Line]]] = {
        "rank1": (_draw_rates, lines),
        "ssim": (_draw_ssim, measured),
        "tradeoff": (partial(_draw_tradeoff, kind="t"), measured),
        "frontier": (partial(_draw_tradeoff, kind="ut"), measured),
        "looks": (partial(_draw_tradeoff, kind="ut", measure="jod_monitor"), seen),
    }
    drawings = {name: drawing for name, drawing in drawings.items() if not all(line.clean for line in drawing[1])}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # The user's own settings must not change the files, nor may the hour.
        # A name may hold a dollar sign, which is no mathematics.
        matplotlib.rcParams.update({"font.size": 9, "svg.hashsalt": "facecrypt", "text.parse_math": False})
        matplotlib.rcParams.update({"axes.axisbelow": True, "axes.spines.right": False, "axes.spines.top": False})
        matplotlib.rcParams.update({"figure.constrained_layout.h_pad": 0.1, "figure.constrained_layout.w_pad": 0.1})
        for name, (draw, drawn) in drawings.items():
            figure = Figure(layout="constrained")
            draw(figure, drawn)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                figure.savefig(folder / f"{name}.png", dpi=150)
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            except OSError as error:
                message = f"{folder}: {name} cannot be written ({error.strerror}). Free space or name another folder."
                raise FacecryptError(message) from error
    return [folder / f"{name}.{suffix}" for name in drawings for suffix in ("png", "svg")]


def _draw_rates(figure: Figure, lines: Sequence[_Line]) -> None:
    """Draw bars by evaluator and method, two panels for each set of surrogates, and black lines for clean photos."""
    evaluators = list(dict.fromkeys(name for line in lines for name in line.rows))
    clean, blocks = [line for line in lines if line.clean], _blocks(line for line in lines if not line.clean)
    most, longest = max(len(block) for block in blocks), max(len(line.label) for line in lines)
    width, height = max(3.5, 0.4 + len(evaluators) * (0.16 * most + 0.3)), max(2.6, 0.18 * most + 1.2)
    figure.set_size_inches(2 * width + 1 + longest / 14, len(blocks) * height + 0.6)
    panels = figure.subplots(len(blocks), 2, squeeze=False).flatten()
    for axes, (block, kind) in zip(panels, product(blocks, ("t", "ut")), strict=True):
        key, step = f"rank1_{kind}", min(0.3, 0.84 / len(block))
        for offset, (line, colour) in enumerate(zip(block, _colours(len(block)), strict=True)):
            axes.bar(0, math.nan, color=colour, label=line.label)
            for name, row in line.rows.items():
                x = evaluators.index(name) + (offset - (len(block) - 1) / 2) * step
                look = {"facecolor": "white", "hatch": _HATCH} if _mark(row) else {"facecolor": colour}
                axes.bar(x, _value(row, key), 0.85 * step, edgecolor=colour, **look)
                axes.plot([x, x], row.get(f"{key}_interval") or [math.nan] * 2, color="black", linewidth=1)
        if marks := {_mark(row) for line in block for row in line.rows.values()} - {""}:
            label = ", ".join(_MARKS[mark] for mark in sorted(marks))
            axes.bar(0, math.nan, facecolor="white", edgecolor="0.3", hatch=_HATCH, label=label)
        for x, row in ((evaluators.index(name), row) for line in clean for name, row in line.rows.items()):
            axes.hlines(_value(row, key), x - 0.46, x + 0.46, color="black")
        axes.plot([], [], color="black", label="clean" if clean else None)
        axes.set(xlim=(-0.6, len(evaluators) - 0.4), ylim=(0, 103), ylabel=f"Rank-1-{kind.upper()} (%)")
        axes.set_xticks(range(len(evaluators)), evaluators, rotation=25, ha="right", rotation_mode="anchor")
        axes.grid(axis="y", color="0.9")
        title = textwrap.fill(f"surrogates: {block[0].surrogates}", int(10 * width))
        axes.set_title(title, loc="left", weight="bold")
        if kind == "ut":
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.05), frameon=False)


def _draw_ssim(figure: Figure, lines: Sequence[_Line]) -> None:
    """Draw bars from 0, grouped by surrogates, with their values; they lie, so that long labels have room."""
    blocks, axes, y = _blocks(lines), figure.subplots(), 0.0
    width = max(6, 1 + max(len(line.surrogates) for line in lines) / 8) + max(len(line.label) for line in lines) / 14
    figure.set_size_inches(width, 0.8 + 0.26 * (len(lines) + 1.5 * len(blocks)))
    places: dict[float, str] = {}
    for block in blocks:
        axes.text(0.01, y, f"surrogates: {block[0].surrogates}", va="center", weight="bold")
        for line, colour in zip(block, _colours(len(block)), strict=True):
            y += 1
            axes.bar_label(axes.barh(y, fmean(line.values("ssim")), color=colour), [_range(line, "ssim", 3)], padding=3)
            places[y] = line.label
        y += 1.5
    axes.set_yticks(list(places), list(places.values()))
    axes.set(xlim=(0, 1.2), ylim=(y - 0.8, -0.7), xlabel="SSIM", xticks=(0, 0.2, 0.4, 0.6, 0.8, 1))
    axes.spines["bottom"].set_bounds(0, 1)


def _draw_tradeoff(
    figure: Figure, lines: Sequence[_Line], kind: Literal["t", "ut"], measure: Literal["ssim", "jod_monitor"] = "ssim"
) -> None:
    """Draw a panel for each set of surrogates; its points are methods and settings as an evaluator sees them."""
    blocks, evaluators = _blocks(lines), list(dict.fromkeys(name for line in lines for name in line.rows))
    columns, width = min(3, len(blocks)), max(3.6, 0.24 * max(len(block) for block in blocks) + 1)
    layout, longest = (math.ceil(len(blocks) / columns), columns), max(len(line.label) for line in lines)
    figure.set_size_inches(columns * width + 1 + max(map(len, evaluators)) / 14, layout[0] * (3.6 + longest / 14))
    for position, block in enumerate(blocks, start=1):
        axes = figure.add_subplot(*layout, position)
        for name, colour, marker in zip(evaluators, _colours(len(evaluators)), cycle("osD^vP*X<>"), strict=False):
            axes.plot([], [], color=colour, marker=marker, label=name)
            for method in dict.fromkeys(line.method for line in block):
                path = [line.rows[name] for line in block if line.method == method and name in line.rows]
                x, y = ([_value(row, key) for row in path] for key in (measure, f"rank1_{kind}"))
                fill = "none" if any(_mark(row) for row in path) else "full"
                axes.plot(x, y, color=colour, marker=marker, fillstyle=fill)
        marks = {_mark(row) for line in block for row in line.rows.values()} - {""} or {"*"}
        label = ", ".join(_MARKS[mark] for mark in sorted(marks))
        axes.plot([], [], "ko", fillstyle="none", label=f"hollow: {label}")
        title = textwrap.fill(f"surrogates: {block[0].surrogates}", int(10 * width))
        axes.set(ylim=(-3, 103), xlabel=f"{_MEASURES[measure]}\n{title}", ylabel=f"Rank-1-{kind.upper()} (%)")
        (left, right), spot = axes.set_xlim(axes.get_xlim()), -1.0
        for line in sorted(block, key=lambda line: fmean(line.values(measure))):
            # A label stands over its points or, where another is in the way, right of it; a line leads to both.
            place = (fmean(line.values(measure)) - left) / (right - left)
            spot = max(spot + 0.2 / (width - 0.8), place)
            axes.plot([place, place, spot], [0, 1, 1.1], "0.85", zorder=0, clip_on=False, transform=axes.transAxes)
            axes.text(spot, 1.12, line.label, ha="center", rotation=90, transform=axes.transAxes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False)


_MEASURES = {"ssim": "SSIM", "jod_monitor": "JOD on a full-HD monitor"}


def _lines(rows: Sequence[Row]) -> list[_Line]:
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
    return [_Line(*place, found[place]) for place in ordered]


def _blocks(lines: Iterable[_Line]) -> list[list[_Line]]:
    return [list(block) for _, block in groupby(lines, lambda line: line.surrogates)]


def _mark(row: Row) -> str:
    """Return the mark of a result that says little about recognisers which the masks have never met."""
    return "*" if row["white_box"] else "†" if row.get("chooses") else ""


def _value(row: Row, key: str) -> float:
    value = row.get(key)
    return math.nan if value is None or math.isinf(value) else float(value)


def _range(line: _Line, key: str, decimals: int) -> str:
    texts = [f"<{10**-decimals}" if 0 < v < 0.5 * 10**-decimals else f"{v:z.{decimals}f}" for v in line.values(key)]
    return " to ".join(dict.fromkeys([*texts[:1], *texts[-1:]])) or _MISSING


def _table(lines: Sequence[_Line], headings: Mapping[str, str], cell: Callable[[_Line, str], str]) -> str:
    """Return a Markdown table; a block's surrogates stand in its first line only, as in print."""
    names = ["Surrogates", "Method", "Setting"][: 3 if any(line.setting for line in lines) else 2]
    table = [[*names, *map(_escape, headings.values())], ["---"] * len(names) + ["---:"] * len(headings)]
    for position, line in ((position, line) for block in _blocks(lines) for position, line in enumerate(block)):
        texts = [line.surrogates if position == 0 else "", line.method, line.setting or _MISSING]
        table.append([*map(_escape, texts[: len(names)]), *(cell(line, key) for key in headings)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def _escape(text: str) -> str:
    """Return the text as Markdown that shows it as it is, in a table too."""
    return re.sub(r"([\\|*<`\[\]])", r"\\\1", " ".join(text.split()))


def _colours(count: int) -> Sequence[Any]:
    """Return colours for so many series; beyond the palette, neighbours are alike, but their order still tells."""
    from matplotlib import colormaps

    many = (colormaps["viridis"](i / (count - 1)) for i in range(count))
    return _COLOURS[:count] if count <= len(_COLOURS) else list(many)
