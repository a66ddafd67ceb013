"""What a benchmark shows people: the rows of its metrics.json as plots, some of them those of TIP-IM's section 5.

    python -m facecrypt.benchmark.plots METRICS [METRICS ...] --output FOLDER [--only NAME]

draws the rows of one metrics.json, or of several runs that share their protocol, as if one run had made them.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import cycle, product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from facecrypt.benchmark.tables import Line, Row, blocks_of, conditions_of, lines_of, mark_of, range_of, value_of
from facecrypt.errors import FacecryptError
from facecrypt.recipe.presets import load_presets
from facecrypt.system.console import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

# Paul Tol's "muted" colours, which people with any colour vision tell apart.
_COLOURS = ("#332288", "#CC6677", "#117733", "#88CCEE", "#882255", "#DDCC77", "#44AA99", "#999933", "#AA4499")
_MARKERS = "osD^vP*X<>"
_HATCH = "/////"
_MARKS = {"*": "white-box", "†": "chose the strength"}
_SEEN = {
    "jod_monitor": "JOD on a full-HD monitor",
    "jod_enlarged": "JOD, enlarged twice",
    "flip": "FLIP",
}
"""What people see, by the key of a row; less is seen to the right of each panel."""

_USES = {
    "gradients": "#332288",
    "scores": "#CC6677",
    "decisions": "#117733",
    "nothing": "#882255",
    "unknown": "#666666",
}
"""What methods learn of their surrogates, the most first, each with its colour."""

NAMES = ("rank1", "ssim", "tradeoff", "frontier", "looks", "systems")
PLOTS = tuple(f"{name}.{suffix}" for name in NAMES for suffix in ("png", "svg"))
"""The files that `plot` may write."""


def plot(rows: Sequence[Row], folder: Path, names: Collection[str] = NAMES) -> list[Path]:
    """Write the plots into a folder, as PNG and SVG, and return their files; the same rows give the same files.

    ``rank1`` shows Rank-1-T and Rank-1-UT by evaluator and method, with 95 % intervals; ``ssim`` the SSIM of methods
    (Figure 3 of TIP-IM); ``tradeoff`` Rank-1-T against SSIM, with a line through the settings of a method (Figure 5);
    ``frontier`` Rank-1-UT in the same way, and ``looks`` Rank-1-UT against what people see: JOD on a monitor and
    enlarged, and FLIP; ``systems`` does so with a name at every dot, for many methods. Of several transforms and
    adversaries, the first is drawn. What cannot be drawn, because no photo was protected or nothing was measured, is
    not written.

    Args:
        rows: The rows of metrics.json.
        folder: Where the files go; made if need be.
        names: Which plots, of `NAMES`.

    Raises:
        FacecryptError: If matplotlib is not installed, or a file cannot be written.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise FacecryptError("Plots need matplotlib, which is missing. Run: pip install facecrypt[plot]") from error
    lines = lines_of([row for row in rows if conditions_of(row) == conditions_of(rows[0])])
    measured = [line for line in lines if not line.clean and line.values("ssim")]
    seen = [line for line in lines if not line.clean and any(line.values(key) for key in _SEEN)]
    drawings: dict[str, tuple[Callable[[Figure, Sequence[Line]], None], list[Line]]] = {
        "rank1": (_draw_rates, lines),
        "ssim": (_draw_ssim, measured),
        "tradeoff": (partial(_draw_tradeoff, kind="t"), measured),
        "frontier": (partial(_draw_tradeoff, kind="ut"), measured),
        "looks": (_draw_looks, seen),
        "systems": (_draw_systems, seen),
    }
    drawings = {
        name: drawing
        for name, drawing in drawings.items()
        if name in names and not all(line.clean for line in drawing[1])
    }
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


