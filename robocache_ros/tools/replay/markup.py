# SPDX-License-Identifier: Apache-2.0
"""Pieces of HTML that the report is made of."""

from __future__ import annotations

import base64


def section(title: str, lead: str, body: str) -> str:
    """A card with a heading and a line on what it shows."""
    return f'<section><h2>{title}</h2><p class="lead">{lead}</p>{body}</section>\n'


def plot(name: str, svg: str) -> str:
    """An SVG as an image: the ids of two inline drawings would clash."""
    return f'<img class="plot" alt="{name}" src="{data_uri("image/svg+xml", svg.encode())}">'


def data_uri(kind: str, data: bytes) -> str:
    """``data`` of a MIME type within the page."""
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'


def number(value: float | None) -> str:
    """A figure to one decimal, a dash for none."""
    return '–' if value is None else f'{value:.1f}'
