# SPDX-License-Identifier: Apache-2.0
"""A parameter file in which each parameter has its meaning, unit and range beside it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from robocache_core.text import printable
from robocache_ros import parameters
from robocache_ros.parameter_spec import Spec
from robocache_ros.tools.suggestions import Suggestion

_WIDTH = 120
#: Topics of commands, whose vectors are what a robot does, not what it senses.
_COMMAND = re.compile(r'(^|[/_])(cmd|command|action|goal)', re.IGNORECASE)


def commented_yaml(tree: Mapping[str, Any], head: Sequence[str], suggestions: Sequence[Suggestion]) -> str:
    """Return a ROS parameter file with ``tree`` for the node ``preprocess``.

    Args:
        tree: the parameters that are set.
        head: lines that become comments above them.
        suggestions: become comments at the end of the section that each is for, as lines to uncomment.
    """
    lines = [*_comment(head, ''), '/**/preprocess:', '  ros__parameters:']
    lines += _section(tree, '', '    ', parameters.specs_of(tree), suggestions)
    lines += _comment(_lerobot(tree), '    ')
    return '\n'.join(lines) + '\n'


def _section(
    tree: Mapping[str, Any], prefix: str, indent: str, specs: Mapping[str, Spec], suggestions: Sequence[Suggestion]
) -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield f'{indent}{key}:'
            yield from _section(value, f'{prefix}{key}.', f'{indent}  ', specs, suggestions)
        else:
            yield from _with_reason([f'{indent}{key}: {_value(value)}'], _meaning(specs[f'{prefix}{key}']), indent)
    for each in suggestions:
        above, _, last = each.section.rpartition('.')
        if f'{each.section}.' == prefix:
            lines = [f'{indent}# {key}: {_value(value)}' for key, value in each.parameters.items()]
            yield from _with_reason(lines, each.why, indent)
        elif above and f'{above}.' == prefix and last not in tree:
            yield from _with_reason([f'{indent}# {last}: {_value(dict(each.parameters))}'], each.why, indent)


def _with_reason(lines: Sequence[str], reason: str, indent: str) -> Iterator[str]:
    """Lines of parameters with what is said of them: behind a single one where it has the room, else above."""
    reason = printable(reason)
    if len(lines) == 1 and len(lines[0]) + len(reason) + 4 <= _WIDTH:
        yield f'{lines[0]}  # {reason}'
    else:
        yield from _comment([reason], indent)
        yield from lines


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
