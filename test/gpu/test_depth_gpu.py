# SPDX-License-Identifier: Apache-2.0
"""Depth cameras on a GPU: the frames of a pipeline have the bits of the CPU."""

from __future__ import annotations

import dataclasses

import pytest
from support import digests
from support.cameras import straight_info

from robocache_core.config import ComputeConfig, DepthConfig, PipelineConfig
from robocache_core.pipeline import Pipeline
from robocache_core.streams.depth import DepthVoxelConfig
from robocache_core.streams.no_depth import WithoutDepth
from robocache_sim.samples import depth_frame
from robocache_sim.sensors import robot

IMAGES = 8
VOXEL = DepthVoxelConfig(size=(0.1, 0.1, 0.1), lower=(-6.0, -3.0, 0.0), upper=(6.0, 3.0, 11.0))


def frames(config: PipelineConfig, device: str) -> tuple[str, WithoutDepth]:
    """The digest of the frames, and what was counted of them."""
    pipeline = Pipeline(dataclasses.replace(config, compute=ComputeConfig(device=device)), on_host=lambda: True)
    assert str(pipeline.device).startswith(device)
    camera = robot(seed=1, depth=True).depths[0]
    pipeline.set_camera_info('depth', straight_info(camera.width, camera.height, camera.focal))
    found = []
    for index in range(IMAGES):
        pipeline.receive('depth')
        pipeline.push('depth', depth_frame(camera, index))
        found += pipeline.poll()
    pipeline.give_up()
    found += pipeline.poll()
    assert len(found) == IMAGES
    return digests.digest_of_frames(found), pipeline.without_depth


@pytest.mark.parametrize('output', ['none', 'sparse', 'dense'])
@pytest.mark.parametrize('changes', [{'resize': 'min', 'letterbox': True}, {'rectify': True}], ids=['min', 'rectified'])
def test_frames_have_the_bits_of_the_cpu(output, changes):
    voxel = dataclasses.replace(VOXEL, output=output)
    depth = DepthConfig('depth', topic='/depth/image', voxel=voxel, width=200, height=140, **changes)
    config = PipelineConfig(depths=(depth,))
    (on_gpu, _), (on_cpu, without_depth) = frames(config, 'cuda'), frames(config, 'cpu')
    assert on_gpu == on_cpu
    assert without_depth.counts == {'depth': 0}


def test_images_without_a_valid_pixel_are_counted():
    config = PipelineConfig(depths=(DepthConfig('depth', topic='/depth/image', max_depth=0.01),))
    (_, on_gpu), (_, on_cpu) = frames(config, 'cuda'), frames(config, 'cpu')
    assert on_gpu.counts == on_cpu.counts == {'depth': IMAGES}
    assert on_gpu.distances == on_cpu.distances
