# SPDX-License-Identifier: Apache-2.0
"""A camera of each model of distortion: its CameraInfo, its map, and an image of it."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from robocache_core.rectify import rectify_map
from robocache_core.samples import CameraInfo

WIDTH, HEIGHT = 320, 200
K = np.array([[210.0, 0, 163.4], [0, 205.5, 97.2], [0, 0, 1]])
P = np.array([[190.0, 0, 158.0, -21.0], [0, 188.0, 101.5, 0], [0, 0, 1, 0]])
R = cv2.Rodrigues(np.array([0.02, -0.03, 0.015]))[0]
MODELS = {
    'plumb_bob': (-0.31, 0.11, 0.0012, -0.0007, -0.018),
    'rational_polynomial': (0.4, -0.05, 0.0004, -0.0003, 0.002, 0.75, 0.02, 0.001),
    'equidistant': (-0.02, 0.004, -0.0015, 0.0002),
}


def make_info(model: str = 'plumb_bob', **changes) -> CameraInfo:
    matrices = {name: tuple(map(float, value.reshape(-1))) for name, value in (('k', K), ('r', R), ('p', P))}
    info = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model=model, d=MODELS[model], **matrices)
    return dataclasses.replace(info, **changes)


def straight_info(width: int, height: int, focal: float = 60.0) -> CameraInfo:
    """The calibration of a camera without distortion that looks straight ahead."""
    k = (focal, 0.0, (width - 1) / 2, 0.0, focal, (height - 1) / 2, 0.0, 0.0, 1.0)
    p = (*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0)
    return CameraInfo(width, height, 'plumb_bob', (0.0,) * 5, k, (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), p)


def make_map(info: CameraInfo, out_width: int = WIDTH, out_height: int = HEIGHT, **settings) -> np.ndarray:
    size = {'width': WIDTH, 'height': HEIGHT, 'out_width': out_width, 'out_height': out_height}
    return rectify_map(info, **{**size, **settings}).numpy()


def smooth_image(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture whose neighbouring pixels differ by less than 9 steps."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 100 * np.sin(x / (15 + 3 * c) + c) * np.cos(y / (14 + 2 * c)) for c in range(3)]
    return np.stack(planes, axis=-1).round().astype(np.uint8)
