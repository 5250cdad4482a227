# SPDX-License-Identifier: Apache-2.0
"""What ``Pipeline.push`` refuses: samples of another kind than their stream's, and tensors that nothing can read."""

import dataclasses

import pytest
import torch
from support.cameras import straight_info
from support.driving import IMU, T0, assert_ledger, image, lidar

from robocache_core.camera_model import camera_model_of
from robocache_core.config import CameraConfig, DepthConfig, MessageVectorConfig, PipelineConfig
from robocache_core.pipeline import Pipeline
from robocache_core.samples import CameraFrame, CloudLayout, EncodedImage, LidarScan, VectorSample

SIZE = {'width': 4, 'height': 2, 'required': False}
CONFIG = PipelineConfig(
    lidars=(lidar(),),
    cameras=(CameraConfig('front', **SIZE),),
    depths=(DepthConfig('depth', **SIZE),),
    imus=(dataclasses.replace(IMU, required=False),),
    vectors=(MessageVectorConfig('odom', message='nav_msgs/msg/Odometry', required=False),),
    target_frame='base_link',
)
SCAN = LidarScan(T0, 'lidar', torch.zeros(24, dtype=torch.uint8), CloudLayout.packed(('x', 'y', 'z'), 2))
PICTURE = image(T0)
DEPTH = CameraFrame(T0, 'depth', torch.ones(16, dtype=torch.uint8), '16UC1', 4, 2, 8)
ENCODED = EncodedImage(T0, 'front', 24, lambda: PICTURE)
IMU_READING = VectorSample(T0, 'imu', torch.zeros(6))
ODOMETRY = VectorSample(T0, 'odom', torch.zeros(13), 'base_link')
MODEL = camera_model_of(straight_info(4, 4, 4.0), out_width=2, out_height=2)

TAKEN = [
    ('lidar', SCAN),
    ('front', PICTURE),
    ('front', ENCODED),
    ('depth', DEPTH),
    ('imu', IMU_READING),
    ('odom', ODOMETRY),
]
OTHERS = [
    *(('lidar', sample) for sample in (PICTURE, ENCODED, IMU_READING, None)),
    *((name, sample) for name in ('front', 'depth') for sample in (SCAN, IMU_READING, PICTURE.data)),
    *((name, sample) for name in ('imu', 'odom') for sample in (SCAN, PICTURE, ENCODED, IMU_READING.values)),
]


def pipeline_with_poses() -> Pipeline:
    pipeline = Pipeline(CONFIG)
    for name in ('lidar', 'front', 'depth', 'imu', 'odom'):
        pipeline.set_pose(name, name, torch.eye(4))
    return pipeline


def unreadable(like: torch.Tensor) -> dict[str, torch.Tensor]:
    """Tensors that no operation reads, by what the refusal says."""
    numbers = torch.ones(like.shape)
    return {
        'on meta': torch.empty_like(like, device='meta'),
        'layout torch.sparse_coo': like.to_sparse(),
        'a gradient' if like.is_floating_point() else 'must be torch.uint8': numbers.requires_grad_(),
        'list': [1.0],  # type: ignore[dict-item]
    }


@pytest.mark.parametrize(('name', 'sample'), TAKEN, ids=lambda each: getattr(each, 'frame_id', each))
def test_a_sample_of_its_stream_is_taken(name, sample):
    pipeline = pipeline_with_poses()
    pipeline.receive(name)
    pipeline.push(name, sample)
    assert pipeline.ledger[name].counts().held == 1
    if name != 'lidar':
        pipeline.receive('lidar')
        pipeline.push('lidar', SCAN)
    pipeline.give_up()
    assert len(pipeline.poll()) == 1


def assert_refused(name, sample, error, said):
    """The message is accounted for, and costs no target."""
    pipeline = pipeline_with_poses()
    pipeline.receive(name)
    with pytest.raises(error, match=said):
        pipeline.push(name, sample)
    assert pipeline.ledger[name].counts().dropped == {'internal_error': 1}
    assert pipeline.targets.counts().received == 0
    assert_ledger(pipeline)


