from __future__ import annotations

import re
from typing import Any

import pytest
from markdown_it import MarkdownIt

from facecrypt.benchmark import tables


def row(
    method: str = "TIP-IM", evaluator: str = "dlib", rates: tuple[float | None, ...] = (), **keys: Any
) -> tables.Row:
    """One row of metrics.json; rates are R1-T, R5-T, R1-UT and R5-UT, of which the last two may be left out."""
    names = ("rank1_t", "rank5_t", "rank1_ut", "rank5_ut")
    values = dict(zip(names, (*(rates or (50.0, 60.0)), 70.0, 65.0)[:4], strict=True))
    return {
        "method": method,
        "surrogates": ["sface"],
        "evaluator": evaluator,
        "white_box": False,
        "psnr": 30.125,
        "ssim": 0.9,
        "mmd": 0.75,
        "no_face": 0.0,
        "n_probes": 20,
        "n_gallery": 400,
        "seconds_per_face": 8.0,
        "transform": "none",
        "seed": 0,
        **values,
        **keys,
    }


CLEAN: dict[str, Any] = {"surrogates": [], "psnr": None, "ssim": None, "mmd": None, "seconds_per_face": None}
ROWS = [
    row("clean", "sface", (99.0, 99.0), **CLEAN),
    row("clean", "dlib", (0.0, 5.0), **CLEAN),
    row("MIM", "sface", (94.04, 96.9), white_box=True, rank1_t_interval=[80.0, 100.0], best_target="v|07"),
    row("MIM", "dlib", (14.25, 45.8), rank1_t_interval=[5, 30.04], best_target="v02"),
    row("TIP-IM", "sface", (97.2, 98.8), white_box=True),
    row("TIP-IM", "dlib", (69.8, 45.8)),
    row("blur", "dlib", (0.0, 1.0), surrogates=[]),
    row("MIM", "sface", (8.0, 30.0), surrogates=["dlib"]),
]


def cells(text: str) -> list[list[str]]:
    """The tables of a text as a reader sees them."""
    parsed = MarkdownIt("commonmark").enable("table").render(text)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in parsed.replace("\n", "").split("<tr>")[1:]]


def test_targeted_table_exactly() -> None:
    assert tables.identification_table(ROWS, "t") == (
        "| Surrogates | Method | sface R1-T / R5-T | dlib R1-T / R5-T |\n"
        "| --- | --- | ---: | ---: |\n"
        "| none | clean | 99.0 / 99.0 | 0.0 / 5.0 |\n"
        "|  | blur | - | **0.0** / **1.0** |\n"
        "| sface | MIM | 94.0* [80.0, 100.0] / 96.9* | 14.2 [5.0, 30.0] / **45.8** |\n"
        "|  | TIP-IM | 97.2* / 98.8* | **69.8** / **45.8** |\n"
        "| dlib | MIM | **8.0** / **30.0** | - |\n"
        "\n"
        "Probes: 20. Gallery images: 400. Seed: 0. Transform: none."
    )


def test_untargeted_table_exactly() -> None:
    rows = [
        row("MIM", rates=(1, 2, 100.0, 80.0), rank1_ut_interval=[90.0, 100.0], rank1_t_interval=[0, 1]),
        row("TIP-IM", rates=(1, 2, 95.0, 90.0)),
    ]
    assert tables.identification_table(rows, "ut").startswith(
        "| Surrogates | Method | dlib R1-UT / R5-UT |\n"
        "| --- | --- | ---: |\n"
        "| sface | MIM | **100.0** [90.0, 100.0] / 80.0 |\n"
        "|  | TIP-IM | 95.0 / **90.0** |\n"
    )


def test_quality_table_exactly() -> None:
    rows = [
        *ROWS[:3],
        row("MIM", "dlib", psnr=29.0, ssim=0.85, mmd=None, no_face=12.5, seconds_per_face=0.004),
        row("TIP-IM", "sface", mmd=-1e-9, no_face=0.01, psnr=float("inf")),
    ]
    assert tables.quality_table(rows) == (
        "| Surrogates | Method | PSNR (dB) ↑ | SSIM ↑ | MMD ↓ | No face (%) | Seconds per face |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| none | clean | - | - | - | 0.0 | - |\n"
        "| sface | MIM | 29.00 to 30.12 | 0.8500 to 0.9000 | 0.7500 | 0.0 to 12.5 | <0.01 to 8.00 |\n"
        "|  | TIP-IM | - | 0.9000 | 0.0000 | <0.1 | 8.00 |"
    )


