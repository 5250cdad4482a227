# SPDX-License-Identifier: Apache-2.0
"""Pieces of HTML that pages are made of. Text that came from outside is escaped by who passes it."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

from robocache_ros.tools.presentation.style import CSS


def page(title: str, body: str) -> str:
    """A page of one file without links: it can be moved, mailed and opened without a network."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{title}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n{body}</body>\n</html>\n'
    )


def cards(figures: Iterable[tuple[str, str, str]]) -> str:
    """A card for each heading, figure and remark."""
    each = (f'<div class="card"><h3>{a}</h3><p>{b}</p><small>{c}</small></div>' for a, b, c in figures)
    return f'<div class="cards">{"".join(each)}</div>'


def notices(items: Sequence[tuple[str, str]]) -> str:
    """A section of lines, each of a kind (``bad`` or ``note``), which are escaped; empty where there are none."""
    lines = ''.join(f'<p class="notice {kind}">{html.escape(text)}</p>' for kind, text in items)
    return f'<section>{lines}</section>\n' if items else ''


def table(head: str, rows: Iterable[str]) -> str:
    """A table of rows; on a narrow screen it scrolls by itself."""
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def section(title: str, lead: str, body: str) -> str:
    """A card with a heading and a line on what it shows."""
    return f'<section><h2>{title}</h2><p class="lead">{lead}</p>{body}</section>\n'


def plot(name: str, svg: str) -> str:
    """An SVG as an image: the ids of two inline drawings would clash."""
    uri = data_uri('image/svg+xml', svg.encode())
    return f'<div class="scroll"><img class="plot" alt="{name}" src="{uri}"></div>'


def data_uri(kind: str, data: bytes) -> str:
    """``data`` of a MIME type within the page."""
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'


def number(value: float | None) -> str:
    """A figure to one decimal, a dash for none."""
    return '–' if value is None else f'{value:.1f}'