def _draw_rates(figure: Figure, lines: Sequence[Line]) -> None:
    """Draw bars by evaluator and method, two panels for each set of surrogates, and black lines for clean photos."""
    evaluators = list(dict.fromkeys(name for line in lines for name in line.rows))
    clean, blocks = [line for line in lines if line.clean], blocks_of(line for line in lines if not line.clean)
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
                look = {"facecolor": "white", "hatch": _HATCH} if mark_of(row) else {"facecolor": colour}
                axes.bar(x, value_of(row, key), 0.85 * step, edgecolor=colour, **look)
                axes.plot([x, x], row.get(f"{key}_interval") or [math.nan] * 2, color="black", linewidth=1)
        if marks := {mark_of(row) for line in block for row in line.rows.values()} - {""}:
            label = ", ".join(_MARKS[mark] for mark in sorted(marks))
            axes.bar(0, math.nan, facecolor="white", edgecolor="0.3", hatch=_HATCH, label=label)
        for x, row in ((evaluators.index(name), row) for line in clean for name, row in line.rows.items()):
            axes.hlines(value_of(row, key), x - 0.46, x + 0.46, color="black")
        axes.plot([], [], color="black", label="clean" if clean else None)
        axes.set(xlim=(-0.6, len(evaluators) - 0.4), ylim=(0, 103), ylabel=f"Rank-1-{kind.upper()} (%)")
        axes.set_xticks(range(len(evaluators)), evaluators, rotation=25, ha="right", rotation_mode="anchor")
        axes.grid(axis="y", color="0.9")
        title = textwrap.fill(f"surrogates: {block[0].surrogates}", int(10 * width))
        axes.set_title(title, loc="left", weight="bold")
        if kind == "ut":
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.05), frameon=False)


def _draw_ssim(figure: Figure, lines: Sequence[Line]) -> None:
    """Draw bars from 0, grouped by surrogates, with their values; they lie, so that long labels have room."""
    blocks, axes, y = blocks_of(lines), figure.subplots(), 0.0
    width = max(6, 1 + max(len(line.surrogates) for line in lines) / 8) + max(len(line.label) for line in lines) / 14
    figure.set_size_inches(width, 0.8 + 0.26 * (len(lines) + 1.5 * len(blocks)))
    places: dict[float, str] = {}
    for block in blocks:
        axes.text(0.01, y, f"surrogates: {block[0].surrogates}", va="center", weight="bold")
        for line, colour in zip(block, _colours(len(block)), strict=True):
            y += 1
            axes.bar_label(
                axes.barh(y, fmean(line.values("ssim")), color=colour), [range_of(line, "ssim", 3)], padding=3
            )
            places[y] = line.label
        y += 1.5
    axes.set_yticks(list(places), list(places.values()))
    axes.set(xlim=(0, 1.2), ylim=(y - 0.8, -0.7), xlabel="SSIM", xticks=(0, 0.2, 0.4, 0.6, 0.8, 1))
    axes.spines["bottom"].set_bounds(0, 1)


def _draw_tradeoff(figure: Figure, lines: Sequence[Line], kind: Literal["t", "ut"]) -> None:
    """Draw a panel for each set of surrogates; its points are methods and settings as an evaluator sees them."""
    blocks, evaluators = blocks_of(lines), list(dict.fromkeys(name for line in lines for name in line.rows))
    columns, width = min(3, len(blocks)), max(3.6, 0.24 * max(len(block) for block in blocks) + 1)
    layout, longest = (math.ceil(len(blocks) / columns), columns), max(len(line.label) for line in lines)
    figure.set_size_inches(columns * width + 1 + max(map(len, evaluators)) / 14, layout[0] * (3.6 + longest / 14))
    for position, block in enumerate(blocks, start=1):
        axes = figure.add_subplot(*layout, position)
        for name, colour, marker in zip(evaluators, _colours(len(evaluators)), cycle(_MARKERS), strict=False):
            axes.plot([], [], color=colour, marker=marker, label=name)
            for method in dict.fromkeys(line.method for line in block):
                path = [line.rows[name] for line in block if line.method == method and name in line.rows]
                x, y = ([value_of(row, key) for row in path] for key in ("ssim", f"rank1_{kind}"))
                fill = "none" if any(mark_of(row) for row in path) else "full"
                axes.plot(x, y, color=colour, marker=marker, fillstyle=fill)
        marks = {mark_of(row) for line in block for row in line.rows.values()} - {""} or {"*"}
        label = ", ".join(_MARKS[mark] for mark in sorted(marks))
        axes.plot([], [], "ko", fillstyle="none", label=f"hollow: {label}")
        title = textwrap.fill(f"surrogates: {block[0].surrogates}", int(10 * width))
        axes.set(ylim=(-3, 103), xlabel=f"SSIM\n{title}", ylabel=f"Rank-1-{kind.upper()} (%)")
        (left, right), spot = axes.set_xlim(axes.get_xlim()), -1.0
        for line in sorted(block, key=lambda line: fmean(line.values("ssim"))):
            # A label stands over its points or, where another is in the way, right of it; a line leads to both.
            place = (fmean(line.values("ssim")) - left) / (right - left)
            spot = max(spot + 0.2 / (width - 0.8), place)
            axes.plot([place, place, spot], [0, 1, 1.1], "0.85", zorder=0, clip_on=False, transform=axes.transAxes)
            axes.text(spot, 1.12, line.label, ha="center", rotation=90, transform=axes.transAxes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False)


