# SPDX-License-Identifier: Apache-2.0
"""Images as uint8 on a GPU, in both layouts: the CPU's frames, on the device and in their files."""

import dataclasses

import pytest
import torch
from support.driving import T0, image
from support.images import message, random_pixels

from robocache_core import payload
from robocache_core.config import CameraConfig, ComputeConfig, PipelineConfig
from robocache_core.pipeline import Pipeline


def frame_of(device, layout, on_host):
    camera = CameraConfig('front', width=37, height=21, dtype='uint8', layout=layout)
    config = PipelineConfig(cameras=(camera,), compute=ComputeConfig(device=device))
    pipeline = Pipeline(config, on_host=lambda: on_host)
    data, place = message(random_pixels('bgr8', 64, 48))
    pipeline.receive('front')
    pipeline.push('front', dataclasses.replace(image(T0), data=data, encoding='bgr8', **place))
    (frame,) = pipeline.poll()
    return frame


@pytest.mark.parametrize('on_host', [False, True])
@pytest.mark.parametrize('layout', ['chw', 'hwc'])
def test_frames_have_the_bits_of_the_cpu(layout, on_host):
    expected, found = frame_of('cpu', layout, on_host), frame_of('cuda', layout, on_host)
    assert found.tensors['front'].is_cuda != on_host
    assert found.tensors['front'].dtype == torch.uint8
    assert payload.digest(found) == payload.digest(expected)
