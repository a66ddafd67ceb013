"""The page of `facecrypt ui`: a real server, asked over HTTP and used in a real browser."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import requests
from PIL import Image

from facecrypt.cli import main as cli
from facecrypt.detectors.search import FaceDetector
from facecrypt.photos.files import read_photo
from facecrypt.pipeline import runner
from facecrypt.recipe.check import level_recipes
from facecrypt.recipe.resolve import quickstart
from facecrypt.system.private_files import remove_temporary_folder
from facecrypt.ui.server import _write_opener
from facecrypt.ui.session import _safe_name, load_choices, make_folder
from facecrypt.verdicts import expectation
from tests.processes import started

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
STEPS = 6


class Server(NamedTuple):
    process: subprocess.Popen[str]
    address: str
    folder: Path

    def ask(self, method: str, path: str = "", data: bytes | None = None, **headers: str) -> requests.Response:
        """Return the answer to what the page itself would send, but for the headers that are named."""
        origin = re.sub(r"(http://[^/]+)/.*", r"\1", self.address)
        own = {} if method == "GET" else {"Origin": origin}
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method,
                self.address + path,
                data=data,
                headers=own | {k.title(): v for k, v in headers.items()},
                timeout=60,
            )

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.ask("GET", "status").json()
        return status

    def wait(self, *states: str) -> dict[str, Any]:
        for _ in range(1200):
            status = self.status()
            if status["state"] in states:
                return status
            time.sleep(0.1)
        raise AssertionError(f"still {status['state']}")


@contextmanager
def served(folder: Path, *arguments: str, browser: str = "") -> Iterator[Server]:
    environment = os.environ | {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "BROWSER": browser}
    options = ["--port", "0", *([] if browser else ["--no-browser"]), "trainer.accelerator=cpu", *arguments]
    with started([sys.executable, "-m", "facecrypt", "ui", *options], environment=environment, stderr=None) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/\S+/", line)
        assert found, line
        yield Server(process, found[0], folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("ui")
    with served(folder, f"steps={STEPS}") as server:
        yield server
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait() == 143
    assert list(folder.glob("facecrypt-ui-*")) == []


@pytest.fixture(scope="module")
def two_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo with a large and a small face of a real person."""
    path = tmp_path_factory.mktemp("photos") / "two & faces.png"
    large = Image.open(runner.sample_photo()).convert("RGB")
    both = Image.new("RGB", (large.width + 360, large.height), "gray")
    both.paste(large, (0, 0))
    both.paste(large.resize((340, 340)), (large.width + 10, 100))
    both.save(path)
    return path


def forget(server: Server) -> None:
    server.ask("DELETE", "run")
    server.wait("empty", "ready", "done", "failed", "cancelled")
    assert server.ask("DELETE", "photo").status_code == 200


