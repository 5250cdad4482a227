# SPDX-License-Identifier: Apache-2.0
"""Images of every encoding, as messages hold them."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import strategies as st

from robocache_core import ops
from robocache_core.encodings import ENCODINGS, in_planes
from robocache_core.samples import CameraFrame

INF, NAN = math.inf, math.nan
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def message(pixels: np.ndarray, padding: int = 0, is_bigendian: bool = False) -> tuple[torch.Tensor, dict]:
    """Bytes of ``pixels [rows, W, C]`` with ``padding`` bytes of noise after each row, and how they are laid out."""
    height, width, _ = pixels.shape
    pixels = pixels.astype(pixels.dtype.newbyteorder('>' if is_bigendian else '<'))
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    data = np.full((height, rows.shape[1] + padding), 0xAB, np.uint8)
    data[:, : rows.shape[1]] = rows
    place = {'width': width, 'height': height, 'step': data.shape[1], 'is_bigendian': is_bigendian}
    return torch.from_numpy(data.reshape(-1)), place


def pixels_of(frame: CameraFrame) -> np.ndarray:
    """Pixels ``[H, W(, 3)]`` uint8, b g r, of bgr8, mono8, or JPEG planes."""
    colours = ops.prepare_image(
        frame.data,
        encoding=in_planes(frame.encoding, frame.sampling),
        width=frame.width,
        height=frame.height,
        step=frame.step,
        out_width=frame.width,
        out_height=frame.height,
    )
    pixels = colours.numpy().astype(np.uint8)[::-1].transpose(1, 2, 0)
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def random_pixels(encoding: str, width: int, height: int, seed: int = 0, special: bool = False) -> np.ndarray:
    """``[rows, W, C]``: what ``message`` takes; of nv12 also the rows of chroma."""
    rng = np.random.default_rng(seed)
    spec = ENCODINGS[encoding]
    shape = (spec.rows(height), width, spec.channels)
    if spec.dtype != 'float32':
        return rng.integers(0, np.iinfo(spec.dtype).max, shape, dtype=spec.dtype, endpoint=True)
    values = rng.uniform(0, 50, shape)
    if special:
        odd = rng.choice([NAN, INF, -INF, -0.0, 1e-42, 3e38, 65520.0, 6e-8], shape)
        values = np.where(rng.random(shape) < 0.2, odd, values)
    return values.astype(np.float32)


@st.composite
def images(draw):
    encoding = draw(st.sampled_from(list(ENCODINGS)))
    width, height = draw(st.integers(1, 70)), draw(st.integers(1, 24))
    layout = ENCODINGS[encoding].layout
    if layout == 'bayer':
        width, height = max(width, 3), max(height, 3)
    if layout in ('yuv422', 'semi_planar'):
        width, height = 2 * ((width + 1) // 2), 2 * ((height + 1) // 2)
    pixels = random_pixels(encoding, width, height, draw(st.integers(0, 2**32 - 1)), special=True)
    data, place = message(pixels, draw(st.integers(0, 7)), draw(st.booleans()))
    place['height'] = height
    out = {'out_width': draw(st.integers(1, 70)), 'out_height': draw(st.integers(1, 24))}
    return data, {'encoding': encoding, **out, **place}
