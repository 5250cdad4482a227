# SPDX-License-Identifier: Apache-2.0
"""The node over a real ROS network. What diagnostics say when nothing comes out."""

import re
import time

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import Imu, PointCloud2
from support.robot import LIDAR, SUCCESS, Robot, cloud, image


def test_silence_is_explained_in_one_line():
    with Robot(**LIDAR) as robot:
        robot.bring_up()
        robot.until(lambda: 'blocker' in robot.values('sync') and robot.values('sync')['blocker'], 'a blocker')
        assert robot.values('sync')['blocker'] == 'lidar: no publisher on /lidar (PointCloud2)'
        assert robot.statuses['input lidar'].level == DiagnosticStatus.STALE
        robot.peer.create_publisher(PointCloud2, '/lidar/points', 1)
        robot.peer.create_subscription(PointCloud2, '/lida', lambda _: None, 1)  # nearer, and nobody publishes it
        robot.until(lambda: blocker(robot).endswith('; there is /lidar/points (PointCloud2)'), 'what is like it')


def test_missing_camera_is_named():
    with Robot(**LIDAR, cameras=['front']) as robot:
        robot.bring_up()
        for i in range(8):
            robot.publish('/lidar', cloud(100 * i))
        robot.until(lambda: 'front' in robot.values('sync')['blocker'], 'the camera in the blocker')
        assert 'no publisher on /front (Image)' in robot.values('sync')['blocker']


def test_qos_mismatch_is_diagnosed():
    with Robot(**LIDAR, **{'qos_overrides./lidar.subscription.reliability': 'reliable'}) as robot:
        robot.bring_up()
        profile = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        robot.peer.create_publisher(PointCloud2, '/lidar', profile)
        robot.until(lambda: int(robot.values('input lidar')['qos.incompatible']) > 0, 'the QoS event')
        assert 'reliab' in robot.values('sync')['blocker'].lower()
        assert robot.statuses['input lidar'].level == DiagnosticStatus.ERROR


def blocker(robot):
    return robot.values('sync').get('blocker', '')


def test_a_topic_of_another_type_is_named_by_its_type():
    context = rclpy.Context()  # a participant of its own: one participant cannot have two types on a topic
    rclpy.init(context=context)
    stranger = rclpy.create_node('stranger', context=context)
    try:
        with Robot(**LIDAR) as robot:
            robot.bring_up()
            stranger.create_publisher(Imu, '/lidar', 10)
            robot.until(lambda: 'carries sensor_msgs/msg/Imu, not PointCloud2' in blocker(robot), 'the type')
            robot.deliver('lidar', cloud(0))
            robot.until(lambda: robot.statuses['input lidar'].message.startswith('/lidar also has'), 'the warning')
            assert robot.values('input lidar')['other_types'] == 'sensor_msgs/msg/Imu'
    finally:
        stranger.destroy_node()
        rclpy.shutdown(context=context)


def test_a_stream_that_falls_silent_is_not_taken_for_a_wrong_clock_nor_the_other_way_round():
    with Robot(**LIDAR, cameras=['front']) as robot:
        robot.bring_up()
        robot.deliver('front', image(0))
        for ms in range(0, 4000, 200):
            robot.deliver('lidar', cloud(ms))
            time.sleep(0.1)
        robot.until(lambda: 'front: no message for' in blocker(robot), 'the silence in the blocker')
        for ms in range(4000, 20000, 200):
            robot.deliver('lidar', cloud(ms))
            robot.deliver('front', image(ms - 3500))
            if 'one clock is wrong' in (said := blocker(robot)):
                break
            time.sleep(0.05)
        # A report between the two deliveries sees the lidar 200 ms further on.
        assert re.search(r'the stamps of front are 3\.[57] s behind those of lidar', said)


def test_reports_go_on_after_a_quick_restart_of_the_worker():
    with Robot(**{**LIDAR, 'diagnostics_period': 0.05}) as robot:
        robot.bring_up()
        for _ in range(20):
            assert robot.node.trigger_deactivate() == SUCCESS
            assert robot.node.trigger_activate() == SUCCESS
        runtime = robot.node.runtime
        runtime.reporter._asked_ns = runtime.worker.started_ns - 1  # as if the request had gone with the old one
        robot.statuses.clear()
        robot.until(lambda: 'sync' in robot.statuses, 'a whole report')
