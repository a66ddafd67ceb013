"""The page of a run: what it holds, and how it behaves in a real browser."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facecrypt.photos.files import read_photo
from facecrypt.pipeline import runner
from facecrypt.recipe.check import check_recipe, recipe_values
from facecrypt.report import page as report_page
from facecrypt.report import writer
from tests.fileserver import serve

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install chromium and chromium-driver")

CONTRAST = """
const rgb = text => text.match(/[0-9.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const worst = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node; node = walker.nextNode();) {
  if (!node.textContent.trim() || ["SCRIPT", "STYLE"].includes(node.parentElement.tagName)) continue;
  let ground = node.parentElement;
  while (ground.parentElement && rgb(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const pair = [getComputedStyle(node.parentElement).color, getComputedStyle(ground).backgroundColor];
  const [a, b] = pair.map(each => light(rgb(each))).sort((x, y) => y - x);
  worst.push([(a + 0.05) / (b + 0.05), node.textContent.trim().slice(0, 40), ...pair]);
}
return worst.sort((x, y) => x[0] - y[0])[0];
"""
"""Returns the text with the least contrast by the formula of WCAG 2, of which level AA asks for 4.5."""


def sighting(similarity: float | None, threshold: float | None, rank: int | None = None) -> dict[str, Any]:
    known = similarity is not None and threshold is not None
    place = {"own_rank": rank, "own_similarity": 0.5, "target_rank": 1234} if rank else None
    return {"similarity": similarity, "still_recognised": similarity >= threshold if known else None, "place": place}  # type: ignore[operator]


def verdict(
    white_box: bool, saved: float | None, blurred: float | None, threshold: float | None = 0.5, rank: int | None = None
) -> dict[str, Any]:
    seen = sighting(saved, threshold, rank)
    return {
        "white_box": white_box,
        "similarity": saved,
        "target_similarity": None if saved is None else 0.25,
        "threshold": threshold,
        "still_recognised": seen["still_recognised"],
        "person": "Ann" if rank else None,
        "before": {"none": sighting(1.0, threshold, 1 if rank else None), "blur": sighting(0.9, threshold)},
        "after": {"none": seen, "blur": sighting(blurred, threshold)},
    }


@pytest.fixture
def made(tmp_path: Path) -> writer.Report:
    """A report of a real photo with a grey patch for a mask, a second one that failed, and every kind of verdict."""
    original = read_photo(runner.sample_photo()).pixels
    changed = original.copy()
    changed[80:150, 190:260] = np.minimum(changed[80:150, 190:260].astype(int) + 5, 255)
    Image.fromarray(changed).save(tmp_path / "astronaut.png")
    face = {
        "box": [181.1, 62.2, 267.7, 172.1], "target": "v03", "seconds": 1.5, "max_abs": 5, "psnr": 31.25, "ssim": 0.875,
        "mmd": 0.1, "recognisers": {
            "inside": verdict(True, 0.1, 0.2), "judge": verdict(False, 0.6, 0.7, rank=98_765),
            "again": verdict(False, 0.2, 0.8), "away": verdict(False, 0.1, 0.3), "blind": verdict(False, None, None),
            "unsure": verdict(False, 0.4, 0.4, None)},
        "verdict": "weak", "expected": 0.3, "visible": "slightly",
    }  # fmt: skip
    photos = [
        {"source": str(runner.sample_photo()), "output": str(tmp_path / "astronaut.png"), "status": "written",
         "reason": "", "faces": [face], "backup": None, "encoding": "lossless PNG", "already": False,
         "verdict": "weak"},
        {"source": "/a/" + "long" * 30 + "/<b>me & you</b>.jpg", "output": None, "status": "failed",
         "reason": "it is damaged", "faces": []},
    ]  # fmt: skip
    recipe = check_recipe({"surrogates": [{"name": "sface"}], "output": str(tmp_path)})
    return writer.make(recipe_values(recipe), ["a fallback was taken"], photos, 12.3456, "cpu")


def pictures(html: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/webp;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int) for data in found]


def test_the_page_escapes_names_and_names_nothing_outside(made: writer.Report) -> None:
    html = report_page.render(made)
    assert "&lt;b&gt;me &amp; you&lt;/b&gt;.jpg" in html
    assert "<b>me" not in html
    for outside in ("http:", "https:", 'src="/', "<link", "@import", "url(", "<script ", "<iframe"):
        assert outside not in html
    assert html.count("<script>") == html.count("<style>") == 1


def test_the_page_says_what_could_undo_this_below_its_verdict(made: writer.Report) -> None:
    html = report_page.render(made)
    told = made.undoing
    assert told is not None
    places = [html.index(text) for text in (made.summary, *told["lines"], "The masks of this run were not measured")]
    assert places == sorted(places)
    assert places[-1] < html.index("How to read this page")
    assert f"The figures are of {told['settings']} as surrogates, {told['n']} photos" in html
    same = report_page.render(replace(made, undoing=told | {"measured": True}))
    assert "were not measured" not in same
    assert f"Measured with masks like these: {told['settings']} as surrogates" in same
    assert "Protected less" not in html
    behind = replace(made, undoing=told | {"behind": ["Of the 12 photos with pose turned ..."]})
    assert "Protected less</strong> by these masks: Of the 12 photos with pose turned ..." in report_page.render(behind)
    assert "What could undo this" not in report_page.render(replace(made, undoing=None))


def test_the_page_shows_the_mask_amplified(made: writer.Report) -> None:
    original, protected, mask = pictures(report_page.render(made))
    assert original.shape == protected.shape == mask.shape
    middle = (mask.shape[0] // 2, mask.shape[1] // 2)
    # The pictures are compressed: a few grey levels more or less.
    assert mask[middle] == pytest.approx(128 + 8 * 5, abs=4)
    assert mask[2, 2] == pytest.approx(128, abs=4)
    assert np.abs(protected - original).mean() < 5


def test_without_originals_the_page_shows_the_protected_faces_alone(made: writer.Report, tmp_path: Path) -> None:
    assert "shows the <strong>original</strong> faces, too" in report_page.render(made)
    _, protected, _ = pictures(report_page.render(made))
    bare = replace(made, recipe=made.recipe | {"report": {"originals": False}})
    html = report_page.render(bare)
    (shown,) = pictures(html)
    assert np.array_equal(shown, protected)
    assert "The original faces are not in this page" in html
    for word in ("<strong>original</strong> faces", "amplified", 'class="original"', 'type="range"'):
        assert word not in html
    assert html.count("data:image") == 1
    # Nor is a picture that somebody put there since, which may be the original.
    photo = made.photos[0] | {"output_sha256": read_photo(tmp_path / "astronaut.png").digest}
    assert len(pictures(report_page.render(replace(bare, photos=[photo])))) == 1
    shutil.copy(runner.sample_photo(), tmp_path / "astronaut.png")
    assert pictures(report_page.render(replace(bare, photos=[photo]))) == []


def test_the_page_stays_small(made: writer.Report, monkeypatch: pytest.MonkeyPatch) -> None:
    (face,) = made.photos[0]["faces"]
    many = replace(made, photos=[made.photos[0] | {"faces": [face] * 5}, *[made.photos[0]] * 3])
    assert max(pictures(report_page.render(made))[0].shape) <= 320
    assert len(report_page.render(made)) < 250_000
    monkeypatch.setattr(report_page, "_MANY_FACES", 7)
    monkeypatch.setattr(report_page, "SHOWN_FACES", 6)
    html = report_page.render(many)
    shown = pictures(html)
    assert len(shown) == 3 * 6
    assert max(max(picture.shape) for picture in shown) <= 200
    assert html.count("SSIM of the face") == 8  # The numbers of all faces are there.


def test_files_that_moved_or_changed_leave_the_numbers(made: writer.Report, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "astronaut.png")
    assert pictures(report_page.render(made)) == []
    (tmp_path / "astronaut.png").unlink()
    html = report_page.render(made)
    assert pictures(html) == []
    assert "0.875" in html


def test_a_surrogate_is_marked_and_never_praised(made: writer.Report) -> None:
    html = report_page.render(made)
    (receipt,) = re.findall(r"<h4>inside\*</h4>.*?</table>", html, re.DOTALL)
    assert "surrogate: masks were made with it, shows no protection" in receipt
    assert "another person" in receipt
    assert 'class="good"' not in receipt
    # Held-out recognisers come first.
    assert html.index("<h4>unsure</h4>") < html.index("<h4>inside*</h4>")
    assert '<p class="says lead weak">Weak: judge, which gave no gradients, still takes this face for the' in html
    assert "<p>Of 5 held-out recognisers, 1 still takes this face for the original" in html
    several = replace(made, photos=[made.photos[0] | {"faces": made.photos[0]["faces"] * 2}])
    html = report_page.render(several)
    assert html.count('<p class="says weak"><strong>Weak</strong>, slightly visible. Of 5 held-out recognisers') == 2


def test_a_judge_that_chose_the_strength_is_never_praised(made: writer.Report) -> None:
    (face,) = made.photos[0]["faces"]
    judges = {"picky": verdict(False, 0.1, 0.2) | {"chooses": True}, "judge": verdict(False, 0.1, 0.2)}
    face = face | {"recognisers": judges, "level": "mid", "escaped": True, "index": 3}
    other = face | {"escaped": False, "index": None, "landmarks": "given", "found_again": "known landmarks"}
    skipped = [{"index": 1, "reason": "it is smaller than <min_size>"}]
    html = report_page.render(replace(made, photos=[made.photos[0] | {"faces": [face, other], "skipped": skipped}]))
    receipts = re.findall(r"<h4>(\w+)</h4>.*?</table>", html, re.DOTALL)
    assert receipts == ["judge", "picky"] * 2
    (picky, _) = re.findall(r"<h4>picky</h4>.*?</table>", html, re.DOTALL)
    assert "chose the strength: no evidence" in picky
    assert "another person" in picky
    assert 'class="good"' not in picky
    assert re.findall(r"<h3[^>]*>(.*?)</h3>", html) == ["Face 3", "Face given by hand"]
    assert "Face 1 of all found was left as it is: it is smaller than &lt;min_size&gt;." in html
    assert "Strength: mid, the lightest level that escapes" in html
    assert "the strongest level, and a recogniser that chose it still recognises" in html
    assert html.count("No search finds it in the saved photo, so it was judged where it was in the original.") == 1


def test_an_entry_without_looks_before_and_after(made: writer.Report) -> None:
    """As older reports have them."""
    old = {key: value for key, value in verdict(False, 0.2, 0.2).items() if key not in ("before", "after", "person")}
    (face,) = made.photos[0]["faces"]
    photo = made.photos[0] | {"faces": [face | {"recognisers": {"judge": old}, "sentence": "It is so."}]}
    html = report_page.render(replace(made, photos=[photo], summary="It is so."))
    assert "0.200" in html


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    profile = f"user-data-dir={tmp_path_factory.mktemp('profile')}"
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking", profile):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def show(browser: Any, page: Path, width: int = 1280, scheme: str = "light", script: bool = True) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
    browser.get(page.as_uri())


@pytest.fixture
def page(made: writer.Report, tmp_path: Path) -> Path:
    (tmp_path / "report.html").write_text(report_page.render(made))
    return tmp_path / "report.html"


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_can_be_read(browser: Any, page: Path, width: int, scheme: str) -> None:
    show(browser, page, width, scheme)
    browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    assert browser.execute_script("return [...document.images].every(each => each.naturalWidth > 0)")
    assert browser.execute_script("return document.images.length") == 3
    # Nothing sticks out sideways, of the page or of a card.
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(
        "return [...document.querySelectorAll('table')].every(t => t.scrollWidth <= t.parentElement.clientWidth)"
    )
    ratio, *where = browser.execute_script(CONTRAST)
    assert ratio >= 4.5, where
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]
    assert browser.get_log("browser") == []
    browser.save_screenshot(str(page.with_suffix(".png")))
    shot = np.asarray(Image.open(page.with_suffix(".png")).convert("L"))
    assert shot.shape[1] == width
    assert (np.median(shot) > 200) == (scheme == "light")


@in_browser
def test_it_tells_what_was_measured(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By

    show(browser, page)
    cards = {card.text.split("\n")[0]: card.text for card in browser.find_elements(By.CLASS_NAME, "receipt")}
    assert list(cards) == ["judge", "again", "away", "blind", "unsure", "inside*"]
    assert "in the gallery: Ann" in cards["judge"]
    assert re.search(r"as saved itself\s+rank 1\s+target 1,234\s+0.600\s+rank 98,765", cards["judge"])
    assert "the same person" in cards["judge"]
    assert re.search(r"blur 0.900 0.800 the same person", cards["again"])
    assert re.search(r"blur 0.900 0.300 another person", cards["away"])
    assert re.search(r"as saved itself no face not found", cards["blind"])
    assert re.search(r"as saved itself 0.400 no verdict", cards["unsure"])
    assert "threshold unknown" in cards["unsure"]


@in_browser
def test_the_slider_moves_by_keyboard(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    show(browser, page, 360)
    picture = browser.find_element(By.CSS_SELECTOR, ".protected")
    reached = []
    for _ in range(20):  # From one control to the next, as somebody without a mouse goes.
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.switch_to.active_element.tag_name)
        if reached[-1] == "input":
            break
    assert reached == ["summary", "summary", "summary", "input"]
    slider = browser.switch_to.active_element
    assert slider.accessible_name == "Compare original and saved, face 1 of astronaut.png"
    assert picture.value_of_css_property("clip-path") == "inset(0px 0px 0px 50%)"
    slider.send_keys(Keys.ARROW_RIGHT * 3)
    assert picture.value_of_css_property("clip-path") == "inset(0px 0px 0px 53%)"
    assert slider.get_attribute("aria-valuetext") == "53 % original, 47 % saved"
    assert slider.value_of_css_property("outline-style") == "solid"  # It can be seen where one is.
    for key, share in ((Keys.HOME, 0), (Keys.END, 100)):
        slider.send_keys(key)
        assert picture.value_of_css_property("clip-path") == f"inset(0px 0px 0px {share}%)"
    assert browser.get_log("browser") == []


@in_browser
def test_the_slider_follows_the_pointer(browser: Any, page: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    show(browser, page)
    slider = browser.find_element(By.TAG_NAME, "input")
    width = slider.size["width"]
    ActionChains(browser).move_to_element_with_offset(slider, -width // 4, 0).click().perform()
    assert int(slider.get_attribute("value")) == pytest.approx(25, abs=1)


@in_browser
def test_without_script_the_pictures_stand_side_by_side(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By

    show(browser, page, 360, script=False)
    first, second = (browser.find_element(By.CSS_SELECTOR, f".{name} img").rect for name in ("original", "protected"))
    assert first["y"] == second["y"]
    assert first["x"] + first["width"] <= second["x"]
    assert second["x"] + second["width"] <= 360
    assert not browser.find_element(By.TAG_NAME, "input").is_displayed()
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@in_browser
def test_the_policy_lets_nothing_out_or_in(browser: Any, page: Path) -> None:
    """Even if something slipped into the page, it could not load or run."""
    with serve() as server:
        bad = f'<img src="{server.address}/x.png"><script>document.title = "ran"</script><p onclick="1">'
        page.write_text(page.read_text().replace("</body>", f"{bad}</body>"))
        show(browser, page)
        assert browser.title == "facecrypt report"
        blocked = browser.execute_async_script(
            "const done = arguments[1]; fetch(arguments[0]).then(() => done(false), () => done(true))", server.address
        )
        assert blocked
        assert server.requests == []
    said = [entry["message"] for entry in browser.get_log("browser")]
    assert any("Content Security Policy" in message for message in said)
