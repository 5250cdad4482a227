# SPDX-License-Identifier: Apache-2.0
"""The work of a frame as people write it: NumPy, torch and OpenCV, as fast as those are without code of one's own."""

from __future__ import annotations

from collections import deque
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from benchmark.node import task

try:
    from sensor_msgs_py.point_cloud2 import read_points

    POINTS_BY = 'sensor_msgs_py read_points'
except ImportError:
    POINTS_BY = 'a NumPy view (sensor_msgs_py is not installed)'

    def read_points(message: Any) -> npt.NDArray[np.void]:
        """The points as a structured array that views the message."""
        kinds = {7: '<f4', 6: '<u4', 4: '<u2'}
        dtype = np.dtype({
            'names': [field.name for field in message.fields],
            'formats': [kinds[field.datatype] for field in message.fields],
            'offsets': [field.offset for field in message.fields],
            'itemsize': message.point_step,
        })  # fmt: skip
        return np.frombuffer(message.data, dtype)


_LOWER, _SIZE = np.float32(task.LOWER), np.float32(task.SIZE)
SHAPE = tuple(round((high - low) / task.SIZE) for low, high in zip(task.LOWER, task.UPPER, strict=True))
_MEAN, _STD = (torch.tensor(each).view(3, 1, 1) for each in (task.MEAN, task.STD))


def voxels(message: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``coords [V, 3]`` (z y x), ``features [V, 5]`` and ``counts [V]`` of the voxels with a point."""
    cloud = read_points(message)
    points = np.stack([cloud['x'], cloud['y'], cloud['z']], axis=-1)
    squared = np.einsum('ij,ij->i', points, points)
    keep = (squared >= task.MIN_RANGE**2) & (squared <= task.MAX_RANGE**2)  # not of NaN
    points, intensity = torch.from_numpy(points[keep]), torch.from_numpy(cloud['intensity'][keep])
    cells = torch.floor((points - torch.from_numpy(_LOWER)) / float(_SIZE)).long()
    inside = ((cells >= 0) & (cells < torch.tensor(SHAPE))).all(dim=1)
    points, intensity, cells = points[inside], intensity[inside], cells[inside]

    linear = (cells[:, 2] * SHAPE[1] + cells[:, 1]) * SHAPE[0] + cells[:, 0]
    index, voxel, counts = torch.unique(linear, return_inverse=True, return_counts=True)
    coords = torch.stack([index // (SHAPE[0] * SHAPE[1]), index // SHAPE[0] % SHAPE[1], index % SHAPE[0]], dim=1)
    means = torch.zeros(len(index), 3).index_add_(0, voxel, points) / counts[:, None]
    centres = torch.from_numpy(_LOWER) + (coords.flip(1) + 0.5) * float(_SIZE)
    brightest = torch.full((len(index),), -torch.inf).scatter_reduce_(0, voxel, intensity, 'amax')
    features = torch.cat([counts[:, None].float(), means - centres, brightest[:, None]], dim=1)
    return coords.int(), features, counts.int()


def image(message: Any) -> torch.Tensor:
    """``[3, H, W]`` float16, normalised RGB."""
    pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    small = cv2.resize(pixels, (task.WIDTH, task.HEIGHT), interpolation=cv2.INTER_LINEAR)
    rgb = torch.from_numpy(cv2.cvtColor(small, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)
    return rgb.float().div_(255).sub_(_MEAN).div_(_STD).half()


class ImuWindow:
    """The last readings, and windows of them."""

    def __init__(self) -> None:
        self._readings: deque[tuple[int, float, float, float, float, float, float]] = deque(maxlen=1000)

    def add(self, stamp_ns: int, message: Any) -> None:
        """Take a reading."""
        turn, force = message.angular_velocity, message.linear_acceleration
        self._readings.append((stamp_ns, turn.x, turn.y, turn.z, force.x, force.y, force.z))

    def at(self, stamp_ns: int) -> torch.Tensor | None:
        """``[K, 6]``, the last at the stamp; None where there is no reading yet."""
        if not self._readings:
            return None
        stamps = np.array([reading[0] for reading in self._readings], np.int64)
        values = np.array([reading[1:] for reading in self._readings])
        ages_ns = task.WINDOW_PERIOD_NS * np.arange(task.WINDOW_SIZE - 1, -1, -1)
        known = (stamps - stamp_ns).astype(np.float64)
        columns = [np.interp(-ages_ns, known, column) for column in values.T]
        return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))
