# SPDX-License-Identifier: Apache-2.0
"""Where scratch memory cannot grow, a call raises MemoryError and leaves nothing behind: the next one is right."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CALLS = r"""
import resource
import torch
from robocache_core import backends, ops
from robocache_core.samples import CloudLayout
from robocache_core.ops import PoseTable, VoxelGrid

MARGIN = 4 << 20  # for Python; the large calls need ten times as much
SMALL, MIDDLE, LARGE = range(3)
GRID = VoxelGrid((0.0, 0.0, 0.0), (0.1, 0.1, 0.1), (100, 100, 100))
FIELDS = ('x', 'y', 'z', 'i')
ROWS = 2000

torch.set_num_threads(1)
ops.set_num_threads(2)


def cloud(size):
    points = torch.rand((100, 20_000, 2_000_000)[size], 4) * 10
    return points.view(torch.uint8).view(-1), CloudLayout.packed(FIELDS, len(points))


def voxels(size):
    data, layout = cloud(size)
    coords, counts = torch.empty(ROWS, 3, dtype=torch.int32), torch.empty(ROWS, dtype=torch.int32)
    features, hard = torch.empty(ROWS, 2), torch.empty(ROWS, 2, 4)
    return {
        'voxelize_sparse': lambda: ops.voxelize_sparse(
            data, layout, GRID, ('count', 'mean:i'), out=(coords, features, counts)),
        'voxelize_hard': lambda: ops.voxelize_hard(
            data, layout, GRID, FIELDS, max_points=2, out=(hard, coords, counts)),
    }


def deskew(size):
    data, layout = cloud(SMALL)
    poses = PoseTable('i', torch.eye(4)[:3].repeat((10, 1000, 1_000_000)[size], 1, 1), 0.0, 1.0)
    out = torch.empty(100, 3), torch.empty(100, dtype=torch.bool)
    return {'deskew_points': lambda: ops.deskew_points(data, layout, (), deskew=poses, out=out)}


def images(size):
    # Rows as wide as they may be: what is kept is a few of them for each thread.
    width, height = (64, 4096, 1 << 20)[size], 8
    pixels = torch.randint(0, 256, (width * height * 2,), dtype=torch.uint8)
    image, out = {'width': width, 'height': height, 'out_width': 32, 'out_height': 16}, torch.empty(3, 16, 32)
    at = torch.rand(16, 32, 2) * 7

    def call(encoding, **how):
        return ops.prepare_image(pixels, encoding=encoding, step=2 * width, **image, **how, out=out)

    return {
        'prepare_image, bilinear': lambda: call('bayer_rggb16'),
        'prepare_image, area': lambda: call('yuyv', resize='area'),
        'prepare_image, rectify': lambda: call('yuyv', rectify=at),
    }


def streams(size):
    samples = (10, 1000, 3_000_000)[size]
    values, stamps = torch.arange(samples).view(1, -1, 1).float(), torch.randperm(samples).view(1, -1)
    targets, out = torch.arange(8).view(1, -1), (torch.empty(1, 8, 1), torch.empty(1, 8, 1, dtype=torch.bool))
    return {'fuse': lambda: ops.fuse(
        [(values, stamps)], targets, method='linear', tolerance_ns=9, unsorted='sort', out=out)}


def tensors(result):
    values = [result] if torch.is_tensor(result) else result if isinstance(result, tuple) else vars(result).values()
    return [value.clone() for value in values if torch.is_tensor(value)]


def limited(call):
    with open('/proc/self/statm') as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MARGIN, resource.RLIM_INFINITY))
    try:
        call()
    except MemoryError:
        return 'MemoryError'
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return 'nothing raised'


assert backends.active().name == 'cpu'
for make in (voxels, deskew, images, streams):
    small, middle, large = map(make, (SMALL, MIDDLE, LARGE))
    for name in small:
        small[name]()  # starts the threads
        outcome = limited(large[name])
        got = tensors(middle[name]())
        with backends.use('reference'):
            expected = tensors(middle[name]())
        assert all(map(torch.equal, got, expected)), name
        print(name, outcome, sep='\t', flush=True)
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='limits and measures the address space as Linux does')
def test_running_out_of_memory_is_an_error_that_leaves_nothing_broken():
    # A fixed threshold: what a call asks for then comes from the system, not from what others gave back.
    environment = {**os.environ, 'ROBOCACHE_BACKEND': 'cpu', 'MALLOC_MMAP_THRESHOLD_': '65536'}
    ran = subprocess.run(
        [sys.executable, '-c', CALLS], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    if 'cannot be loaded' in ran.stderr:
        pytest.skip(ran.stderr.strip().splitlines()[-1])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    outcomes = dict(line.split('\t') for line in ran.stdout.splitlines())
    assert outcomes == dict.fromkeys(outcomes, 'MemoryError')
    assert len(outcomes) == 7
