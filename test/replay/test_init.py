# SPDX-License-Identifier: Apache-2.0
"""The tool ``init``: a configuration in which each parameter says what it is."""

from __future__ import annotations

import dataclasses
import itertools
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import rclpy
import yaml
from support import bags, depths, vectors

from robocache_core.tunable import ConfigError
from robocache_ros import parameters
from robocache_ros.bags import open_bag
from robocache_ros.message_types import installed
from robocache_ros.tools import init, listening
from robocache_ros.tools.config_from_bag import config_from_bag


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    messages = [
        *bags.every(100, '/lidar/points', bags.cloud, 1000),
        *bags.every(100, '/front/image_raw', bags.image, 1000),
        *bags.every(
            100, '/front/camera_info', lambda ms: depths.camera_info(ms, 2, 2, 1.0, d=(-0.2, 0, 0, 0, 0)), 1000
        ),
        *bags.every(5, '/imu/data', bags.imu, 1000),
        *bags.every(20, '/odom', vectors.odometry, 1000),
        *bags.every(20, '/cmd_vel', vectors.twist_stamped, 1000),
    ]
    return bags.write(tmp_path_factory.mktemp('init') / 'bag', messages)


def test_each_parameter_has_its_meaning_and_the_value_that_was_proposed(
    bag: Path, capsys: pytest.CaptureFixture
) -> None:
    assert init.main([str(bag)]) == 0
    text = capsys.readouterr().out
    made = config_from_bag(open_bag(bag))
    assert yaml.safe_load(text) == {'/**/preprocess': {'ros__parameters': made.parameters}}
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    for before, line in itertools.pairwise(lines):
        if re.match(r' *\w+: ', line):
            assert re.search(r'  # \S', line) or before.lstrip().startswith('# '), line


def test_the_features_of_a_lerobot_set_are_proposed_as_a_comment(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    init.main([str(bag)])
    text = capsys.readouterr().out
    file = tmp_path / 'robot.yaml'
    file.write_text(text.replace('# export: ', 'export: '))
    _, node = parameters.from_file(file, warn=pytest.fail)
    wanted = node.export.lerobot
    assert (set(wanted.state), wanted.action, wanted.images) == ({'imu', 'odom'}, ('cmd_vel',), ('front',))


def test_a_bag_that_cannot_be_used_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert init.main([str(tmp_path / 'none')]) == 2
    assert capsys.readouterr().err == f'init: {tmp_path}/none: there is no such bag\n'


@contextmanager
def robot(bag: Path) -> Iterator[None]:
    """Publishes the messages of a bag, again and again, and what a preprocess node does."""
    context = rclpy.Context()
    context.init(args=[])
    node = rclpy.create_node('robot', context=context)
    opened = open_bag(bag)
    publishers = {
        name: node.create_publisher(installed(each.msgtype), name, 10) for name, each in opened.topics.items()
    }
    own = {'fused': 'std_msgs/msg/UInt8MultiArray', 'voxels': 'sensor_msgs/msg/PointCloud2'}
    outputs = [node.create_publisher(installed(kind), f'/preprocess/{name}', 10) for name, kind in own.items()]
    outputs.append(node.create_publisher(installed(own['fused']), '/fused', 10))  # as where ~/fused is remapped
    ended = threading.Event()

    def publish() -> None:
        while not ended.is_set():
            for topic, _, raw in opened.messages(publishers):
                publishers[topic].publish(raw)
                ended.wait(0.001)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for publisher in (*publishers.values(), *outputs):
            publisher.destroy()
        node.destroy_node()
        context.shutdown()


def test_a_running_robot_gives_what_a_bag_of_it_does(bag: Path, capsys: pytest.CaptureFixture) -> None:
    with robot(bag):
        assert init.main(['--live', '--seconds', '4']) == 0
    text = capsys.readouterr().out
    made = config_from_bag(open_bag(bag))
    assert yaml.safe_load(text) == {'/**/preprocess': {'ros__parameters': made.parameters}}
    assert text.startswith('# Made from what was published within 4 s.')
    assert '# rectify: true' in text, 'the calibration was heard'


def test_a_system_that_is_silent_is_named(capsys: pytest.CaptureFixture) -> None:
    assert init.main(['--live', '--seconds', '1']) == 2
    (_, line) = capsys.readouterr().err.splitlines()
    assert line.startswith('init: no message came within 1 s: no topic of a type that the node takes; is ROS_DOMAIN_ID')


def test_a_system_without_a_topic_that_can_be_used_is_not_called_a_bag(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    odd = [(ms, '/image_raw', dataclasses.replace(bags.image(ms), encoding='odd')) for ms in range(0, 1000, 100)]
    with robot(bags.write(tmp_path / 'bag', odd)):
        assert init.main(['--live', '--seconds', '2']) == 2
    (_, line) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        'init: no topic that the node can use was heard within 2 s; the running system has: '
        '/image_raw (sensor_msgs/msg/Image); left out: /image_raw: '
    )
    assert line.endswith('; give it longer with --seconds')
    assert 'bag' not in line


def test_a_topic_that_says_nothing_and_one_of_a_type_that_is_not_installed_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_imu(kind: str) -> type:
        if kind == 'sensor_msgs/msg/Imu':
            raise ConfigError('it is not installed')
        return installed(kind)

    monkeypatch.setattr(listening, 'installed', without_imu)
    context = rclpy.Context()
    context.init(args=[])
    node = rclpy.create_node('robot', context=context)
    publishers = [
        node.create_publisher(installed(f'sensor_msgs/msg/{kind}'), f'/{kind.lower()}', 10) for kind in ('Imu', 'Image')
    ]
    try:
        assert init.main(['--live', '--seconds', '1.5']) == 2
    finally:
        for publisher in publishers:
            publisher.destroy()
        node.destroy_node()
        context.shutdown()
    (_, line) = capsys.readouterr().err.splitlines()
    assert line == (
        'init: no message came within 1.5 s: /image is silent: give it longer with --seconds; /imu: it is not installed'
    )


@pytest.mark.parametrize('arguments', [[], ['bag', '--live'], ['--live', '--seconds', '0']])
def test_a_bag_or_a_running_robot_is_asked_for(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        init.main(arguments)
    assert ended.value.code == 2