def _draw_looks(figure: Figure, lines: Sequence[Line]) -> None:
    """Draw a panel for each way of looking: a dot for each method, the mean over its evaluators, and families joined.

    Evaluators whose results say little of recognisers that the masks have never met count only where nobody else
    judges; the dot is hollow then.
    """
    families = _families(lines)
    measures = [key for key in _SEEN if any(line.values(key) for line in lines)]
    columns = max(1, int(45 * len(measures) / (8 + max(map(len, families)))))
    figure.set_size_inches(3.2 * len(measures), 3.4 + 0.2 * (2 + math.ceil(len(families) / columns)))
    judging = {name: None for line in lines for name in _judges(line)}
    for position, key in enumerate(measures, start=1):
        axes = figure.add_subplot(1, len(measures), position)
        for (family, members), colour, marker in zip(
            families.items(), _colours(len(families)), cycle(_MARKERS), strict=False
        ):
            _draw_family(axes, key, members, colour, marker, family)
        axes.set(ylim=(-3, 103), xlabel=f"{_SEEN[key]}\nless visible \N{RIGHTWARDS ARROW}")
        axes.set_ylabel("Rank-1-UT (%)" if position == 1 else "")
        axes.margins(x=0.18)
        axes.grid(color="0.9")
        if key == "flip":
            axes.invert_xaxis()
    handles, labels = axes.get_legend_handles_labels()
    if marks := {mark_of(row) for line in lines for row in _judges(line).values()} - {""}:
        handles += axes.plot([], [], "ko", fillstyle="none")
        labels.append(f"hollow: {', '.join(_MARKS[mark] for mark in sorted(marks))}")
    title = f"mean of {', '.join(judging)}" + ("; bars from the lowest to the highest" if len(judging) > 1 else "")
    title = textwrap.fill(title, 40 * len(measures))
    figure.legend(handles, labels, title=title, loc="outside lower center", ncols=columns, frameon=False)


def _draw_family(
    axes: Axes, key: str, members: Sequence[tuple[Line, str]], colour: Any, marker: str, label: str
) -> None:
    """Draw the methods of a family against one measure, in its order, each named by what it differs in."""
    points = []
    for line, member in members:
        rates = [value for row in _judges(line).values() if not math.isnan(value := value_of(row, "rank1_ut"))]
        if rates and line.values(key):
            points.append((fmean(line.values(key)), fmean(rates), rates, member, line))
    points.sort(key=lambda point: point[0])
    fill = "none" if any(mark_of(row) for *_, line in points for row in _judges(line).values()) else "full"
    x, y = [point[0] for point in points], [point[1] for point in points]
    axes.plot(x, y, color=colour, marker=marker, fillstyle=fill, label=label)
    for place, rate, rates, member, _ in points:
        axes.plot([place, place], [min(rates), max(rates)], color=colour, linewidth=1)
        if len(points) > 1:
            axes.annotate(member, (place, rate), (5, 4), textcoords="offset points", fontsize=8)


