# SPDX-License-Identifier: Apache-2.0
"""A pipeline rectifies images by the CameraInfo that came with them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from support.cameras import HEIGHT, MODELS, WIDTH, make_info, make_map, smooth_image
from support.images import message

from robocache_core import ops, rectify
from robocache_core.config import CameraConfig, DepthConfig, PipelineConfig
from robocache_core.frame import CameraView
from robocache_core.pipeline import Pipeline
from robocache_core.rectify import rectify_map, result_info
from robocache_core.samples import CameraFrame
from robocache_core.tunable import ConfigError


def camera(stamp_ns: int) -> CameraFrame:
    return CameraFrame(stamp_ns, 'cam', torch.from_numpy(smooth_image().reshape(-1)), 'bgr8', WIDTH, HEIGHT, 3 * WIDTH)


CONFIG = CameraConfig('cam', width=160, height=100, rectify=True, dtype='float32')


class TestPipeline:
    def push(self, pipeline: Pipeline, stamp_ns: int) -> None:
        pipeline.receive('cam')
        pipeline.push('cam', camera(stamp_ns))

    def test_images_are_rectified_from_the_first_camera_info_on(self):
        refused = []
        pipeline = Pipeline(PipelineConfig(cameras=(CONFIG,)), on_host=lambda: True)
        pipeline.on_refused = lambda *args: refused.append(args)
        self.push(pipeline, 1)
        assert pipeline.ledger['cam'].counts().dropped == {'no_camera_info': 1}
        assert refused == [('cam', 'no_camera_info', 'no CameraInfo has come on camera_info')]
        pipeline.set_camera_info('cam', make_info())
        self.push(pipeline, 2)
        (frame,) = pipeline.poll()
        image = camera(2)
        expected = ops.prepare_image(
            image.data, encoding='bgr8', width=WIDTH, height=HEIGHT, step=image.step, out_width=160, out_height=100,
            pad=CONFIG.pad, scale=CONFIG.scale, mean=CONFIG.mean, std=CONFIG.std,
            rectify=torch.from_numpy(make_map(make_info(), 160, 100)),
        )  # fmt: skip
        assert torch.equal(frame.tensors['cam'], expected)

    def test_the_map_is_made_once_and_again_for_another_calibration(self):
        pipeline = Pipeline(PipelineConfig(cameras=(CONFIG,)))
        pipeline.set_camera_info('cam', make_info())
        apply = pipeline._streams['cam'].admit
        first = apply(camera(1)).rectify
        pipeline.set_camera_info('cam', make_info())
        assert apply(camera(2)).rectify is first
        pipeline.set_camera_info('cam', make_info('equidistant'))
        assert not torch.equal(apply(camera(3)).rectify, first)

    def test_calibrations_that_take_turns_are_kept(self, monkeypatch):
        made = []
        monkeypatch.setattr(rectify, 'rectify_map', lambda *args, **kw: made.append(args) or rectify_map(*args, **kw))
        pipeline = Pipeline(PipelineConfig(cameras=(CONFIG,)))
        for i in range(100):
            pipeline.set_camera_info('cam', make_info(list(MODELS)[i % 3]))
            self.push(pipeline, 1 + i)
            pipeline.poll()
        assert len(made) == 3
        assert pipeline.ledger['cam'].counts().dropped == {}

    def test_a_calibration_that_changes_with_every_image_is_bounded(self, monkeypatch):
        made = []
        monkeypatch.setattr(rectify, 'rectify_map', lambda *args, **kw: made.append(args) or rectify_map(*args, **kw))
        refused = []
        pipeline = Pipeline(PipelineConfig(cameras=(CONFIG,)))
        pipeline.on_refused = lambda *args: refused.append(args)
        for i in range(300):  # 10 s at 30 Hz
            pipeline.set_camera_info('cam', make_info(k=(210.0 + i, 0, 163.4, 0, 205.5, 97.2, 0, 0, 1)))
            self.push(pipeline, 1 + i * 33_333_333)
            pipeline.poll()
        assert len(made) == 40
        assert pipeline.ledger['cam'].counts().dropped == {'camera_info_changes': 260}
        assert refused[0][2].startswith('CameraInfo on camera_info has changed more than 4 times in a second')
        assert len(pipeline._streams['cam']._rectifier._tables) <= rectify.MAX_MAPS

    def test_an_image_keeps_the_calibration_that_it_came_with(self):
        frames = []
        for later in (make_info(), make_info('equidistant')):
            pipeline = Pipeline(PipelineConfig(cameras=(CONFIG,)))
            pipeline.set_camera_info('cam', make_info())
            self.push(pipeline, 1)
            pipeline.set_camera_info('cam', later)
            frames += pipeline.poll()
        assert torch.equal(frames[0].tensors['cam'], frames[1].tensors['cam'])

    def test_a_bad_calibration_drops_with_its_reason(self):
        pipeline = Pipeline(PipelineConfig(cameras=(CONFIG,)))
        pipeline.set_camera_info('cam', make_info(binning=(2, 2)))
        for i in range(10):
            self.push(pipeline, 1 + i)
        assert pipeline.ledger['cam'].counts().dropped == {'camera_info_binning': 10}
        assert pipeline.poll() == []

    def test_a_camera_that_is_not_rectified_needs_none(self):
        pipeline = Pipeline(PipelineConfig(cameras=(dataclasses.replace(CONFIG, rectify=False),)))
        pipeline.set_camera_info('cam', make_info(binning=(2, 2)))
        self.push(pipeline, 1)
        assert len(pipeline.poll()) == 1


@pytest.mark.parametrize(
    ('topic', 'given', 'expected'),
    [
        ('/camera/front/image_raw', '', '/camera/front/camera_info'),
        ('/camera/front/image_raw/compressed', '', '/camera/front/camera_info'),
        ('/front', '', '/camera_info'),
        ('image', '', 'camera_info'),
        ('/camera/front/image_raw', '/calibration', '/calibration'),
    ],
)
def test_the_topic_of_the_camera_info(topic, given, expected):
    assert CameraConfig('front', topic=topic, camera_info_topic=given, rectify=True).calibration_topic == expected
    assert CameraConfig('front', topic=topic, camera_info_topic=given).calibration_topic == expected


def test_a_frame_has_the_view_of_its_cameras():
    camera = CameraConfig('front', width=32, height=20, dtype='float32')
    pipeline = Pipeline(PipelineConfig(cameras=(camera,)))
    image = CameraFrame(1, 'optical', torch.from_numpy(smooth_image().reshape(-1)), 'bgr8', WIDTH, HEIGHT, 3 * WIDTH)
    for info in (None, make_info()):
        if info is not None:
            pipeline.set_camera_info('front', info)
        pipeline.receive('front')
        pipeline.push('front', dataclasses.replace(image, stamp_ns=image.stamp_ns + 10**8 * (info is not None)))
        (frame,) = pipeline.poll()
        assert frame.views['front'].frame_id == 'optical'
        assert (frame.views['front'].info is None) == (info is None)


@pytest.mark.parametrize('topic', ['/front/image_raw', '/front/image_rect_color', '/front/image_rect_color/compressed'])
@pytest.mark.parametrize('kind', [CameraConfig, DepthConfig])
def test_the_view_of_images_that_come_rectified_is_that_of_rectified_ones(kind, topic):
    """R and P are of them, as where the pipeline rectifies; without, nothing is known of them."""
    stream = kind('front', topic=topic, width=32, height=20)
    is_depth, comes_rectified = kind is DepthConfig, 'image_rect' in topic
    pixels = np.ones((HEIGHT, WIDTH, 1), np.uint16) if is_depth else smooth_image()
    data, place = message(pixels)
    image = CameraFrame(1, 'optical', data, '16UC1' if is_depth else 'bgr8', **place)
    size = {'width': WIDTH, 'height': HEIGHT, 'out_width': 32, 'out_height': 20, 'letterbox': False}
    for info in (make_info(), make_info(p=(0.0,) * 12)):
        pipeline = Pipeline(PipelineConfig(**{'depths' if is_depth else 'cameras': (stream,)}))
        pipeline.set_camera_info('front', info)
        pipeline.receive('front')
        pipeline.push('front', image)
        (frame,) = pipeline.poll()
        is_known = any(info.p) or not comes_rectified
        expected = result_info(info, **size, rectified=comes_rectified) if is_known else None
        turn = info.r if comes_rectified and is_known else tuple(np.eye(3).ravel())
        assert frame.views['front'] == CameraView('optical', expected, turn)


def test_area_cannot_be_rectified():
    with pytest.raises(ConfigError, match=r"front.resize = 'area': must be bilinear or nearest with front.rectify"):
        CameraConfig('front', resize='area', rectify=True)