def test_it_listens_on_the_loopback_address_alone(server: Server) -> None:
    port = int(server.address.split(":")[2].split("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    # A server that listens on every address of the machine would answer at this one, too.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_a_strange_host_is_refused(server: Server) -> None:
    """A name that an attacker's server resolves to 127.0.0.1 (DNS rebinding)."""
    port = server.address.split(":")[2].split("/")[0]
    for host in ("attacker.example", f"attacker.example:{port}", "127.0.0.1", f"127.0.0.1:{int(port) + 1}", ""):
        assert server.ask("GET", host=host).status_code == 403
        assert server.ask("POST", "photo?name=a.png", b"x", host=host).status_code == 403
    assert server.ask("GET", host=f"localhost:{port}").status_code == 200


@pytest.mark.parametrize("origin", ["http://attacker.example", "null", "http://127.0.0.1", "http://127.0.0.1:1"])
def test_other_pages_can_order_nothing(server: Server, origin: str) -> None:
    for method, path in (("POST", "photo?name=a.png"), ("POST", "run"), ("DELETE", "photo"), ("GET", "status")):
        assert server.ask(method, path, origin=origin).status_code == 403


def test_requests_that_do_not_come_from_the_page_are_refused(server: Server) -> None:
    for site in ("cross-site", "same-site"):
        assert server.ask("GET", "status", **{"sec-fetch-site": site}).status_code == 403
    with requests.Session() as session:
        session.trust_env = False
        assert session.post(server.address + "run", data="{}", timeout=10).status_code == 403  # no origin at all


def test_without_the_secret_nothing_is_there(server: Server) -> None:
    base = server.address.rsplit("/", 2)[0]
    for path in ("/", "/status", "/photo", "/wrong/status"):
        with requests.Session() as session:
            session.trust_env = False
            assert session.get(base + path, timeout=10).status_code == 404


def test_every_answer_forbids_what_comes_from_elsewhere(server: Server) -> None:
    for path in ("", "status", "assets/page.js", "nothing"):
        headers = server.ask("GET", path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "http" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "server" not in headers
    assert server.ask("GET", "assets/../session.py").status_code == 404


def test_too_large_an_upload_is_refused_whatever_it_declares(server: Server) -> None:
    limit = 50_000_000
    answer = server.ask("POST", "photo?name=a.png", **{"content-length": str(limit + 1)}, data=b"")
    assert answer.status_code == 413
    assert "at most 50 MB" in answer.json()["error"]

    def endless() -> Iterator[bytes]:
        for _ in range(limit // 1_000_000 + 1):
            yield bytes(1_000_000)

    answer = server.ask("POST", "photo?name=a.png", endless())  # type: ignore[arg-type]  # a chunked body
    assert answer.status_code == 413
    assert server.status()["state"] == "empty"
    assert [path for path in server.folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.jpg", b"no photo at all", "text.jpg: is not a photo of a known format"),
        ("cut.png", b"\x89PNG\r\n\x1a\n\0\0", "cut.png: is damaged or cut short"),
        ("empty.jpg", b"", "empty.jpg: is empty"),
        ("photo.exe", b"\xff\xd8\xff", "photo.exe: ends in no known extension"),
        ("../../evil.jpg", b"text", "evil.jpg: is not a photo"),
    ],
)
def test_what_is_no_photo_is_refused(server: Server, name: str, content: bytes, reason: str) -> None:
    answer = server.ask("POST", f"photo?name={requests.utils.quote(name, safe='')}", content)  # type: ignore[attr-defined]
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(reason)
    assert str(server.folder) not in answer.json()["error"]
    assert server.status()["state"] == "empty"
    assert [path for path in server.folder.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_one_photo_is_protected_at_a_time_and_can_be_cancelled(server: Server, two_faces: Path) -> None:
    forget(server)
    order = json.dumps({"faces": [0], "strength": "mid"}).encode()
    assert server.ask("POST", "run", order).status_code == 409  # no photo yet
    assert server.ask("POST", "photo?name=a.png", two_faces.read_bytes()).status_code == 200
    wrong_orders = [{"faces": faces, "strength": "mid"} for faces in ([], [2], [-1], "all")]
    for wrong in (*wrong_orders, {"faces": [0], "strength": "utmost"}, {"faces": [0]},
                  {"faces": [0], "strength": "protect", "asked": 1}):  # fmt: skip
        assert server.ask("POST", "run", json.dumps(wrong).encode()).status_code == 400
    assert server.ask("POST", "run", b"x" * 20_000).status_code == 413
    assert server.ask("POST", "run", order).json()["state"] == "running"
    assert server.ask("POST", "run", order).status_code == 409
    assert server.ask("POST", "photo?name=b.png", two_faces.read_bytes()).status_code == 409
    assert server.ask("DELETE", "photo").status_code == 409
    assert server.ask("DELETE", "run").status_code == 200
    assert server.wait("cancelled")["message"].startswith("Cancelled")
    assert [path.name for path in server.folder.rglob("*") if path.is_file() and ".lock" not in path.name] == ["a.png"]
    forget(server)
    assert [path for path in server.folder.rglob("*") if path.is_file() and ".lock" not in path.name] == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install chromium and chromium-driver to test pages")
def test_the_page_in_a_real_browser(server: Server, two_faces: Path, tmp_path: Path, detector: FaceDetector) -> None:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    forget(server)
    pictures = Path(os.environ.get("FACECRYPT_SCREENSHOTS", tmp_path))
    downloads = tmp_path / "downloads"
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking", "no-proxy-server",
                     f"user-data-dir={tmp_path}/b"):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))

    def one(selector: str) -> Any:
        return browser.find_element(By.CSS_SELECTOR, selector)

    def until(condition: Any) -> None:
        WebDriverWait(browser, 120, poll_frequency=0.05).until(condition)

    def look(width: int, scheme: str) -> None:
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def picture(name: str) -> None:
        """Check on a phone and on a desktop that nothing sticks out sideways."""
        for width, scheme in ((360, "light"), (1280, "dark")):
            look(width, scheme)
            assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth"), name
            height = browser.execute_script("return document.documentElement.scrollHeight")
            clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
            shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
            (pictures / f"{name}-{width}.png").write_bytes(base64.b64decode(shot["data"]))

    try:
        browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
        browser.get(server.address)
        picture("1-empty")

        # What is no photo, or too large, is said and leaves the page as it was.
        drop = """
            const data = new DataTransfer();
            data.items.add(new File(["no photo"], "text.jpg"));
            document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
        """
        browser.execute_script(drop)
        until(lambda _: "text.jpg: is not a photo" in one("#message").text)
        with (tmp_path / "large.jpg").open("wb") as file:
            file.truncate(50_000_001)
        one("#file").send_keys(str(tmp_path / "large.jpg"))
        until(lambda _: "large.jpg is too large" in one("#message").text)
        picture("2-refused")

        # Both faces are marked; the larger one is left out by the keyboard.
        one("#file").send_keys(str(two_faces))
        until(lambda _: one("#pick").is_displayed() and one("#preview").get_property("naturalWidth") > 0)
        assert not one("#message").is_displayed()
        boxes = browser.find_elements(By.CSS_SELECTOR, "#boxes button")
        assert [box.get_attribute("aria-pressed") for box in boxes] == ["true", "true"]
        original = read_photo(two_faces)
        faces = detector.find(original, "all")
        scale = one("#preview").rect["width"] / original.pixels.shape[1]
        for box, face in zip(boxes, faces, strict=True):
            assert box.rect["x"] - one("#preview").rect["x"] == pytest.approx(face.box[0] * scale, abs=2)
            assert box.rect["width"] == pytest.approx((face.box[2] - face.box[0]) * scale, abs=2)
        boxes[0].send_keys(Keys.SPACE)
        assert [box.get_attribute("aria-pressed") for box in boxes] == ["false", "true"]
        assert one("#start").text == "Protect 1 face"
        boxes[1].click()
        assert not one("#start").is_enabled()
        boxes[1].click()
        # Protection is asked for at first; moving the slider asks for it again.
        assert one("input[value=protect]").is_selected()
        one("input[value=max]").click()
        one("#asked").send_keys(Keys.ARROW_LEFT)
        assert one("input[value=protect]").is_selected()
        assert one("#share").text == "79 %"
        picture("3-faces")
        one("input[value=low]").click()

        # Progress is seen, and survives a reload. A fast machine has ended before the page asks for the first time.
        one("#start").click()
        until(lambda _: re.match(r"Step \d of 6", one("#phase").text) or one("#result").is_displayed())
        picture("4-running")
        browser.refresh()
        until(lambda _: one("#result").is_displayed())
        until(lambda _: one("#after").get_property("naturalWidth") > 0)
        pressed = [box.get_attribute("aria-pressed") for box in browser.find_elements(By.CSS_SELECTOR, "#boxes button")]
        assert pressed == ["false", "true"]
        assert one("input[value=low]").is_selected()
        picture("5-result")
        rows = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#verdicts tr")]
        assert len(rows) == 3
        assert one("#verdicts h3").text == "Face 2"
        inked = "return arguments[0].getContext('2d').getImageData(160, 160, 1, 1).data[3]"
        closeups = browser.find_elements(By.TAG_NAME, "canvas")
        assert [browser.execute_script(inked, closeup) for closeup in closeups] == [255, 255]
        assert "sface*" in rows[1]
        assert "dlib_resnet" in rows[2]

        # The file that comes down is the photo with changes inside the picked patch alone, by 16 grey levels at most.
        one("#download").click()
        saved = downloads / two_faces.name
        until(lambda _: saved.exists())
        change = np.abs(read_photo(saved).pixels.astype(int) - original.pixels).max(axis=2)
        left, top, side = faces[1].patch
        assert 0 < change[top : top + side, left : left + side].max() <= 16
        change[top : top + side, left : left + side] = 0
        assert change.max() == 0

        # The receipt is that of the run.
        one("#receipts a[download='report.json']").click()
        until(lambda _: (downloads / "report.json").exists())
        (photo,) = json.loads((downloads / "report.json").read_text())["photos"]
        assert [face["box"] for face in photo["faces"]] == [[round(value, 1) for value in faces[1].box]]
        assert one("#summary").text == json.loads((downloads / "report.json").read_text())["summary"]
        said = [each.text for each in browser.find_elements(By.CSS_SELECTOR, "#verdicts p")]
        assert photo["faces"][0]["sentence"] in said
        assert any(f"at most {photo['faces'][0]['max_abs']} grey levels" in text for text in said)
        one("#receipt").click()
        browser.switch_to.window(browser.window_handles[1])
        until(lambda _: browser.find_elements(By.CSS_SELECTOR, "figure img"))
        assert all(image.get_property("naturalWidth") > 0 for image in browser.find_elements(By.TAG_NAME, "img"))

        # Nothing was asked of anybody else, and nothing was blocked.
        log = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in log if e["method"] == "Network.requestWillBeSent"]
        assert asked
        # The browser's own pages and pictures inside a page are asked of nobody.
        inside = (server.address, "data:", "chrome:", "chrome-untrusted:", "about:", "blob:")
        assert [url for url in asked if not url.startswith(inside)] == []
        severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        assert [message for message in severe if "400 (Bad Request)" not in message] == []
    finally:
        browser.quit()


