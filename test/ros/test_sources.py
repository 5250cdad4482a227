# SPDX-License-Identifier: Apache-2.0
"""Rows of message types: every stream has one, and the topics of a configuration follow from them."""

import importlib
import importlib.util

import pytest
from support.runtime import LIDAR, cloud, image, imu

from robocache_core.config import GROUPS, CameraConfig, ImuConfig, LidarConfig, PipelineConfig
from robocache_ros.sources import SHARED, SOURCES, routes, source_of

CAMERAS = (
    CameraConfig('raw', topic='/raw/image_raw'),
    CameraConfig('small', topic='small/image_raw/compressed', rectify=True),
)
CONFIG = PipelineConfig((LidarConfig('lidar', topic='/points'),), CAMERAS, (ImuConfig('imu', topic='imu'),))


@pytest.mark.parametrize('source', [*SOURCES.values(), *SHARED.values()], ids=[*SOURCES, *map('.'.join, SHARED)])
def test_a_row_names_its_class_and_its_group(source):
    package, _, name = source.type_name.split('/')
    if source.message is None:
        assert importlib.util.find_spec(package) is None or source_of(GROUPS[source.group]('x', message=source.choice))
        return
    assert getattr(importlib.import_module(f'{package}.msg'), name) is source.message
    assert source.group in GROUPS


@pytest.mark.parametrize('group', GROUPS)
def test_every_kind_of_stream_has_a_row_of_its_group(group):
    message = {'message': 'sensor_msgs/msg/Imu', 'fields': ('linear_acceleration.x',)} if group == 'vectors' else {}
    assert source_of(GROUPS[group]('x', **message)).group == group


def test_a_message_type_without_a_row_is_named(monkeypatch):
    monkeypatch.setattr(LidarConfig, 'message_type', 'sensor_msgs/msg/Nothing')
    with pytest.raises(KeyError, match='sensor_msgs/msg/Nothing, which lidar takes, has no row'):
        source_of(LidarConfig('lidar'))


@pytest.mark.parametrize(
    ('stream', 'message'),
    [(LIDAR, cloud(0)), (CAMERAS[0], image(0)), (CONFIG.imus[0], imu(0))],
    ids=['lidar', 'camera', 'imu'],
)
def test_a_message_is_decoded_by_its_row(stream, message):
    assert source_of(stream).decode(message, stream).frame_id == message.header.frame_id


def test_a_stream_without_a_topic_has_that_of_its_name():
    (route,) = routes(PipelineConfig(lidars=(LidarConfig('top'),)))
    assert route.absolute_topic == '/top'


def test_topics_of_a_configuration():
    found = [
        (route.stream.name, route.absolute_topic, route.type_name, route.is_calibration) for route in routes(CONFIG)
    ]
    assert found == [
        ('lidar', '/points', 'sensor_msgs/msg/PointCloud2', False),
        ('raw', '/raw/image_raw', 'sensor_msgs/msg/Image', False),
        ('small', '/small/image_raw/compressed', 'sensor_msgs/msg/CompressedImage', False),
        ('small', '/small/camera_info', 'sensor_msgs/msg/CameraInfo', True),
        ('imu', '/imu', 'sensor_msgs/msg/Imu', False),
    ]
    shown = [route.absolute_topic for route in routes(CONFIG, views=True) if route.is_calibration]
    assert shown == ['/raw/camera_info', '/small/camera_info']
    assert all(route.message.__name__ == route.type_name.rpartition('/')[2] for route in routes(CONFIG))
