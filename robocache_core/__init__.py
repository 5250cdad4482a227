# SPDX-License-Identifier: Apache-2.0
"""Sensor mathematics of RoboCache: samples of sensors in, time-aligned torch tensors out; imports no ROS package.

A pipeline aligns streams and computes a frame at every target:

>>> import torch
>>> from robocache_core import CloudLayout, LidarConfig, LidarScan, Pipeline, PipelineConfig, VoxelConfig
>>> voxel = VoxelConfig(size=(1.0, 1.0, 1.0), channels=('count', 'mean:z'))
>>> pipeline = Pipeline(PipelineConfig(lidars=(LidarConfig('lidar', voxel=voxel),)))
>>> points = torch.tensor([[1.2, 0.5, 0.25], [1.4, 0.5, 0.75], [9.0, -3.0, 1.5]])
>>> scan = LidarScan(
...     stamp_ns=1_000_000_000,
...     frame_id='lidar',
...     data=points.view(torch.uint8).reshape(-1),
...     layout=CloudLayout.packed(('x', 'y', 'z'), num_points=3),
... )
>>> pipeline.receive('lidar')
>>> pipeline.push('lidar', scan)
>>> (frame,) = pipeline.poll()
>>> frame.stamp_ns, frame.valid
(1000000000, {'lidar': True})
>>> frame.tensors['lidar.counts'].tolist()
[2, 1]
>>> pipeline.ledger['lidar'].counts()
Counts(received=1, used=1, dropped={})

``ops`` has the operations alone, ``payload`` the frame as bytes.
"""

__version__ = '0.1.0'

from robocache_core import ops, payload
from robocache_core.config import (
    BackpressureConfig,
    CameraConfig,
    ComputeConfig,
    DepthConfig,
    DepthVoxelConfig,
    DeskewConfig,
    EgoMotionConfig,
    GridConfig,
    ImuConfig,
    LidarConfig,
    MessageVectorConfig,
    PipelineConfig,
    QueueConfig,
    StreamConfig,
    SyncConfig,
    VoxelConfig,
)
from robocache_core.frame import FusedFrame
from robocache_core.ledger import Account, Counts, Reason
from robocache_core.pipeline import Pipeline
from robocache_core.samples import (
    CameraFrame,
    CameraInfo,
    CloudLayout,
    DataError,
    EncodedImage,
    LidarScan,
    PointField,
    Reduction,
    Sample,
    VectorSample,
)
from robocache_core.tunable import ConfigError

__all__ = [
    'Account',
    'BackpressureConfig',
    'CameraConfig',
    'CameraFrame',
    'CameraInfo',
    'CloudLayout',
    'ComputeConfig',
    'ConfigError',
    'Counts',
    'DataError',
    'DepthConfig',
    'DepthVoxelConfig',
    'DeskewConfig',
    'EgoMotionConfig',
    'EncodedImage',
    'FusedFrame',
    'GridConfig',
    'ImuConfig',
    'LidarConfig',
    'LidarScan',
    'MessageVectorConfig',
    'Pipeline',
    'PipelineConfig',
    'PointField',
    'QueueConfig',
    'Reason',
    'Reduction',
    'Sample',
    'StreamConfig',
    'SyncConfig',
    'VectorSample',
    'VoxelConfig',
    'ops',
    'payload',
]
