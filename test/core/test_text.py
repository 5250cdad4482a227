# SPDX-License-Identifier: Apache-2.0
"""Foreign text is escaped and cut wherever it is shown."""

import pytest

from robocache_core.ledger import Reason
from robocache_core.samples import DataError
from robocache_core.text import MAX_MESSAGE, printable, shown

HARMFUL = {
    'a lone surrogate': 'a\udc80b',
    'an escape code': '\x1b[2J\x1b]0;owned\x07',
    'a new line': 'x\n[ERROR] forged',
    'a zero': 'a\0b',
    'a change of direction': 'a\u202eb',
    'a megabyte': 'a' * 1_000_000,
    'a megabyte of surrogates': '\ud800' * 1_000_000,
}


@pytest.mark.parametrize('text', HARMFUL.values(), ids=HARMFUL)
def test_harmful_text_can_be_logged(text):
    for line in (shown(text), shown([text]), printable(text), str(DataError(Reason.BAD_LAYOUT, f'field {text}'))):
        assert line.isprintable()
        line.encode()
        assert len(line) < MAX_MESSAGE + 40
    assert len(shown(text)) < 160


def test_harmless_text_stays():
    assert shown('lidar_top') == "'lidar_top'"
    assert shown('Führer 前') == "'Führer 前'"
    assert shown([1, 2]) == '[1, 2]'
    assert printable('a\nb', keep='\n') == 'a\nb'
    assert shown('a' * 120) == "'" + 'a' * 120 + "'"
