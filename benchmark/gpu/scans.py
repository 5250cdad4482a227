# SPDX-License-Identifier: Apache-2.0
"""A scan as the driver sends it, 131,072 points of 48 bytes, deskewed; and a whole frame: scan, image, IMU window."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmark.clouds import MEANS
from benchmark.gpu import in_torch
from benchmark.gpu.clouds import sparse_buffers
from benchmark.gpu.images import image_out, in_torch_by, noise, prepare
from benchmark.gpu.workload import GRAPH, PINNED, Inputs, Out, Workload
from benchmark.images import HEIGHT, WIDTH
from benchmark.inputs import OUSTER_FIELDS, OUSTER_POINT, simulated_ouster_scan, turned
from benchmark.scans import COLUMNS, MAX_RANGE, MIN_RANGE, SCAN_NS, SIZE, column_poses
from benchmark.streams import START_NS, moved_bytes, smooth_turns, torch_fuse
from robocache_core import ops
from robocache_core.ops import PoseTable, SparseVoxels, VoxelGrid
from robocache_core.samples import CloudLayout

GRID = VoxelGrid((-60.0, -60.0, -4.0), (SIZE,) * 3, (600, 600, 40))
IN_RANGE = {'min_range': MIN_RANGE, 'max_range': MAX_RANGE}

#: Of the IMU: samples, instants of the window, and the values of a sample that are not its orientation.
SAMPLES, TARGETS, RATES = 400, 20, 6


def workloads(quick: bool) -> dict[str, Callable[[], Workload]]:
    """By name."""
    rows = 8 if quick else 128
    image = (320, 180) if quick else (1920, 1080)
    return {
        'Ouster 48 B scan, deskewed points': functools.partial(_points, rows),
        'Ouster 48 B scan, bytes to voxels, simulated': functools.partial(_voxels, rows),
        'whole frame: 131k × 48 B cloud, 1080p bgr8, IMU window': functools.partial(_frame, rows, *image),
    }


@functools.cache
def _scans(rows: int) -> tuple[torch.Tensor, ...]:
    """Four views of one scene, ``[nbytes]`` each."""
    scan, scans = simulated_ouster_scan()[:rows], []
    for number in range(4):
        points = scan.reshape(-1).view(OUSTER_POINT).copy()
        seen = turned(np.stack([points['x'], points['y'], points['z']], axis=1), number)
        for axis, name in enumerate('xyz'):
            points[name] = seen[:, axis]
        scans.append(torch.from_numpy(points.view(np.uint8).reshape(-1)))
    return tuple(scans)


def _layout(rows: int) -> CloudLayout:
    return CloudLayout(OUSTER_FIELDS, COLUMNS, rows, 48, 48 * COLUMNS)


def _poses() -> torch.Tensor:
    return torch.from_numpy(column_poses())


def _table(poses: torch.Tensor) -> PoseTable:
    return PoseTable('t', poses, first=0.0, inverse_step=COLUMNS / SCAN_NS)


def _voxelized(cloud: torch.Tensor, poses: torch.Tensor, layout: CloudLayout, out: Out | None) -> SparseVoxels:
    return ops.voxelize_sparse(cloud, layout, GRID, MEANS, deskew=_table(poses), out=out, **IN_RANGE)  # type: ignore[arg-type]


def _voxelized_in_torch(cloud: torch.Tensor, poses: torch.Tensor) -> object:
    moved, in_range, _ = in_torch.deskewed(cloud, poses, SCAN_NS, **IN_RANGE)
    return in_torch.sparse_by_sort(in_torch.cells(moved, GRID, in_range), moved, GRID)


def _voxel_bytes(inputs: Inputs, layout: CloudLayout) -> int:
    """Bytes of a sparse result for the cloud and poses that ``inputs`` begins with."""
    return len(_voxelized(inputs[0], inputs[1], layout, None).coords) * (3 + len(MEANS) + 1) * 4


def _inside(scan: torch.Tensor, layout: CloudLayout) -> str:
    voxels = _voxelized(scan, _poses(), layout, None)
    share = int(voxels.counts.sum()) / layout.num_points
    return f'{share:.0%} of the points inside the grid, in {len(voxels.coords)} voxels'


def _points(rows: int) -> Workload:
    layout, inputs = _layout(rows), [[scan, _poses()] for scan in _scans(rows)]

    def ours(inputs: Inputs, out: Out | None) -> Any:
        cloud, poses = inputs
        return ops.deskew_points(cloud, layout, ('intensity',), deskew=_table(poses), out=out, **IN_RANGE)  # type: ignore[arg-type]

    def peer(inputs: Inputs) -> object:
        cloud, poses = inputs
        moved, in_range, words = in_torch.deskewed(cloud, poses, SCAN_NS, **IN_RANGE)
        return torch.cat([torch.where(in_range[:, None], moved, torch.nan), words[:, 4:5]], dim=1), in_range

    def out(device: torch.device) -> Out:
        num = layout.num_points
        return torch.empty(num, 4, device=device), torch.empty(num, dtype=torch.bool, device=device)

    return Workload(
        inputs=inputs,
        ours=ours,
        out=out,
        peers={'torch': peer},
        nbytes=moved_bytes([*inputs[0], *out(torch.device('cpu'))]),
        sent=2,
    )


def _voxels(rows: int) -> Workload:
    layout, inputs = _layout(rows), [[scan, _poses()] for scan in _scans(rows)]
    return Workload(
        inputs=inputs,
        ours=lambda inputs, out: _voxelized(inputs[0], inputs[1], layout, out),
        out=functools.partial(sparse_buffers, layout.num_points, len(MEANS)),
        peers={'torch sort': lambda inputs: _voxelized_in_torch(inputs[0], inputs[1])},
        nbytes=moved_bytes(inputs[0]) + _voxel_bytes(inputs[0], layout),
        sent=2,
        about=_inside(inputs[0][0], layout),
    )


def _frame(rows: int, width: int, height: int) -> Workload:
    layout, imu = _layout(rows), _imu_times()
    inputs = [
        [scan, _poses(), noise('bgr8', width, height, number), _imu_values(number), imu]
        for number, scan in enumerate(_scans(rows))
    ]

    def ours(inputs: Inputs, out: Out | None) -> Any:
        # Each is asked for where it is used, so that the cloud is voxelized while the image arrives.
        voxels = _voxelized(inputs[0], inputs[1], layout, None if out is None else out[:3])
        image = prepare(inputs[2], 'bgr8', width, height, out=None if out is None else out[3])
        window = _window(inputs[3], inputs[4], None if out is None else (out[4], out[5]))
        return voxels, image, window

    def peer(inputs: Inputs) -> object:
        voxels = _voxelized_in_torch(inputs[0], inputs[1])
        image = in_torch_by('bgr8', inputs[2], width, height)
        values, times = inputs[3], inputs[4]
        stamps, targets = times[:, :SAMPLES].contiguous(), times[:, SAMPLES:].contiguous()
        rates = torch_fuse([(values[..., :RATES], stamps)], targets)
        return voxels, image, torch.cat([rates, in_torch.slerped(values[..., RATES:], stamps, targets)], dim=2)

    def out(device: torch.device) -> Out:
        return (
            *sparse_buffers(layout.num_points, len(MEANS), device),
            *image_out(device),
            torch.empty(1, TARGETS, RATES + 4, device=device),
            torch.empty(1, TARGETS, 2, dtype=torch.bool, device=device),
        )

    results = _voxel_bytes(inputs[0], layout) + 3 * HEIGHT * WIDTH * 2 + TARGETS * (4 * (RATES + 4) + 2)
    return Workload(
        inputs=inputs,
        ours=ours,
        out=out,
        peers={'torch': peer},
        nbytes=moved_bytes(inputs[0]) + results,
        goals={PINNED: 450.0, GRAPH: 80.0},
        sent=5,
        about=_inside(inputs[0][0], layout),
    )


def _window(values: torch.Tensor, times: torch.Tensor, out: tuple[torch.Tensor, torch.Tensor] | None) -> Any:
    """Rates and orientations at the target times."""
    streams = [(part, times[:, :SAMPLES]) for part in (values[..., :RATES], values[..., RATES:])]
    return ops.fuse(
        streams,
        times[:, SAMPLES:],
        method=('linear', 'slerp'),
        tolerance_ns=10_000_000,
        unsorted='trust',
        out=out,
    )


def _imu_values(number: int) -> torch.Tensor:
    """``[1, SAMPLES, RATES + 4]``: rates and accelerations, then the orientation."""
    rates = torch.randn(1, SAMPLES, RATES, generator=torch.Generator().manual_seed(number))
    return torch.cat([rates, smooth_turns(SAMPLES, number)], dim=2)


def _imu_times() -> torch.Tensor:
    """``[1, SAMPLES + TARGETS]`` ns: a second of stamps at 400 Hz, then 20 instants."""
    stamps = START_NS + torch.arange(SAMPLES) * 2_500_000
    return torch.cat([stamps, START_NS + 500_000_000 + torch.arange(TARGETS) * 20_000_001]).unsqueeze(0)
