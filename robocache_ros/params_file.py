# SPDX-License-Identifier: Apache-2.0
"""Params files: which of their sections are a node's, as rcl decides it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml


def matching(tree: Any, node_name: str) -> list[Mapping[str, Any]]:
    """Return the parameters of each section of a parsed file that is for a node of this full name."""
    return [given or {} for section, given in _sections(tree) if re.fullmatch(_pattern(section), node_name)]


def unmatched(tree: Any, node_name: str) -> str:
    """Return, in words, that no section of a parsed file is for a node of this full name, and which there are."""
    names = ', '.join(section for section, _ in _sections(tree)) or 'none'
    return f'has no ros__parameters for {node_name}; its sections: {names}'


def explain_unmatched(argv: Sequence[str], node_name: str) -> Iterator[str]:
    """Yield a line for each params file of a command line that holds nothing for a node of this full name.

    rcl, which has read the files before, takes such a one silently.
    """
    for option, path in itertools.pairwise(argv):
        if option == '--params-file':
            # Values stay text: rcl takes some that YAML refuses.
            tree = yaml.load(Path(path).read_bytes(), yaml.BaseLoader)  # noqa: S506  # which makes text alone
            if not matching(tree, node_name):
                yield f'{path} has no effect: it {unmatched(tree, node_name)}'


def _sections(tree: Any, name: str = '') -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    """Yield the name of each section, which may have wildcards, and its parameters."""
    for key, value in tree.items() if isinstance(tree, Mapping) else ():
        if key == 'ros__parameters':
            yield name, value
        else:
            yield from _sections(value, f'{name}/{str(key).strip("/")}')


def _pattern(section: str) -> str:
    """Return the regular expression of the full names that a section is for."""
    parts = [part for part in section.split('/') if part]
    return ''.join({'**': '(/[^/]+)*', '*': '/[^/]+'}.get(part, '/' + re.escape(part)) for part in parts)
