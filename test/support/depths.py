# SPDX-License-Identifier: Apache-2.0
"""Depth images as drivers and image_transport send them; RVL is encoded pixel by pixel, as the paper has it."""

from __future__ import annotations

import struct

import cv2
import numpy as np
from support import bags


def rvl(pixels: np.ndarray) -> bytes:
    """RVL data of ``pixels`` uint16, without the size in front."""
    nibbles: list[int] = []

    def put(number: int) -> None:
        while True:
            low, number = number & 7, number >> 3
            nibbles.append(low | (8 if number else 0))
            if not number:
                return

    flat = [int(value) for value in pixels.reshape(-1)]
    at, previous = 0, 0
    while at < len(flat):
        end = at
        while end < len(flat) and flat[end] == 0:
            end += 1
        put(end - at)
        at = end
        while end < len(flat) and flat[end] != 0:
            end += 1
        put(end - at)
        for value in flat[at:end]:
            difference = value - previous
            put(2 * difference if difference >= 0 else -2 * difference - 1)
            previous = value
        at = end
    nibbles += [0] * (-len(nibbles) % 8)
    words = [nibbles[i : i + 8] for i in range(0, len(nibbles), 8)]
    return b''.join(struct.pack('<I', int(''.join(f'{n:x}' for n in word), 16)) for word in words)


def png(pixels: np.ndarray) -> bytes:
    ok, data = cv2.imencode('.png', pixels)
    assert ok
    return data.tobytes()


def compressed_depth(pixels: np.ndarray, codec: str = 'png', head: int = 0, quantum: tuple = (0.0, 0.0)) -> bytes:
    """Data of a compressedDepth message of ``pixels`` uint16; ``head``: the number that drivers fill with anything."""
    height, width = pixels.shape
    body = png(pixels) if codec == 'png' else struct.pack('<II', width, height) + rvl(pixels)
    return struct.pack('<iff', head, *quantum) + body


def quantised(metres: np.ndarray, furthest: float = 10.0, quantization: float = 100.0) -> tuple[np.ndarray, tuple]:
    """32FC1 as image_transport quantises it, ``[H, W] uint16``, and its two parameters."""
    a = quantization * (quantization + 1.0)
    b = 1.0 - a / furthest
    with np.errstate(divide='ignore', invalid='ignore'):
        inverse = np.floor(a / metres + b + 0.5)
    seen = np.isfinite(metres) & (metres > 0) & (metres < furthest) & (inverse <= 65535)
    return np.where(seen, inverse, 0).astype(np.uint16), (a, b)


def scene(width: int = 64, height: int = 48, seed: int = 0) -> np.ndarray:
    """Counts ``[H, W]`` uint16 of a slope with holes and a box before it, mm."""
    y, x = np.mgrid[0:height, 0:width]
    rng = np.random.default_rng(seed)
    counts = 1000 + 20 * y + 3 * x + rng.integers(0, 4, (height, width))
    counts[height // 4 : height // 2, width // 4 : width // 2] = 700
    counts[rng.random((height, width)) < 0.1] = 0
    counts[-2:] = 0
    return counts.astype(np.uint16)


def depth_image(ms: float, pixels: np.ndarray, frame: str = 'depth_optical'):
    encoding = {'uint16': '16UC1', 'float32': '32FC1'}[pixels.dtype.name]
    height, width = pixels.shape
    data = np.ascontiguousarray(pixels).view(np.uint8).reshape(-1)
    return bags.T['sensor_msgs/msg/Image'](
        bags.header(ms, frame), height, width, encoding, 0, width * pixels.itemsize, data
    )


def compressed_image(ms: float, data: bytes, form: str, frame: str = 'depth_optical'):
    return bags.T['sensor_msgs/msg/CompressedImage'](bags.header(ms, frame), form, np.frombuffer(data, np.uint8))


def camera_info(ms: float, width: int, height: int, focal: float, frame: str = 'depth_optical', d=(0.0,) * 5):
    k = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return bags.T['sensor_msgs/msg/CameraInfo'](
        bags.header(ms, frame), height, width, 'plumb_bob', np.array(d, np.float64), k.reshape(-1),
        np.eye(3).reshape(-1), np.hstack([k, np.zeros((3, 1))]).reshape(-1), 0, 0,
        bags.T['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False),
    )  # fmt: skip
