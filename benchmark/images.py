# SPDX-License-Identifier: Apache-2.0
"""Camera images to what a network takes: 1080p, resized to 640×384, RGB, normalised, channels first, fp16."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmark.peers import Peers
from benchmark.row import Goal
from benchmark.runner import Call, Workload, on_threads, torch_on_threads
from robocache_core import ops

Image = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 640, 384
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: By encoding: bytes a pixel, and the name of OpenCV's conversion to RGB.
_ENCODINGS = {
    'bgr8': (3, 'COLOR_BGR2RGB'),
    'yuyv': (2, 'COLOR_YUV2RGB_YUY2'),
    'bayer_rggb8': (1, 'COLOR_BayerRGGB2RGB'),
}


def prepared(data: torch.Tensor, encoding: str, width: int, height: int, step: int, **more: Any) -> torch.Tensor:
    """Our way of all of them; ``more``: other arguments of ``ops.prepare_image``."""
    return ops.prepare_image(
        data,
        encoding=encoding,
        width=width,
        height=height,
        step=step,
        out_width=WIDTH,
        out_height=HEIGHT,
        scale=1 / 255,
        mean=MEAN,
        std=STD,
        dtype=torch.float16,
        **more,
    )


def workloads(peers: Peers, threads: int, quick: bool) -> dict[str, Callable[[], Workload]]:
    """By name."""
    height = 120 if quick else 1080
    made: dict[str, Callable[[], Workload]] = {
        f'{encoding} 1080p to 640×384 fp16': functools.partial(_workload, encoding, 1, height, peers, threads)
        for encoding in _ENCODINGS
    }
    made['6 cameras, bgr8 1080p to 640×384 fp16'] = functools.partial(_workload, 'bgr8', 6, height, peers, threads)
    return made


def _workload(encoding: str, cameras: int, height: int, peers: Peers, threads: int) -> Workload:
    width = height * 16 // 9 // 2 * 2
    nbytes = _ENCODINGS[encoding][0]
    random = np.random.default_rng(0)
    # Two sets of images; smooth ones would compress in no cache either, so noise is as good.
    images = [[random.integers(0, 256, (height, width, nbytes), np.uint8) for _ in range(cameras)] for _ in range(2)]
    inputs = [[torch.from_numpy(image.reshape(-1)) for image in images_of] for images_of in images]
    out = tuple(torch.empty(3, HEIGHT, WIDTH, dtype=torch.float16) for _ in range(cameras))

    def ours(number: int) -> tuple[torch.Tensor, ...]:
        return tuple(
            prepared(data, encoding, width, height, width * nbytes, out=buffer)
            for data, buffer in zip(inputs[number % 2], out, strict=True)
        )

    cv2 = peers.get('opencv-python-headless')
    found: dict[str, Call] = {}
    if encoding == 'bgr8':
        found |= torch_on_threads(threads, lambda number: [_torch(image) for image in images[number % 2]])
    if cv2 is not None:
        for name, prepare in (('cv2 blobFromImage', _blob), ('cv2 resize', _resize)):
            found |= on_threads(name, threads, functools.partial(_with_cv2, cv2, prepare, encoding, images))
    return Workload(
        ours=ours,
        peers=found,
        nbytes=cameras * (width * height * nbytes + 3 * HEIGHT * WIDTH * 2),
        goal=Goal(at_least={'cv2 blobFromImage': 2.5} if encoding == 'bgr8' else {}),
        out=out,
    )


def _with_cv2(
    cv2: Any, prepare: Callable[..., object], encoding: str, images: list[list[Image]], number: int, threads: int
) -> list[object]:
    cv2.setNumThreads(threads)  # a setting of the process; nothing where it is so already
    return [prepare(cv2, image, encoding) for image in images[number % 2]]


def _blob(cv2: Any, image: Image, encoding: str) -> npt.NDArray[np.float32]:
    """OpenCV's own way to a network's input: one call after the conversion, in float32, one factor for all channels."""
    if encoding == 'bgr8':
        return cv2.dnn.blobFromImage(image, 1 / 58, (WIDTH, HEIGHT), (124, 116, 104), swapRB=True)
    rgb = cv2.cvtColor(image, getattr(cv2, _ENCODINGS[encoding][1]))
    return cv2.dnn.blobFromImage(rgb, 1 / 58, (WIDTH, HEIGHT), (124, 116, 104))


def _resize(cv2: Any, image: Image, encoding: str) -> npt.NDArray[np.float16]:
    """What most nodes do: resize first where the encoding lets it, then convert, normalise and transpose."""
    conversion = getattr(cv2, _ENCODINGS[encoding][1])
    if encoding == 'bgr8':
        rgb = cv2.cvtColor(cv2.resize(image, (WIDTH, HEIGHT)), conversion)
    else:
        rgb = cv2.resize(cv2.cvtColor(image, conversion), (WIDTH, HEIGHT))
    factor = np.float32(1 / 255) / np.array(STD, np.float32)
    offset = np.array(MEAN, np.float32) / np.array(STD, np.float32)
    return np.ascontiguousarray((rgb * factor - offset).transpose(2, 0, 1), dtype=np.float16)


def _torch(image: Image) -> torch.Tensor:
    """Bytes are resized as they are, for which torch has a fast way, and only what is left of them becomes float."""
    pixels = torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0)
    small = torch.nn.functional.interpolate(pixels, (HEIGHT, WIDTH), mode='bilinear', align_corners=False)
    rgb = small.flip(1).float()
    return ((rgb / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]).half()
