# SPDX-License-Identifier: Apache-2.0
"""The points of a PointCloud2 as NumPy has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from robocache_ros.decode import POINT_DTYPES

Values = npt.NDArray[Any]


def point_rows(cloud: Any) -> Values | None:
    """Return the bytes of each point, ``[N, point_step] uint8``; None where the message has fewer than it says."""
    size = cloud.width * cloud.point_step
    row_step = cloud.row_step or size
    if row_step < size or not size or len(cloud.data) < cloud.height * row_step:
        return None
    rows: Values = cloud.data[: cloud.height * row_step].reshape(cloud.height, row_step)
    return rows[:, :size].reshape(-1, cloud.point_step)


def field_values(cloud: Any, field: Any) -> Values | None:
    """Return a view of a field's values ``[height, width]`` in a cloud; None where it is not within the message."""
    if field.datatype not in POINT_DTYPES or point_rows(cloud) is None:
        return None
    dtype = np.dtype(POINT_DTYPES[field.datatype]).newbyteorder('>' if cloud.is_bigendian else '<')
    if field.offset + dtype.itemsize > cloud.point_step:
        return None
    strides = (cloud.row_step or cloud.width * cloud.point_step, cloud.point_step)
    values: Values = np.ndarray((cloud.height, cloud.width), dtype, cloud.data, field.offset, strides)
    return values
