# SPDX-License-Identifier: Apache-2.0
"""Nothing is allocated after the first call with ``out``.

A small library, compiled here and loaded before all others, counts what a process asks of the allocator and of mmap.
Requests of less than 4 KiB are left out: they are Python's own objects, and the few numbers that describe a call.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <sys/mman.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static long num_large, num_all;

static void note(size_t size) {
  __atomic_fetch_add(&num_all, 1, __ATOMIC_RELAXED);
  if (size >= 4096) __atomic_fetch_add(&num_large, 1, __ATOMIC_RELAXED);
}

long large_allocations(void) { return __atomic_load_n(&num_large, __ATOMIC_RELAXED); }
long all_allocations(void) { return __atomic_load_n(&num_all, __ATOMIC_RELAXED); }

void *malloc(size_t size) { note(size); return __libc_malloc(size); }
void *calloc(size_t n, size_t size) { note(n * size); return __libc_calloc(n, size); }
void *realloc(void *old, size_t size) { note(size); return __libc_realloc(old, size); }
void *memalign(size_t alignment, size_t size) { note(size); return __libc_memalign(alignment, size); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void **out, size_t alignment, size_t size) {
  *out = memalign(alignment, size);
  return *out ? 0 : 12;
}
void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
  static void *(*next)(void *, size_t, int, int, int, off_t);
  if (!next) next = (void *(*)(void *, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
  note(size);
  return next(address, size, protection, flags, file, offset);
}
"""

