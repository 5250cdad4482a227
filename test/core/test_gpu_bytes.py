# SPDX-License-Identifier: Apache-2.0
"""Bytes that are lent by a GPU: what a pipeline makes of those that fail, and what it does not lose with them."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from support import played_gpu
from support.driving import T0, assert_ledger, image

from robocache_core import gpu_bytes, payload
from robocache_core.config import CameraConfig, DepthConfig, GridConfig, LidarConfig, PipelineConfig, VoxelConfig
from robocache_core.device import Device
from robocache_core.gpu_bytes import GpuBytes
from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_core.samples import CameraFrame, CameraInfo, CloudLayout, DataError, LidarScan

IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
LOST = 'its bytes cannot be copied from the GPU: an illegal memory access was encountered'


class Bytes(GpuBytes):
    """Those of a tensor of the CPU, which a played GPU has."""

    def __init__(self, data: torch.Tensor) -> None:
        super().__init__(len(data))
        self.data = data
        self.is_lost = False

    @contextlib.contextmanager
    def lend(self, stream):
        yield self.data.data_ptr()

    def _copy(self):
        if self.is_lost:
            raise DataError(Reason.GPU_MEMORY_LOST, LOST)
        return self.data.clone()


def lent(sample):
    return dataclasses.replace(sample, data=Bytes(sample.data))


def frames_of(pipeline, *samples):
    for name, sample in samples:
        pipeline.receive(name)
        pipeline.push(name, sample)
    frames = pipeline.poll()
    assert_ledger(pipeline)
    return frames


def on_gpu(monkeypatch, config):
    pipeline = Pipeline(config)
    pipeline.device = played_gpu.play(monkeypatch)
    return pipeline


def test_there_is_one_at_least():
    with pytest.raises(ValueError, match='nbytes = 0: must be at least 1'):
        Bytes(torch.empty(0, dtype=torch.uint8))


def test_a_sample_counts_its_bytes_where_tensors_have_no_nbytes(monkeypatch):
    """As those of torch 1.13 have none."""

    def missing(tensor):
        raise AttributeError('nbytes')

    monkeypatch.setattr(torch.Tensor, 'nbytes', property(missing), raising=False)
    scan = LidarScan(T0, 'lidar', torch.zeros(12, dtype=torch.uint8), CloudLayout.packed(('x', 'y', 'z'), 1))
    assert (scan.nbytes, lent(scan).nbytes) == (12, 12)
    assert (image(T0).nbytes, lent(image(T0)).nbytes) == (24, 24)


# ---- what a GPU cannot view ------------------------------------------------------------------------------------------

CAMERAS = PipelineConfig(cameras=(CameraConfig('front', width=4, height=4),))


def fail_to_view(monkeypatch, kind, text):
    def fail(memory, device):
        raise kind(text)

    monkeypatch.setattr(gpu_bytes, '_view', fail)


def test_bytes_that_torch_cannot_view_cost_themselves_alone(monkeypatch):
    pipeline, refused = on_gpu(monkeypatch, CAMERAS), []
    pipeline.on_refused = lambda *what: refused.append(what)
    gpu = pipeline.device
    fail_to_view(monkeypatch, RuntimeError, 'the pointer is of no GPU')
    assert frames_of(pipeline, ('front', lent(image(T0)))) == []
    assert pipeline.device is gpu
    assert pipeline.ledger['front'].counts().dropped == {Reason.GPU_MEMORY_LOST: 1}
    text = 'its bytes cannot be read on the GPU: the pointer is of no GPU'
    assert refused == [('front', Reason.GPU_MEMORY_LOST, text)]


def test_a_gpu_without_room_for_a_copy_costs_no_frame(monkeypatch):
    (expected,) = frames_of(Pipeline(CAMERAS), ('front', image(T0)))
    pipeline = on_gpu(monkeypatch, CAMERAS)
    fail_to_view(monkeypatch, torch.cuda.OutOfMemoryError, 'out of memory')
    (frame,) = frames_of(pipeline, ('front', lent(image(T0))))
    assert payload.digest(frame) == payload.digest(expected)
    assert type(pipeline.device) is Device


# ---- what describes a sample that was computed -----------------------------------------------------------------------

INFO = CameraInfo(
    *(8, 6, '', ()),
    k=(8.0, 0.0, 4.0, 0.0, 8.0, 3.0, 0.0, 0.0, 1.0),
    r=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    p=(8.0, 0.0, 4.0, 0.0, 0.0, 8.0, 3.0, 0.0, 0.0, 0.0, 1.0, 0.0),
)
VOXELS = VoxelConfig(size=(1.0, 1.0, 1.0), lower=(-4.0,) * 3, upper=(4.0,) * 3, channels=('count',))
DEPTH = DepthConfig('depth', width=8, height=6, topic='/depth/image_rect', extrinsics=IDENTITY)
LIDAR = LidarConfig('lidar', extrinsics=IDENTITY)


def far_image():
    """60 m everywhere, beyond what a depth camera is taken to see."""
    data = torch.from_numpy(np.full(48, 60_000, np.uint16).view(np.uint8))
    return CameraFrame(T0, 'depth_optical', data, '16UC1', 8, 6, 16)


def far_scan():
    points = torch.full((5, 3), 1000.0)
    return LidarScan(T0, 'lidar', points.view(-1).view(torch.uint8), CloudLayout.packed(('x', 'y', 'z'), 5))


@pytest.mark.parametrize(
    ('config', 'sample'),
    [
        (PipelineConfig(depths=(DEPTH,), target_frame='base_link'), far_image()),
        (
            PipelineConfig(depths=(DEPTH,), grids=(GridConfig('all', ('depth',), VOXELS),), target_frame='base_link'),
            far_image(),
        ),
        (
            PipelineConfig(lidars=(LIDAR,), grids=(GridConfig('all', ('lidar',), VOXELS),), target_frame='base_link'),
            far_scan(),
        ),
    ],
    ids=['depth image', 'depth image in a grid', 'scan in a grid'],
)
def test_a_sample_is_not_lost_with_the_copy_that_describes_it(monkeypatch, config, sample):
    """The driver takes its bytes back just after they were read, which is as early as it may."""
    (name,) = (stream.name for stream in config.streams())
    frames, described = [], []
    for is_lost in (False, True):
        pipeline, sent = on_gpu(monkeypatch, config), lent(sample)
        pipeline.set_camera_info(name, INFO)
        synchronize = pipeline.device.synchronize

        def lose(voxels=(), sent=sent, is_lost=is_lost, synchronize=synchronize):
            synchronize(voxels)
            sent.data.is_lost = is_lost

        monkeypatch.setattr(pipeline.device, 'synchronize', lose)
        (frame,) = frames_of(pipeline, (name, sent))
        assert pipeline.ledger[name].counts().used == 1
        frames.append(payload.digest(frame))
        described.append((pipeline.without_depth.distances.get(name), pipeline.without_voxels[name]))
    assert frames[0] == frames[1]
    (distances, num_whole), (without, num_lost) = described
    if name == 'depth':
        assert distances == '48 of 48 pixels have one, 60 to 60 m'
        assert without == f'what it has is not known: {LOST}'
    if config.grids:
        assert (num_whole, num_lost) == (1, 0)