def test_side_by_side_has_everything_of_a_method_in_one_line() -> None:
    looks = {"jod_monitor": 9.314, "jod_phone": 9.9, "jod_enlarged": 9.126, "flip": 0.0296}
    rows = [
        row("blur", surrogates=[], uses="nothing", **looks),
        row("Square", uses="scores", queries_per_face=3000.0, rank1_ut_interval=[60.0, 80.0], **looks),
        row("Square", "sface", (1.0, 2.0), uses="scores", queries_per_face=3000.0, white_box=True, **looks),
        row("Square", transform="jpeg_75", uses="scores", **looks),
    ]
    assert tables.side_by_side(rows) == (
        "| Surrogates | Method | Uses | dlib R1-UT / R5-UT | sface R1-UT / R5-UT | dlib R1-T / R5-T "
        "| sface R1-T / R5-T | SSIM ↑ | JOD ↑ | JOD, enlarged ↑ | FLIP ↓ "
        "| No face (%) | Queries per face | Seconds per face |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| none | blur | nothing | **70.0** / **65.0** | - | **50.0** / **60.0** | - "
        "| 0.9000 | 9.31 | 9.13 | 0.0296 | 0.0 | - | 8.00 |\n"
        "| sface | Square | scores | **70.0** [60.0, 80.0] / **65.0** | 70.0* / 65.0* | **50.0** / **60.0** "
        "| 1.0* / 2.0* | 0.9000 | 9.31 | 9.13 | 0.0296 | 0.0 | 3000 | 8.00 |\n"
        "\n"
        "Probes: 20. Gallery images: 400. Seed: 0. Transform: none."
    )


def test_missing_rates_are_dashes_and_never_best() -> None:
    rows = [row("a", rates=(None, 3.0), rank1_t_interval=None), row("b", rates=(0.0, None))]
    shown = [line[-1] for line in cells(tables.identification_table(rows, "t"))[1:]]
    assert shown == ["- / <strong>3.0</strong>", "<strong>0.0</strong> / -"]


def test_values_printed_alike_are_all_best() -> None:
    text = tables.identification_table([row("a", rates=(69.84, 1)), row("b", rates=(69.8, 0)), row("c")], "t")
    assert text.count("**69.8**") == 2


def test_evaluators_that_chose_the_strength_are_marked_and_never_best() -> None:
    rows = [row("a", rates=(99, 99), chooses=True), row("b", rates=(1, 1), chooses=False)]
    text = tables.identification_table(rows, "t")
    assert "99.0† / 99.0†" in text
    assert "**1.0** / **1.0**" in text


def test_photos_that_joined_a_growing_gallery_are_counted_once_per_method() -> None:
    grown = {"adversary": "growing_gallery", "stream": {"photos": 9, "joined": 5, "right": 4}}
    rows = [row("a", "x", adversary="none"), row("a", "x", **grown), row("a", "x", transform="blur", **grown)]
    text = tables.render_markdown("t", rows, "command")
    assert text.count("5 of 9, 4 rightly") == 1
    assert "Photos that joined" not in tables.render_markdown("t", rows[:1], "command")


def test_white_box_values_are_never_best() -> None:
    text = tables.identification_table([row("a", rates=(99, 99), white_box=True), row("b", rates=(1, 1))], "t")
    assert "| 99.0* / 99.0* |" in text
    assert "| **1.0** / **1.0** |" in text


def test_untouched_photos_are_clean_under_any_name() -> None:
    rows = [row("as they are", rates=(90, 90), **CLEAN), row("blur", rates=(10, 10), surrogates=[])]
    text = tables.identification_table(rows, "t")
    assert "| 90.0 / 90.0 |" in text
    assert "| **10.0** / **10.0** |" in text


def test_settings_have_a_column_in_order_of_first_appearance() -> None:
    order = [("b", "gamma 2"), ("a", "gamma 2"), ("b", "gamma 0"), ("c", "")]
    found = cells(tables.quality_table([row(method, setting=setting) for method, setting in order]))
    assert [line[:3] for line in found] == [
        ["Surrogates", "Method", "Setting"],
        ["sface", "b", "gamma 2"],
        ["", "b", "gamma 0"],
        ["", "a", "gamma 2"],
        ["", "c", "-"],
    ]


def test_setting_that_names_the_surrogates_is_left_out() -> None:
    assert "Setting" not in tables.quality_table([row(setting="sface")])


def test_ensemble_is_its_own_block() -> None:
    found = cells(tables.identification_table([row(), row(surrogates=["sface", "net"], rates=(1, 1))], "t"))
    assert [line[0] for line in found[1:]] == ["sface", "sface + net"]
    assert found[2][-1] == "<strong>1.0</strong> / <strong>1.0</strong>"


