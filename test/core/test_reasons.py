# SPDX-License-Identifier: Apache-2.0
"""Whatever reason a drop can have, the README says what it means."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Where a reason is given: raised, handed to what drops, or returned beside what an inbox dropped.
GIVEN = re.compile(
    r"""DataError\(\s*f?'([a-z_{}]+)'"""
    r"""|(?:drop|clear|close|_pop_oldest|_give_away)\((?:[\w.()]+, )*'([a-z_]+)'\)"""
    r"""|\((?:arrival|old|self\._pop\(\)), '([a-z_]+)'\)"""
)
#: Reasons that are made of a field's name.
FIELDS = ('orientation', 'angular_velocity', 'linear_acceleration')


def reasons():
    found = set()
    for path in (*(ROOT / 'robocache_core').glob('*.py'), *(ROOT / 'robocache_ros').glob('*.py')):
        for match in GIVEN.finditer(path.read_text()):
            reason = next(filter(None, match.groups()))
            found |= {f'no_{field}' for field in FIELDS} if '{' in reason else {reason}
    return found


def test_every_reason_is_documented():
    text = (ROOT / 'README.md').read_text()
    table = text[text.index('## When a message') : text.index('## Tools')]
    known = reasons()
    assert {'unselected', 'late', 'time_jump', 'no_transform', 'decode_failed', 'no_motion'} <= known
    assert {reason for reason in known if f'`{reason}`' not in table} == {'bad_payload'}  # of a frame, not of a message
