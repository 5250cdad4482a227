# SPDX-License-Identifier: Apache-2.0
"""From ROS 2 Lyrical on a ``uint8[]`` field can be a ``rosidl_buffer.Buffer``: a stand-in of its interface is taken.

So it is where the package is not installed by which its memory is read on the GPU, and by consumers on the CPU.
"""

from types import SimpleNamespace

import pytest
import torch
from support import cuda_buffers, depths, robot

from robocache_core import payload
from robocache_core.config import CameraConfig, DepthConfig, LidarConfig
from robocache_core.frame import FusedFrame
from robocache_ros.decode import decode_cloud
from robocache_ros.decode_depth import decode_compressed_depth, decode_depth
from robocache_ros.decode_image import decode_compressed, decode_image
from robocache_ros.subscriber import FusedSubscriber

PIXELS = depths.scene()


@pytest.mark.parametrize(
    ('decode', 'message', 'config'),
    [
        (decode_cloud, robot.cloud(0), LidarConfig('lidar')),
        (decode_image, robot.image(0), CameraConfig('front')),
        (decode_compressed, robot.jpeg(0), CameraConfig('front')),
        (decode_depth, depths.depth_image(0, PIXELS), DepthConfig('depth')),
        (
            decode_compressed_depth,
            depths.compressed_image(0, depths.compressed_depth(PIXELS), '16UC1; compressedDepth png'),
            DepthConfig('depth'),
        ),
    ],
    ids=['cloud', 'image', 'jpeg', 'depth', 'compressed depth'],
)
def test_a_buffer_without_the_buffer_protocol_gives_the_same_sample(decode, message, config):
    names = message.__slots__ if hasattr(message, '__slots__') else vars(message)
    plain = {name.lstrip('_'): getattr(message, name) for name in names}
    both = (SimpleNamespace(**{**plain, 'data': data}) for data in (message.data, cuda_buffers.filled(message.data)))
    samples = [decode(each, config) for each in both]
    view, copy = (sample.decode().data if hasattr(sample, 'decode') else sample.data for sample in samples)
    assert view.tolist() == copy.tolist()
    assert len(view) > 0


def test_a_consumer_gets_the_frame_of_such_a_payload():
    callbacks, frames = [], []
    node = SimpleNamespace(create_subscription=lambda kind, topic, callback, *_, **__: callbacks.append(callback))
    FusedSubscriber(node, frames.append)
    frame = FusedFrame(
        stamp_ns=5, epoch=0, sequence=0, frame_id='base_link', tensors={'imu': torch.arange(6.0)},
        valid={'imu': True}, age_ns={'imu': 0},
    )  # fmt: skip
    callbacks[0](SimpleNamespace(data=cuda_buffers.filled(payload.encode(frame))))
    assert frames[0].tensors['imu'].tolist() == frame.tensors['imu'].tolist()
