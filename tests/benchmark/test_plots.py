from __future__ import annotations

import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.figure import Figure
from PIL import Image

from facecrypt.benchmark import plots, tables
from facecrypt.errors import FacecryptError
from tests.benchmark.test_tables import CLEAN, ROWS, row


@pytest.mark.slow
def test_plots_show_the_first_transform(tmp_path: Path) -> None:
    rows = [row("a"), row("a", transform="blur", rates=(1.0, 1.0))]
    both, first = tmp_path / "both", tmp_path / "first"
    plots.plot(rows, both)
    plots.plot(rows[:1], first)
    assert (both / "rank1.svg").read_bytes() == (first / "rank1.svg").read_bytes()


def sweep() -> list[tables.Row]:
    """A realistic benchmark: two sets of surrogates, three evaluators, a sweep, white-box rows and obfuscations."""
    rows = [row("clean", name, (0.2, 1.0, 4.0, 3.0), **CLEAN) for name in ("sface", "dlib", "arcface")]
    for surrogates in (["sface"], ["sface", "dlib"]):
        for gamma in range(4):
            for place, name in enumerate(("sface", "dlib", "arcface")):
                rate = 60.0 - 10 * gamma - 5 * place
                keys = {"surrogates": surrogates, "setting": f"gamma {gamma}", "white_box": name in surrogates}
                interval = {"rank1_t_interval": [rate - 4, rate + 4], "ssim": 0.8 + 0.03 * gamma}
                rows.append(row("TIP-IM", name, (rate, rate + 9), **keys, **interval))
    return [*rows, *(row(f"blur {i}", "sface", (0, 0), surrogates=[], ssim=0.5 - i / 50) for i in range(10))]


def test_plots_are_files_that_open(tmp_path: Path) -> None:
    files = plots.plot(sweep(), tmp_path / "new" / "plots")
    names = [f"{name}.{suffix}" for name in ("rank1", "ssim", "tradeoff", "frontier") for suffix in ("png", "svg")]
    assert files == [tmp_path / "new" / "plots" / name for name in names]
    for file in files:
        if file.suffix == ".png":
            with Image.open(file) as image:
                image.load()
                assert all(500 < side < 4000 for side in image.size)
                assert len(image.convert("RGB").getcolors(1 << 24)) > 10
        else:
            assert ElementTree.parse(file).getroot().tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.slow
def test_plots_are_the_same_twice_whatever_the_users_settings(tmp_path: Path) -> None:
    rows = [row("a $x_1$", "_x"), row("a $x_1$", "y", (3, 4), white_box=True)]
    first = [file.read_bytes() for file in plots.plot(rows, tmp_path)]
    with matplotlib.rc_context({"font.size": 20, "savefig.dpi": 30, "axes.facecolor": "red"}):
        second = [file.read_bytes() for file in plots.plot(rows, tmp_path)]
        assert matplotlib.rcParams["font.size"] == 20
    assert first == second


@pytest.mark.slow
def test_long_names_fit(tmp_path: Path) -> None:
    # matplotlib warns where names leave the axes no room, and warnings are errors.
    words, networks = " ".join(["views"] * 9), [f"another_network_{i}" for i in range(6)]
    rows = [row(words, "e" * 30, surrogates=networks, setting=f"gamma {i}", ssim=0.9 + i / 1e6) for i in range(3)]
    assert len(plots.plot(rows, tmp_path)) == 8


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([row("clean", **CLEAN)], []),
        ([row(ssim=None)], ["rank1"]),
        ([row(), row("b", "sface"), row("c", ssim=None)], ["rank1", "ssim", "tradeoff", "frontier"]),
    ],
)
def test_what_cannot_be_drawn_is_left_out(rows: list[tables.Row], names: list[str], tmp_path: Path) -> None:
    files = plots.plot(rows, tmp_path)
    assert [file.stem for file in files if file.suffix == ".png"] == names
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_bars_show_the_rates_and_hatch_white_box_ones() -> None:
    figure = Figure()
    plots._draw_rates(figure, tables.lines_of(ROWS[1:6]))
    bars = [bar for bar in figure.axes[0].patches if bar.get_height() > 0]
    assert [bar.get_height() for bar in bars] == [94.04, 14.25, 97.2, 69.8]
    assert [bool(bar.get_hatch()) for bar in bars] == [True, False, True, False]
    intervals = {round(x[0], 6): tuple(y) for x, y in (line.get_data() for line in figure.axes[0].lines) if len(x)}
    centres = [round(bar.get_x() + bar.get_width() / 2, 6) for bar in bars]
    assert [intervals[centre] for centre in centres[:2]] == [(80.0, 100.0), (5, 30.04)]


