# SPDX-License-Identifier: Apache-2.0
"""Rotations as unit quaternions ``[..., 4]`` (x y z w), in double.

Only ``+ - * /`` and ``sqrt`` of whole arrays: the functions of a maths library, and products of matrices, differ in
their last bits from machine to machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float64]

_SIN_RATIO = [1 / math.factorial(2 * k + 1) for k in range(12)]
_COS = [1 / math.factorial(2 * k) for k in range(12)]
_ATAN_RATIO = [1 / (2 * k + 1) for k in range(12)]

#: Steps of 1 (or of a metre) that a pose has, 1e-12 each: see ``pose_matrix``.
_POSE_STEPS = 2.0**40


def exp(rotation_vector: Array) -> Array:
    """Quaternions of ``rotation_vector [..., 3]``, axis times angle, rad, of an angle up to pi (to 1e-15)."""
    x, y, z = (rotation_vector[..., i] / 2 for i in range(3))
    u = (x * x + y * y) + z * z
    ratio = alternating(_SIN_RATIO, u)
    return np.stack([x * ratio, y * ratio, z * ratio, alternating(_COS, u)], axis=-1)


def log(quaternion: Array) -> Array:
    """Rotation vectors ``[..., 3]`` of unit quaternions, the shorter way: of an angle up to pi."""
    x, y, z, w = (quaternion[..., i] for i in range(4))
    norm2 = (x * x + y * y) + z * z
    # u = tan^2(angle / 4) <= 1; two halvings of the angle make u <= tan^2(pi / 16), where the series is exact.
    half = 1 + np.abs(w)
    scale = 4 / half
    u = norm2 / (half * half)
    for _ in range(2):
        divisor = 1 + np.sqrt(1 + u)
        u = u / (divisor * divisor)
        scale = 2 * scale / divisor
    scale = np.where(w < 0, -scale, scale) * alternating(_ATAN_RATIO, u)
    return np.stack([x * scale, y * scale, z * scale], axis=-1)


def product(a: Array, b: Array) -> Array:
    """Quaternions of: first ``b``, then ``a``."""
    ax, ay, az, aw = (a[..., i] for i in range(4))
    bx, by, bz, bw = (b[..., i] for i in range(4))
    return np.stack(
        [
            (aw * bx + ax * bw) + (ay * bz - az * by),
            (aw * by + ay * bw) + (az * bx - ax * bz),
            (aw * bz + az * bw) + (ax * by - ay * bx),
            (aw * bw - ax * bx) - (ay * by + az * bz),
        ],
        axis=-1,
    )


def inverse(quaternion: Array) -> Array:
    """Quaternions of the opposite rotations."""
    opposite: Array = quaternion * np.array([-1.0, -1.0, -1.0, 1.0])
    return opposite


def normalized(quaternion: Array) -> Array:
    """``quaternion`` divided by its length."""
    x, y, z, w = (quaternion[..., i] for i in range(4))
    length: Array = np.sqrt((x * x + y * y) + (z * z + w * w))
    unit: Array = quaternion / length[..., None]
    return unit


def running_product(quaternions: Array) -> Array:
    """``[N, 4]``: the product of the first i + 1 of ``quaternions [N, 4]`` in row i."""
    total, shift = quaternions.copy(), 1
    while shift < len(total):
        total[shift:] = product(total[:-shift], total[shift:])
        shift *= 2
    return normalized(total)


def matrix(quaternion: Array) -> Array:
    """Matrices ``[..., 3, 3]`` of unit quaternions."""
    x, y, z, w = (quaternion[..., i] for i in range(4))
    x2, y2, z2 = 2 * x, 2 * y, 2 * z
    xx, yy, zz, xy, xz, yz = x * x2, y * y2, z * z2, x * y2, x * z2, y * z2
    wx, wy, wz = w * x2, w * y2, w * z2
    result = np.empty((*quaternion.shape[:-1], 3, 3))
    rows = ((1 - (yy + zz), xy - wz, xz + wy), (xy + wz, 1 - (xx + zz), yz - wx), (xz - wy, yz + wx, 1 - (xx + yy)))
    for i, row in enumerate(rows):
        for j, element in enumerate(row):
            result[..., i, j] = element
    return result


def quaternion(matrices: Array) -> Array:
    """Unit quaternions of ``matrices [..., 3, 3]``, w not negative: by the largest component, so well conditioned."""
    m = [[matrices[..., i, j] for j in range(3)] for i in range(3)]
    trace = (m[0][0] + m[1][1]) + m[2][2]
    squares = np.stack([*(1 + 2 * m[i][i] - trace for i in range(3)), 1 + trace], axis=-1)
    rows = np.stack(
        [
            np.stack([squares[..., 0], m[1][0] + m[0][1], m[0][2] + m[2][0], m[2][1] - m[1][2]], axis=-1),
            np.stack([m[1][0] + m[0][1], squares[..., 1], m[2][1] + m[1][2], m[0][2] - m[2][0]], axis=-1),
            np.stack([m[0][2] + m[2][0], m[2][1] + m[1][2], squares[..., 2], m[1][0] - m[0][1]], axis=-1),
            np.stack([m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1], squares[..., 3]], axis=-1),
        ],
        axis=-2,
    )
    largest = np.argmax(squares, axis=-1)[..., None, None]
    unit = normalized(np.take_along_axis(rows, largest, axis=-2)[..., 0, :])
    positive: Array = np.where(unit[..., 3:] < 0, -unit, unit)
    return positive


def pose_matrix(pose: Sequence[float]) -> torch.Tensor:
    """``[4, 4] float32`` of a pose x y z (m) and unit quaternion qx qy qz qw.

    Two ways to compose one pose differ by some 1e-16: next to nothing, but every bit of an element that should be 0.
    """
    result = np.eye(4)
    result[:3, :3] = matrix(np.array(pose[3:], dtype=np.float64))
    result[:3, 3] = pose[:3]
    result = np.rint(result * _POSE_STEPS) / _POSE_STEPS + 0.0  # no -0.0
    return torch.from_numpy(result.astype(np.float32))


def apply(matrices: Array, vectors: Array) -> Array:
    """``matrices [..., 3, 3]`` times ``vectors [..., 3]``."""
    columns = [matrices[..., i] * vectors[..., i, None] for i in range(3)]
    return (columns[0] + columns[1]) + columns[2]


def cross(a: Array, b: Array) -> Array:
    """Cross products of ``a [..., 3]`` and ``b [..., 3]``."""
    ax, ay, az = (a[..., i] for i in range(3))
    bx, by, bz = (b[..., i] for i in range(3))
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def alternating(coefficients: list[float], u: Array) -> Array:
    """c0 - c1 u + c2 u² - …."""
    total = np.full_like(u, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = coefficient - u * total
    return total