@pytest.mark.slow
def test_temporary_files_go_when_the_program_is_interrupted_in_a_run(tmp_path: Path, two_faces: Path) -> None:
    with served(tmp_path, "steps=5000") as server:
        assert server.ask("POST", "photo?name=a.png", two_faces.read_bytes()).status_code == 200
        assert server.ask("POST", "run", b'{"faces": [0], "strength": "mid"}').status_code == 200
        while not (progress := server.status()["progress"]) or progress["step"] < 1:
            time.sleep(0.1)
        (folder,) = tmp_path.glob("facecrypt-ui-*")
        assert folder.stat().st_mode & 0o777 == 0o700
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait() == 130
    assert list(tmp_path.glob("facecrypt-ui-*")) == []


def test_overrides_hold_at_every_strength() -> None:
    budgets = [each.budget.jod for each in load_choices(quickstart(), []).presets.values() if each.budget]
    assert len(budgets) == 4
    assert budgets == sorted(budgets, reverse=True)
    choices = load_choices(quickstart(), ["epsilon=4", "faces=largest", "output=x", "in_place=true", "photos=y"])
    assert choices.protect is not None
    for recipe in (*choices.presets.values(), choices.protect):
        assert (recipe.epsilon, recipe.faces, recipe.photos, recipe.in_place) == (4, "all", None, False)
        assert all(judge.optional for judge in recipe.held_out)
    assert all(level.epsilon == 4 for level in level_recipes(choices.protect))