def test_tradeoff_joins_the_settings_of_a_method() -> None:
    lines = tables.lines_of([*sweep()[3:15], row("other", "arcface", (7, 8), ssim=0.95)])
    figure = Figure()
    plots._draw_tradeoff(figure, lines, kind="t")
    assert figure.axes[0].get_ylabel() == "Rank-1-T (%)"
    joined = [line for line in figure.axes[0].lines if line.get_marker() != "None" and len(line.get_xdata()) > 0]
    assert [list(line.get_ydata()) for line in joined] == [[60, 50, 40, 30], [55, 45, 35, 25], [50, 40, 30, 20], [7]]
    assert [line.get_fillstyle() for line in joined] == ["none", "full", "full", "full"]


def test_the_frontier_is_that_of_rank_1_ut() -> None:
    figure = Figure()
    lines = tables.lines_of([row("a", rank1_ut=40.0, ssim=0.9), row("b", rank1_ut=60.0, ssim=0.8)])
    plots._draw_tradeoff(figure, lines, kind="ut")
    assert figure.axes[0].get_ylabel() == "Rank-1-UT (%)"
    points = {(x, y) for line in figure.axes[0].lines for x, y in zip(*line.get_data(), strict=True)}
    assert {(0.9, 40.0), (0.8, 60.0)} <= points


def test_labels_of_close_points_do_not_overlap() -> None:
    figure = Figure(layout="constrained")
    lines = tables.lines_of([row(f"method {i}", ssim=0.9 + (i % 3) / 1e4) for i in range(12)])
    plots._draw_tradeoff(figure, lines, kind="t")
    figure.draw_without_rendering()
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: box.x0)
    assert len(boxes) == 12
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))


def test_missing_matplotlib_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(FacecryptError, match=re.escape("pip install facecrypt[plot]")):
        plots.plot([row()], tmp_path)


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FacecryptError, match="file: rank1 cannot be written"):
        plots.plot([row()], tmp_path / "file")


SEEN = {"jod_monitor": 9.4, "jod_enlarged": 9.1, "flip": 0.03}


def draw_looks(rows: list[tables.Row]) -> Figure:
    figure = Figure(layout="constrained")
    plots._draw_looks(figure, tables.lines_of(rows))
    figure.draw_without_rendering()
    return figure


def dots(figure: Figure, panel: int = 0) -> dict[str, list[tuple[float, float]]]:
    """The points of each family."""
    found = {}
    for line in figure.axes[panel].lines:
        if not str(line.get_label()).startswith("_"):
            found[str(line.get_label())] = list(zip(*line.get_data(), strict=True))
    return found


def test_looks_join_the_presets_and_show_the_mean_of_the_evaluators() -> None:
    rows = [
        row(f"plus {name}", judge, jod_monitor=jod, jod_enlarged=jod - 0.2, flip=10 - jod, rank1_ut=rate)
        for name, jod, rates in (("high", 9.0, (90, 80)), ("low", 9.5, (60, 40)), ("mid", 9.3, (80, 60)))
        for judge, rate in zip(("x", "y"), rates, strict=True)
    ]
    rows += [row("TIP-IM at JOD 9.3", "x", jod_monitor=9.3, jod_enlarged=8.1, flip=0.07, rank1_ut=35)]
    figure = draw_looks(rows)
    assert dots(figure) == {"plus": [(9.0, 85), (9.3, 70), (9.5, 50)], "TIP-IM at JOD 9.3": [(9.3, 35)]}
    assert [axes.get_xlabel().split("\n")[0] for axes in figure.axes] == list(plots._SEEN.values())
    assert [text.get_text() for text in figure.axes[0].texts] == ["high", "mid", "low"]
    spans = [tuple(line.get_ydata()) for line in figure.axes[0].lines if str(line.get_label()).startswith("_")]
    assert (40, 60) in spans


def test_less_is_seen_to_the_right_of_every_panel() -> None:
    monitor, enlarged, flip = draw_looks([row("a", **SEEN), row("b", **{**SEEN, "flip": 0.05})]).axes
    assert [axes.xaxis_inverted() for axes in (monitor, enlarged)] == [False, False]
    assert flip.xaxis_inverted()


@pytest.mark.parametrize(
    ("labels", "families"),
    [
        (("low", "mid", "max"), {"presets": ["low", "mid", "max"]}),
        (("TIP-IM at JOD 9.5", "TIP-IM at JOD 9"), {"TIP-IM at JOD": ["9.5", "9"]}),
        (("mid blur", "low blur", "blur"), {"blur": ["mid", "low", ""]}),
        (("lower", "v1", "v2.1b"), {"lower": [""], "v1": [""], "v2.1b": [""]}),
        (("mid", "slow"), {"mid": ["mid"], "slow": [""]}),
        (("low 1", "low 2", "mid 1"), {"presets": ["low 1", "low 2", "mid 1"]}),
    ],
)
def test_labels_that_differ_in_a_preset_or_a_number_are_a_family(
    labels: tuple[str, ...], families: dict[str, list[str]]
) -> None:
    found = plots._families(tables.lines_of([row(label, **SEEN) for label in labels]))
    assert {name: [own for _, own in members] for name, members in found.items()} == families


