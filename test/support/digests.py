# SPDX-License-Identifier: Apache-2.0
"""SHA-256 of what every operation makes of fixed inputs, and of sequences of frames.

The inputs are made of integers, so that they are the same on every machine. What is expected stands in
``test/digests.json``; a change of a number there is a change of what users train on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.cameras import MODELS, make_info

from robocache_core import ops, payload
from robocache_core.camera_model import camera_model_of
from robocache_core.frame import FusedFrame
from robocache_core.ops import PoseTable, VoxelGrid
from robocache_core.samples import CloudLayout, PointField

EXPECTED = json.loads((Path(__file__).parents[1] / 'digests.json').read_text())

MS = 10**6
POINTS = 20_000
CLOUD = np.dtype({
    'names': ['x', 'y', 'z', 'intensity', 't', 'ring', 'range'],
    'formats': ['f4', 'f4', 'f4', 'u2', 'u4', 'u1', 'f8'],
    'offsets': [0, 4, 8, 14, 16, 21, 24],
    'itemsize': 36,
})  # fmt: skip
GRID = VoxelGrid(lower=(-10.0, -8.0, -2.0), size=(0.25, 0.5, 0.3), shape=(80, 32, 15))
CHANNELS = ('count', 'occupancy', 'density', 'mean:x', 'mean:z', 'mean:intensity', 'max:range', 'min:y')
TURNED = torch.tensor(
    [[0.6, -0.8, 0.0, 1.5], [0.8, 0.6, 0.0, -0.25], [0.0, 0.0, 1.0, 0.125], [0.0, 0.0, 0.0, 1.0]], dtype=torch.float32
)


def sha256(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def digest_of_tensors(tensors: Iterable[torch.Tensor]) -> str:
    """Digest of dtypes, shapes and bits."""

    def parts() -> Iterator[bytes]:
        for tensor in tensors:
            yield f'{tensor.dtype} {tuple(tensor.shape)}'.encode()
            yield tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()

    return sha256(parts())


def digest_of_frames(frames: Iterable[FusedFrame]) -> str:
    """Digest of all frames, in order, without the streams they did not wait for: a test states those by name."""
    return sha256(payload.digest(dataclasses.replace(frame, given_up=())).encode() for frame in frames)


def integers(seed: int, low: int, high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape)


def cloud(*, is_bigendian: bool = False, rows: int = 4, padding: int = 20) -> tuple[torch.Tensor, CloudLayout]:
    """Points of a regular sort, some of them not finite, far away, outside, or many in a voxel."""
    kind = CLOUD.newbyteorder('>') if is_bigendian else CLOUD.newbyteorder('<')
    points = np.zeros(POINTS, kind)
    for seed, axis in enumerate('xyz'):
        points[axis] = integers(seed, -12_000, 12_001, POINTS) / 1024
    points['z'] /= 4
    points['x'][::10], points['y'][::10] = points['x'][::10] / 64, points['y'][::10] / 64
    points['x'][::101], points['y'][::103], points['range'][::107] = np.nan, np.inf, -0.0
    points['intensity'] = integers(3, 0, 65_536, POINTS)
    points['t'] = np.arange(POINTS) * 5_000
    points['ring'] = integers(4, 0, 64, POINTS)
    points['range'] = integers(5, -(10**9), 10**9, POINTS) / 4096
    width = POINTS // rows
    data = np.zeros((rows, width * CLOUD.itemsize + padding), np.uint8)
    data[:, : width * CLOUD.itemsize] = points.view(np.uint8).reshape(rows, -1)
    fields = tuple(PointField(name, offset, kind.name) for name, (kind, offset) in (CLOUD.fields or {}).items())
    layout = CloudLayout(fields, width, rows, CLOUD.itemsize, data.shape[1], is_bigendian)
    return torch.from_numpy(data.reshape(-1)), layout


def poses() -> PoseTable:
    """A hundred poses that go ahead and turn, by quarters and by the angle of a 3-4-5 triangle."""
    table = np.zeros((100, 3, 4), np.float32)
    for i in range(100):
        cosine, sine = [(1.0, 0.0), (0.8, 0.6), (0.6, 0.8), (0.0, 1.0)][i % 4]
        table[i, :, :3] = [[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]
        table[i, :, 3] = i / 64, -i / 128, 0.5
    return PoseTable('t', torch.from_numpy(table), 0.0, 1 / 10**6)


def voxel_cases() -> Iterator[tuple[str, Callable[[], tuple[torch.Tensor, ...]]]]:
    for order in ('little', 'big'):
        data, layout = cloud(is_bigendian=order == 'big')
        places: dict[str, dict[str, Any]] = {
            'own': {},
            'transform': {'transform': TURNED},
            'deskew': {'deskew': poses()},
        }
        for place, keywords in places.items():
            near = {'min_range': 0.5, 'max_range': 11.0, **keywords}

            def dense(data=data, layout=layout, near=near) -> tuple[torch.Tensor, ...]:
                result = ops.voxelize_dense(data, layout, GRID, CHANNELS, quantum=1 / 64, **near)
                return result.tensor, torch.tensor(list(result.dropped.values()))

            def sparse(data=data, layout=layout, near=near) -> tuple[torch.Tensor, ...]:
                result = ops.voxelize_sparse(data, layout, GRID, CHANNELS, max_voxels=4000, **near)
                return result.coords, result.features, result.counts, torch.tensor(list(result.dropped.values()))

            def hard(data=data, layout=layout, near=near) -> tuple[torch.Tensor, ...]:
                fields = ('x', 'y', 'z', 'intensity', 'range')
                result = ops.voxelize_hard(data, layout, GRID, fields, max_points=5, max_voxels=4000, **near)
                return result.voxels, result.coords, result.num_points, torch.tensor(list(result.dropped.values()))

            def points(data=data, layout=layout, near=near) -> tuple[torch.Tensor, ...]:
                return ops.deskew_points(data, layout, ('intensity', 'ring'), **near)

            for name, case in (('dense', dense), ('sparse', sparse), ('hard', hard), ('points', points)):
                yield f'{name}-{place}-{order}', case


#: Bytes of a value, values of a pixel, rows for each row of the image (as a fraction), by encoding.
IMAGES = {
    'rgb8': (1, 3, 2), 'bgr8': (1, 3, 2), 'rgba8': (1, 4, 2), 'bgra8': (1, 4, 2), 'mono8': (1, 1, 2),
    'mono16': (2, 1, 2), '8UC1': (1, 1, 2), '8UC3': (1, 3, 2), '16UC1': (2, 1, 2), '32FC1': (4, 1, 2),
    'bayer_rggb8': (1, 1, 2),
    'bayer_bggr16': (2, 1, 2), 'bayer_gbrg8': (1, 1, 2), 'bayer_grbg8': (1, 1, 2), 'yuv422': (1, 2, 2),
    'yuv422_yuy2': (1, 2, 2), 'nv12': (1, 1, 3), 'nv21': (1, 1, 3),
}  # fmt: skip
WIDTH, HEIGHT = 130, 94


def image_cases() -> Iterator[tuple[str, Callable[[], tuple[torch.Tensor, ...]]]]:
    spread = np.stack(np.meshgrid(np.arange(61) * 2.25 - 1, np.arange(47) * 2.125 - 2), axis=-1).astype(np.float32)
    spread[3, 5] = np.nan
    styles: dict[str, dict[str, Any]] = {
        'bilinear': {'resize': 'bilinear', 'dtype': torch.float32},
        'nearest': {'resize': 'nearest', 'dtype': torch.bfloat16},
        'area': {'resize': 'area', 'dtype': torch.float16},
        'letterbox': {'resize': 'bilinear', 'letterbox': True, 'pad': 114.0, 'dtype': torch.float16},
        'rectify': {'rectify': torch.from_numpy(spread), 'pad': 7.0, 'dtype': torch.float32},
    }
    for encoding, (item, values, halves) in IMAGES.items():
        step = WIDTH * item * values + 6 * item
        rows = HEIGHT * halves // 2
        if encoding == '32FC1':
            pixels = (integers(7, -(10**6), 10**6, rows, step // 4) / 512).astype('<f4').view(np.uint8)
        else:
            pixels = integers(7, 0, 256, rows, step).astype(np.uint8)
        data = torch.from_numpy(pixels.reshape(-1))
        for style, keywords in styles.items():

            def image(data=data, encoding=encoding, step=step, keywords=keywords) -> tuple[torch.Tensor, ...]:
                return (
                    ops.prepare_image(
                        data,
                        encoding=encoding,
                        width=WIDTH,
                        height=HEIGHT,
                        step=step,
                        out_width=61,
                        out_height=47,
                        scale=1 / 255,
                        mean=(0.485, 0.456, 0.406),
                        std=(0.229, 0.224, 0.225),
                        **keywords,
                    ),
                )

            yield f'image-{encoding}-{style}', image


def stream(seed: int, width: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Three rows of fifty samples at uneven, ascending stamps, ns."""
    values = torch.from_numpy(integers(seed, -4096, 4097, 3, 50, width).astype(np.float32) / 256).to(dtype)
    return values, torch.from_numpy(np.cumsum(integers(seed + 1, 1, 20 * MS, 3, 50), axis=1))


