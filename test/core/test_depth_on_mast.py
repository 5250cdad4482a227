# SPDX-License-Identifier: Apache-2.0
"""A depth camera that moves on the robot: the pose of its image places the points, as one that a parameter states."""

import pytest
import torch
from support.cameras import straight_info

from robocache_core.config import DepthConfig, PipelineConfig
from robocache_core.pipeline import Pipeline
from robocache_core.rotation import pose_matrix
from robocache_core.samples import EncodedImage
from robocache_core.streams.depth import DepthVoxelConfig
from robocache_sim.samples import depth_frame
from robocache_sim.sensors import robot

VOXEL = DepthVoxelConfig(
    output='sparse', size=(0.2, 0.2, 0.2), lower=(-15.1, -15.1, -1.1), upper=(15.1, 15.1, 5.1), channels=('count',)
)


def voxels(camera, sample, extrinsics=()):
    config = DepthConfig('depth', topic='/d/image_rect_raw', voxel=VOXEL, extrinsics=extrinsics, width=80, height=60)
    pipeline = Pipeline(PipelineConfig(depths=(config,), target_frame='base_link'))
    pipeline.set_camera_info('depth', straight_info(camera.width, camera.height, camera.focal))
    pipeline.receive('depth')
    pipeline.push('depth', sample)
    pipeline.give_up()
    return pipeline.poll(), pipeline


@pytest.mark.parametrize('is_encoded', [False, True])
def test_the_pose_of_an_image_places_its_points(is_encoded):
    (camera,) = robot(speed=0.0, yaw_rate=0.0, depth=True).depths
    pose = (*camera.pose.translation.tolist(), *camera.pose.quaternion.tolist())
    image = depth_frame(camera, 0)
    (expected,), _ = voxels(camera, image, pose)

    def sent(pose):
        encoding, nbytes = image.encoding, image.nbytes
        moving = EncodedImage(image.stamp_ns, image.frame_id, nbytes, lambda: image, encoding=encoding)
        sample = moving if is_encoded else image
        return type(sample)(**{**vars(sample), 'pose': pose})

    (frame,), _ = voxels(camera, sent(pose_matrix(pose)))
    assert len(frame.tensors['depth.coords']) > 1000
    assert all(torch.equal(frame.tensors[name], expected.tensors[name]) for name in expected.tensors)
    frames, pipeline = voxels(camera, sent(None))
    assert frames == []
    assert pipeline.ledger['depth'].counts().dropped == {'no_transform': 1}
