# SPDX-License-Identifier: Apache-2.0
"""What the times of a lidar's points are, by one scan of each layout: whether they could be deskewed."""

from __future__ import annotations

import dataclasses
from typing import Any

from robocache_core.config import LidarConfig, VoxelConfig
from robocache_core.deskew_config import DeskewConfig
from robocache_core.samples import DataError
from robocache_core.time_field import UNITS_NS, are_returns, find_time_field, times_of_returns
from robocache_core.units import MS, SECOND
from robocache_ros.decode import decode_cloud

_LIDAR = LidarConfig('lidar', voxel=VoxelConfig(channels=('count',)))
_UNIT_OF = {unit_ns: unit for unit, unit_ns in UNITS_NS.items()}


def point_times(scans: list[Any], deskew: DeskewConfig, period_ns: float | None) -> dict[str, Any] | None:
    """Find the time field of a lidar's clouds.

    Args:
        scans: a PointCloud2 of each layout.
        deskew: settings of the stream.
        period_ns: time from scan to scan, which a scan takes at the most where no deskewing is set up.

    Returns:
        ``field``; ``unit``; ``reference``: the stamp is at the ``start`` or ``end`` of the scan, or times are
        ``absolute``; ``first_ms`` and ``last_ms``, against the stamp; ``refused``: why they are not known. Of the first
        layout that is refused, else of the first. None where no scan has a return.
    """
    if not deskew.is_on:
        duration_ns = min(SECOND, max(MS, deskew.scan_duration_ns, round(period_ns or 0)))
        deskew = dataclasses.replace(deskew, scan_duration_ns=duration_ns)
    found = [times for scan in scans if (times := _of_scan(scan, deskew)) is not None]
    return next((times for times in found if times['refused']), found[0] if found else None)


def _of_scan(message: Any, deskew: DeskewConfig) -> dict[str, Any] | None:
    try:
        scan = decode_cloud(message, _LIDAR)
        if not are_returns(scan).any():
            return None
        field, _ = find_time_field(scan, deskew)
    except DataError as error:
        nothing = {'field': '', 'unit': '', 'reference': '', 'first_ms': None, 'last_ms': None}
        return {**nothing, 'refused': str(error)}
    reference = 'absolute' if field.is_absolute else 'end' if field.begin_ns else 'start'
    times = times_of_returns(scan, field) / MS
    return {
        'field': field.name,
        'unit': _UNIT_OF[field.unit_ns],
        'reference': reference,
        'first_ms': round(float(times[0]), 3),
        'last_ms': round(float(times[-1]), 3),
        'refused': '',
    }
