# SPDX-License-Identifier: Apache-2.0
"""Messages over DDS that are none of their type: DDS drops them, and the node shows that they are missing."""

import pytest
from rclpy.serialization import serialize_message
from support.robot import Robot, cloud, imu, jpeg

GOOD = 12  # messages until the period of a topic is known
PARAMETERS = {
    'lidars': ['lidar'],
    'cameras': ['front'],
    'imus': ['imu'],
    'front__topic': '/front',
    'front__message': 'compressed',
    'diagnostics_period': 0.1,
}
CUTS = (slice(3), slice(40), slice(-10))


@pytest.mark.parametrize(('name', 'make'), [('lidar', cloud), ('front', jpeg), ('imu', imu)])
def test_the_node_goes_on_and_counts_them_as_missing_by_their_stamps(name, make):
    with Robot(**PARAMETERS) as robot:
        robot.bring_up()
        for number in range(GOOD):
            robot.deliver(name, make(100 * number))
        for number, cut in enumerate(CUTS):
            ms = 100 * (GOOD + 2 * number)
            robot.publish(f'/{name}', serialize_message(make(ms))[cut])
            robot.deliver(name, make(ms + 100))  # what DDS drops is gone once it has come
        counts = robot.counts(name)
        assert counts.received == GOOD + len(CUTS)
        assert robot.thread.is_alive()
        assert robot.node.runtime.metrics.failures == 0
        robot.until(lambda: robot.values(f'input {name}')['missing_by_stamps'] == str(len(CUTS)), 'the report')


@pytest.mark.parametrize(('name', 'make'), [('lidar', cloud), ('front', jpeg), ('imu', imu)])
def test_a_topic_without_any_other_is_named(name, make):
    with Robot(**PARAMETERS) as robot:
        robot.bring_up()
        publisher = robot.publishers[f'/{name}'] = robot.peer.create_publisher(type(make(0)), f'/{name}', 10)
        robot.until(publisher.get_subscription_count, 'the subscription')
        for ms in range(0, 500, 100):
            publisher.publish(serialize_message(make(ms))[:40])
        text = f'{name}: no message on /{name}, though it has 1 publisher(s) of {type(make(0)).__name__}: '
        text += 'nothing is sent, or nothing that can be deserialized'
        robot.values(f'input {name}')
        robot.until(lambda: robot.statuses[f'input {name}'].message == text, 'the report')
        robot.deliver(name, make(500))
        assert robot.counts(name).received == 1
