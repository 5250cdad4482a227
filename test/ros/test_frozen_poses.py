# SPDX-License-Identifier: Apache-2.0
"""Odometry whose pose stands still while its twist says that the robot moves: found live, in a bag, and by inspect."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nav_msgs.msg import Odometry
from support import bags, vectors
from support.runtime import LIDAR, SECOND, START_NS, cloud, header, make

from robocache_core.config import DeskewConfig, ImuConfig, MessageVectorConfig, PipelineConfig, SyncConfig
from robocache_core.units import MS
from robocache_ros.frozen_poses import REMEDY, FrozenPose, FrozenPoses
from robocache_ros.offline import fused_frames
from robocache_ros.tools.inspect.inspection import inspect

ODOM = MessageVectorConfig('odom', topic='/odom', message='nav_msgs/msg/Odometry', tolerance_ns=200 * MS)
FROZEN = r'its pose is the same, to the bit, in \d+ messages, in which the robot moves by [\d.]+ m and turns by 0 rad '


def moving(at: float, speed: float, rate: float = 0.0) -> Any:
    """What a message holds of a robot that is at a place, m, and says that it moves, m/s, and turns, rad/s."""
    still = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
    pose = SimpleNamespace(position=SimpleNamespace(x=at, y=0.0, z=0.0), orientation=still)
    twist = SimpleNamespace(linear=SimpleNamespace(x=speed, y=0.0, z=0.0), angular=SimpleNamespace(x=0, y=0, z=rate))
    imu = SimpleNamespace(angular_velocity=twist.angular)
    return SimpleNamespace(pose=SimpleNamespace(pose=pose), twist=SimpleNamespace(twist=twist), imu=imu)


@pytest.mark.parametrize(
    ('place', 'speed', 'rate', 'step_ms', 'is_frozen'),
    [
        (lambda s: 0.0, 1.0, 0.0, 20, True),
        (lambda s: s, 1.0, 0.0, 20, False),
        (lambda s: 0.0, 0.0, 0.3, 20, True),
        (lambda s: 0.0, 0.0, 0.0, 20, False),
        (lambda s: 0.0, 0.02, 0.02, 20, False),  # the noise of a robot that stands
        (lambda s: 0.0, 0.2, 0.0, 20, False),  # 0.6 m in 3 s: it may be found at a low rate
        (lambda s: math.floor(2 * s) / 2, 1.0, 0.0, 20, False),  # found at 2 Hz, sent at 50
        (lambda s: 0.0, math.nan, math.nan, 20, False),
        (lambda s: 0.0, 1.0, 0.0, 0, False),  # one message, several times
        (lambda s: 0.0, 1.0, 0.0, 1500, False),  # nothing is known of the time between two
    ],
)
def test_a_pose_is_frozen_where_the_robot_moves_by_its_twist(
    place: Callable[[float], float], speed: float, rate: float, step_ms: int, is_frozen: bool
) -> None:
    frozen = FrozenPose()
    for number in range(150):
        frozen.take(START_NS + number * step_ms * MS, moving(place(number * step_ms / 1000), speed, rate))
    assert bool(frozen.sentence) == bool(frozen.found) == is_frozen


def test_a_pose_that_moves_again_is_not_frozen_any_more() -> None:
    frozen = FrozenPose()
    for number in range(100):
        frozen.take(START_NS + number * 20 * MS, moving(0.0, 1.0))
    assert (
        frozen.sentence
        == frozen.found
        == (
            'its pose is the same, to the bit, in 100 messages, in which the robot moves by 1.98 m and turns by 0 rad '
            'within 1.98 s by its twist'
        )
    )
    frozen.take(START_NS + 2 * SECOND, moving(2.0, 1.0))
    assert (frozen.sentence, frozen.found[:11]) == ('', 'its pose is')


@pytest.mark.parametrize(
    ('rate', 'late_ms', 'is_frozen'), [(0.3, 0, True), (0.05, 0, False), (0.3, 1500, False), (math.nan, 0, False)]
)
def test_the_imu_of_the_robot_says_that_it_turns_where_the_twist_is_not_set(
    rate: float, late_ms: int, is_frozen: bool
) -> None:
    lidar = dataclasses.replace(LIDAR, deskew=DeskewConfig(source='imu'))
    imus = ImuConfig('imu', topic='/imu', window_size=2), ImuConfig('of_arm', topic='/arm', window_size=2)
    poses = FrozenPoses((lidar, *imus, ODOM))
    for number in range(150):
        stamp_ns = START_NS + number * 20 * MS
        poses.take('imu', stamp_ns - late_ms * MS, moving(0.0, 0.0, rate).imu)
        poses.take('of_arm', stamp_ns, moving(0.0, 0.0, 5.0).imu)
        poses.take('odom', stamp_ns, moving(0.0, 0.0))
    assert bool(poses.now('odom')) == is_frozen
    assert not is_frozen or 'by 0 m and turns by 0.894 rad within 2.98 s by its twist and imu: ' in poses.now('odom')


def odometry(ms: int, *, is_frozen: bool = True) -> Odometry:
    message = Odometry(header=header(ms, 'odom'), child_frame_id='base_link')
    message.pose.pose.position.x = 0.0 if is_frozen else ms / 1000
    message.pose.pose.orientation.w = message.twist.twist.linear.x = 1.0
    return message


def test_a_node_says_it_once_and_drops_nothing_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make(PipelineConfig(lidars=(LIDAR,), vectors=(ODOM,)))
    monkeypatch.setattr(type(bench.runtime.worker), 'is_alive', property(lambda worker: True))

    def run(begin_ms: int, **of: bool) -> Any:
        for ms in range(begin_ms, begin_ms + 1500, 100):
            bench.put('odom', odometry(ms, **of))
            bench.put('lidar', cloud(ms))
            bench.clock.advance(0.1)
            bench.work()
        bench.runtime.reporter.tick()
        bench.work()
        (status,) = [s for s in bench.sent[-2].status if s.name == 'preprocess: input odom']
        return status

    assert run(0).level == b'\x01'
    assert run(1500).message.endswith(REMEDY)
    (line,) = [line for line in bench.log.of('warning') if 'its pose is the same' in line]
    assert re.match(rf'odom: {FROZEN}.*: {REMEDY}$', line)
    assert run(3000, is_frozen=False).level == b'\x00'
    counts = bench.runtime.pipeline.ledger['odom'].counts()
    assert counts.received == 45
    assert not counts.dropped
    assert len(bench.frames) >= 43


def frozen_bag(path: Path) -> Path:
    """Of a robot that drives; its odometry has the pose of its begin for 2 s, and goes on."""
    still = vectors.odometry(100)

    def sent(ms: float) -> Any:
        message = vectors.odometry(ms)
        message.twist.twist.linear.x = 1.0
        if ms < 2000:
            message.pose.pose = still.pose.pose
        return message

    return bags.write(path, [*bags.every(20, '/odom', sent, 3000), *bags.every(10, '/imu', bags.imu, 3000)])


@pytest.mark.parametrize(('streams', 'level'), [((ODOM,), 'error'), ((), 'note')])
def test_inspect_finds_it_also_where_no_stream_takes_it(
    tmp_path: Path, streams: tuple[MessageVectorConfig, ...], level: str
) -> None:
    bag = frozen_bag(tmp_path / 'bag')
    imu = ImuConfig('imu', topic='/imu', window_size=2, window_period_ns=10 * MS)
    config = PipelineConfig(imus=(imu,), vectors=streams, sync=SyncConfig(rate_hz=10.0))
    with fused_frames(bag, config) as frames:
        num_frames = len(list(frames))
        lines = [line for line in frames.warnings if 'its pose is the same' in line]
    assert num_frames
    assert len(lines) == len(streams)
    file = tmp_path / 'config.yaml'
    vector = 'vectors: [odom], odom: {topic: /odom, message: nav_msgs/msg/Odometry},' if streams else ''
    parameters = f'{{imus: [imu], {vector} imu: {{topic: /imu}}, sync: {{rate_hz: 10.0}}}}'
    file.write_text(f'/**: {{ros__parameters: {parameters}}}')
    findings = inspect(bag, file)['findings']
    (found,) = [each for each in findings if 'its pose is the same' in each['what']]
    assert (found['level'], found['code'], found['subject'], found['remedy']) == (level, 'frozen_pose', '/odom', REMEDY)
