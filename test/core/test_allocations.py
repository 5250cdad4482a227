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
import ctypes, gc, math, sys
import torch
from robocache_core import backend, ops
from robocache_core.types import CloudLayout, PoseTable, VoxelGrid

assert backend.active().name == 'cpu'
torch.set_num_threads(1)
ops.set_num_threads(3)
num, rows = 60_000, 30_000
points = torch.randn(num, 5) * torch.tensor([5.0, 5, 5, 50, 0])
points[:, 4] = torch.arange(num)
cloud = points.view(torch.uint8).view(-1), CloudLayout.packed(('x', 'y', 'z', 'i', 't'), num)
grid = VoxelGrid((-10.0, -10.0, -4.0), (0.25, 0.25, 0.5), (80, 80, 16))
channels = ('count', 'mean:x', 'mean:y', 'mean:z', 'mean:i', 'max:i', 'min:z')
poses = PoseTable('t', torch.eye(4)[:3].repeat(500, 1, 1), 0.0, 500 / num)
int32 = torch.int32
coords, counts = torch.empty(rows, 3, dtype=int32), torch.empty(rows, dtype=int32)
dense, sparse = torch.empty(7, 16, 80, 80), torch.empty(rows, 7)
hard, flat, valid = torch.empty(rows, 4, 4), torch.empty(num, 4), torch.empty(num, dtype=torch.bool)
pixels = torch.randint(0, 255, (480 * 640 * 3,), dtype=torch.uint8)
image = torch.empty(3, 192, 320, dtype=torch.float16)
values, stamps = torch.randn(4, 500, 64), torch.arange(500).expand(4, 500) * 10
targets = torch.arange(0, 5000, 7).expand(4, -1)
fused = torch.empty(4, targets.shape[1], 128), torch.empty(4, targets.shape[1], 2, dtype=torch.bool)

calls = {
    'voxelize_dense': lambda: ops.voxelize_dense(*cloud, grid, channels, out=dense),
    'voxelize_sparse': lambda: ops.voxelize_sparse(*cloud, grid, channels, out=(coords, sparse, counts)),
    'voxelize_sparse, deskew': lambda: ops.voxelize_sparse(
        *cloud, grid, channels, deskew=poses, out=(coords, sparse, counts)),
    'voxelize_hard': lambda: ops.voxelize_hard(
        *cloud, grid, ('x', 'y', 'z', 'i'), max_points=4, out=(hard, coords, counts)),
    'deskew_points': lambda: ops.deskew_points(*cloud, ('i',), deskew=poses, out=(flat, valid)),
    'prepare_image': lambda: ops.prepare_image(
        pixels, encoding='bgr8', width=640, height=480, step=1920, out_width=320, out_height=192,
        dtype=torch.float16, out=image),
    'fuse': lambda: ops.fuse(
        [(values, stamps)] * 2, targets, method='linear', tolerance_ns=100, out=fused),
    'a tensor of its own': lambda: torch.empty(70_000),  # shows that the counter counts
}
counter = ctypes.CDLL(None)
for name, call in calls.items():
    for _ in range(5):
        call()
    gc.collect()
    gc.disable()
    before = counter.large_allocations()
    for _ in range(20):
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
    assert counts.pop('a tensor of its own') >= 20
    assert counts == dict.fromkeys(counts, 0)
    assert len(counts) == 7
