from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facecrypt import pipeline, report
from facecrypt.errors import PhotoError
from facecrypt.photos import read_photo
from facecrypt.recipe import check_recipe

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def verdict(white_box: bool, similarity: float | None, threshold: float | None = 0.5) -> dict[str, Any]:
    known = similarity is not None and threshold is not None
    return {
        "white_box": white_box,
        "similarity": similarity,
        "target_similarity": None if similarity is None else 0.25,
        "threshold": threshold,
        "still_recognised": similarity >= threshold if known else None,  # type: ignore[operator]
    }


@pytest.fixture
def made(tmp_path: Path) -> report.Report:
    """A report of a real photo with a grey patch for a mask, a second one that failed, and every kind of verdict."""
    original = read_photo(pipeline.sample_photo()).pixels
    changed = original.copy()
    changed[80:150, 190:260] = np.minimum(changed[80:150, 190:260].astype(int) + 5, 255)
    Image.fromarray(changed).save(tmp_path / "astronaut.png")
    face = {
        "box": [181.1, 62.2, 267.7, 172.1], "target": "v03", "seconds": 1.5, "max_abs": 5, "psnr": 31.25, "ssim": 0.875,
        "mmd": 0.1, "recognisers": {"inside": verdict(True, 0.1), "judge": verdict(False, 0.6),
                                    "blind": verdict(False, None), "unsure": verdict(False, 0.4, None)},
    }  # fmt: skip
    photos = [
        {"source": str(pipeline.sample_photo()), "output": str(tmp_path / "astronaut.png"), "status": "protected",
         "reason": "", "faces": [face]},
        {"source": "<b>me & you</b>.jpg", "output": None, "status": "failed", "reason": "it is damaged", "faces": []},
    ]  # fmt: skip
    recipe = check_recipe({"surrogates": [{"name": "sface"}], "output": str(tmp_path)})
    return report.make(recipe, ["a fallback was taken"], photos, 12.3456, "cpu")


def test_report_json_holds_everything(made: report.Report, tmp_path: Path) -> None:
    report.write(made, tmp_path, "surrogates: []\n")
    loaded = json.loads((tmp_path / "report.json").read_text())
    assert list(loaded) == [
        "facecrypt", "versions", "recipe", "seed", "device", "seconds", "notes", "photos"
    ]  # fmt: skip
    assert loaded["recipe"]["epsilon"] == 12
    assert loaded["seconds"] == 12.35
    assert not made.complete
    assert {path.name for path in tmp_path.iterdir()} == {"astronaut.png", "report.json", "report.html", "recipe.yaml"}


def test_the_page_escapes_names_and_needs_no_network(made: report.Report) -> None:
    html = report.render(made)
    assert "&lt;b&gt;me &amp; you&lt;/b&gt;.jpg" in html
    assert "<b>me" not in html
    for outside in ("http:", "https:", 'src="/', "<script", "<link", "@import", "url("):
        assert outside not in html


def test_the_page_shows_the_mask_amplified(made: report.Report) -> None:
    import base64
    import io
    import re

    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        for data in re.findall(r"data:image/png;base64,([^\"]+)", report.render(made))
    ]
    original, protected, mask = pictures
    assert original.shape == protected.shape == mask.shape
    assert mask.max() == 128 + 8 * 5
    assert mask[0, 0].tolist() == [128, 128, 128]
    assert np.array_equal(protected[0, 0], original[0, 0])


def test_files_that_moved_leave_the_numbers(made: report.Report, tmp_path: Path) -> None:
    (tmp_path / "astronaut.png").unlink()
    html = report.render(made)
    assert "<figure>" not in html
    assert "SSIM 0.875" in html


def test_a_folder_that_cannot_be_is_a_clear_error(made: report.Report, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PhotoError, match=r"report.json: cannot be written \((File exists|Not a directory)\)"):
        report.write(made, tmp_path / "file", "")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install chromium and chromium-driver to test pages")
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_the_page_in_a_real_browser(made: report.Report, tmp_path: Path, width: int, scheme: str) -> None:
    from selenium import webdriver
    from selenium.webdriver.common.by import By

    page = tmp_path / "report.html"
    page.write_text(report.render(made))
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-background-networking",
        f"user-data-dir={tmp_path}/b",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        browser.set_window_size(width, 900)
        emulate = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", emulate)
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        browser.get(page.as_uri())
        images = browser.find_elements(By.TAG_NAME, "img")
        assert len(images) == 3
        assert all(browser.execute_script("return arguments[0].naturalWidth > 0", image) for image in images)
        # Nothing sticks out sideways, on a phone either.
        assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        rows = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "tbody tr")]
        assert "inside*" in rows[0]
        assert "another person" in rows[0]
        assert "still the same person" in rows[1]
        assert "no face found" in rows[2]
        assert "no verdict" in rows[3]
        background = browser.execute_script("return getComputedStyle(document.documentElement).colorScheme")
        assert background == "light dark"
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
        browser.save_screenshot(str(tmp_path / "page.png"))
        assert (tmp_path / "page.png").stat().st_size > 10_000
    finally:
        browser.quit()
