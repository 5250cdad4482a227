# SPDX-License-Identifier: Apache-2.0
"""Camera images, 1080p, to what a network takes: 640×384, R G B, normalised, channels first, fp16."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from benchmark.gpu import in_torch
from benchmark.gpu.workload import Inputs, Out, Workload
from benchmark.images import HEIGHT, MEAN, STD, WIDTH, prepared
from robocache_core.encodings import encoding_of, in_planes
from robocache_core.rectify import rectify_map
from robocache_core.samples import CameraInfo

#: By encoding: bytes of a pixel in a row of data; torch's way.
ENCODINGS: dict[str, tuple[int, Callable[..., torch.Tensor]]] = {
    'bgr8': (3, in_torch.bgr8),
    'yuyv': (2, in_torch.yuyv),
    'bayer_rggb8': (1, in_torch.bayer_rggb8),
    'nv12': (1, in_torch.nv12),
    in_planes('bgr8', '4:2:0'): (1, in_torch.jpeg_planes),
}


def workloads(quick: bool) -> dict[str, Callable[[], Workload]]:
    """By name."""
    size = (320, 180) if quick else (1920, 1080)
    made: dict[str, Callable[[], Workload]] = {
        f'{encoding} 1080p to 640×384 fp16': functools.partial(_resized, encoding, *size) for encoding in ENCODINGS
    }
    made['bgr8 1080p rectified to 640×384 fp16'] = functools.partial(_rectified, *size)
    return made


def prepare(data: torch.Tensor, encoding: str, width: int, height: int, **more: Any) -> torch.Tensor:
    """Our way of all of them."""
    return prepared(data, encoding, width, height, width * ENCODINGS[encoding][0], **more)


def in_torch_by(encoding: str, data: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Torch's way of those that are not rectified."""
    return in_torch.normalised(ENCODINGS[encoding][1](data, width, height, (HEIGHT, WIDTH)), MEAN, STD)


def image_out(device: torch.device) -> Out:
    return (torch.empty(3, HEIGHT, WIDTH, dtype=torch.float16, device=device),)


def noise(encoding: str, width: int, height: int, number: int) -> torch.Tensor:
    """The bytes of an image; to a GPU noise is as good as any."""
    generator = torch.Generator().manual_seed(number)
    nbytes = width * ENCODINGS[encoding][0] * encoding_of(encoding).rows(height)
    return torch.randint(0, 256, (nbytes,), dtype=torch.uint8, generator=generator)


def _resized(encoding: str, width: int, height: int) -> Workload:
    def ours(inputs: Inputs, out: Out | None) -> Any:
        return prepare(inputs[0], encoding, width, height, out=None if out is None else out[0])

    inputs = [[noise(encoding, width, height, number)] for number in range(4)]
    return Workload(
        inputs=inputs,
        ours=ours,
        out=image_out,
        peers={'torch': lambda inputs: in_torch_by(encoding, inputs[0], width, height)},
        nbytes=inputs[0][0].numel() + 3 * HEIGHT * WIDTH * 2,
        sent=1,
    )


def _rectified(width: int, height: int) -> Workload:
    # A wide lens whose rectified image shows nearly all that the camera sees.
    f, cx, cy = 0.6 * width, width / 2, height / 2
    camera = (f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0)
    projection = (f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0)
    upright = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    info = CameraInfo(width, height, 'plumb_bob', (-0.2, 0.05, 1e-3, -1e-3, 0.0), camera, upright, projection)
    where = rectify_map(info, width=width, height=height, out_width=WIDTH, out_height=HEIGHT)
    # For torch: the same in its coordinates, from -1 at the image's left edge to 1 at its right.
    relative = (where + 0.5) / torch.tensor([width / 2, height / 2]) - 1
    inputs = [[noise('bgr8', width, height, number), where, relative] for number in range(4)]

    def ours(inputs: Inputs, out: Out | None) -> Any:
        return prepare(inputs[0], 'bgr8', width, height, rectify=inputs[1], out=None if out is None else out[0])

    def peer(inputs: Inputs) -> torch.Tensor:
        return in_torch.normalised(in_torch.rectified_bgr8(inputs[0], width, height, inputs[2]), MEAN, STD)

    return Workload(
        inputs=inputs,
        ours=ours,
        out=image_out,
        peers={'torch grid_sample': peer},
        nbytes=inputs[0][0].numel() + where.numel() * 4 + 3 * HEIGHT * WIDTH * 2,
        sent=1,
        about='with two maps of a camera, ours and the one of torch, which are on the GPU already',
    )
