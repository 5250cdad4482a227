# SPDX-License-Identifier: Apache-2.0
"""Clouds of any layout and planar scans, through every operation on points."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from sensor_msgs.msg import LaserScan, PointCloud2
from support.fuzz.targets.target import Target, exact, messages, received, refusals, same_bits

from robocache_core import ops
from robocache_core.config import LidarConfig, VoxelConfig
from robocache_core.deskew import Deskewer, pose_table
from robocache_core.deskew_config import DeskewConfig
from robocache_core.ops import PoseTable, VoxelGrid
from robocache_core.samples import LidarScan
from robocache_core.streams.vector import ImuConfig
from robocache_ros.decode import decode_cloud, decode_laser_scan

GRID = VoxelGrid((-16.0, -16.0, -4.0), (2.0, 1.0, 0.5), (16, 32, 16))
_HEADER = ('bad_frame_id', 'bad_stamp', 'zero_stamp')
_LAYOUT = (
    'empty_cloud', 'bad_layout', 'field_beyond_point_step', 'row_step_too_small', 'data_too_short', 'missing_field',
)  # fmt: skip
_CHANNELS = ('count', 'mean:x', 'mean:intensity', 'max:intensity', 'min:y')
_DESKEWS = tuple(
    DeskewConfig('imu', time_unit=unit, time_reference=reference)
    for unit in ('auto', 'ns', 's')
    for reference in ('auto', 'start', 'end', 'absolute')
)
_CLOUDS = LidarConfig('lidar', voxel=VoxelConfig(channels=_CHANNELS))
_DESKEWED = LidarConfig('lidar', voxel=VoxelConfig(channels=('count',)))


def check_cloud(data: bytes) -> None:
    """A byte that chooses an operation, and a PointCloud2."""
    if data:
        with refusals(*_HEADER, *_LAYOUT):
            scan = decode_cloud(received(data[1:], PointCloud2), _CLOUDS)
            _computed(scan, data[0], 'intensity')


def check_scan(data: bytes) -> None:
    """A byte that chooses an operation, and a LaserScan."""
    if data:
        deskew = _DESKEWS[data[0] // 4 % len(_DESKEWS)] if data[0] & 128 else DeskewConfig()
        config = dataclasses.replace(_DESKEWED, deskew=deskew)
        with refusals(*_HEADER, 'empty_cloud', 'bad_layout', 'missing_field', 'unknown_time_field'):
            scan = decode_laser_scan(received(data[1:], LaserScan), config)
            _computed(scan, data[0], 't_ns')


def check_times(data: bytes) -> None:
    """A byte of settings, and a PointCloud2 that is deskewed."""
    if not data:
        return
    config = _DESKEWS[data[0] % len(_DESKEWS)]
    with refusals(*_HEADER, *_LAYOUT, 'unknown_time_field'):
        scan = decode_cloud(received(data[1:], PointCloud2), _DESKEWED)
        deskewer = Deskewer(config, ImuConfig('imu'))
        timed, field = deskewer.timed(scan)
        assert timed.layout == scan.layout
        if field is None:
            return
        assert field.name in {each.name for each in scan.layout.fields}
        again, same = deskewer.timed(scan)
        assert same == field, 'a field that was found does not hold for its own scan'
        assert torch.equal(again.data, timed.data)
        instants = deskewer.instants_ns(field, scan.stamp_ns)
        poses = np.tile(np.eye(4)[:3], (len(instants), 1, 1))
        table = pose_table(field, scan.stamp_ns, instants, poses)
        _computed(timed, 3, table=table)


def _computed(scan: LidarScan, setting: int, field: str = '', table: PoseTable | None = None) -> None:
    """Run one of the operations on both backends; every point is in its result or counted as dropped."""
    data, layout = exact(scan.data), scan.layout
    fields = (field,) if field and any(each.name == field for each in layout.fields) else ()
    channels = tuple(f'{kind}:{name}' for name in fields for kind in ('mean', 'max'))
    names: dict[str, Any] = {'deskew': table, 'min_range': 0.5, 'max_range': 30.0}
    operation = setting % 4
    if operation == 0:
        dense = same_bits(
            lambda: ops.voxelize_dense(data, layout, GRID, ('count', 'mean:x', *channels), **names),
            lambda result: [result.tensor],
        )
        assert int(dense.tensor[0].sum()) + sum(dense.dropped.values()) == layout.num_points
    elif operation == 1:
        sparse = same_bits(
            lambda: ops.voxelize_sparse(data, layout, GRID, ('count', 'min:y', *channels), max_voxels=9, **names),
            lambda result: [result.coords, result.features, result.counts],
        )
        assert int(sparse.counts.sum()) + sum(sparse.dropped.values()) == layout.num_points
    elif operation == 2:
        hard = same_bits(
            lambda: ops.voxelize_hard(data, layout, GRID, ('x', *fields), max_points=2, max_voxels=9, **names),
            lambda result: [result.voxels, result.coords, result.num_points],
        )
        assert int(hard.num_points.sum()) + sum(hard.dropped.values()) == layout.num_points
    else:
        points, valid = same_bits(lambda: ops.deskew_points(data, layout, fields, **names), list)
        assert len(points) == layout.num_points
        assert bool(points[valid].isfinite().all())


TARGETS = {
    'cloud': Target(check_cloud, lambda: messages('PointCloud2', settings=range(4))),
    'times': Target(check_times, lambda: messages('PointCloud2', settings=(0, 4, 5))),
    'scan': Target(check_scan, lambda: messages('LaserScan', settings=(0, 129, 2, 143))),
}