@pytest.mark.parametrize(
    ('name', 'sample'), OTHERS, ids=lambda each: each if isinstance(each, str) else type(each).__name__
)
def test_a_sample_of_another_kind_is_refused(name, sample):
    kinds = {'lidar': 'LidarScan', 'imu': 'VectorSample', 'odom': 'VectorSample'}
    must_be = kinds.get(name, 'CameraFrame or EncodedImage')
    assert_refused(name, sample, TypeError, f'the sample is {type(sample).__name__}: must be {must_be}$')


#: Each tensor of each kind, with one of its shape.
TENSORS = [
    ('lidar', SCAN, 'data', SCAN.data),
    ('lidar', SCAN, 'pose', torch.eye(4)),
    ('front', PICTURE, 'data', PICTURE.data),
    ('front', PICTURE, 'rectify', torch.ones(2, 4, 2)),
    ('depth', DEPTH, 'pose', torch.eye(4)),
    ('depth', DEPTH, 'pose_in_camera', torch.eye(4)),
    ('depth', DEPTH, 'rays', torch.ones(2, 4, 3)),
    ('depth', DEPTH, 'corners', torch.ones(3, 3, 5)),
    ('front', ENCODED, 'pose', torch.eye(4)),
    ('depth', ENCODED, 'pose_in_camera', torch.eye(4)),
    ('imu', IMU_READING, 'values', IMU_READING.values),
    ('odom', ODOMETRY, 'values', ODOMETRY.values),
]


@pytest.mark.parametrize(
    ('name', 'sample', 'member', 'like'), TENSORS, ids=lambda each: each if isinstance(each, str) else ''
)
def test_a_tensor_that_nothing_can_read_is_refused_by_name(name, sample, member, like):
    for said, tensor in unreadable(like).items():
        broken = dataclasses.replace(sample, **{member: tensor})
        assert_refused(name, broken, (TypeError, ValueError), f'^{member} .*{said}')


def test_every_tensor_of_every_kind_is_asked():
    kinds = (LidarScan, CameraFrame, EncodedImage, VectorSample)
    members = {(kind, field.name, field.type) for kind in kinds for field in dataclasses.fields(kind)}
    tensors = {(kind, name) for kind, name, annotation in members if 'Tensor' in annotation or annotation == 'Data'}
    assert tensors == {(type(sample), member) for _, sample, member, _ in TENSORS}


@pytest.mark.parametrize(
    ('name', 'sample', 'changes', 'error', 'said'),
    [
        ('lidar', SCAN, {'layout': None}, TypeError, 'layout is NoneType: must be CloudLayout'),
        ('lidar', SCAN, {'stamp_ns': 1.5}, TypeError, 'stamp_ns is float: must be an integer'),
        ('lidar', SCAN, {'pose': torch.eye(3)}, ValueError, r'pose = .*: must be \[4, 4\]'),
        ('lidar', SCAN, {'data': SCAN.data.view(6, 4)[:, 0]}, ValueError, 'data has stride 4: must be contiguous'),
        ('front', ENCODED, {'nbytes': None}, TypeError, 'nbytes is NoneType: must be an integer'),
        ('depth', DEPTH, {'camera_model': MODEL}, ValueError, 'camera_model: must be None'),
    ],
)
def test_other_members_are_refused_by_name(name, sample, changes, error, said):
    assert_refused(name, dataclasses.replace(sample, **changes), error, said)


@pytest.mark.parametrize('pose', [None, torch.eye(3), torch.eye(4, device='meta'), torch.full((4, 4), torch.nan)])
def test_a_pose_that_is_none_is_refused_as_it_is_stated(pose):
    with pytest.raises((TypeError, ValueError), match=r'^pose '):
        Pipeline(CONFIG).set_pose('lidar', 'lidar', pose)
