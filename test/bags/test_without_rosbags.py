# SPDX-License-Identifier: Apache-2.0
"""A robot's installation has no ``rosbags``: bags are read by the types of installed packages, to the same bits."""

import json
import subprocess
import sys

import pytest
from support import bags
from support.isolation import REFUSE

VALUES = {'lidars': ['lidar'], 'imus': ['imu'], 'lidar.topic': '/points', 'imu.topic': '/imu', 'imu.window_size': 4}
VALUES |= {'lidar.voxel.channels': ['count', 'mean:z']}

#: Prints the stamps of the frames of a bag and a digest of their tensors.
FRAMES = f"""
import hashlib
from pathlib import Path
from robocache_ros import parameters
from robocache_ros.offline import fused_frames
config, _ = parameters.from_dict({VALUES!r})
for frame in fused_frames(Path(sys.argv[2]), config):
    parts = [name.encode() + tensor.numpy().tobytes() for name, tensor in sorted(frame.tensors.items())]
    print(frame.stamp_ns, hashlib.sha256(b''.join(parts)).hexdigest())
"""
TOOL = """
from robocache_ros.tools.{module} import main
sys.exit(main(sys.argv[2:]))
"""


def run(code, *arguments, without=('rosbags',)):
    command = [sys.executable, '-c', REFUSE + code, ','.join(without) or 'none', *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    messages = [*bags.every(10, '/imu', bags.imu, 1000), *bags.every(100, '/points', bags.cloud, 1000)]
    return bags.write(tmp_path_factory.mktemp('bags') / 'bag', [*messages, (500, '/text', bags.text(0))])


def test_frames_are_the_same(bag):
    with_it, without_it = (run(FRAMES, bag, without=without) for without in [(), ('rosbags',)])
    assert (without_it.returncode, without_it.stdout) == (0, with_it.stdout), without_it.stderr
    assert without_it.stdout.count('\n') == 9


def test_inspect_finds_the_same(bag, tmp_path):
    reports = []
    for number, without in enumerate([(), ('rosbags',)]):
        done = run(TOOL.format(module='inspect.cli'), bag, '--json', tmp_path / f'{number}', without=without)
        assert done.returncode in (0, 1), done.stderr
        reports.append((done.returncode, json.loads((tmp_path / f'{number}').read_text())))
    assert reports[0] == reports[1]


@pytest.mark.parametrize(
    ('module', 'arguments', 'without', 'remedy'),
    [
        ('simulate', ['OUT'], 'rosbags', 'pip install rosbags'),
        ('faults.cli', ['BAG', 'OUT', '--fault', 'tai'], 'rosbags', 'pip install rosbags'),
        ('inspect.cli', ['BAG', '--html', 'OUT'], 'matplotlib', 'apt install python3-matplotlib, or pip install '),
    ],
)
def test_a_tool_that_needs_a_library_says_so_in_one_line(bag, tmp_path, module, arguments, without, remedy):
    paths = {'BAG': bag, 'OUT': tmp_path / 'out'}
    done = run(TOOL.format(module=module), *(paths.get(each, each) for each in arguments), without=(without,))
    assert done.returncode == 2
    tool = module.partition('.')[0]
    assert done.stderr.startswith(f'{tool}: needs {without}, which is not installed: {remedy}')
    assert done.stderr.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_the_node_without_ros_says_so_in_one_line():
    done = run('from robocache_ros.process import main\nsys.exit(main())\n', without=('rclpy',))
    assert done.returncode == 2
    assert done.stderr.startswith('preprocess: needs rclpy, which is not installed: source /opt/ros/')
    assert done.stderr.count('\n') == 1
