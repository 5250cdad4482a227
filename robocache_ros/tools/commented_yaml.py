# SPDX-License-Identifier: Apache-2.0
"""A parameter file in which each parameter has its meaning, unit and range beside it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from robocache_ros import parameters
from robocache_ros.parameter_spec import Spec

_WIDTH = 120
#: Topics of commands, whose vectors are what a robot does, not what it senses.
_COMMAND = re.compile(r'(^|[/_])(cmd|command|action|goal)', re.IGNORECASE)


def commented_yaml(tree: Mapping[str, Any], head: Sequence[str]) -> str:
    """Return a ROS parameter file with ``tree`` for the node ``preprocess``, below ``head``, which becomes comments."""
    lines = [*_comment(head, ''), '/**/preprocess:', '  ros__parameters:']
    lines += _section(tree, '', '    ', parameters.specs_of(tree))
    lines += _comment(_lerobot(tree), '    ')
    return '\n'.join(lines) + '\n'


def _section(tree: Mapping[str, Any], prefix: str, indent: str, specs: Mapping[str, Spec]) -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield f'{indent}{key}:'
            yield from _section(value, f'{prefix}{key}.', f'{indent}  ', specs)
            continue
        line, meaning = f'{indent}{key}: {_value(value)}', _meaning(specs[f'{prefix}{key}'])
        if len(line) + len(meaning) + 4 <= _WIDTH:
            yield f'{line}  # {meaning}'
        else:
            yield from _comment([meaning], indent)
            yield line


def _meaning(spec: Spec) -> str:
    return '; '.join(filter(None, (spec.description, spec.constraint)))


def _value(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1 << 20)
    return text.removesuffix('\n').removesuffix('\n...')


def _comment(lines: Sequence[str], indent: str) -> Iterator[str]:
    for line in lines:
        for part in textwrap.wrap(line, _WIDTH - len(indent) - 2, break_long_words=False, break_on_hyphens=False):
            yield f'{indent}# {part}'


def _lerobot(tree: Mapping[str, Any]) -> list[str]:
    """Which streams could be which features of a LeRobotDataset, as lines to uncomment."""
    vectors = [*tree.get('vectors', ()), *tree.get('imus', ())]
    action = [name for name in vectors if _COMMAND.search(tree[name]['topic'])]
    fields = {
        'state': [name for name in vectors if name not in action],
        'action': action,
        'images': list(tree.get('cameras', ())),
    }
    given = ', '.join(f'{field}: {_value(names)}' for field, names in fields.items() if names)
    if not given:
        return []
    cameras = '; its cameras need dtype: uint8' if fields['images'] else ''
    fps = 'with sync.rate_hz, or fps: the rate of the trigger'
    return [f'For `export --format lerobot`, {fps}{cameras}:', f'export: {{lerobot: {{{given}}}}}']
