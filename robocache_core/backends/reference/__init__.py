# SPDX-License-Identifier: Apache-2.0
"""The operations stated plainly in NumPy: the oracle of the tests, and the backend where nothing is compiled.

Each function does to whole arrays what ``csrc/<operation>.hpp`` does to one point, pixel or sample, in the same order
and the same precision, so that both give the same bits. Arguments have been checked by ``ops``; results are written to
the tensors passed last.
"""

from robocache_core.backends.reference.depth import prepare_depth
from robocache_core.backends.reference.hard_voxels import voxelize_hard
from robocache_core.backends.reference.image import prepare_image
from robocache_core.backends.reference.jpeg import jpeg_damage, jpeg_planes
from robocache_core.backends.reference.points import deskew_points
from robocache_core.backends.reference.registration import register_depth
from robocache_core.backends.reference.resampling import fuse
from robocache_core.backends.reference.rvl import decode_rvl
from robocache_core.backends.reference.voxels import voxelize_dense, voxelize_sparse

__all__ = [
    'decode_rvl',
    'deskew_points',
    'fuse',
    'jpeg_damage',
    'jpeg_planes',
    'num_threads',
    'prepare_depth',
    'prepare_image',
    'register_depth',
    'set_num_threads',
    'voxelize_dense',
    'voxelize_hard',
    'voxelize_sparse',
]


def set_num_threads(num_threads: int) -> None:
    """Nothing: NumPy runs on the calling thread."""


def num_threads() -> int:
    """1."""
    return 1
