# SPDX-License-Identifier: Apache-2.0
"""Messages over DDS that are none of their type: each is a drop with a reason, and the node goes on."""

import pytest
from rclpy.serialization import serialize_message
from support.robot import Robot, camera_info, cloud, imu, jpeg

PARAMETERS = {
    'lidars': ['lidar'],
    'cameras': ['front'],
    'imus': ['imu'],
    'front__topic': '/front',
    'front__message': 'compressed',
    'front__rectify': True,
    'diagnostics_period': 0.1,
}
#: What is left of a message: of its encapsulation, of its header, and nearly all.
CUTS = (slice(0), slice(3), slice(40), slice(-10))


@pytest.mark.parametrize(
    ('name', 'make', 'kind'), [('lidar', cloud, 'PointCloud2'), ('front', jpeg, 'CompressedImage'), ('imu', imu, 'Imu')]
)
def test_they_are_counted_and_explained_by_topic_and_type(name, make, kind):
    with Robot(**PARAMETERS) as robot:
        robot.bring_up()
        robot.deliver(name, make(0))
        for number, cut in enumerate(CUTS):
            robot.publishers[f'/{name}'].publish(serialize_message(make(100 + number))[cut])
            robot.settled(name, number + 2)
        robot.deliver(name, make(200))
        counts = robot.settled(name, len(CUTS) + 2)
        assert counts.received == len(CUTS) + 2
        assert counts.dropped['undeserializable'] == len(CUTS)
        assert robot.node.runtime.metrics.failures == 0
        text = f'/{name}: {len(serialize_message(make(100))) - 10} bytes that are no {kind}: '
        robot.until(
            lambda: robot.values(f'input {name}').get('last.undeserializable', '').startswith(text), 'the report'
        )


def test_a_calibration_is_explained_and_the_one_before_it_holds():
    with Robot(**PARAMETERS) as robot:
        robot.bring_up()
        robot.publish('/camera_info', camera_info())
        robot.until(lambda: robot.node.pipeline._streams['front'].info, 'the calibration')
        robot.publishers['/camera_info'].publish(serialize_message(camera_info())[:40])
        explanations = robot.node.runtime.drops.explanations
        robot.until(lambda: ('front', 'undeserializable') in explanations, 'the explanation')
        text = explanations['front', 'undeserializable'].message
        assert text.startswith('/camera_info: 40 bytes that are no CameraInfo: ')
        robot.deliver('front', jpeg(0))
        assert 'no_camera_info' not in robot.settled('front', 1).dropped