CALLS = r"""
import ctypes, functools, gc, sys
import torch
from robocache_core import backends, ops
from robocache_core.samples import CloudLayout
from robocache_core.ops import PoseTable, VoxelGrid

assert backends.active().name == 'cpu'
torch.set_num_threads(1)
ops.set_num_threads(3)
int32 = torch.int32

num, rows = 60_000, 30_000
points = torch.randn(num, 5) * torch.tensor([5.0, 5, 5, 50, 0])
points[:, 4] = torch.arange(num)
cloud = points.view(torch.uint8).view(-1), CloudLayout.packed(('x', 'y', 'z', 'i', 't'), num)
grid = VoxelGrid((-10.0, -10.0, -4.0), (0.25, 0.25, 0.5), (80, 80, 16))
channels = ('count', 'mean:x', 'mean:y', 'mean:z', 'mean:i', 'max:i', 'min:z')
poses = PoseTable('t', torch.eye(4)[:3].repeat(500, 1, 1), 0.0, 500 / num)
pose = torch.eye(4)
coords, counts = torch.empty(rows, 3, dtype=int32), torch.empty(rows, dtype=int32)
dense, sparse = torch.empty(7, 16, 80, 80), torch.empty(rows, 7)
hard, flat, valid = torch.empty(rows, 4, 4), torch.empty(num, 4), torch.empty(num, dtype=torch.bool)

voxels = functools.partial(ops.voxelize_sparse, *cloud, grid, channels, out=(coords, sparse, counts))
hard_voxels = functools.partial(
    ops.voxelize_hard, *cloud, grid, ('x', 'y', 'z', 'i'), max_points=4, out=(hard, coords, counts))
calls = {
    'voxelize_dense': lambda: ops.voxelize_dense(*cloud, grid, channels, out=dense),
    'voxelize_sparse': voxels,
    'voxelize_sparse, transform': lambda: voxels(transform=pose),
    'voxelize_sparse, deskew': lambda: voxels(deskew=poses),
    'voxelize_hard': hard_voxels,
    'voxelize_hard, deskew': lambda: hard_voxels(deskew=poses),
    'deskew_points': lambda: ops.deskew_points(*cloud, ('i',), deskew=poses, out=(flat, valid)),
    'deskew_points, transform': lambda: ops.deskew_points(*cloud, ('i',), transform=pose, out=(flat, valid)),
}

# Wide, so that all that is kept of a row is large enough to be counted; six times or twice as wide as what they become,
# as these are read in different ways. By encoding: bytes of a pixel in a row, rows of data, channels of the result.
width, height = 7680, 64
encodings = {
    'bgr8': (3, 64, 3), 'bgra8': (4, 64, 3), 'mono8': (1, 64, 1), 'mono16': (2, 64, 1), '32FC1': (4, 64, 1),
    'yuyv': (2, 64, 3), 'bayer_rggb8': (1, 64, 3), 'bayer_rggb16': (2, 64, 3), 'nv12': (1, 96, 3),
}

def image(encoding, out_width=1280, **settings):
    nbytes, num_rows, num_channels = encodings[encoding]
    data = torch.randint(0, 255, (width * nbytes * num_rows,), dtype=torch.uint8)
    return functools.partial(
        ops.prepare_image, data, encoding=encoding, width=width, height=height, step=width * nbytes,
        out_width=out_width, out_height=32, dtype=torch.float16,
        out=torch.empty(num_channels, 32, out_width, dtype=torch.float16), **settings)

# Turned a little, so that a row of the result reads from many rows of the image.
y, x = torch.meshgrid(torch.arange(32.0), torch.arange(1280.0), indexing='ij')
turned = torch.stack([x + 0.25 * y, y + 0.02 * x], dim=2)

for encoding in encodings:
    calls[encoding] = image(encoding)
    calls[f'{encoding}, wide'] = image(encoding, out_width=3200, letterbox=True)
    calls[f'{encoding}, nearest'] = image(encoding, resize='nearest')
    calls[f'{encoding}, area'] = image(encoding, resize='area')
    calls[f'{encoding}, rectify'] = image(encoding, rectify=turned)

values, stamps = torch.randn(4, 500, 64), torch.arange(500).expand(4, 500) * 10
unsorted, turns = stamps.flip(1).contiguous(), torch.randn(4, 500, 4)
targets = torch.arange(0, 5000, 7).expand(4, -1)
fused_one, valid_one = torch.empty(*targets.shape, 64), torch.empty(targets.shape, dtype=torch.bool)

def fused(streams, method, **settings):
    width = sum(values.shape[2] for values, _ in streams)
    out = torch.empty(*targets.shape, width), torch.empty(*targets.shape, len(streams), dtype=torch.bool)
    return functools.partial(ops.fuse, streams, targets, method=method, tolerance_ns=100, out=out, **settings)

calls |= {
    'resample': lambda: ops.resample(
        values, stamps, targets, method='linear', tolerance_ns=100, out=(fused_one, valid_one)),
    'fuse': fused([(values, stamps)] * 2, 'linear'),
    'fuse, slerp': fused([(values, stamps), (turns, stamps)], ('linear', 'slerp')),
    'fuse, unsorted': fused([(values, unsorted), (turns, unsorted)], ('nearest', 'slerp'), unsorted='sort'),
}
calls['all in turn'] = lambda: [call() for call in list(calls.values())[:-2]]  # none undoes what another has kept
calls['a tensor of its own'] = lambda: torch.empty(70_000)  # shows that the counter counts
counter = ctypes.CDLL(None)
for name, call in calls.items():
    call()
    gc.collect()
    gc.disable()
    before = counter.large_allocations()
    for _ in range(10):
        call()
    print(name, counter.large_allocations() - before, sep='\t')
    gc.enable()
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='preloads a library, as Linux does')
def test_nothing_is_allocated_after_the_first_call(tmp_path: Path) -> None:
    compiler = shutil.which('cc')
    if compiler is None:
        pytest.skip('needs a C compiler (cc)')
    source, library = tmp_path / 'counter.c', tmp_path / 'counter.so'
    source.write_text(COUNTER)
    build = [compiler, '-shared', '-fPIC', '-O1', '-fno-builtin', '-o', str(library), str(source), '-ldl']
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        pytest.skip(f'the C library has no entries to count at: {built.stderr.strip()}')
    environment = {**os.environ, 'LD_PRELOAD': str(library), 'ROBOCACHE_BACKEND': 'cpu'}
    ran = subprocess.run(
        [sys.executable, '-c', CALLS], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    if 'cannot be loaded' in ran.stderr:
        pytest.skip(ran.stderr.strip().splitlines()[-1])
    assert ran.returncode == 0, ran.stderr
    counts = {name: int(count) for name, count in (line.split('\t') for line in ran.stdout.splitlines())}
    assert counts.pop('a tensor of its own') >= 10
    assert counts == dict.fromkeys(counts, 0)
    assert len(counts) == 58
