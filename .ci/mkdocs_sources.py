"""Hooks of mkdocs: links from docs/ to other files of the project lead to pages that show those files.

A viewer of the repository follows such a link by itself. The site holds docs/ alone, so each file that a page links to
becomes a page under sources/, and each folder a list of its files. Pages that would fetch something from another server
are warned of, which ends a strict build.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

FOLDER = "sources"
LINK = re.compile(r"(?<!!)(?P<text>\[[^\]\n]*\]\()(?P<path>[^)\s#:]+)(?P<rest>(?:#[^)\s]*)?\))")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".jinja": "jinja"}
FETCHED = re.compile(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="?(?:https?:)?//|<link\b[^>]*rel="?stylesheet[^>]*//')
HEADER = "---\ntitle: {title}\nsearch: {{exclude: true}}\n---\n\n"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add a page for every file outside docs/ that a page, or such a page, links to."""
    docs = Path(config.docs_dir)
    waiting = [docs / file.src_uri for file in files.documentation_pages()]
    known: set[Path] = set()
    while waiting:
        for target in _targets(waiting.pop(), docs):
            if not target.is_relative_to(docs) and target not in known:
                known.add(target)
                waiting.append(target)
                page = File.generated(
                    config, _uri(target, docs), content=_render(target, docs), inclusion=InclusionLevel.NOT_IN_NAV
                )
                files.append(page)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page of docs/ with its links to other files of the project turned to their pages."""
    docs = Path(config.docs_dir)
    uri = page.file.src_uri
    return markdown if uri.startswith(f"{FOLDER}/") else _turned(markdown, docs / uri, uri, docs)


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Warn of a page that would fetch something from another server."""
    if match := FETCHED.search(output):
        logging.getLogger("mkdocs.hooks").warning("%s fetches from elsewhere: %s", page.file.src_uri, match[0])
    return output


def _targets(source: Path, docs: Path) -> list[Path]:
    """Return the files and folders of the project that a page or a folder leads to."""
    if source.is_dir():
        return sorted(each for each in source.iterdir() if each.suffix in LANGUAGES or each.suffix == ".md")
    if source.suffix != ".md":
        return []
    targets = (_resolve(source, match["path"]) for match in LINK.finditer(source.read_text(encoding="utf-8")))
    return [each for each in targets if each.is_relative_to(docs.parent) and each.exists()]


def _turned(markdown: str, source: Path, uri: str, docs: Path) -> str:
    """Return the text of the file `source` with its links as they are needed in the page `uri`."""

    def turn(match: re.Match[str]) -> str:
        target = _resolve(source, match["path"])
        if not target.exists() or not target.is_relative_to(docs.parent):
            return match[0]  # mkdocs says what is wrong with it.
        link = os.path.relpath(_uri(target, docs), PurePosixPath(uri).parent)
        return f"{match['text']}{PurePosixPath(link)}{match['rest']}"

    return LINK.sub(turn, markdown)


def _render(target: Path, docs: Path) -> str:
    name = target.relative_to(docs.parent).as_posix()
    header = HEADER.format(title=name)
    if target.is_dir():
        links = (f"- [`{each.name}`]({target.name}/{each.name}.md)" for each in _targets(target, docs))
        return f"{header}# {name}\n\n" + "\n".join(links) + "\n"
    text = target.read_text(encoding="utf-8")
    if target.suffix == ".md":
        return header + _turned(text, target, _uri(target, docs), docs)
    return f"{header}# {name}\n\n``````{LANGUAGES.get(target.suffix, 'text')}\n{text}``````\n"


def _resolve(source: Path, link: str) -> Path:
    return Path(os.path.normpath(source.parent / link))


def _uri(target: Path, docs: Path) -> str:
    """Return where a file of the project is in the site."""
    if target.is_relative_to(docs):
        return target.relative_to(docs).as_posix()
    return f"{FOLDER}/{target.relative_to(docs.parent).as_posix()}.md"
