# SPDX-License-Identifier: Apache-2.0
"""A robot that has every kind of stream, for what must hold of a whole frame on any device.

A lidar that is deskewed, of sparse voxels, and one of dense voxels; a camera that is rectified and one whose images are
compressed; an IMU. Of the samples some are bad, and the second camera's are missing for a while.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from support.driving import T0, Robot

from robocache_core.config import (
    CameraConfig,
    ComputeConfig,
    DeskewConfig,
    ImuConfig,
    LidarConfig,
    PipelineConfig,
    VoxelConfig,
)
from robocache_core.frame import FusedFrame
from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_core.samples import (
    CameraFrame,
    CameraInfo,
    CloudLayout,
    DataError,
    EncodedImage,
    LidarScan,
    PointField,
    VectorSample,
)
from robocache_core.units import MS

IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
LAYOUT = CloudLayout(
    (*(PointField(name, 4 * i, 'float32') for i, name in enumerate('xyzi')), PointField('t', 16, 'uint32')),
    *(3000, 1, 20, 60_000),
)
INFO = CameraInfo(
    width=64,
    height=48,
    distortion_model='plumb_bob',
    d=(-0.2, 0.05, 0.001, -0.001, 0.0),
    k=(50.0, 0.0, 31.0, 0.0, 50.0, 23.0, 0.0, 0.0, 1.0),
    r=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    p=(45.0, 0.0, 31.5, 0.0, 0.0, 45.0, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0),
)
CHANNELS = ('count', 'mean:x', 'mean:i', 'max:i', 'min:z')


def config(device: str = 'cpu') -> PipelineConfig:
    box = {'size': (0.5, 0.5, 0.5), 'lower': (-10.0, -10.0, -4.0), 'upper': (10.0, 10.0, 4.0), 'channels': CHANNELS}
    deskew = DeskewConfig(source='imu', time_unit='ns', time_reference='start')
    turned = (0.1, 0.2, 0.3, 0.0, 0.0, math.sin(0.2), math.cos(0.2))
    return PipelineConfig(
        lidars=(
            LidarConfig('top', voxel=VoxelConfig(output='sparse', **box), deskew=deskew, extrinsics=turned),
            LidarConfig('rear', voxel=VoxelConfig(output='dense', **box), extrinsics=IDENTITY, required=False),
        ),
        cameras=(
            CameraConfig('front', width=40, height=30, rectify=True),
            CameraConfig('back', width=32, height=32, letterbox=True, dtype='float32', required=False),
        ),
        imus=(ImuConfig('imu', window_size=8, window_period_ns=10 * MS, extrinsics=IDENTITY),),
        target_frame='base_link',
        compute=ComputeConfig(device=device),
    )


def scan(stamp_ns: int, bad: bool = False) -> LidarScan:
    rng = np.random.default_rng(stamp_ns % 2**32)
    points = np.zeros(LAYOUT.num_points, [('xyz', '<f4', 3), ('i', '<f4'), ('t', '<u4')])
    points['xyz'] = np.nan if bad else rng.normal(0, 4, (len(points), 3))
    points['xyz'][::50] = np.nan
    points['i'], points['t'] = rng.uniform(0, 100, len(points)), np.linspace(0, 99 * MS, len(points))
    return LidarScan(stamp_ns, 'lidar', torch.from_numpy(points.view(np.uint8)), LAYOUT)


def image(stamp_ns: int) -> CameraFrame:
    rng = np.random.default_rng(stamp_ns % 2**32)
    pixels = torch.from_numpy(rng.integers(0, 256, 48 * 64 * 3, dtype=np.uint8))
    return CameraFrame(stamp_ns, 'camera', pixels, 'bgr8', 64, 48, 64 * 3)


def compressed(stamp_ns: int, bad: bool = False) -> EncodedImage:
    def damaged() -> CameraFrame:
        raise DataError(Reason.DECODE_FAILED, 'damaged')

    return EncodedImage(stamp_ns, 'camera', 1000, damaged if bad else functools.partial(image, stamp_ns))


def reading(stamp_ns: int) -> VectorSample:
    phase = (stamp_ns - T0) / 1e9
    values = torch.tensor([0.1, -0.2, math.sin(phase), 0.0, phase, 9.81], dtype=torch.float32)
    return VectorSample(stamp_ns, 'imu', values)


ROBOT = Robot(top=scan, rear=scan, front=image, back=compressed, imu=reading)


def events(num_frames: int = 12) -> list[tuple]:
    """A tenth of a second for each frame, some of it bad."""
    found: list[tuple] = [('imu', ms) for ms in range(0, 100 * (num_frames + 2), 10)]
    for k in range(1, num_frames + 1):
        found += [('top', 100 * k, k % 7 == 5), ('rear', 100 * k + 3, k % 5 == 4), ('front', 100 * k + 1)]
        found += [('back', 100 * k + 2, k % 5 == 2)] if k not in (8, 9, 10) else []
    return sorted(found, key=lambda event: event[1])


def frames(pipeline: Pipeline, num_frames: int = 12) -> list[FusedFrame]:
    """What a pipeline makes of the robot's samples."""
    pipeline.set_camera_info('front', INFO)
    found = ROBOT.feed(pipeline, *events(num_frames))
    pipeline.give_up()
    return found + pipeline.poll()
