# SPDX-License-Identifier: Apache-2.0
"""What the workloads read: recorded clouds where ``ROBOCACHE_DATA`` names their folder, simulated ones always."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from robocache_core.samples import PointField
from robocache_sim.scene import Box, Scene
from robocache_sim.sensors import START_NS, Lidar, World
from robocache_sim.trajectory import Trajectory

DATA = Path(os.environ['ROBOCACHE_DATA']) if os.environ.get('ROBOCACHE_DATA') else None

Points = npt.NDArray[np.float32]

#: The Ouster driver's point.
OUSTER_FIELDS = tuple(
    PointField(name, offset, dtype)
    for name, offset, dtype in (
        ('x', 0, 'float32'),
        ('y', 4, 'float32'),
        ('z', 8, 'float32'),
        ('intensity', 16, 'float32'),
        ('t', 20, 'uint32'),
        ('reflectivity', 24, 'uint16'),
        ('ring', 26, 'uint16'),
        ('ambient', 28, 'uint16'),
        ('range', 32, 'uint32'),
    )
)

#: The same for NumPy.
OUSTER_POINT = np.dtype(
    {
        'names': [field.name for field in OUSTER_FIELDS],
        'formats': [field.dtype for field in OUSTER_FIELDS],
        'offsets': [field.offset for field in OUSTER_FIELDS],
        'itemsize': 48,
    }
)


def recorded() -> dict[str, Points]:
    """Clouds ``[N, 3]`` of real sensors, m, by name; empty without ``ROBOCACHE_DATA``.

    The Ouster's returns from beyond 100 m are left out, for everyone: a box of 0.1 m around them has over 2^31 voxels.
    """
    if DATA is None:
        return {}
    scan = ouster_scans()[0].reshape(-1, OUSTER_POINT.itemsize)[:, :12].copy().view(np.float32)
    return {
        'nuScenes': np.fromfile(DATA / 'nuscenes_lidar_top.bin', np.float32).reshape(-1, 5)[:, :3],
        'KITTI': np.fromfile(DATA / 'kitti_000000.bin', np.float32).reshape(-1, 4)[:, :3],
        'Ouster': scan[(scan != 0).any(axis=1) & (np.hypot(scan[:, 0], scan[:, 1]) < 100)],
    }


def ouster_scans() -> npt.NDArray[np.uint8]:
    """Three scans ``[3, 128, 49152]``: the rows of PointCloud2 messages, points as in ``OUSTER_FIELDS``."""
    assert DATA is not None
    scans: npt.NDArray[np.uint8] = np.load(DATA / 'ouster_os1_128.npz')['cloud']
    return scans


def simulated_ouster_scan(rings: int = 128, columns: int = 1024) -> npt.NDArray[np.uint8]:
    """One scan ``[rings, columns * 48]`` of the same layout, in the simulator's courtyard."""
    world = World(Trajectory(START_NS, speed=1.0, yaw_rate=0.5))
    seen = Lidar(world, rings=rings, columns=columns).read(0).points
    points = np.zeros(seen.shape, OUSTER_POINT)
    for name in ('x', 'y', 'z', 'intensity', 't', 'ring'):
        points[name] = seen[name]
    return points.view(np.uint8).reshape(len(points), -1)


def simulated(num_points: int) -> Points:
    """``[num_points, 3]`` of a lidar in a street of 160 m, m, in the order in which it measures them."""
    facades = [
        Box(f'house_{i}_{side}', (x, y, 0.0), (x + 12.0, y + 9.0, 6.0 + i % 4 * 3.0), (0.5, 0.5, 0.5))
        for i, x in enumerate(np.arange(-80.0, 80.0, 14.0))
        for side, y in (('left', 9.0 + i % 3), ('right', -18.0 - i % 2))
    ]
    world = World(Trajectory(START_NS, speed=0.0, yaw_rate=0.0), scene=Scene(tuple(facades)))
    # More than half of the rays meet something; those of the sky are left out.
    lidar = Lidar(world, rings=128, columns=math.ceil(num_points / 64))
    points = lidar.read(0).points.T.reshape(-1)
    cloud = np.stack([points['x'], points['y'], points['z']], axis=1)
    cloud = cloud[(cloud != 0).any(axis=1)]
    if len(cloud) < num_points:
        raise RuntimeError(f'{len(cloud)} rays met something, {num_points} are needed')
    return cloud[:num_points]


def turned(cloud: Points, number: int) -> Points:
    """The cloud turned about z, so that no input is the one before: a view of the same scene by another heading."""
    angle = 0.7 * number
    cos, sin = math.cos(angle), math.sin(angle)
    rotation = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]], np.float32)
    return np.ascontiguousarray(cloud @ rotation)
