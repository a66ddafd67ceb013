"""The documentation tells the truth: its code runs, its commands exist, and so do the files that it mentions."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest

from facecrypt import registry
from facecrypt.cli import main as cli
from facecrypt.cli.table import COMMANDS
from facecrypt.recipe.shipped import shipped_names
from tests import processes

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for pattern in ("README.md", "docs/**/*.md", "plugins/*/README.md") for page in ROOT.glob(pattern))
BLOCK = re.compile(
    r"^(?P<fence>```+)(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL
)
NAMED_BLOCK = re.compile(r"^`(?P<path>[^`\n]+)`\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")
OURS = ("facecrypt/", "recipes/", "plugins/", "docs/", "tests/", "paper/")
SHELLS = ("sh", "bash", "shell", "console")


class Block(NamedTuple):
    """A fenced block of a page and where it starts."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [Block(m["language"], m["text"], text.count("\n", 0, m.start()) + 2) for m in BLOCK.finditer(text)]


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text())


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the arguments of every ``facecrypt ...`` line in a shell block."""
    for block in blocks(page):
        if block.language not in SHELLS:
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            words = words[2:] if words[:2] == ["python", "-m"] else words
            if words[:1] == ["facecrypt"]:
                end = next(
                    (i for i, word in enumerate(words) if word in ("|", "&&", ";", "<", ">", ">>", "2>&1")), None
                )
                yield words[1:end]


def mentioned_files(page: Path) -> set[str]:
    """Return the paths inside the project that code spans and shell blocks name; placeholders are left out."""
    pieces = SPAN.findall(prose(page)) + [block.text for block in blocks(page) if block.language in SHELLS]
    words = {word.strip("`'\"(),:;.") for piece in pieces for word in piece.split()}
    words = {word.removeprefix("./").split("#")[0].split("::")[0] for word in words}
    return {word for word in words if word.startswith(OURS) and not re.search(r"[<>{}*$…=]|\b[A-Z]{2,}\b(?!\.)", word)}


def pages_with(language: str) -> list[Path]:
    return [page for page in PAGES if any(block.language == language for block in blocks(page))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_there_are_pages() -> None:
    others = {"judge", "detector", "region", "transform", "source-or-sink"}
    kinds = {"method", "surrogate", "naturalness-term", "target-selector", "view"} | others
    expected = {f"docs/add-a-{kind}.md" for kind in kinds} | {"docs/add-an-optimizer.md", "docs/write-a-plugin.md"}
    assert expected <= {name(page) for page in PAGES}
    assert expected <= {name(page) for page in pages_with("python")}


LONG = {ROOT / "docs" / "python.md", ROOT / "docs" / "add-a-surrogate.md"}


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] * (page in LONG)) for page in pages_with("python")],
    ids=name,
)
def test_code_runs(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    registry.list_components()  # So that the pages register beside everything else, and only for this test.
    monkeypatch.setattr(registry._shared, "components", dict(registry._shared.components))
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "docs"}
    for block in blocks(page):
        if block.language == "python":
            # Line numbers of the page, so that a traceback points into it.
            exec(compile("\n" * (block.line - 1) + block.text, page, "exec", dont_inherit=True), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_parse(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands(page):
        status: object = 0
        try:
            cli.parse(words)
        except SystemExit as ending:
            status = ending.code  # 0 after --help and --version.
        assert not status, f"facecrypt {shlex.join(words)}: {capsys.readouterr().err}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_subcommands_exist(page: Path) -> None:
    known = {*COMMANDS, *shipped_names()}
    spans = [span.removeprefix("python -m ") for span in SPAN.findall(prose(page))]
    named = {match[1] for span in spans if (match := re.match(r"facecrypt ([a-z]\w*)(?![\w./])", span))}
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_mentioned_files_exist(page: Path) -> None:
    assert {path for path in mentioned_files(page) if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    links = {first or second for first, second in LINK.findall(prose(page))}
    local = {link.split("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)}
    assert {link for link in local if not (page.parent / link).exists()} == set()


@pytest.mark.slow
def test_plugin_of_the_page_can_be_installed_and_listed(tmp_path: Path) -> None:
    try:
        metadata.version("setuptools")
    except metadata.PackageNotFoundError:
        pytest.skip("setuptools, which builds the plugin, is not installed: pip install setuptools")
    for path, text in NAMED_BLOCK.findall((ROOT / "docs" / "write-a-plugin.md").read_text()):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    run(
        tmp_path,
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target=site",
        "./facecrypt-squares",
    )
    listed = run(tmp_path, "facecrypt", "list", "naturalness")
    (row,) = [line for line in listed.splitlines() if "mean_square" in line]
    assert "facecrypt-squares" in row
    assert "no problems" in run(tmp_path, "facecrypt", "check", "squares.yaml")


def run(folder: Path, module: str, *arguments: str) -> str:
    """Return what a module prints, run as a program in `folder` with the packages installed in ``site`` there."""
    environment = os.environ | {"PYTHONPATH": str(folder / "site"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [sys.executable, "-m", module, *arguments]
    done = processes.run(command, folder=folder, environment=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