def _draw_systems(figure: Figure, lines: Sequence[Line]) -> None:
    """Draw a panel for each of two ways of looking: a named dot for each method, coloured by what it asks of networks.

    Families are joined. Only evaluators count that are black boxes to every method, as far as there are any.
    """
    families = _families(lines)
    measures = [key for key in ("jod_monitor", "flip") if any(line.values(key) for line in lines)]
    uses = {each: colour for each, colour in _USES.items() if any(_uses_of(line) == each for line in lines)}
    names = dict.fromkeys(name for line in lines for name in line.rows)
    judges = [name for name in names if not any(name in line.rows and mark_of(line.rows[name]) for line in lines)]
    figure.set_size_inches(5.6 * len(measures), 6.4)
    panels: list[tuple[Axes, list[_Named]]] = []
    for position, key in enumerate(measures, start=1):
        axes = figure.add_subplot(1, len(measures), position)
        named: list[_Named] = []
        for members in families.values():
            points = []
            for line, _ in members:
                rates = [value_of(row, "rank1_ut") for name, row in line.rows.items() if name in (judges or names)]
                rates = [rate for rate in rates if not math.isnan(rate)]
                if rates and line.values(key):
                    points.append(_Named(fmean(line.values(key)), fmean(rates), line.label, uses[_uses_of(line)]))
            points.sort()
            for point in points:
                fill = "full" if judges else "none"
                axes.plot(point.x, point.y, color=point.colour, marker="o", markersize=5, fillstyle=fill)
            axes.plot([point.x for point in points], [point.y for point in points], color="0.4", linewidth=1, zorder=1)
            named += points
        axes.set(ylim=(-5, 109), xlabel=f"{_SEEN[key]}\nless visible \N{RIGHTWARDS ARROW}")
        axes.set_yticks(range(0, 101, 20))
        axes.set_ylabel("Rank-1-UT (%)" if position == 1 else "")
        axes.margins(x=0.08)
        axes.grid(color="0.93")
        if key == "flip":
            axes.invert_xaxis()
        panels.append((axes, named))
    for use, colour in uses.items():
        panels[0][0].plot([], [], "o", color=colour, label=use)
    title = f"mean of {', '.join(judges or names)}; what a method learns of its surrogates:"
    title = textwrap.fill(title, 60 * len(measures))
    figure.legend(title=title, loc="outside lower center", ncols=len(uses), frameon=False)
    figure.draw_without_rendering()  # Names are placed where the panels end up.
    for axes, named in panels:
        _name_points(axes, named)


class _Named(NamedTuple):
    """A point of a panel with its name."""

    x: float
    y: float
    name: str
    colour: str


def _name_points(axes: Axes, named: Sequence[_Named]) -> None:
    """Write a name beside each point, where it covers as little of other names and points as can be."""
    from matplotlib.transforms import Bbox

    inside = axes.get_window_extent()
    point_size = axes.figure.dpi / 72
    spots = axes.transData.transform([(each.x, each.y) for each in named])
    taken = [Bbox.from_bounds(x - 4 * point_size, y - 4 * point_size, 8 * point_size, 8 * point_size) for x, y in spots]
    for number in sorted(range(len(named)), key=lambda number: -named[number].y):
        point, (across, up) = named[number], spots[number]
        text = axes.annotate(
            point.name, (point.x, point.y), (0, 0), textcoords="offset points", fontsize=7.5, color=point.colour
        )
        text.set_in_layout(False)
        size = text.get_window_extent()
        best: tuple[float, int, bool, Bbox] | None = None
        for far, turn in product(_AWAY, range(0, 360, 20)):
            right = far * math.cos(math.radians(turn)) > 0
            side = across + point_size * far * math.cos(math.radians(turn))
            middle = up + point_size * far * math.sin(math.radians(turn))
            box = Bbox.from_bounds(side - (0 if right else size.width), middle - size.height / 2, *size.size)
            hidden = sum(_shared(box, other) for other in taken)
            cost = hidden + 9 * (size.width * size.height - _shared(box, inside))
            if best is None or cost < best[0] - 1e-6:
                best = cost, far, right, box
        assert best is not None
        _, far, right, box = best
        text.set_horizontalalignment("left" if right else "right")
        text.set_position((((box.x0 if right else box.x1) - across) / point_size, (box.y0 - up) / point_size))
        taken.append(box)
        if far >= _AWAY[2]:  # A line leads to a name that stands far away.
            near = min(max(across, box.x0), box.x1), min(max(up, box.y0), box.y1)
            x, y = axes.transData.inverted().transform(near)
            axes.plot(
                [point.x, x], [point.y, y], color=point.colour, linewidth=0.5, scalex=False, scaley=False, zorder=1
            )


