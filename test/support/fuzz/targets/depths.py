# SPDX-License-Identifier: Apache-2.0
"""Compressed depth images, as PNG and RVL."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
from support import depths
from support.fuzz.targets.images import MAX_PIXELS, STAMP
from support.fuzz.targets.target import Target, exact, refusals, same_bits

from robocache_core import ops
from robocache_core.config import DepthConfig
from robocache_core.samples import DataError
from robocache_ros.decode_depth import decode_compressed_depth

_FORMATS = ('16UC1; compressedDepth', '32FC1; compressedDepth', '16UC1; compressedDepth png', '16UC1; png compressed ')
_CONFIG = DepthConfig('depth', message='compressed', max_pixels=MAX_PIXELS)


def check(data: bytes) -> None:
    """A byte of settings, and the bytes of a compressed depth image: both backends decode the same, or refuse it."""
    if not data:
        return
    content = np.frombuffer(data, np.uint8)[1:].copy()
    message = SimpleNamespace(header=STAMP, format=_FORMATS[data[0] % len(_FORMATS)], data=content.data)
    with refusals('unknown_encoding', 'decode_failed', 'empty_image', 'bad_image_size', 'too_costly'):
        image = decode_compressed_depth(message, _CONFIG)
        refused: list[DataError] = []

        def decoded():
            try:
                return image.decode()
            except DataError as error:
                refused.append(error)

        frame = same_bits(decoded, lambda frame: [] if frame is None else [frame.data])
        if refused:
            raise refused[0]
        assert 0 < frame.width * frame.height <= MAX_PIXELS
        resize = 'min' if data[0] & 16 else 'nearest'
        size = {'encoding': frame.encoding, 'width': frame.width, 'height': frame.height, 'step': frame.step}
        pixels = exact(frame.data)
        depth, valid = same_bits(
            lambda: ops.prepare_depth(
                pixels, **size, out_width=5, out_height=4, max_depth=20.0, resize=resize, letterbox=bool(data[0] & 32)
            ),
            list,
        )
        assert bool((depth[valid] > 0).all())
        assert bool((depth[~valid] == 0).all())


def _seeds() -> Iterator[bytes]:
    counts = depths.scene(16, 12)
    inverse, quantum = depths.quantised(counts / 1000)
    for codec in ('png', 'rvl'):
        yield b'\x00' + depths.compressed_depth(counts, codec)
        yield b'\x11' + depths.compressed_depth(inverse, codec, quantum=quantum)
    yield b'\x33' + depths.png(counts)


TARGETS = {'depth': Target(check, _seeds)}
