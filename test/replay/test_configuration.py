# SPDX-License-Identifier: Apache-2.0
"""The topics of a configuration against those of a bag."""

from pathlib import Path

import pytest

from robocache_core.config import CameraConfig, ImuConfig, LidarConfig, PipelineConfig
from robocache_core.tunable import ConfigError
from robocache_ros import parameters
from robocache_ros.bags import Bag, BagError, Topic
from robocache_ros.tools.configuration import absent_topics, expected_types

IMAGE, IMU = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/Imu'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'


def bag(**types):
    topics = {f'/{name}': Topic(f'/{name}', msgtype, 1) for name, msgtype in types.items()}
    return Bag(Path('bag'), 0, 1, topics)


def test_every_topic_of_a_configuration_has_its_type():
    config = PipelineConfig(
        lidars=(LidarConfig('lidar', topic='points'),),
        cameras=(
            CameraConfig('front', topic='/front/image_raw'),
            CameraConfig('rear', topic='/rear/image_raw/compressed', rectify=True),
        ),
        imus=(ImuConfig('imu'),),
    )
    assert expected_types(config) == {
        '/points': 'sensor_msgs/msg/PointCloud2',
        '/front/image_raw': IMAGE,
        '/rear/image_raw/compressed': 'sensor_msgs/msg/CompressedImage',
        '/rear/camera_info': 'sensor_msgs/msg/CameraInfo',
        '/imu': IMU,
    }


def test_topics_that_the_bag_lacks_are_absent():
    assert absent_topics(bag(a=IMAGE, b=IMU), {'/a': IMAGE, '/c': IMU}) == ['/c']


@pytest.mark.parametrize(
    ('wanted', 'expected'),
    [
        ({'/c': IMU}, 'none of the configured topics: /c; it has: /a'),
        ({'/a': IMU}, f'/a is {IMAGE}, .* expects {IMU}$'),
        ({'/a': COMPRESSED}, f'expects {COMPRESSED}; set <stream>.message: raw$'),
    ],
)
def test_a_bag_that_cannot_serve_the_configuration_is_refused(wanted, expected):
    with pytest.raises(BagError, match=expected):
        absent_topics(bag(a=IMAGE), wanted)


def test_an_array_that_ros_refuses_is_refused_without_a_node_too(tmp_path):
    file = tmp_path / 'params.yaml'
    file.write_text('/**: {ros__parameters: {lidars: [a], a: {voxel: {lower: [-10.0, -10.0, -2]}}}}')
    with pytest.raises(
        ConfigError, match=r'a\.voxel\.lower = \[-10\.0, -10\.0, -2\]: must have a point in every number'
    ):
        parameters.from_file(file)