def stream_cases() -> Iterator[tuple[str, Callable[[], tuple[torch.Tensor, ...]]]]:
    targets = torch.from_numpy(integers(20, -50 * MS, 600 * MS, 3, 40))
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        values, stamps = stream(10, 4, dtype)
        for method, outside in (
            *(('linear', outside) for outside in ('hold', 'zero', 'extrapolate')),
            *((method, outside) for method in ('slerp', 'nearest', 'previous') for outside in ('hold', 'zero')),
        ):

            def resample(values=values, stamps=stamps, method=method, outside=outside) -> tuple[torch.Tensor, ...]:
                return ops.resample(values, stamps, targets, method=method, tolerance_ns=12 * MS, outside=outside)

            yield f'resample-{method}-{outside}-{str(dtype).removeprefix("torch.")}', resample

    def fuse() -> tuple[torch.Tensor, ...]:
        three = [stream(30, 7, torch.float32), stream(40, 4, torch.float16), stream(50, 1, torch.bfloat16)]
        three[0] = three[0][0].flip(1), three[0][1].flip(1)
        return ops.fuse(
            three,
            targets,
            method=('linear', 'slerp', 'previous'),
            tolerance_ns=(8 * MS, 30 * MS, 10**10),
            unsorted='sort',
            dtype=torch.float32,
        )

    yield 'fuse', fuse