def test_the_page_asks_no_judge_that_is_elsewhere(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "surrogates: [{name: sface}]\nheld_out: [{name: dlib_resnet}, {name: http, send_originals: true}]\n"
    )
    choices = load_choices(recipe, [])
    assert {slot.name for each in choices.presets.values() for slot in each.held_out} == {"dlib_resnet"}


def test_the_page_opens_with_what_the_recipe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"dlib_resnet+sface": {"intercept": 0.0, "margins": {"sface": 1.0}}}
    monkeypatch.setattr(expectation, "_fits", lambda: both)
    choices = load_choices(quickstart(), [])
    assert (choices.first, choices.protect and choices.protect.protect) == ("protect", 0.8)
    choices = load_choices(quickstart(), ["protect=0.6"])
    assert (choices.first, choices.protect and choices.protect.protect) == ("protect", 0.6)
    choices = load_choices(quickstart(), ["preset=high"])
    assert (choices.first, choices.protect and choices.protect.protect) == ("high", 0.8)
    assert [recipe.preset for recipe in choices.presets.values()] == ["low", "mid", "high", "max"]
    # What nothing can be expected of has no protection to ask for, nor has what gives the budget itself.
    assert load_choices(ROOT / "tests" / "judged.yaml", []).protect is None
    assert load_choices(quickstart(), ["preset=mid", "budget.jod=9.5"]).protect is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_secret_is_in_the_arguments_of_no_process(
    tmp_path: Path, two_faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in a file that only this user can read. A killed program's folder goes at the next start."""
    (tmp_path / "browser").write_text(
        f"#!{sys.executable}\nimport pathlib, sys, time\n"
        f"pathlib.Path({str(tmp_path / 'opened')!r}).write_text(sys.argv[1])\ntime.sleep(600)"
    )
    (tmp_path / "browser").chmod(0o700)
    with served(tmp_path, browser=f"{tmp_path}/browser %s") as server:
        secret = server.address.split("/")[-2]
        while not (opened := tmp_path / "opened").exists() or not opened.read_text():
            time.sleep(0.01)
        seen = {path: _arguments(path) for path in Path("/proc").glob("[0-9]*/cmdline")}
        assert [text for text in seen.values() if secret in text] == []
        page = Path(opened.read_text().removeprefix("file://"))
        assert (page.stat().st_mode & 0o777, page.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        assert f'content="0; url={server.address}"' in page.read_text()
        # What a browser sends that comes from that file; other pages can do no more than open this one.
        come = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
        assert server.ask("GET", **come).status_code == 200
        assert server.ask("GET", "status", **come).status_code == 403
        assert server.ask("GET", **(come | {"sec-fetch-dest": "iframe"})).status_code == 403
        assert server.ask("GET", **(come | {"host": "attacker.example"})).status_code == 403
        assert server.ask("POST", "photo?name=a.png", two_faces.read_bytes()).status_code == 200
    assert page.exists()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    while page.parent.exists():  # The work ends a moment later than who waits for it.
        remove_temporary_folder(make_folder())


def _arguments(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # It has ended.
        return ""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install chromium and chromium-driver to test pages")
def test_a_real_browser_comes_to_the_page_by_the_file(server: Server, tmp_path: Path) -> None:
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "no-proxy-server", f"user-data-dir={tmp_path}/b"):
        options.add_argument(f"--{argument}")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        browser.get(_write_opener(tmp_path, server.address).as_uri())
        WebDriverWait(browser, 60).until(lambda _: browser.current_url == server.address)
        assert browser.title == "facecrypt"
    finally:
        browser.quit()


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("me.jpg", "me.jpg"),
        ("../../etc/passwd.jpg", "passwd.jpg"),
        ("C:\\photos\\me.JPG", "me.JPG"),
        ("a\0b\n\u202egpj.png", "abgpj.png"),
        ("..", "photo"),
        ("", "photo"),
        (".hidden.png", "hidden.png"),
        ("ü" * 300 + ".png", "ü" * 60 + ".png"),
    ],
)
def test_names_stay_inside_their_folder(given: str, safe: str) -> None:
    assert _safe_name(given) == safe


def test_a_port_that_is_taken_is_a_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["ui", "--no-browser", "--port", str(port)]) == cli.WRONG
    assert capsys.readouterr().err == (
        f"facecrypt: --port {port}: Address already in use. Name another port, or 0 for any that is free.\n"
    )
