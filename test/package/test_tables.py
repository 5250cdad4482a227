# SPDX-License-Identifier: Apache-2.0
"""The tables of pages that state what the code has are as the code is."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ('page', 'row'),
    [
        ('docs/drops.md', '| `no_transform` |'),
        ('docs/tensors.md', '| `sensor_msgs/msg/Range` | `range` |'),
        ('docs/metrics.md', '| `robocache_frames_total` |'),
        ('docs/logs.md', '| `message_dropped` |'),
        ('docs/parameters.md', '| `sync.max_wait` | double | s | at least 0 | `0.2` |'),
    ],
)
def test_the_tables_of_a_page_are_made_from_the_code(page, row):
    text = (ROOT / page).read_text()
    assert runpy.run_path(str(ROOT / 'scripts' / 'tables.py'))['updated'](page, text) == text, (
        'in make shell: python scripts/tables.py'
    )
    assert text.count(row) == 1
