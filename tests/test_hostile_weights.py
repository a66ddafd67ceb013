"""Weights from servers that lie, and files that are more than they seem: refused before anything of them is loaded."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.server
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from facecrypt.errors import WeightsError
from facecrypt.surrogates import catalogue, weights
from facecrypt.surrogates.checkpoint import load_state_dict
from facecrypt.surrogates.onnx.recogniser import onnx as onnx_component
from tests.fileserver import QuietServer

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PAGE = b"\xef\xbb\xbf\n <!DOCTYPE html><html><body>Please sign in</body></html>" + bytes(1000)

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (weights.MIRROR, weights.OFFLINE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(weights.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Return a function that lets a server of this machine answer as told, and returns its address."""
    servers = []

    def start(answer: Answer) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.close_connection = True
                with suppress(BrokenPipeError, ConnectionResetError):  # The client has seen enough.
                    answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = QuietServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/net.pt"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def send(handler: http.server.BaseHTTPRequestHandler, body: bytes, **headers: str) -> None:
    handler.send_response(200)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    while True:
        handler.wfile.write(b"10000\r\n" + bytes(65536) + b"\r\n")


def redirect(to: str) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Connection", "close")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


LIES: dict[str, tuple[Answer, str]] = {
    "endless": (endless, "sends more than the 300,000 bytes that are expected"),
    "too large": (
        lambda handler: send(handler, CONTENT + b"x", Content_Length="300001"),
        "sends a file of 300,001 bytes, not of the 300,000 that are expected",
    ),
    "too large, not announced": (
        lambda handler: send(handler, CONTENT + bytes(99_999)),
        "sends more than the 300,000 bytes that are expected",
    ),
    "huge": (
        lambda handler: send(handler, CONTENT, Content_Length="1000000000000000"),
        "sends a file of 1,000,000,000,000,000 bytes",
    ),
    "cut short": (
        lambda handler: send(handler, CONTENT[:1000], Content_Length="1000"),
        "sends a file of 1,000 bytes, not of the 300,000",
    ),
    "cut short, not announced": (lambda handler: send(handler, CONTENT[:1000]), "sent 1000 bytes and not the rest"),
    "nothing": (lambda handler: send(handler, b"", Content_Length="0"), "sends an empty file"),
    "no number": (lambda handler: send(handler, CONTENT[:-1], Content_Length="many"), "and not the rest"),
    "another one": (
        lambda handler: send(handler, bytes(300_000), Content_Length="300000"),
        "that its publisher states: refused and removed",
    ),
    "page": (lambda handler: send(handler, PAGE, Content_Type="application/octet-stream"), "sends a web page"),
    "compressed": (
        lambda handler: send(handler, gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"),
        "sends it compressed, although it was asked not to",
    ),
    "elsewhere": (redirect("file:///etc/passwd"), "net.pt"),
    "in circles": (redirect("/net.pt"), "TooManyRedirects"),
}


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("lie", LIES)
def test_what_a_server_sends_is_checked_before_it_has_a_name(
    lie: str, mirror: bool, serve: Callable[[Answer], str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, says = LIES[lie]
    address = serve(answer)
    if mirror:
        monkeypatch.setenv(weights.MIRROR, address.removesuffix("/net.pt"))
        address = "http://127.0.0.1:9/net.pt"
    with pytest.raises(WeightsError) as caught:
        weights.fetch(address, "net.pt", SHA256, len(CONTENT), command="")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (cache / "net.pt").exists()
    assert sum(file.stat().st_size for file in cache.iterdir()) <= len(CONTENT)


@pytest.mark.parametrize("lie", ["endless", "huge", "nothing", "page", "compressed", "in circles"])
def test_without_a_stated_size_or_digest_there_is_still_a_bound(
    lie: str, serve: Callable[[Answer], str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_MOST_BYTES", 1_000_000)
    with pytest.raises(WeightsError):
        weights.fetch(serve(LIES[lie][0]), "net.pt", command="")
    assert not (cache / "net.pt").exists()
    assert not (cache / "net.pt.sha256").exists()  # Or the next, right file would be refused.
    assert sum(file.stat().st_size for file in cache.iterdir()) <= 1_000_000


def test_an_honest_redirect_is_followed(serve: Callable[[Answer], str], cache: Path) -> None:
    right = serve(lambda handler: send(handler, CONTENT, Content_Length=str(len(CONTENT))))
    assert weights.fetch(serve(redirect(right)), "net.pt", SHA256, len(CONTENT), command="").read_bytes() == CONTENT


def test_a_cached_file_of_another_size_is_not_loaded(cache: Path) -> None:
    cache.mkdir()
    for digest, content in (("", CONTENT[:-1]), ("", CONTENT + b"x"), (SHA256, CONTENT + b"x")):
        (cache / "net.pt").write_bytes(content)
        with pytest.raises(WeightsError, match=r"has (299,999|300,001) bytes, expected 300,000: the file is cut short"):
            weights.fetch("http://127.0.0.1:9/net.pt", "net.pt", digest, len(CONTENT), command="")
    (cache / "net.pt").write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match="sha256 is .*, expected"):
        weights.fetch("http://127.0.0.1:9/net.pt", "net.pt", SHA256, len(CONTENT), command="")


def test_other_packages_write_no_more_than_that(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OSError, match="large") as caught, weights.bounded_files(1000):
        (tmp_path / "file").write_bytes(bytes(2000))
    assert caught.value.errno == errno.EFBIG
    assert (tmp_path / "file").stat().st_size <= 1000
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
    (tmp_path / "file").write_bytes(bytes(2000))


# Checkpoints.


def zipped(path: Path, compression: int, *, twice: bool = False) -> Path:
    """A checkpoint of torch whose records are packed anew."""
    torch.save({"weight": torch.zeros(1_000_000)}, path.with_suffix(".plain"))
    with zipfile.ZipFile(path.with_suffix(".plain")) as source, zipfile.ZipFile(path, "w", compression) as target:
        for record in source.infolist():
            target.writestr(record.filename, source.read(record))
    if twice:  # The directory names the same bytes again and again.
        data = path.read_bytes()
        with zipfile.ZipFile(path) as source:
            start = source.start_dir
        directory, end = data[start:-22], bytearray(data[-22:])
        count = int.from_bytes(end[8:10], "little") * 2
        end[8:12] = count.to_bytes(2, "little") * 2
        end[12:16] = (2 * len(directory)).to_bytes(4, "little")
        path.write_bytes(data[:start] + 2 * directory + end)
    return path


@pytest.mark.parametrize(("compression", "twice"), [(zipfile.ZIP_DEFLATED, False), (zipfile.ZIP_STORED, True)])
def test_an_archive_that_unpacks_to_more_than_it_is(compression: int, twice: bool, tmp_path: Path) -> None:
    path = zipped(tmp_path / "bomb.pt", compression, twice=twice)
    with pytest.raises(WeightsError, match="it unpacks to .* bytes, more than the file has"):
        load_state_dict(path)
    assert load_state_dict(tmp_path / "bomb.plain")["weight"].shape == (1_000_000,)


@pytest.mark.filterwarnings("ignore")  # Of tensors that torch is about to give up.
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(3, dtype=torch.complex64),
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.zeros(3, device="meta"),
        lambda: torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8),
    ],
)
def test_tensors_that_are_no_plain_numbers(make: Callable[[], Tensor], tmp_path: Path) -> None:
    torch.save({"fine": torch.zeros(3), "odd": make()}, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=r"net.pt: (odd holds no plain numbers|it holds more than tensors|no check)"):
        load_state_dict(tmp_path / "net.pt")


# ONNX files.


def with_outside(path: Path, location: str, *, inside: bool = False) -> Path:
    """A network whose weights lie where it says; `inside`: those of a branch."""
    tensor = numpy_helper.from_array(np.ones((3, 3), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "36")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["f"])]
    if inside:
        branch = helper.make_graph([helper.make_node("MatMul", ["f", "w"], ["b"])], "then", [], [y], [tensor])
        branch.output[0].name = "b"
        nodes.append(helper.make_node("If", ["true"], ["y"], then_branch=branch, else_branch=branch))
        weights_of = [numpy_helper.from_array(np.array(True), "true")]
    else:
        nodes.append(helper.make_node("MatMul", ["f", "w"], ["y"]))
        weights_of = [tensor]
    graph = helper.make_graph(nodes, "net", [x], [y], weights_of)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("location", ["../secret.bin", "{outside}", "link.bin", "sub/../../secret.bin", ".", ""])
def test_an_onnx_file_reads_nothing_outside_its_folder(location: str, inside: bool, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(36))
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    location = location.format(outside=tmp_path / "secret.bin")
    path = with_outside(folder / "net.onnx", location, inside=inside)
    with pytest.raises(WeightsError, match="(which is no file in its own folder|which cannot be read).*: refused"):
        onnx_component(path=str(path), dimension=3, size=8)


def test_an_onnx_file_may_have_its_weights_beside_it_where_no_digest_speaks_for_them(tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_bytes(np.ones((3, 3), np.float32).tobytes())
    path = with_outside(tmp_path / "net.onnx", "net.bin")
    assert onnx_component(path=str(path), dimension=3, size=8).spec.dimension == 3
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match=r"its weights are in another file, 'net.bin', of which its sha256"):
        onnx_component(path=str(path), dimension=3, size=8, sha256=digest)


def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(WeightsError):
        onnx_component(path=str(tmp_path / "net.onnx"), dimension=3, size=8)


def test_a_package_file_of_another_size_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(CONTENT)
    known = replace(catalogue.SFACE.weights, origin="file", path=str(path), size=1000)
    with pytest.raises(WeightsError, match="has 300,000 bytes, expected 1,000"):
        known.require()