_AWAY = (5, 12, 20, 30, 42, 56, 72, 90)
"""How far from its point a name may stand, in points of 1/72 inch."""


def _shared(first: Bbox, second: Bbox) -> float:
    """Return the area that two boxes share."""
    width = min(first.x1, second.x1) - max(first.x0, second.x0)
    height = min(first.y1, second.y1) - max(first.y0, second.y0)
    return float(max(0.0, width) * max(0.0, height))


def _uses_of(line: Line) -> str:
    return str(next(iter(line.rows.values())).get("uses") or "unknown")


def _judges(line: Line) -> Mapping[str, Row]:
    """Return the rows of a line that count: those without a mark, or all of them if none is without."""
    return {name: row for name, row in line.rows.items() if not mark_of(row)} or line.rows


def _families(lines: Sequence[Line]) -> dict[str, list[tuple[Line, str]]]:
    """Return the families by name, each with its lines and what sets these apart.

    The settings of a method are a family, and so are methods whose labels differ in the name of a preset or a number.
    """
    several = len(blocks_of(lines)) > 1
    found: dict[tuple[str, str], list[tuple[Line, str]]] = {}
    for line in lines:
        shared, own = line.method, line.setting
        if not own:
            own = " ".join(_OWN.findall(line.method))
            shared = " ".join(_OWN.sub(" ", line.method).split()) or "presets"
        found.setdefault((shared, line.surrogates), []).append((line, own))
    names = {place: members[0][0].label if len(members) == 1 else place[0] for place, members in found.items()}
    return {f"{names[place]} ({place[1]})" if several else names[place]: members for place, members in found.items()}


_OWN = re.compile(rf"(?<![\w.])(?:{'|'.join(load_presets())}|\d+(?:\.\d+)?)(?![\w.]*\w)")
"""What differs between the labels of a family."""


def _colours(count: int) -> Sequence[Any]:
    """Return colours for so many series; beyond the palette, neighbours are alike, but their order still tells."""
    from matplotlib import colormaps

    many = (colormaps["viridis"](i / (count - 1)) for i in range(count))
    return _COLOURS[:count] if count <= len(_COLOURS) else list(many)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the plots of several runs.

    Args:
        arguments: The command line; of the process by default.
    """
    parser = argparse.ArgumentParser(
        prog="python -m facecrypt.benchmark.plots", description="Draw the results of evaluate."
    )
    parser.add_argument("metrics", nargs="+", type=Path, help="metrics.json of one run or several")
    parser.add_argument("--output", type=Path, required=True, help="folder for the plots")
    parser.add_argument("--only", action="append", choices=NAMES, help="which plot; may be repeated; by default all")
    given = parser.parse_args(arguments)
    rows: list[Row] = []
    for path in given.metrics:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            lines_of(found)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            parser.error(f"{path}: is no metrics.json that facecrypt evaluate left ({error!r}). Name one.")
        rows += found
    try:
        written = plot(rows, given.output, given.only or NAMES)
    except (FacecryptError, ValueError) as error:
        parser.error(str(error))
    for path in written:
        say(str(path))


if __name__ == "__main__":
    main()
