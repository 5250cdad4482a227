# SPDX-License-Identifier: Apache-2.0
"""A bag of two seconds in which frames depend on what came long before: small messages, so that it is read in no time.

The lidar's first scan alone shows the unit of the times of points, later ones are fragments; images of the optional
camera have one channel and end early, so that its blank frames have that of the last one; a slow vector has come once;
/tf_static comes last; stamps jump back by a second at half-time; some images and messages are damaged.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
from support import bags
from support.bags import MS, T

from robocache_core.config import (
    CameraConfig,
    DeskewConfig,
    GridConfig,
    ImuConfig,
    LidarConfig,
    MessageVectorConfig,
    PipelineConfig,
    SyncConfig,
    VoxelConfig,
)

JUMP_AT_MS, JUMP_MS, END_MS = 1000, 1200, 2000
_POINT = np.dtype([('xyz', '<f4', 3), ('t', '<u4')])
_IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def config(*, rate_hz: float = 0.0, deskew: bool = True) -> PipelineConfig:
    box = VoxelConfig(
        size=(1.0, 1.0, 1.0), lower=(-8.0, -8.0, -4.0), upper=(8.0, 8.0, 4.0), channels=('count', 'mean:x')
    )
    image = {'width': 16, 'height': 12, 'message': 'compressed', 'required': False}
    return PipelineConfig(
        lidars=(
            LidarConfig(
                'lidar', topic='/points', voxel=box, deskew=DeskewConfig(source='imu' if deskew else 'none'),
            ),
        ),
        cameras=(
            CameraConfig('front', topic='/front/compressed', **image),
            CameraConfig('depth', topic='/depth', width=8, height=8, scale=0.001, required=False),
        ),
        imus=(ImuConfig('imu', topic='/imu', window_size=4, window_period_ns=20 * MS),),
        vectors=(
            MessageVectorConfig(
                'slow',
                topic='/slow',
                message='geometry_msgs/msg/TwistStamped',
                interpolation='previous',
                required=False,
                tolerance_ns=500 * MS,
            ),
        ),
        target_frame='base_link',
        sync=SyncConfig(rate_hz=rate_hz, max_wait_ns=100 * MS),
    )  # fmt: skip


def in_grid() -> PipelineConfig:
    """The lidar's scans twice in one grid: deskewed, and as they are."""
    whole = config()
    (lidar,) = whole.lidars
    again = LidarConfig('again', topic='/points', required=False, tolerance_ns=20 * MS)
    lidars = (dataclasses.replace(lidar, voxel=VoxelConfig()), again)
    grids = (GridConfig('all', ('lidar', 'again'), lidar.voxel),)
    # Both lidars are of one time, and together they would show that the IMU is late.
    return dataclasses.replace(whole, lidars=lidars, grids=grids, sync=SyncConfig(max_wait_ns=150 * MS))


def write(path: Path, storage: str = 'mcap') -> Path:
    """Write the bag; the stamps of its messages jump, the times of their record do not."""
    messages = [
        *bags.every(50, '/points', lambda ms: _scan(_stamp(ms), ms), END_MS),
        *bags.every(10, '/imu', lambda ms: bags.imu(_stamp(ms)), END_MS + 200),
        *bags.every(33, '/front/compressed', lambda ms: _jpeg(_stamp(ms), ms), 600),
        *bags.every(100, '/depth', lambda ms: _depth(_stamp(ms), ms), END_MS),
        *[(5, '/slow', _twist(_stamp(5))), (1105, '/slow', _twist(_stamp(1105)))],
        (END_MS, '/tf_static', bags.transforms(('base_link', 'lidar', (0.5, 0.0, 1.0), (0.0, 0.0, 0.6, 0.8)),
                                               ('base_link', 'sensor', (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)))),
    ]  # fmt: skip
    return bags.write(path, messages, storage)


def _stamp(ms: float) -> float:
    return ms if ms < JUMP_AT_MS else ms - JUMP_MS + 500


def _scan(stamp_ms: float, ms: float) -> object:
    num = 500 if ms == 0 else 12 if ms % 150 else 300
    rng = np.random.default_rng(int(ms))
    points = np.zeros(num, _POINT)
    points['xyz'] = rng.normal(0, 3, (num, 3))
    span_us = 50_000 if num > 12 else 100
    points['t'] = np.linspace(0, span_us, num)
    fields = [T['sensor_msgs/msg/PointField'](name, 4 * i, 7, 1) for i, name in enumerate('xyz')]
    fields.append(T['sensor_msgs/msg/PointField']('t', 12, 6, 1))
    step = _POINT.itemsize
    return T['sensor_msgs/msg/PointCloud2'](
        bags.header(stamp_ms, 'lidar'), 1, num, fields, False, step, step * num, points.view(np.uint8), True
    )


def _jpeg(stamp_ms: float, ms: float) -> object:
    rng = np.random.default_rng(int(ms))
    shape = (24, 32) if ms >= 400 else (24, 32, 3)
    data = cv2.imencode('.jpg', rng.integers(0, 255, shape, np.uint8))[1].ravel()
    if int(ms) % 7 == 3:
        data = data[:-40]  # cut short
    if int(ms) % 7 == 5:
        data[-80:-40] = 0xFF
    return dataclasses.replace(bags.compressed(stamp_ms), data=data)


def _depth(stamp_ms: float, ms: float) -> object:
    """Pictures at first, then distances, which are refused from then on."""
    rng = np.random.default_rng(int(ms))
    encoding, size = ('mono8', 1) if 200 <= ms < 300 else ('16UC1', 2)
    return T['sensor_msgs/msg/Image'](
        bags.header(stamp_ms), 4, 4, encoding, 0, 4 * size, rng.integers(0, 255, 16 * size).astype(np.uint8)
    )


def _twist(stamp_ms: float) -> object:
    vector = T['geometry_msgs/msg/Vector3'](1.0, 2.0, 3.0)
    return T['geometry_msgs/msg/TwistStamped'](bags.header(stamp_ms), T['geometry_msgs/msg/Twist'](vector, vector))
