# SPDX-License-Identifier: Apache-2.0
"""Camera JPEGs, checked for damage, to what a network takes: 640×384, RGB, normalised, channels first, fp16."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from benchmark import inputs
from benchmark.images import HEIGHT, WIDTH, prepared
from benchmark.peers import Peers
from benchmark.row import Goal
from benchmark.runner import Call, Workload, on_threads
from robocache_core import jpeg, ops
from robocache_core.encodings import in_planes
from robocache_core.jpeg_planes import read_planes
from robocache_sim import sensors
from robocache_sim.trajectory import Trajectory

Bytes = npt.NDArray[np.uint8]

_RECORDED = ('front', 'front_left', 'back')


def workloads(peers: Peers, threads: int, quick: bool) -> dict[str, Callable[[], Workload]]:
    """By name."""
    made: dict[str, Callable[[], Workload]] = {}
    if inputs.DATA is not None and not quick:
        images = [np.fromfile(inputs.DATA / f'nuscenes_cam_{name}.jpg', np.uint8) for name in _RECORDED]
        made['JPEG of a road, 1600×900 to 640×384 fp16'] = functools.partial(_workload, images, peers, threads)
    size = (160, 90) if quick else (1600, 900)
    simulated = functools.partial(_simulated, *size)
    made['JPEG simulated, 1600×900 to 640×384 fp16'] = lambda: _workload(simulated(), peers, threads)
    return made


def _simulated(width: int, height: int) -> list[Bytes]:
    world = sensors.World(Trajectory(sensors.START_NS, speed=1.0, yaw_rate=0.5))
    place = (0.4, 0.0, 0.9)
    camera = sensors.Camera(world, 'front', place, 0.0, phase_ns=0, width=width, height=height, focal=width * 0.625)
    return [cv2.imencode('.jpg', camera.read(number).pixels)[1].reshape(-1) for number in range(2)]


def _workload(images: list[Bytes], peers: Peers, threads: int) -> Workload:
    out = torch.empty(3, HEIGHT, WIDTH, dtype=torch.float16)

    def ours(number: int) -> tuple[torch.Tensor, ...]:
        image = images[number % len(images)]
        planes = read_planes(jpeg.read_jpeg(image), image)
        if planes is None:
            raise RuntimeError('the JPEG has no planes')
        encoding = in_planes('bgr8', planes.sampling)
        data = torch.from_numpy(planes.data)
        return (prepared(data, encoding, planes.width, planes.height, planes.step, out=out),)

    found: dict[str, Call] = {}
    simplejpeg = peers.get('simplejpeg')
    if simplejpeg is not None:
        decode = functools.partial(simplejpeg.decode_jpeg, colorspace='BGR')
        found |= on_threads('simplejpeg, prepare_image', threads, functools.partial(_by_library, images, decode))
    decode = functools.partial(cv2.imdecode, flags=cv2.IMREAD_UNCHANGED)
    found |= on_threads('cv2.imdecode, prepare_image', threads, functools.partial(_by_library, images, decode))
    nbytes = max(image.size for image in images) + 3 * HEIGHT * WIDTH * 2
    return Workload(
        ours=ours, peers=found, nbytes=nbytes, goal=Goal(at_least={'simplejpeg, prepare_image': 1.3}), out=(out,)
    )


def _by_library(images: list[Bytes], decode: Callable[[Bytes], Any], number: int, threads: int) -> torch.Tensor:
    """The same bits by way of pixels: damage is looked for, libjpeg-turbo decodes."""
    data = images[number % len(images)]
    if jpeg.damage_in(jpeg.read_jpeg(data), data):
        raise RuntimeError('the JPEG is damaged')
    pixels = decode(data)
    height, width = pixels.shape[:2]
    before = ops.num_threads()
    ops.set_num_threads(threads)
    try:
        return prepared(torch.from_numpy(pixels.reshape(-1)), 'bgr8', width, height, 3 * width)
    finally:
        ops.set_num_threads(before)
