from __future__ import annotations

import hashlib
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from facecrypt.errors import WeightsError
from facecrypt.surrogates import weights
from facecrypt.surrogates.spec import Weights
from tests import processes
from tests.fileserver import FileServer, serve

CONTENT = random.Random(0).randbytes(1_000_000)
PART = 4 * weights._CHUNK
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve() as running:
        running.files["/release/net.pt"] = CONTENT
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (weights.MIRROR, weights.OFFLINE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(weights.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def fetch(server: FileServer, sha256: str = SHA256) -> Path:
    return weights.fetch(f"{server.address}/release/net.pt", "net.pt", sha256, command="facecrypt weights fetch net")


def failure(server: FileServer, sha256: str = SHA256) -> str:
    """Return the one line of a fetch that must fail, and check that nothing has the file's name."""
    with pytest.raises(WeightsError) as caught:
        fetch(server, sha256)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("weights net.pt: ")
    assert not (weights.cache_folder() / "net.pt").exists()
    return message


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.CACHE, "/data/faces")
    monkeypatch.setenv("XDG_CACHE_HOME", "/data/cache")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert weights.cache_folder() == Path("/data/faces")
    monkeypatch.setenv(weights.CACHE, "~/faces")
    assert weights.cache_folder() == Path("/home/somebody/faces")
    monkeypatch.delenv(weights.CACHE)
    assert weights.cache_folder() == Path("/data/cache/facecrypt")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.cache_folder() == Path("/home/somebody/.cache/facecrypt")


@pytest.mark.parametrize(("value", "meant"), [("1", True), ("yes", True), ("0", False), ("false", False), ("", False)])
def test_offline_is_a_switch(value: str, meant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.OFFLINE, value)
    assert weights.offline() is meant


def test_nothing_heavy_is_imported() -> None:
    heavy = {"torch", "numpy", "requests", "rich"}
    program = f"import sys; import facecrypt.surrogates.weights; print({heavy} & set(sys.modules))"
    result = processes.run([sys.executable, "-c", program], check=True)
    assert result.stdout.strip() == "set()"


def test_downloads_once(server: FileServer, cache: Path) -> None:
    assert fetch(server) == cache / "net.pt"
    assert (cache / "net.pt").read_bytes() == CONTENT
    assert fetch(server).read_bytes() == CONTENT
    assert len(server.requests) == 1
    # No record where the digest is stated, and nothing left of the way there.
    assert {path.name for path in cache.iterdir()} <= {"net.pt", "net.pt.lock"}


@pytest.mark.parametrize("etags", [True, False])
def test_an_interrupted_download_goes_on_where_it_stopped(etags: bool, server: FileServer) -> None:
    server.etags = etags
    server.cut = [PART]
    assert fetch(server).read_bytes() == CONTENT
    first, second = (headers for _, headers in server.requests)
    assert "Range" not in first
    assert second["Range"] == f"bytes={PART}-"
    assert ("If-Range" in second) == etags


def test_a_later_process_goes_on_too(server: FileServer, cache: Path) -> None:
    server.cut = [0] * 10
    server.cut[0] = PART
    assert "the download goes on where it stopped" in failure(server)
    assert (cache / "net.pt.part").stat().st_size == PART
    server.cut.clear()
    before = len(server.requests)
    assert fetch(server).read_bytes() == CONTENT
    assert [headers["Range"] for _, headers in server.requests[before:]] == [f"bytes={PART}-"]
    assert not (cache / "net.pt.part").exists()


def test_a_server_without_ranges_starts_again(server: FileServer) -> None:
    server.ranges = False
    server.cut = [PART]
    assert fetch(server).read_bytes() == CONTENT
    assert "Range" in server.requests[1][1]


@pytest.mark.parametrize("sha256", [SHA256, ""])
def test_a_file_that_changed_meanwhile_is_not_pieced_together(sha256: str, server: FileServer, cache: Path) -> None:
    server.files["/release/net.pt"] = bytes(reversed(CONTENT))
    server.cut = [PART] + [0] * 10
    failure(server, sha256)
    server.files["/release/net.pt"] = CONTENT
    server.cut.clear()
    assert fetch(server, sha256).read_bytes() == CONTENT


def test_without_any_mark_of_the_version_nothing_is_pieced_together(server: FileServer) -> None:
    server.etags = False
    server.cut = [PART]
    assert fetch(server, "").read_bytes() == CONTENT
    assert all("Range" not in headers for _, headers in server.requests)


def test_a_part_that_is_the_whole_file(server: FileServer, cache: Path) -> None:
    cache.mkdir()
    (cache / "net.pt.part").write_bytes(CONTENT)
    assert fetch(server).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_part_that_is_longer_than_the_file(server: FileServer, cache: Path) -> None:
    cache.mkdir()
    (cache / "net.pt.part").write_bytes(CONTENT + b"more")
    assert fetch(server).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_removed(server: FileServer, cache: Path) -> None:
    message = failure(server, "0" * 64)
    assert f"has sha256 {SHA256[:12]}..., not the 000000000000... that its publisher states: refused" in message
    assert not (cache / "net.pt.part").exists()


def test_a_cached_file_that_went_bad_is_refused(server: FileServer) -> None:
    fetch(server).write_bytes(b"bad")
    with pytest.raises(WeightsError, match="the file is corrupt or another version. Delete it"):
        fetch(server)


def test_without_a_stated_digest_the_first_download_counts(server: FileServer, cache: Path) -> None:
    path = fetch(server, "")
    # The format of sha256sum, so that "sha256sum --check" reads it.
    assert (cache / "net.pt.sha256").read_text() == f"{SHA256}  net.pt\n"
    path.unlink()
    server.files["/release/net.pt"] = b"another file"
    message = failure(server, "")
    assert f"not the {SHA256[:12]}... that it had at first: refused and removed" in message
    assert f"delete {cache / 'net.pt.sha256'} first" in message
    assert not (cache / "net.pt.part").exists()
    (cache / "net.pt.sha256").unlink()
    assert fetch(server, "").read_bytes() == b"another file"
    path.write_bytes(b"bad")
    with pytest.raises(WeightsError, match="when it was first downloaded"):
        fetch(server, "")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (404, "net.pt answers 404: there is no such file. Name a mirror in FACECRYPT_MIRROR, or put the file at "),
        (403, "net.pt answers 403: the server refuses it. Name a mirror"),
        (500, "net.pt answers 500, a fault of the server. Try again later, name a mirror"),
        (503, "net.pt answers 503, a fault of the server. Try again later, name a mirror"),
    ],
)
def test_what_the_server_answers_is_said(status: int, says: str, server: FileServer, cache: Path) -> None:
    server.status = status
    message = failure(server)
    assert f"{server.address}/release/{says}" in message
    assert str(cache / "net.pt") in message
    assert len(server.requests) == 1


