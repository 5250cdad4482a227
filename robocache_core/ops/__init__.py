# SPDX-License-Identifier: Apache-2.0
"""The operations: raw sensor bytes and samples to tensors.

Every function checks what it is given, allocates what ``out`` does not bring, and calls a backend (``backends``): the
one for where its tensors are, all on the CPU or all on one GPU. All backends give the same bits. A sample that cannot
be used raises ``DataError``; a call that makes no sense raises ``ValueError`` or ``TypeError``, which name the
argument, its value and what is allowed. An empty input gives an empty result.

On a GPU everything is done on the device's current stream, and nothing waits but where it is said: what does not can be
captured in a CUDA graph, all operations of a frame as well.
"""

from __future__ import annotations

from robocache_core.ops.depth import prepare_depth
from robocache_core.ops.depth_layout import DepthLayout
from robocache_core.ops.grid import VoxelGrid
from robocache_core.ops.hard_voxels import HardVoxels, voxelize_hard
from robocache_core.ops.image import prepare_image
from robocache_core.ops.points import POINT_DROP_REASONS, PoseTable, deskew_points
from robocache_core.ops.registration import register_depth
from robocache_core.ops.resampling import fuse, resample
from robocache_core.ops.threads import num_threads, set_num_threads
from robocache_core.ops.voxels import DenseVoxels, SparseVoxels, voxelize_dense, voxelize_sparse

__all__ = [
    'POINT_DROP_REASONS',
    'DenseVoxels',
    'DepthLayout',
    'HardVoxels',
    'PoseTable',
    'SparseVoxels',
    'VoxelGrid',
    'deskew_points',
    'fuse',
    'num_threads',
    'prepare_depth',
    'prepare_image',
    'register_depth',
    'resample',
    'set_num_threads',
    'voxelize_dense',
    'voxelize_hard',
    'voxelize_sparse',
]
