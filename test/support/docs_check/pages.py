# SPDX-License-Identifier: Apache-2.0
"""What a reader of the pages can copy: commands, snippets and links."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[3]

#: Words that a command within a sentence begins with; in a block every line is one.
_PROGRAMS = ('make', 'pip', 'python', 'ros2')


def pages() -> list[Path]:
    """The pages, by their paths in the repository."""
    found = [ROOT / 'README.md', ROOT / 'SECURITY.md', *sorted(ROOT.glob('docs/**/*.md'))]
    return [page.relative_to(ROOT) for page in found]


def commands(page: Path) -> Iterator[str]:
    """Commands: the lines of indented blocks and of those fenced as sh, and what stands as code in a sentence."""
    for token in _tokens(page):
        if token.type == 'code_block' or (token.type == 'fence' and token.info == 'sh'):
            lines = (re.sub(r'\s+#.*', '', line).strip() for line in token.content.replace('\\\n', ' ').splitlines())
            yield from filter(None, lines)
        for child in token.children or ():
            if child.type == 'code_inline' and child.content.startswith(tuple(f'{word} ' for word in _PROGRAMS)):
                yield child.content


def snippets(page: Path, language: str) -> dict[str, str]:
    """Blocks that are fenced as of a language, by the page's name and their number."""
    blocks = [token.content for token in _tokens(page) if token.type == 'fence' and token.info == language]
    return {f'{page.stem}_{number}': block for number, block in enumerate(blocks, 1)}


def broken_links(page: Path) -> list[str]:
    """Targets of links and images that are not there: files, and headings of pages."""
    broken = []
    for token in _tokens(page):
        for child in token.children or ():
            target = str(child.attrs.get('href') or child.attrs.get('src') or '')
            if target and '://' not in target:
                name, _, anchor = target.partition('#')
                file = (page.parent / name) if name else page
                if not (ROOT / file).exists() or (anchor and anchor not in _anchors(file)):
                    broken.append(target)
    return broken


def _anchors(page: Path) -> set[str]:
    """Names that a code host gives the headings of a page."""
    tokens = _tokens(page)
    headings = [text.content for opening, text in itertools.pairwise(tokens) if opening.type == 'heading_open']
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def _tokens(page: Path) -> list[Token]:
    return MarkdownIt().enable('table').parse((ROOT / page).read_text(encoding='utf-8'))