def test_a_web_page_is_no_file(server: FileServer) -> None:
    server.kind = "text/html; charset=utf-8"
    assert "sends a web page, not a file. Open the address in a browser" in failure(server, "")


def test_a_silent_server(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_READ_TIMEOUT", 0.2)
    server.silent = 0.6
    assert f"{server.address}/release/net.pt has been silent for 0.2 s. Try again later" in failure(server)


def test_a_refused_connection(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.address = "http://127.0.0.1:9"  # nothing listens on the discard port
    message = failure(server)
    assert "http://127.0.0.1:9/release/net.pt cannot be reached" in message
    assert "Connection refused" in message


def test_a_full_disk(server: FileServer, cache: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    cache.mkdir()
    (cache / "net.pt.part").symlink_to("/dev/full")
    message = failure(server)
    assert f"cache folder {cache}: the disk is full. Make room, or name another folder in FACECRYPT_CACHE." in message


def test_a_cache_that_cannot_be_written_to(server: FileServer, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match="cannot be written to .* or name another folder in FACECRYPT_CACHE"):
        fetch(server)
    assert not server.requests


def test_the_mirror_serves_the_names_of_the_cache(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files = {"/copy/net.pt": CONTENT}
    monkeypatch.setenv(weights.MIRROR, f"{server.address}/copy/")
    path = weights.fetch("http://127.0.0.1:9/release/some-name.pt", "net.pt", SHA256, command="")
    assert path.read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/copy/net.pt"]


@pytest.mark.parametrize("address", ["server/folder", "ftp://server/folder", "http://"])
def test_a_mirror_that_is_no_address(address: str, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.MIRROR, address)
    assert "is no web address. Mend FACECRYPT_MIRROR" in failure(server)


def test_offline_opens_no_connection(server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.OFFLINE, "1")
    assert failure(server) == (
        f"weights net.pt: not in the cache ({cache}), and offline mode forbids to download it. "
        "Where there is a connection, run: facecrypt weights fetch net."
    )
    assert not server.requests
    cache.mkdir(exist_ok=True)
    (cache / "net.pt").write_bytes(CONTENT)
    assert fetch(server).read_bytes() == CONTENT
    assert not server.requests


def test_the_name_appears_only_with_the_whole_file(server: FileServer, cache: Path) -> None:
    """Watch the folder while a slow server sends: the file is either absent or complete and right."""
    server.silent = 0.1
    server.cut = [PART, PART, PART]
    seen: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if (cache / "net.pt").exists():
                seen.add((cache / "net.pt").stat().st_size)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        fetch(server)
        time.sleep(0.1)
    finally:
        done.set()
        watcher.join()
    assert seen == {len(CONTENT)}
    assert len(server.requests) == 4


FETCH = """
import sys
from facecrypt.surrogates import weights
print(weights.fetch(sys.argv[1], "net.pt", sys.argv[2], command="").stat().st_size)
"""


def test_two_processes_download_once(server: FileServer, cache: Path) -> None:
    server.answers.clear()
    arguments = [sys.executable, "-c", FETCH, f"{server.address}/release/net.pt", SHA256]
    with processes.started(arguments) as first:
        while not server.requests:
            time.sleep(0.01)
        with processes.started(arguments) as second:
            assert second.stderr is not None
            assert "another process downloads net.pt" in second.stderr.readline()
            server.answers.set()
            results = [process.communicate() for process in (first, second)]
            assert [process.returncode for process in (first, second)] == [0, 0], results
    assert [out.strip() for out, _ in results] == [str(len(CONTENT))] * 2
    assert len(server.requests) == 1
    assert (cache / "net.pt").read_bytes() == CONTENT


def test_threads_download_once(server: FileServer) -> None:
    threads = [threading.Thread(target=fetch, args=(server,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetch(server).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_weights_of_a_publisher_are_fetched_and_then_found(server: FileServer, cache: Path) -> None:
    checkpoint = Weights(
        origin="url", source=f"{server.address}/release/net.pt", path="net.pt", sha256=SHA256, licence="MIT"
    )
    assert checkpoint.find() is None
    assert checkpoint.require() == cache / "net.pt"
    assert checkpoint.find() == cache / "net.pt"


def test_offline_names_a_way_for_weights_that_no_component_has(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv(weights.OFFLINE, "1")
    own = Weights(origin="url", source="https://server/own.pt", path="own.pt", sha256="", licence="own")
    with pytest.raises(WeightsError, match=f"curl --location --output {cache}/own.pt https://server/own.pt"):
        own.require()
    hub = Weights(origin="hub", source="a/b", path="m.safetensors", sha256="", licence="own", beside=("config.json",))
    with pytest.raises(WeightsError, match=f"hf download a/b m.safetensors config.json --cache-dir {cache}/hub"):
        hub.require()