def depth_cases() -> Iterator[tuple[str, Callable[[], Iterable[torch.Tensor]]]]:
    """Depth images of both encodings: prepared, and voxelized."""
    width, height = 97, 63
    counts = integers(11, 0, 12_000, height, width) * integers(12, 0, 8, height, width).astype(bool)
    rays = np.stack([integers(13 + axis, -512, 512, height, width) / 1024 for axis in range(3)], axis=-1)
    rays[..., 2] = 1
    for encoding, pixels in (('16UC1', counts.astype('>u2')), ('32FC1', (counts / 1024).astype('>f4'))):
        place = {
            'encoding': encoding, 'width': width, 'height': height, 'step': width * pixels.itemsize,
            'is_bigendian': True, 'min_depth': 0.5, 'max_depth': 9.0,
        }  # fmt: skip
        data = torch.from_numpy(np.frombuffer(pixels.tobytes(), np.uint8).copy())
        for resize in ('nearest', 'min'):

            def depth(data=data, place=place, resize=resize) -> tuple[torch.Tensor, ...]:
                size = {'out_width': 61, 'out_height': 47}
                return ops.prepare_depth(data, **place, **size, resize=resize, letterbox=True)

            yield f'depth-{encoding}-{resize}', depth

        def voxels(data=data, place=place) -> tuple[torch.Tensor, ...]:
            layout = ops.DepthLayout(rays=torch.from_numpy(rays.astype(np.float32)), **place)
            found = ops.voxelize_sparse(data, layout, GRID, ('count', 'mean:x', 'max:z'), transform=TURNED)
            return found.coords, found.features, found.counts

        yield f'depth-{encoding}-voxels', voxels


def registration_cases() -> Iterator[tuple[str, Callable[[], Iterable[torch.Tensor]]]]:
    """A depth image in the images of cameras beside it, with lenses of each model."""
    width, height = 97, 63
    counts = integers(14, 500, 9_000, height, width) * integers(15, 0, 8, height, width).astype(bool)
    data = torch.from_numpy(counts.astype('<u2').view(np.uint8).reshape(-1))
    corners = np.ones((3, height + 1, width + 1), np.float32)
    corners[0], corners[1] = (np.arange(width + 1) - 48.5) / 64, (np.arange(height + 1)[:, None] - 31.5) / 64
    turned = torch.tensor(
        [[1.0, 0.0, 0.0, 0.0625], [0.0, 0.8, -0.6, 1.25], [0.0, 0.6, 0.8, 0.25], [0.0, 0.0, 0.0, 1.0]]
    )
    place = {'encoding': '16UC1', 'width': width, 'height': height, 'step': 2 * width, 'is_bigendian': False}
    for model in MODELS:

        def registered(model=model) -> tuple[torch.Tensor, ...]:
            camera_model = camera_model_of(make_info(model), out_width=120, out_height=90, letterbox=True)
            rays = torch.from_numpy(corners)
            return ops.register_depth(data, corners=rays, transform=turned, camera_model=camera_model, **place)

        yield f'depth-registered-{model}', registered


def operation_digests() -> dict[str, str]:
    """Digest of each case, by name."""
    cases = (*voxel_cases(), *image_cases(), *stream_cases(), *depth_cases(), *registration_cases())
    return {name: digest_of_tensors(case()) for name, case in cases}