def test_what_differs_between_rows_is_said() -> None:
    rows = [row(), row(seed=1, n_probes=19), row(transform="jpeg 75", n_gallery=401)]
    text = tables.identification_table(rows, "t")
    assert "Probes: 20, 19. Gallery images: 400, 401. Seed: 0, 1. Transform: none, jpeg 75." in text
    settings = ["transform none, seed 0", "transform none, seed 1", "transform jpeg 75, seed 0"]
    assert [line[2] for line in cells(text)[1:]] == settings


def test_each_transform_has_its_own_table_and_its_own_best() -> None:
    rows = [
        *(row(method, rates=(rate, rate)) for method, rate in (("a", 10.0), ("b", 20.0))),
        *(row(method, rates=(rate, rate), transform="jpeg_75") for method, rate in (("a", 8.0), ("b", 6.0))),
    ]
    targeted = tables.render_markdown("t", rows, "c").split("## Targeted")[1].split("\n## ")[0]
    none, jpeg = targeted.split("### none")[1].split("### jpeg_75")
    assert "| **20.0** / **20.0** |" in none
    assert "| **8.0** / **8.0** |" in jpeg
    assert "Transform: none." in none
    assert "Transform: jpeg_75." in jpeg
    assert "### " not in tables.render_markdown("t", rows[:2], "c")


def test_names_are_shown_as_they_are() -> None:
    name = r"a|b*c*<i>`d` \[e](f)"
    text = tables.identification_table([row(name, name, surrogates=[name], setting=name + "\n2")], "t")
    shown = name.replace("<", "&lt;").replace(">", "&gt;")
    header, line = cells(text)
    assert header[3] == f"{shown} R1-T / R5-T"
    assert line == [shown, shown, f"{shown} 2", "<strong>50.0</strong> / <strong>60.0</strong>"]


def test_stars_survive_markdown() -> None:
    rows = [row("a", name, (1, 2), white_box=True) for name in ("x", "y")]
    assert cells(tables.identification_table(rows, "t"))[1][2:] == ["1.0* / 2.0*", "1.0* / 2.0*"]


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="rows: none given"):
        tables.quality_table([])


def test_two_rows_for_one_cell_are_refused() -> None:
    with pytest.raises(ValueError, match="'TIP-IM'.*and dlib. Give one of them another setting"):
        tables.identification_table([row(), row()], "t")


def test_page_holds_command_tables_and_notes() -> None:
    page = tables.render_markdown("Methods *today*", ROWS, "facecrypt evaluate a.yaml probes=20\n")
    assert page.startswith(
        "# Methods \\*today\\*\n\n```\nfacecrypt evaluate a.yaml probes=20\n```\n\n## Side by side\n\n| Surr"
    )
    assert page.endswith("R1-T.\n")
    for part in (
        tables.identification_table(ROWS, "t"),
        tables.identification_table(ROWS, "ut"),
        tables.quality_table(ROWS),
        "## Best targets\n\n| Surrogates | Method | sface | dlib |\n| --- | --- | ---: | ---: |\n"
        "| sface | MIM | v\\|07 | v02 |\n\n## Notes",
    ):
        assert f"\n\n{part}" in page
    for word in ("Rank-N-T", "Rank-N-UT", r"\*", "Bold", "bootstrap", "Clean", "No face", "Best target"):
        assert word in page.partition("## Notes")[2]
    assert max(map(len, page.partition("## Notes")[2].splitlines())) <= 120


def test_page_without_single_target_methods_lists_no_best_targets() -> None:
    assert "## Best targets" not in tables.render_markdown("t", [row(), row("b", best_target=None)], "c")


def test_the_quality_table_has_what_eyes_see() -> None:
    table = tables.quality_table([row(jod_monitor=9.312, jod_phone=9.6, jod_enlarged=9.1, flip=0.0312)])
    assert "| 9.31 | 9.60 | 9.10 | 0.0312 |" in table
    assert "JOD" not in tables.quality_table([row(jod_monitor=None, jod_phone=None, flip=None)])


def test_the_quality_table_has_what_methods_use_and_ask() -> None:
    rows = [
        row("clean", **CLEAN, uses=None),
        row("Square", uses="scores", queries_per_face=2999.6),
        row("blur", uses="nothing"),
    ]
    found = cells(tables.quality_table(rows))
    heading = found[0]
    shown = {line[1]: (line[heading.index("Uses")], line[heading.index("Queries per face")]) for line in found[1:]}
    assert shown == {"clean": ("-", "-"), "Square": ("scores", "3000"), "blur": ("nothing", "-")}
    assert "Uses" not in tables.quality_table([row()])
