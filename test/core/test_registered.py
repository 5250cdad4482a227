# SPDX-License-Identifier: Apache-2.0
"""Depth cameras that are registered to a camera, in a pipeline: settings, calibrations and poses, and the scene."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from support.cameras import MODELS, make_info, straight_info
from support.images import message

from robocache_core import ops
from robocache_core.camera_model import camera_model_of
from robocache_core.config import CameraConfig, DepthConfig, DepthVoxelConfig, PipelineConfig
from robocache_core.pipeline import Pipeline
from robocache_core.rays import corner_rays_of, rays_of
from robocache_core.rotation import pose_matrix
from robocache_core.samples import CameraFrame, EncodedImage, Reduction
from robocache_core.tunable import ConfigError
from robocache_sim.samples import depth_frame
from robocache_sim.sensors import robot

FRONT = CameraConfig('front', topic='/front/image_raw', width=64, height=40, letterbox=True, required=False)
DEPTH = DepthConfig('depth', topic='/depth/image_rect_raw', registered='front')
CONFIG = PipelineConfig(cameras=(FRONT,), depths=(DEPTH,))
DEPTH_INFO = dataclasses.replace(straight_info(16, 12, 12.0), frame_id='depth_optical')
FRONT_INFO = dataclasses.replace(make_info(), frame_id='front_optical')
POSE = pose_matrix((0.05, 0.01, 0.0, 0.0, 0.0, 0.0, 1.0))


def image(stamp_ns=1):
    data, place = message(np.random.default_rng(stamp_ns).integers(300, 4000, (12, 16, 1)).astype(np.uint16))
    return CameraFrame(stamp_ns, 'depth_optical', data, '16UC1', **place)


def ready(config=CONFIG, *, depth_info=DEPTH_INFO, front_info=FRONT_INFO, pose=POSE):
    """A pipeline that knows so much, and what it refuses."""
    pipeline, refused = Pipeline(config, on_host=lambda: True), []
    pipeline.on_refused = lambda *args: refused.append(args)
    if depth_info is not None:
        pipeline.set_camera_info('depth', depth_info)
    if front_info is not None:
        pipeline.set_camera_info('front', front_info)
    if pose is not None:
        pipeline.registrations['depth'].set_pose('depth_optical', pose)
    return pipeline, refused


def push(pipeline, sample):
    pipeline.receive('depth')
    pipeline.push('depth', sample)


def frame_of(pipeline, sample=None):
    push(pipeline, image() if sample is None else sample)
    pipeline.give_up()
    (frame,) = pipeline.poll()
    return frame


def triggered(config=CONFIG, **changes):
    depth = dataclasses.replace(config.depths[0], **changes)
    return dataclasses.replace(config, depths=(depth,), sync=dataclasses.replace(config.sync, trigger='depth'))


def test_a_frame_has_the_distances_of_the_other_camera_s_pixels():
    pipeline, _ = ready(triggered())
    frame = frame_of(pipeline)
    sample = image()
    expected = ops.register_depth(
        sample.data, encoding='16UC1', width=16, height=12, step=sample.step, max_depth=20.0,
        corners=corner_rays_of(DEPTH_INFO, width=16, height=12), transform=POSE,
        camera_model=camera_model_of(FRONT_INFO, out_width=64, out_height=40, letterbox=True),
    )  # fmt: skip
    assert torch.equal(frame.tensors['depth'], expected[0])
    assert torch.equal(frame.tensors['depth.valid'], expected[1])
    assert expected[1].sum() > 1000
    assert not frame.valid['front'], 'the camera itself need not have come'
    view = frame.views['depth']
    assert (view.frame_id, view.info.width, view.info.height) == ('front_optical', 64, 40)


@pytest.mark.parametrize(
    ('camera', 'settings'),
    [
        ({'width': 80, 'height': 60, 'letterbox': False}, {'out_width': 80, 'out_height': 60}),
        ({'rectify': True}, {'out_width': 64, 'out_height': 40, 'letterbox': True, 'rectified': True}),
        (
            {'topic': '/front/image_rect_color'},
            {'out_width': 64, 'out_height': 40, 'letterbox': True, 'rectified': True},
        ),
        (
            {'topic': '/front/image_raw/compressed', 'decode_scale': 4},
            {'out_width': 64, 'out_height': 40, 'letterbox': True, 'decode_scale': 4},
        ),
    ],
)
def test_the_result_is_as_the_camera_is_set(camera, settings):
    front = dataclasses.replace(FRONT, **camera)
    pipeline, _ = ready(triggered(PipelineConfig(cameras=(front,), depths=(DEPTH,))))
    admitted = pipeline._streams['depth'].admit(image())
    assert admitted.camera_model == camera_model_of(FRONT_INFO, **settings)
    assert frame_of(pipeline).tensors['depth'].shape == (1, front.height, front.width)


def test_an_image_that_is_missing_has_the_shape_of_one_that_is_there():
    pipeline, _ = ready(dataclasses.replace(triggered(required=False)))
    stream = pipeline._streams['depth']
    blank, frame = stream.blank(pipeline.device), frame_of(pipeline)
    names = ['depth', 'depth.valid']
    assert list(blank) == names
    for name in names:
        assert (blank[name].dtype, blank[name].shape) == (frame.tensors[name].dtype, frame.tensors[name].shape)


def test_voxels_are_those_of_the_depth_camera_s_own_image():
    voxel = DepthVoxelConfig(size=(0.1,) * 3, lower=(-4.0, -4.0, 0.0), upper=(4.0, 4.0, 5.0), output='sparse')
    alone = DepthConfig('depth', topic=DEPTH.topic, voxel=voxel)
    pipeline, _ = ready(PipelineConfig(depths=(alone,)), front_info=None, pose=None)
    expected, found = frame_of(pipeline), frame_of(ready(triggered(voxel=voxel))[0])
    assert len(expected.tensors['depth.counts']) > 100
    for name in ('coords', 'features', 'counts'):
        assert torch.equal(found.tensors[f'depth.{name}'], expected.tensors[f'depth.{name}'])
    assert found.tensors['depth'].shape != expected.tensors['depth'].shape


def test_an_image_that_is_decoded_later_is_registered_as_it_came():
    """By the calibrations of its arrival, whatever comes before it is decoded; and by its own pose, where it moves."""
    expected = frame_of(ready(triggered())[0])
    pipeline, _ = ready(triggered(), pose=None)
    sample = image()
    push(pipeline, EncodedImage(1, 'depth_optical', sample.nbytes, lambda: sample, pose_in_camera=POSE))
    pipeline.set_camera_info('front', dataclasses.replace(FRONT_INFO, d=()))
    pipeline.set_camera_info('depth', straight_info(16, 12, 5.0))
    pipeline.give_up()
    (frame,) = pipeline.poll()
    assert torch.equal(frame.tensors['depth'], expected.tensors['depth'])
    assert frame.views['depth'] == expected.views['depth']


@pytest.mark.parametrize(
    ('known', 'reason', 'text'),
    [
        ({'depth_info': None}, 'no_camera_info', 'no CameraInfo has come on /depth/camera_info'),
        (
            {'front_info': None},
            'no_camera_info',
            'no CameraInfo of front has come on /front/camera_info, for depth.registered',
        ),
        ({'front_info': make_info(k=(0.0,) * 9)}, 'bad_camera_info', 'front, for depth.registered: CameraInfo: 320'),
        ({'depth_info': straight_info(17, 30)}, 'camera_info_size', 'the image has 16 x 12'),
        (
            {'pose': None},
            'no_transform',
            "the pose of frame 'depth_optical' in 'front_optical', the frame of front, is not known",
        ),
        (
            {'front_info': make_info(), 'pose': None},
            'no_transform',
            'the CameraInfo of front on /front/camera_info has no frame_id, for depth.registered: let its driver set',
        ),
    ],
)
def test_what_is_missing_is_named(known, reason, text):
    pipeline, refused = ready(triggered(), **known)
    push(pipeline, image())
    ((name, found, explained),) = refused
    assert (name, found) == ('depth', reason)
    assert text in explained
    assert pipeline.ledger['depth'].counts().dropped == {reason: 1}


@pytest.mark.parametrize('compressed', [False, True])
@pytest.mark.parametrize('size', [(320, 200), (160, 100), (320, 240)])
def test_a_calibration_that_is_not_of_the_camera_s_image_is_refused(size, compressed):
    """Where their aspect ratios differ, pixels of the camera and of the result are not one direction."""
    topic = f'/front/image_raw{"/compressed" if compressed else ""}'
    front = dataclasses.replace(FRONT, topic=topic, decode_scale=2 if compressed else 1)
    pipeline, refused = ready(triggered(PipelineConfig(cameras=(front,), depths=(DEPTH,)), required=False))
    width, height = size
    data, place = message(np.zeros((height, width, 3), np.uint8))
    picture = CameraFrame(1, 'front_optical', data, 'rgb8', **place)
    if compressed:
        data, place = message(np.zeros((height // 2, width // 2, 3), np.uint8))
        reduced = CameraFrame(1, 'front_optical', data, 'rgb8', **place, reduction=Reduction(2, width, height))
        picture = EncodedImage(1, 'front_optical', data.numel(), lambda: reduced)
    pipeline.receive('front')
    pipeline.push('front', picture)
    frame = frame_of(pipeline)
    fits = width * FRONT_INFO.height == height * FRONT_INFO.width
    assert frame.valid == {'front': True, 'depth': fits}
    assert frame.tensors['depth.valid'].any() == fits
    text = f'front, for depth.registered: CameraInfo is of 320 x 200 pixels, the image has {width} x {height}'
    assert [(name, reason, text in why) for name, reason, why in refused] == (
        [] if fits else [('depth', 'camera_info_size', True)]
    )


def test_the_pose_in_another_frame_of_the_camera_is_another_one():
    pipeline, _ = ready(triggered())
    assert pipeline.registrations['depth'].frame_to_find('depth_optical') == ''
    assert pipeline.registrations['depth'].frame_to_find('other') == 'front_optical'
    assert pipeline.registrations['depth'].frame_to_find('front_optical') == '', 'both have one frame'
    pipeline.set_camera_info('front', dataclasses.replace(FRONT_INFO, frame_id='renamed'))
    assert pipeline.registrations['depth'].frame_to_find('depth_optical') == 'renamed'


def test_extrinsics_of_both_give_the_pose_between_them():
    half = math.sqrt(0.5)
    front, depth = (0.3, 0.1, 0.9, -half, 0.0, 0.0, half), (0.3, 0.15, 0.8, 0.0, -half, 0.0, half)
    config = PipelineConfig(
        cameras=(dataclasses.replace(FRONT, extrinsics=front),),
        depths=(dataclasses.replace(DEPTH, extrinsics=depth),),
        target_frame='base_link',
    )
    pipeline, _ = ready(triggered(config), pose=None)
    admitted = pipeline._streams['depth'].admit(image())
    expected = torch.linalg.inv(pose_matrix(front).double()) @ pose_matrix(depth).double()
    torch.testing.assert_close(admitted.pose_in_camera.double(), expected, atol=1e-6, rtol=0)
    assert pipeline.registrations['depth'].frame_to_find('anything') == ''


@pytest.mark.parametrize(
    ('depth', 'cameras', 'text'),
    [
        ({'registered': 'back'}, (FRONT,), "depth.registered = 'back': must name a camera, of front"),
        ({}, (), "depth.registered = 'front': must name a camera, of which there is none"),
        ({'width': 320}, (FRONT,), "depth.width = 320: must be left out with depth.registered = 'front'"),
        ({'height': 41}, (FRONT,), 'depth.height = 41: must be left out'),
        ({'letterbox': True}, (dataclasses.replace(FRONT, letterbox=False),), 'depth.letterbox = True'),
        ({'resize': 'min'}, (FRONT,), "depth.resize = 'min': must be left out"),
        ({'rectify': True}, (FRONT,), 'depth.rectify = True: must be left out'),
        ({'extrinsics': (0.0,) * 6 + (1.0,)}, (FRONT,), r'front.extrinsics = \(\): must be set as depth.extrinsics is'),
        ({}, (dataclasses.replace(FRONT, extrinsics=(0.0,) * 6 + (1.0,)),), r'depth.extrinsics = \(\): must be set'),
    ],
)
def test_a_configuration_that_could_not_be_is_refused(depth, cameras, text):
    with pytest.raises(ConfigError, match=text):
        PipelineConfig(cameras=cameras, depths=(dataclasses.replace(DEPTH, **depth),), target_frame='base_link')


def test_extrinsics_of_a_camera_need_a_target_frame():
    with pytest.raises(ConfigError, match=r'front.extrinsics: needs target_frame'):
        PipelineConfig(cameras=(dataclasses.replace(FRONT, extrinsics=(0.0,) * 6 + (1.0,)),))


def test_what_is_set_as_the_camera_s_is_allowed():
    depth = dataclasses.replace(DEPTH, width=64, height=40, letterbox=True)
    config = PipelineConfig(cameras=(FRONT,), depths=(depth,))
    assert config == CONFIG
    assert dataclasses.replace(config) == config
    assert [config.needs_calibration(stream) for stream in config.streams()] == [True, True]
    assert not PipelineConfig(cameras=(FRONT,)).needs_calibration(FRONT)


# --- the scene


@pytest.mark.parametrize('model', ['', 'rectified', *MODELS])
def test_distances_are_those_that_the_scene_has_for_the_camera(model):
    """Of a robot at rest: what the camera's pixels see, but for noise, the edges of things, and what it alone sees."""
    sim = robot(seed=3, speed=0.0, yaw_rate=0.0, depth=True)
    (camera,), front = sim.depths, sim.cameras[0]
    width, height = 320, 240
    info = straight_info(front.width, front.height, front.focal)
    if model:
        lens = 'plumb_bob' if model == 'rectified' else model
        info = dataclasses.replace(info, distortion_model=lens, d=MODELS[lens])
    poses = {each.name: (*each.pose.translation.tolist(), *each.pose.quaternion.tolist()) for each in (camera, front)}
    colour = dataclasses.replace(
        FRONT, width=width, height=height, letterbox=False, rectify=model == 'rectified', extrinsics=poses['front']
    )
    depth = dataclasses.replace(DEPTH, extrinsics=poses['front_depth'])
    config = PipelineConfig(cameras=(colour,), depths=(depth,), target_frame='base_link')
    straight = straight_info(camera.width, camera.height, camera.focal)
    pipeline, _ = ready(triggered(config), depth_info=straight, front_info=info, pose=None)
    frame = frame_of(pipeline, depth_frame(camera, 0))
    depth, valid = frame.tensors['depth'][0].numpy(), frame.tensors['depth.valid'][0].numpy()

    rays = rays_of(info, width=width, height=height, is_rectified=model == 'rectified').double().numpy()
    pose = sim.world.trajectory.at(np.array([front.stamp_ns(0)])).pose @ front.pose
    direction = rays @ pose.rotation[0].T
    origin = tuple(axis.reshape(1, 1) for axis in pose.translation[0])
    truth = sim.world.scene.cast(origin, tuple(np.moveaxis(direction, -1, 0))).distance
    around = [np.roll(truth, (row, column), (0, 1)) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    noise = 0.004 * np.minimum(truth, 20.0) ** 2 + 0.002
    agrees = (depth >= np.min(around, axis=0) - noise) & (depth <= np.max(around, axis=0) + noise)
    seen = valid & (truth < 9.5)
    assert seen.sum() > 30_000
    assert agrees[seen].mean() > 0.995
    inside = slice(40, -40), slice(40, -40)
    assert valid[inside][(truth < 9.0)[inside]].mean() > 0.98
