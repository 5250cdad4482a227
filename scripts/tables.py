#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the tables of docs that state what the code has: drop reasons, usual fields, events, metrics, parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from robocache_core.config import GROUPS, NAMED
from robocache_core.ledger import Reason
from robocache_core.streams.message_vector import PRESETS
from robocache_ros.blocker import Cause
from robocache_ros.events import Event
from robocache_ros.parameter_spec import Spec, tunables
from robocache_ros.parameters import specs_of
from robocache_ros.prometheus import ROWS

ROOT = Path(__file__).resolve().parents[1]


def tables() -> Iterator[tuple[str, str, Iterable[tuple[str, ...]]]]:
    """Yield the page of each table, its head, and its rows."""
    explained = 'reason | what it means'
    yield 'docs/drops.md', explained, ((f'`{reason}`', reason.sentence) for reason in Reason)
    usual = ((f'`{name}`', _listed(preset.fields) or 'none: set `fields`') for name, preset in PRESETS.items())
    yield 'docs/tensors.md', 'message | fields of a row', usual
    yield 'docs/metrics.md', explained, ((f'`{cause}`', cause.sentence) for cause in Cause)
    yield (
        'docs/metrics.md',
        'metric | type | labels | meaning',
        ((f'`{row.name}`', row.family('x', '').type, _listed(row.labels), row.meaning) for row in ROWS),
    )
    yield (
        'docs/logs.md',
        'event | level | fields | when',
        ((f'`{event.value}`', event.level, _listed(event.fields), event.sentence) for event in Event),
    )
    for whose, specs in parameters():
        yield 'docs/parameters.md', f'{whose} | type | unit | range | default | meaning', map(_parameter, specs)


def parameters() -> Iterator[tuple[str, list[Spec]]]:
    """Yield whose each group of parameters is, and the parameters: those that all streams share are of every stream."""
    of_kind = {group: list(tunables(NAMED[group]('x'))) for group in NAMED}
    rows = [set(map(_parameter, of_kind[group])) for group in GROUPS]
    shared = set.intersection(*rows)
    yield 'of the node', list(specs_of({}).values())
    yield 'of every stream', [spec for spec in of_kind[next(iter(GROUPS))] if _parameter(spec) in shared]
    for group, specs in of_kind.items():
        own = [spec for spec in specs if group not in GROUPS or _parameter(spec) not in shared]
        yield f'of each of `{group}`', own


def _parameter(spec: Spec) -> tuple[str, ...]:
    """Row of a parameter."""
    kind = spec.type.name.lower().replace('_', ' ')
    default = yaml.safe_dump(spec.default, default_flow_style=True, width=1 << 20).removesuffix('...\n').rstrip()
    meaning = spec.meta['description'].replace('|', r'\|').replace('<', r'\<')
    return f'`{spec.name}`', kind, spec.meta['unit'], spec.constraint, f'`{default}`', meaning


def updated(page: str, text: str) -> str:
    """``text`` of a page, with its tables as they are now."""
    for _, head, rows in (each for each in tables() if each[0] == page):
        begin = f'| {head} |\n|{"---|" * (head.count("|") + 1)}\n'
        table = begin + ''.join(f'| {" | ".join(row)} |\n' for row in rows)
        text, count = re.subn(re.escape(begin) + r'(\|.*\n)*', lambda match, table=table: table, text)
        if count != 1:
            raise ValueError(f'{page} has {count} tables of {head}, must have one')
    return text


def _listed(names: Iterable[str]) -> str:
    return ', '.join(f'`{name}`' for name in names)


if __name__ == '__main__':
    for page in dict.fromkeys(page for page, *_ in tables()):
        (ROOT / page).write_text(updated(page, (ROOT / page).read_text()))
