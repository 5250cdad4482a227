# SPDX-License-Identifier: Apache-2.0
"""A simulated 2-D lidar, and sensors whose clocks are wrong: what is written, and that it is found and set right."""

import numpy as np
import pytest

from robocache_ros import parameters
from robocache_ros.bags import open_bag
from robocache_ros.offline import fused_frames
from robocache_ros.tools import simulate
from robocache_ros.tools.config_from_bag import config_from_bag
from robocache_ros.tools.inspect.inspection import inspect
from robocache_ros.tools.recording import recorded_messages
from robocache_ros.tools.sensor_clocks import SensorClock, with_clocks
from robocache_sim.sensors import robot

SECOND = 10**9
WRONG = {'lidar': SensorClock(37 * SECOND), 'imu': SensorClock(0, 5000.0)}


def stamp_ns(message):
    return message.header.stamp.sec * SECOND + message.header.stamp.nanosec


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    """Two seconds of a robot with a 2-D lidar, its 3-D lidar on TAI."""
    out = tmp_path_factory.mktemp('simulated') / 'bag'
    command = [str(out), '--seconds', '2', '--lidar-rings', '2', '--without', 'camera', '--scanner']
    assert simulate.main([*command, '--clocks', 'lidar=37']) == 0
    return out


def test_clocks_show_their_offset_and_drift():
    made = robot(lidar_rings=2)
    start_ns = made.world.trajectory.start_ns
    right = list(recorded_messages(made, 1.0, without=['camera']))
    wrong = list(with_clocks(right, WRONG, start_ns))
    assert [(each.record_ns, each.topic) for each in wrong] == [(each.record_ns, each.topic) for each in right]
    for before, after in zip(right, wrong, strict=True):
        if before.topic == '/tf_static':
            assert after is before
        elif before.topic == '/lidar/points':
            assert stamp_ns(after.message) - stamp_ns(before.message) == 37 * SECOND
        else:
            gained_ns = (stamp_ns(before.message) - start_ns) * 0.005
            assert stamp_ns(after.message) - stamp_ns(before.message) == pytest.approx(gained_ns, abs=1)


def test_the_points_of_the_scanner_are_on_the_scene():
    made = robot(scanner=True, speed=0.0, yaw_rate=0.0)
    (scanner,) = made.scanners
    messages = list(recorded_messages(made, 0.3, without=['camera', 'lidar', 'imu', 'tf']))
    assert [each.topic for each in messages] == ['/scan'] * 3
    message = messages[0].message
    seen = message.ranges > 0
    angles = message.angle_min + message.angle_increment * np.arange(720)
    local = np.stack([message.ranges * np.cos(angles), message.ranges * np.sin(angles), 0 * angles], axis=1)[seen]
    pose = made.world.trajectory.at(np.array([stamp_ns(message)])).pose @ scanner.pose
    points = local @ pose.rotation[0].T + pose.translation[0]
    assert seen.mean() > 0.5
    assert np.abs(made.world.scene.distance_to_surface(points)).max() < 0.1


def test_a_simulated_offset_is_found_and_set_right(bag):
    report = inspect(bag)
    (found,) = [each for each in report['findings'] if each['code'] == 'clock_offset']
    assert found['subject'] == '/lidar/points'
    assert 'set lidar.stamp_offset: -37.0' in found['remedy']
    made = config_from_bag(open_bag(bag)).parameters
    assert made['lidars'] == ['lidar', 'scan']
    assert made['scan']['message'] == 'LaserScan'
    made['lidar']['stamp_offset'] = -37.0
    config, _ = parameters.from_dict(made, warn=pytest.fail)
    frames = list(fused_frames(bag, config))
    assert len(frames) >= 15
    assert all(frame.valid['scan'] and frame.valid['lidar'] for frame in frames)


@pytest.mark.parametrize(
    ('option', 'said'),
    [
        (['--clocks', 'radar=1'], 'radar: is no sensor of this robot, which has front, imu, lidar, rear'),
        (['--drifts', 'scanner=1'], 'scanner: is no sensor of this robot'),
        (['--clocks', 'lidar'], 'must be as lidar=37'),
        (['--clocks', 'lidar=nan'], 'must be as lidar=37'),
        (['--drifts', 'lidar=fast'], 'must be as lidar=37'),
    ],
)
def test_clocks_that_cannot_be_are_refused(tmp_path, option, said, capsys):
    with pytest.raises(SystemExit) as refused:
        simulate.main([str(tmp_path / 'bag'), *option])
    assert refused.value.code == 2
    assert said in capsys.readouterr().err
