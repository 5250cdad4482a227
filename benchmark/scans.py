# SPDX-License-Identifier: Apache-2.0
"""A whole scan as the driver sends it: decode, deskew, transform, crop and voxelize 131,072 points of 48 bytes."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from benchmark.clouds import MEANS, numpy_means, sparse_buffers
from benchmark.inputs import DATA, OUSTER_FIELDS, OUSTER_POINT, ouster_scans, simulated_ouster_scan
from benchmark.peers import Peers
from benchmark.runner import Call, Workload, on_threads
from robocache_core import ops
from robocache_core.ops import PoseTable, VoxelGrid
from robocache_core.samples import CloudLayout

SIZE, MIN_RANGE, MAX_RANGE = 0.2, 0.5, 60.0
COLUMNS, SCAN_NS = 1024, 100_000_000

#: The robot turns at 0.5 rad/s and drives at 5 m/s while it scans.
YAW_RATE, SPEED = 0.5, 5.0


def workloads(peers: Peers, threads: int, quick: bool) -> dict[str, Callable[[], Workload]]:
    """By name."""
    rows = 8 if quick else 128
    if DATA is not None:
        return {
            'Ouster 48 B scan, bytes to voxels, recorded': functools.partial(
                _workload, lambda: list(ouster_scans()[:, :rows]), peers, threads
            )
        }
    return {
        'Ouster 48 B scan, bytes to voxels, simulated': functools.partial(
            _workload, lambda: [simulated_ouster_scan()[:rows]], peers, threads
        )
    }


def _workload(make_scans: Callable[[], list[npt.NDArray[np.uint8]]], peers: Peers, threads: int) -> Workload:
    scans = [np.ascontiguousarray(scan) for scan in make_scans()]
    rows = len(scans[0])
    layout = CloudLayout(OUSTER_FIELDS, COLUMNS, rows, 48, 48 * COLUMNS)
    inputs = [torch.from_numpy(scan.reshape(-1)) for scan in scans]
    grid = VoxelGrid((-60.0, -60.0, -4.0), (SIZE,) * 3, (600, 600, 40))
    poses = column_poses()
    table = PoseTable('t', torch.from_numpy(poses), first=0.0, inverse_step=COLUMNS / SCAN_NS)
    out = sparse_buffers(layout.num_points, len(MEANS))

    def ours(number: int) -> tuple[torch.Tensor, ...]:
        voxels = ops.voxelize_sparse(
            inputs[number % len(inputs)],
            layout,
            grid,
            MEANS,
            deskew=table,
            min_range=MIN_RANGE,
            max_range=MAX_RANGE,
            out=out,
        )
        return voxels.coords, voxels.features, voxels.counts

    found: dict[str, Call] = {'numpy': lambda number: numpy_means(_deskewed(scans[number % len(scans)], poses), SIZE)}
    if (gicp := peers.get('small_gicp')) is not None:
        found |= on_threads(
            'numpy + small_gicp',
            threads,
            lambda number, count: gicp.voxelgrid_sampling(
                _deskewed(scans[number % len(scans)], poses).astype(np.float64), SIZE, num_threads=count
            ),
        )
    if (kiss := peers.get('kiss-icp')) is not None:
        from kiss_icp.preprocess import Preprocessor

        # The first one made sets the threads of the process for good, so it cannot be run on one as well. They do not
        # wait for each other by spinning, which is why others are.
        preprocessor = Preprocessor(MAX_RANGE, MIN_RANGE, True, threads)
        found['kiss-icp'] = lambda number: kiss.voxel_down_sample(
            _preprocessed(preprocessor, scans[number % len(scans)]), SIZE
        )
    return Workload(
        ours=ours,
        peers=found,
        nbytes=inputs[0].numel() + ours(0)[0].shape[0] * (3 + len(MEANS) + 1) * 4,
        out=out,
    )


def column_poses() -> npt.NDArray[np.float32]:
    """``[COLUMNS, 3, 4]``: the sensor while it takes each column, in the robot's frame at the end of the scan."""
    t = (np.arange(COLUMNS) + 1) * (SCAN_NS * 1e-9 / COLUMNS) - SCAN_NS * 1e-9
    yaw = YAW_RATE * t
    poses = np.zeros((COLUMNS, 3, 4), np.float32)
    poses[:, 0, 0], poses[:, 0, 1] = np.cos(yaw), -np.sin(yaw)
    poses[:, 1, 0], poses[:, 1, 1] = np.sin(yaw), np.cos(yaw)
    poses[:, 2, 2] = 1
    poses[:, 0, 3] = SPEED * t
    poses[:, 2, 3] = 1.2  # where the sensor sits on the robot, m
    return poses


def _in_range(scan: npt.NDArray[np.uint8]) -> npt.NDArray[np.void]:
    points = scan.reshape(-1).view(OUSTER_POINT)
    range2 = points['x'] * points['x'] + points['y'] * points['y'] + points['z'] * points['z']
    return points[(range2 >= MIN_RANGE**2) & (range2 < MAX_RANGE**2)]


def _deskewed(scan: npt.NDArray[np.uint8], poses: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Points ``[N, 3]`` in the robot's frame, cropped: what one writes with NumPy."""
    points = _in_range(scan)
    column = np.minimum((points['t'] * (COLUMNS / SCAN_NS) + 0.5).astype(np.int64), COLUMNS - 1)
    xyz = np.stack([points['x'], points['y'], points['z']], axis=1)
    pose = poses[column]
    moved = (pose[:, :, :3] @ xyz[:, :, None])[:, :, 0] + pose[:, :, 3]
    return moved[(np.abs(moved[:, :2]) < 60).all(axis=1) & (np.abs(moved[:, 2]) < 4)]


def _preprocessed(preprocessor: object, scan: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """KISS-ICP's own deskewing (constant velocity) and crop by range; it leaves the points in the sensor's frame."""
    points = scan.reshape(-1).view(OUSTER_POINT)
    xyz = np.stack([points['x'], points['y'], points['z']], axis=1).astype(np.float64)
    motion = np.eye(4)
    turn = YAW_RATE * SCAN_NS * 1e-9
    motion[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    motion[0, 3] = SPEED * SCAN_NS * 1e-9
    return preprocessor.preprocess(xyz, points['t'] / SCAN_NS, motion)  # type: ignore[attr-defined]
