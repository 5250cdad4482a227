# SPDX-License-Identifier: Apache-2.0
"""A bag to what is trained on: voxels, images and IMU windows at each scan, beside a plain loop that does the same.

The loop is what people write: ``rosbags`` deserializes, NumPy makes the voxels and interpolates, OpenCV decodes and
resizes. It takes the nearest image and drops nothing, but has no ages, validity, gaps or ledger.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.images import HEIGHT, MEAN, STD, WIDTH
from benchmark.peers import Peers
from benchmark.row import Goal
from benchmark.runner import Workload
from robocache_core.config import CameraConfig, ComputeConfig, ImuConfig, LidarConfig, PipelineConfig

_LOOP = 'rosbags + cv2 + NumPy'
GOAL = Goal(at_least={_LOOP: 4.0})
_CAMERAS = ('front', 'rear')
_IMU_ROWS, _IMU_STEP_NS = 20, 5_000_000
_LIDAR, _IMU = '/lidar/points', '/imu/data'
_folders: list[tempfile.TemporaryDirectory[str]] = []


def workloads(peers: Peers, threads: int, quick: bool) -> dict[str, Callable[[], Workload]]:
    """By name."""
    seconds = 0.5 if quick else 3.0
    return {f'bag of {seconds:g} s: lidar, 2 cameras, IMU': functools.partial(_workload, peers, seconds, threads)}


def config(threads: int) -> PipelineConfig:
    """Sparse voxels, two images and a window of readings at each scan."""
    return PipelineConfig(
        lidars=(LidarConfig('lidar', topic=_LIDAR),),
        cameras=tuple(
            CameraConfig(name, topic=_topic(name), width=WIDTH, height=HEIGHT, required=False) for name in _CAMERAS
        ),
        imus=(ImuConfig('imu', topic=_IMU, window_size=_IMU_ROWS, window_period_ns=_IMU_STEP_NS, required=False),),
        compute=ComputeConfig(device='cpu', num_threads=threads),
    )


def _topic(camera: str) -> str:
    return f'/camera/{camera}/image_raw/compressed'


def _workload(peers: Peers, seconds: float, threads: int) -> Workload:
    from robocache_ros.offline import fused_frames
    from robocache_ros.tools.simulate import write_bag
    from robocache_sim import sensors

    _folders.append(tempfile.TemporaryDirectory(prefix='robocache-bench-'))
    bag = Path(_folders[-1].name) / 'bag'
    write_bag(bag, sensors.robot(seed=0), seconds=seconds)
    settings = config(threads)

    def ours(number: int) -> tuple[torch.Tensor, ...]:
        *_, last = fused_frames(bag, settings)
        return tuple(last.tensors.values())

    cv2 = peers.get('opencv-python-headless')
    found = {} if cv2 is None else {_LOOP: lambda number: list(plain_loop(cv2, bag))}
    return Workload(ours, found, sum(file.stat().st_size for file in bag.iterdir()), GOAL)


def plain_loop(cv2: Any, bag: Path) -> Iterator[dict[str, np.ndarray]]:
    """Yield, for each scan, its voxels, the nearest images, and the readings before it."""
    from rosbags.highlevel import AnyReader

    scans, images, readings = [], {name: [] for name in _CAMERAS}, []
    topics = {_LIDAR, _IMU, *map(_topic, _CAMERAS)}
    with AnyReader([bag]) as reader:
        for connection, _, raw in reader.messages([c for c in reader.connections if c.topic in topics]):
            message = reader.deserialize(raw, connection.msgtype)
            stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            if connection.topic == _LIDAR:
                scans.append((stamp_ns, message))
            elif connection.topic == _IMU:
                w, a = message.angular_velocity, message.linear_acceleration
                readings.append((stamp_ns, w.x, w.y, w.z, a.x, a.y, a.z))
            else:
                images[connection.topic.split('/')[2]].append((stamp_ns, message.data))
    table = np.array(readings)
    for stamp_ns, message in scans:
        instants = stamp_ns - _IMU_STEP_NS * np.arange(_IMU_ROWS)[::-1]
        window = np.stack([np.interp(instants, table[:, 0], column) for column in table[:, 1:].T], axis=1)
        nearest = {name: min(found, key=lambda item: abs(item[0] - stamp_ns))[1] for name, found in images.items()}
        yield {'imu': window, **{name: _image(cv2, data) for name, data in nearest.items()}, **_voxels(message)}


def _image(cv2: Any, data: np.ndarray) -> np.ndarray:
    pixels = cv2.resize(cv2.imdecode(data, cv2.IMREAD_COLOR), (WIDTH, HEIGHT))[..., ::-1]
    return ((pixels / np.float32(255) - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1).astype(np.float16)


def _voxels(message: Any) -> dict[str, np.ndarray]:
    """Count, mean position within the voxel and greatest intensity of each voxel."""
    fields = {field.name: field.offset for field in message.fields}
    points = np.ndarray((message.width * message.height,), _dtype(fields, message.point_step), message.data)
    xyz = np.stack([points[axis] for axis in 'xyz'], axis=1)
    distance = np.linalg.norm(xyz, axis=1)
    low, size, shape = np.float32([-51.2, -51.2, -3.0]), np.float32(0.4), np.array([256, 256, 20])
    cell = np.floor((xyz - low) / size)
    inside = np.isfinite(distance) & (distance >= 0.5) & (cell >= 0).all(axis=1) & (cell < shape).all(axis=1)
    cell, xyz, intensity = cell[inside].astype(np.int64), xyz[inside], points['intensity'][inside]
    key = (cell[:, 2] * shape[1] + cell[:, 1]) * shape[0] + cell[:, 0]
    unique, place, counts = np.unique(key, return_inverse=True, return_counts=True)
    offset = xyz - (low + (cell + np.float32(0.5)) * size)
    means = np.stack([np.bincount(place, offset[:, axis]) / counts for axis in range(3)], axis=1)
    highest = np.full(len(unique), -np.inf)
    np.maximum.at(highest, place, intensity)
    return {'voxels': unique, 'features': np.column_stack([counts, means, highest]).astype(np.float32)}


def _dtype(offsets: dict[str, int], step: int) -> np.dtype[Any]:
    names = ['x', 'y', 'z', 'intensity']
    return np.dtype({'names': names, 'formats': ['<f4'] * 4, 'offsets': [offsets[n] for n in names], 'itemsize': step})
