# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from robocache_core.channels import parse_channel


@pytest.mark.parametrize(
    ('channel', 'parsed'),
    [
        ('count', ('count', '')),
        ('occupancy', ('occupancy', '')),
        ('density', ('density', '')),
        ('mean:x', ('mean', 'x')),
        ('max:intensity', ('max', 'intensity')),
        ('min:a:b', ('min', 'a:b')),
    ],
)
def test_a_channel_is_a_kind_and_a_field(channel: str, parsed: tuple[str, str]) -> None:
    assert parse_channel(channel) == parsed


@pytest.mark.parametrize('channel', ['', 'mean', 'mean:', 'count:', 'count:x', ':x', 'sum:x', 'Mean:x'])
def test_others_are_refused_by_name(channel: str) -> None:
    with pytest.raises(ValueError, match=f"^channels has '{channel}': must be count, occupancy, density, mean:<field>"):
        parse_channel(channel)