def test_families_of_other_surrogates_are_others() -> None:
    rows = [row(name, surrogates=used, **SEEN) for used in (["a"], ["a", "b"]) for name in ("low", "mid")]
    assert list(dots(draw_looks(rows))) == ["presets (a)", "presets (a + b)"]


def test_settings_of_a_method_are_a_family() -> None:
    rows = [row("a", setting=f"gamma {i}", **{**SEEN, "flip": i / 10}) for i in range(3)]
    assert [len(points) for points in dots(draw_looks(rows), 2).values()] == [3]


def test_only_who_gave_no_gradients_counts_unless_nobody_else_judges() -> None:
    black = [row("a", "x", rank1_ut=40, **SEEN), row("a", "y", rank1_ut=100, white_box=True, **SEEN)]
    assert dots(draw_looks(black))["a"] == [(9.4, 40)]
    figure = draw_looks(black[1:])
    assert dots(figure)["a"] == [(9.4, 100)]
    assert figure.axes[0].lines[0].get_fillstyle() == "none"
    assert "hollow: white-box" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_looks_are_drawn_only_where_they_were_measured(tmp_path: Path) -> None:
    names = {file.stem for file in plots.plot([row("a", **SEEN), row("b"), row("clean", **CLEAN)], tmp_path)}
    assert "looks" in names
    assert len(draw_looks([row("a", jod_monitor=9.4, flip=None)]).axes) == 1
    assert not plots.plot([row("a", jod_monitor=None), row("clean", **CLEAN)], tmp_path, ["looks"])


def test_looks_are_readable_at_page_width(tmp_path: Path) -> None:
    """A page is 900 pixels wide at most, where a letter of 8 points of 1,440 pixels is as high as one of 10 pixels."""
    rows = [
        row(f"a method of long name {i} {name}", surrogates=["sface", f"another_{i}"], **SEEN)
        for i in range(6)
        for name in ("low", "mid")
    ]
    plots.plot(rows, tmp_path, ["looks"])
    with Image.open(tmp_path / "looks.png") as image:
        assert 1200 < image.width <= 1500


@pytest.mark.slow
def test_every_file_that_may_be_written_is_known(tmp_path: Path) -> None:
    written = plots.plot([*ROWS, row("seen", **SEEN)], tmp_path)
    assert [file.name for file in written] == list(plots.PLOTS)


def test_several_runs_are_drawn_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [tmp_path / f"{name}.json" for name in ("a", "b")]
    for run, name in zip(runs, ("low", "TIP-IM"), strict=True):
        run.write_text(json.dumps([row(name, **SEEN)]), encoding="utf-8")
    plots.main([*map(str, runs), "--only", "looks", "--output", str(tmp_path / "plots")])
    assert sorted(file.name for file in (tmp_path / "plots").iterdir()) == ["looks.png", "looks.svg"]
    drawing = (tmp_path / "plots" / "looks.svg").read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in drawing for name in ("low", "TIP-IM"))
    assert capsys.readouterr().out.split() == [str(tmp_path / "plots" / f"looks.{s}") for s in ("png", "svg")]


@pytest.mark.parametrize("content", [None, "", "{}", "[]", "[1]", '[{"method": "a"}]', '{"a": 1}', "\x00"])
def test_what_is_no_result_of_a_benchmark_is_refused(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "metrics.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        plots.main([str(file), "--output", str(tmp_path / "plots")])
    assert stopped.value.code == 2
    assert f"{file}: is no metrics.json" in capsys.readouterr().err


def test_the_same_run_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "metrics.json"
    file.write_text(json.dumps([row()]), encoding="utf-8")
    with pytest.raises(SystemExit):
        plots.main([str(file), str(file), "--output", str(tmp_path)])
    assert "rows: two for" in capsys.readouterr().err


@pytest.mark.parametrize("whose", ["judges", "surrogates alone"])
def test_systems_have_their_names_at_their_dots(whose: str, tmp_path: Path) -> None:
    """Every name is there once per panel, and few of them cover others, though two methods stand in one place."""
    evaluators = ["sface", "dlib"] if whose == "judges" else ["sface"]
    rows = [
        row(method, name, (1, 1, rate, 5), jod_monitor=jod, flip=0.1, uses=uses, white_box=name == "sface")
        for method, rate, jod, uses in [
            ("MIM", 40, 8.0, "gradients"),
            ("TIM", 40, 8.0, "gradients"),
            ("Square", 90, 7.9, "scores"),
            ("plus low", 60, 9.5, "gradients"),
            ("plus mid", 80, 9.3, "gradients"),
        ]
        for name in evaluators
    ]
    png, svg = plots.plot(rows, tmp_path, ["systems"])
    assert (png.name, svg.name) == ("systems.png", "systems.svg")
    text = svg.read_text(encoding="utf-8")
    for name in ("MIM", "TIM", "Square", "plus low", "plus mid"):
        assert text.count(f"<!-- {name} -->") == 2
    assert f"<!-- mean of {evaluators[-1]}; what a method learns of its surrogates: -->" in text
