# SPDX-License-Identifier: Apache-2.0
"""Scans whose points have times, and what is found of these."""

import numpy as np
import pytest
import torch

from robocache_core.config import DeskewConfig
from robocache_core.samples import CloudLayout, DataError, LidarScan, PointField
from robocache_core.time_field import find_time_field
from robocache_core.units import MS

STAMP = 1_760_000_000_123_456_789
COLUMNS = np.arange(0, 100 * MS, 100_000)  # ns since the start of the scan
D = 100 * MS


def scan(*fields, stamp_ns=STAMP, missing=(), bigendian=False, row_padding=0):
    """A scan whose fields are ``(name, dtype, values)``, beside x y z; points ``missing`` lie at 0, their values 0."""
    num = len(fields[0][2])
    kinds = [('x', 'float32'), ('y', 'float32'), ('z', 'float32'), *((name, dtype) for name, dtype, _ in fields)]
    order = '>' if bigendian else '<'
    points = np.zeros(num, [(name, order + np.dtype(dtype).str[1:]) for name, dtype in kinds])
    for axis in 'xyz':
        points[axis] = 5.0
    for name, _, values in fields:
        points[name] = values
    for index in missing:
        points[index] = np.zeros((), points.dtype)
    offsets = points.dtype.fields
    layout = CloudLayout(
        tuple(PointField(name, offsets[name][1], dtype) for name, dtype in kinds),
        num // 2,
        2,
        points.itemsize,
        points.itemsize * (num // 2) + row_padding,
        bigendian,
    )
    rows = points.reshape(2, -1).view(np.uint8).reshape(2, -1)
    data = np.pad(rows, ((0, 0), (0, row_padding)), constant_values=255)
    return LidarScan(stamp_ns, 'lidar', torch.from_numpy(np.ascontiguousarray(data).reshape(-1)), layout)


def find(*fields, config=None, **changes):
    field, _ = find_time_field(scan(*fields, **changes), config or DeskewConfig())
    return field


def refusal_of(*args, **kwargs):
    with pytest.raises(DataError) as refusal:
        find(*args, **kwargs)
    assert refusal.value.reason == 'unknown_time_field'
    assert 'Set deskew.time_field' in str(refusal.value)
    return str(refusal.value)
