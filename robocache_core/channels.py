# SPDX-License-Identifier: Apache-2.0
"""The grammar of voxel channels, and the limits of a voxelization."""

from __future__ import annotations

#: Most channels of a voxel, and most fields of a row of points.
MAX_CHANNELS = 32
#: Most voxels of a grid, points of a cloud, and points of a voxel.
MAX_VOXELS = (1 << 31) - 1

_PLAIN = ('count', 'occupancy', 'density')
_OF_A_FIELD = ('mean', 'max', 'min')


def parse_channel(channel: str) -> tuple[str, str]:
    """Return the kind of a channel, and the cloud's field that it reads: '' where it needs none.

    Raises:
        ValueError: it is no channel.
    """
    kind, _, field = channel.partition(':')
    if channel in _PLAIN or (kind in _OF_A_FIELD and field):
        return kind, field
    raise ValueError(
        f'channels has {channel!r}: must be count, occupancy, density, mean:<field>, max:<field> or min:<field>'
    )
