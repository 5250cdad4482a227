# SPDX-License-Identifier: Apache-2.0
"""Pictures of a frame's images and depth images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from robocache_core.config import CameraConfig
from robocache_core.frame import FusedFrame
from robocache_core.projection import Projection

Array = npt.NDArray[Any]

#: Least width of a picture with points in it, px: a smaller image is enlarged.
_LEAST_WIDTH = 960


def image_pixels(frame: FusedFrame, camera: CameraConfig) -> npt.NDArray[np.uint8]:
    """The tensor of a camera as ``[H, W, C]``, R G B or one channel: its normalisation undone.

    One channel is stretched to the full range, as of 16 bits no viewer would show more than black.
    """
    tensor = np.nan_to_num(camera.channels_first(frame.tensors[camera.name]).float().numpy())
    channels = len(tensor)
    scale, *factors = camera.normalisation
    mean, std = (np.asarray(each[:channels], np.float32).reshape(-1, 1, 1) for each in factors)
    values = (tensor * std + mean) / scale
    if channels == 1:
        low, high = np.percentile(values, (0.5, 99.5))
        values = (values - low) * (255 / max(high - low, 1e-9))
    pixels: npt.NDArray[np.uint8] = np.clip(values, 0, 255).round().astype(np.uint8).transpose(1, 2, 0)
    return pixels


def picture(frame: FusedFrame, camera: CameraConfig) -> bytes:
    """The image of a camera, as a JPEG."""
    return _jpeg(image_pixels(frame, camera)[..., ::-1])


def picture_with_points(frame: FusedFrame, camera: CameraConfig, projections: Iterable[Projection]) -> bytes:
    """The image of a camera, darkened, and the points in it in colours from red (near) to blue (far), as a JPEG."""
    pixels = image_pixels(frame, camera)
    height, width, channels = pixels.shape
    scale = -(-_LEAST_WIDTH // width)
    canvas = cv2.resize(pixels[..., ::-1] // 2, (width * scale, height * scale), interpolation=cv2.INTER_AREA)
    if channels == 1:
        canvas = cv2.cvtColor(canvas, cv2.COLOR_GRAY2BGR)
    found = list(projections)
    depth = np.concatenate([np.zeros(0), *(each.depth for each in found)])
    at = np.concatenate([np.zeros((0, 2)), *(each.pixels for each in found)])
    colours = depth_colours(depth)
    for point in np.argsort(-depth):  # the nearest are painted last
        x, y = ((at[point] + 0.5) * scale - 0.5).round().astype(int).tolist()
        cv2.circle(canvas, (x, y), scale, colours[point, ::-1].tolist(), cv2.FILLED)
    return _jpeg(canvas)


def depth_colours(depth: Array) -> npt.NDArray[np.uint8]:
    """Colours ``[N, 3]`` R G B of distances ``[N]``, m: nearly all between red (near) and blue (far), by ratio."""
    if not len(depth):
        return np.zeros((0, 3), np.uint8)
    values = np.log(np.maximum(depth, 1e-3))
    low, high = np.percentile(values, (2, 98))
    shades = np.clip((high - values) * (255 / max(high - low, 1e-9)), 0, 255).round().astype(np.uint8)
    colours: npt.NDArray[np.uint8] = cv2.applyColorMap(shades[:, None], cv2.COLORMAP_TURBO)
    return colours[:, 0, ::-1]


def depth_picture(depth: Array, valid: Array) -> bytes:
    """Depth ``[H, W]``, m, where it is valid, in colours from red (near) to blue (far), as a PNG."""
    low, high = depth_span(depth, valid)
    shades = np.clip((high - depth) * (255 / max(high - low, 1e-9)), 0, 255).round().astype(np.uint8)
    pixels = cv2.applyColorMap(shades, cv2.COLORMAP_TURBO)
    pixels[~valid] = 0
    ok, encoded = cv2.imencode('.png', pixels)
    assert ok
    return bytes(encoded)


def depth_span(depth: Array, valid: Array) -> tuple[float, float]:
    """Nearest and furthest distance that has a colour of its own, m."""
    low, high = np.percentile(depth[valid], (1, 99)) if valid.any() else (0.0, 0.0)
    return float(low), float(high)


def _jpeg(pixels: Array) -> bytes:
    ok, encoded = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert ok
    return bytes(encoded)
