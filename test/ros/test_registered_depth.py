# SPDX-License-Identifier: Apache-2.0
"""Depth cameras that are registered to a camera: from a bag and live, by extrinsics and by transforms."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support import bags, depths
from support.live import Live

from robocache_core import CameraConfig, DepthConfig, PipelineConfig, payload
from robocache_core.config import SyncConfig
from robocache_ros import parameters
from robocache_ros.offline import fused_frames, make_pipeline
from robocache_ros.poses import streams_to_locate
from robocache_ros.sources import routes

#: Where the two cameras are on the robot, optical frames.
FRONT, DEPTH = ((0.3, 0.0, 0.9), (-0.5, 0.5, -0.5, 0.5)), ((0.3, 0.05, 0.88), (-0.5, 0.5, -0.5, 0.5))
DISTORTION = (-0.2, 0.05, 0.001, 0.0, 0.0)
VALUES = {
    'cameras': ['front'],
    'depths': ['raw', 'packed'],
    'sync.trigger': 'raw',
    'front.topic': '/front/image_raw',
    'front.required': False,
    'front.width': 96,
    'front.height': 96,
    'front.letterbox': True,
    'raw.topic': '/depth/image_rect_raw',
    'raw.registered': 'front',
    'packed.topic': '/depth/image_rect_raw/compressedDepth',
    'packed.registered': 'front',
}
STATED = VALUES | {
    'target_frame': 'base_link',
    'front.extrinsics': [*FRONT[0], *FRONT[1]],
    'raw.extrinsics': [*DEPTH[0], *DEPTH[1]],
    'packed.extrinsics': [*DEPTH[0], *DEPTH[1]],
}
JOINED = ('base_link', 'front_optical', *FRONT), ('base_link', 'depth_optical', *DEPTH)


def messages(*, without=(), transforms=JOINED):
    found = [
        (0, '/tf_static', bags.transforms(*transforms)),
        (1, '/depth/camera_info', depths.camera_info(1, 64, 48, 60.0)),
        (2, '/front/camera_info', depths.camera_info(2, 96, 72, 80.0, 'front_optical', DISTORTION)),
    ]
    for ms in range(10, 1010, 100):
        counts = depths.scene(seed=ms)
        encoded = depths.compressed_depth(counts, 'rvl')
        packed = depths.compressed_image(ms, encoded, '16UC1; compressedDepth rvl')
        found += [
            (ms, '/depth/image_rect_raw', depths.depth_image(ms, counts)),
            (ms, '/depth/image_rect_raw/compressedDepth', packed),
        ]
    return [message for message in found if message[1] not in without]


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return bags.write(tmp_path_factory.mktemp('registered') / 'bag', messages())


def frames_of(bag, values):
    config, _ = parameters.from_dict(values, warn=pytest.fail)
    pipeline = make_pipeline(config)
    return list(fused_frames(bag, config, pipeline)), pipeline


def test_a_frame_holds_the_distances_of_the_camera_s_pixels(bag):
    frames, _ = frames_of(bag, STATED)
    assert len(frames) == 10
    for frame in frames:
        for name in ('raw', 'packed'):
            depth, valid = frame.tensors[name], frame.tensors[f'{name}.valid']
            assert depth.shape == valid.shape == (1, 96, 96)
            assert not valid[0, :12].any(), 'padding of the camera'
            assert not valid[0, 84:].any(), 'padding of the camera'
            assert valid.sum() > 2000
            view = frame.views[name]
            assert (view.frame_id, view.info.d) == ('front_optical', DISTORTION)
        assert torch.equal(frame.tensors['raw'], frame.tensors['packed'])
        assert not frame.valid['front']


def test_live_and_offline_give_the_same_bits(bag):
    live, (offline, _) = Live(bag, STATED), frames_of(bag, STATED)
    assert len(live.frames) >= 6  # the last ones still wait for the camera
    assert [payload.digest(frame) for frame in live.frames] == [
        payload.digest(frame) for frame in offline[: len(live.frames)]
    ]


def test_transforms_give_the_pose_that_extrinsics_state(bag):
    """And no target frame is needed: from one optical frame to the other."""
    stated, _ = frames_of(bag, STATED)
    found, pipeline = frames_of(bag, VALUES)
    assert streams_to_locate(pipeline) == ['raw', 'packed']
    assert len(found) == 10
    for ours, theirs in zip(found, stated, strict=True):
        assert all(torch.equal(ours.tensors[name], theirs.tensors[name]) for name in ours.tensors)


def test_a_camera_that_moves_against_the_other_has_the_pose_of_each_stamp(tmp_path):
    """The depth camera slides along its rail, 0.1 m in a second, and is where transforms have it."""
    found = messages(transforms=JOINED[:1])
    for ms in range(0, 1100, 50):
        rail = ((0.3, 0.05 - 0.0001 * ms, 0.88), DEPTH[1])
        found.append((ms, '/tf', bags.transforms(('base_link', 'depth_optical', *rail), ms=ms)))
    moving, pipeline = frames_of(bags.write(tmp_path / 'bag', found), VALUES)
    assert len(moving) == 10
    assert pipeline.registrations['raw'].frame_to_find('depth_optical') == 'front_optical', (
        'no pose is that of every stamp'
    )
    for frame in moving:
        ms = (frame.stamp_ns - bags.START_NS) / bags.MS
        at = [0.3, 0.05 - 0.0001 * ms, 0.88, *DEPTH[1]]
        one = messages(without=['/tf_static'])
        path = bags.write(tmp_path / f'at{ms:.0f}', one)
        still, _ = frames_of(path, STATED | {'raw.extrinsics': at, 'packed.extrinsics': at})
        (same,) = (each for each in still if each.stamp_ns == frame.stamp_ns)
        assert torch.equal(frame.tensors['raw.valid'], same.tensors['raw.valid'])
        torch.testing.assert_close(frame.tensors['raw'], same.tensors['raw'], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ('without', 'transforms', 'reason', 'text'),
    [
        (['/front/camera_info'], JOINED, 'no_camera_info', 'no CameraInfo of front has come on /front/camera_info'),
        (['/depth/camera_info'], JOINED, 'no_camera_info', 'no CameraInfo has come on /depth/camera_info'),
        ([], JOINED[:1], 'no_transform', "the pose of 'depth_optical' in 'front_optical' is unknown"),
        ([], JOINED[1:], 'no_transform', "the pose of 'depth_optical' in 'front_optical' is unknown"),
    ],
)
def test_what_is_missing_is_named(tmp_path, caplog, without, transforms, reason, text):
    path = bags.write(tmp_path / 'bag', messages(without=without, transforms=transforms))
    frames, pipeline = frames_of(path, VALUES)
    assert frames == []
    assert {name: pipeline.ledger[name].counts().dropped for name in ('raw', 'packed')} == {
        'raw': {reason: 10},
        'packed': {reason: 10},
    }
    assert f'raw: message dropped ({reason}): {text}' in caplog.text


def test_the_calibration_of_the_camera_is_subscribed_to_for_the_depth_camera():
    front = CameraConfig('front', topic='/front/image_raw')
    depth = DepthConfig('depth', topic='/depth/image_raw')
    alone = PipelineConfig(cameras=(front,), depths=(depth,), sync=SyncConfig(trigger='depth'))
    registered = dataclasses.replace(alone, depths=(dataclasses.replace(depth, registered='front'),))
    infos = [[r.topic for r in routes(config) if r.is_calibration] for config in (alone, registered)]
    assert infos == [[], ['/front/camera_info', '/depth/camera_info']]
