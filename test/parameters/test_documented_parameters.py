# SPDX-License-Identifier: Apache-2.0
"""``config/preprocess.yaml``: it documents every parameter, as it is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from robocache_core.config import (
    CameraConfig,
    DepthConfig,
    ImuConfig,
    LidarConfig,
    MessageVectorConfig,
)
from robocache_ros import parameters
from robocache_ros.parameters import NodeConfig

FILE = Path(__file__).parents[2] / 'config' / 'preprocess.yaml'
NAMES = parameters.StreamNames(('lidar',), ('front',), ('imu',), ('joints',), ('depth',))
EXAMPLES = {
    'lidars', 'cameras', 'imus', 'vectors', 'lidar.topic', 'front.topic', 'imu.topic', 'joints.topic', 'joints.message',
    'joints.joints', 'joints.required', 'depths', 'depth.topic', 'depth.required',
}  # fmt: skip


def documented() -> dict[str, object]:
    return dict(parameters.flatten(yaml.safe_load(FILE.read_text())['/**/preprocess']['ros__parameters']))


def comments() -> dict[str, str]:
    """The comment of each parameter in the file: beside it, or on the lines above it."""
    found: dict[str, str] = {}
    path: list[str] = []
    above = ''
    for line in FILE.read_text().splitlines():
        match = re.match(r'( *)([\w/*]+):(.*)', line)
        if match:
            depth = len(match[1]) // 2
            path[depth:] = [match[2]]
            beside = re.search(r' # (.*)', match[3])
            found['.'.join(path[2:])] = beside[1] if beside else above
        above = f'{above} {line.strip(" #")}' if line.strip().startswith('#') else ''
    return found


def test_the_file_has_every_parameter_and_no_other() -> None:
    assert set(documented()) == {spec.name for spec in parameters._specs(NAMES)}


def test_the_grid_of_the_file_is_one() -> None:
    text = FILE.read_text()
    begin = text.index('    # all:')
    section = text[begin : text.index('\n\n', begin)].replace('\n    # ', '\n').replace('    # ', '', 1)
    names = {'lidars': ['lidar', 'lidar_rear'], 'depths': ['depth'], 'grids': ['all'], 'target_frame': 'base_link'}
    (grid,) = parameters.from_dict(names | yaml.safe_load(section), warn=pytest.fail)[0].grids
    assert grid.from_ == ('lidar', 'lidar_rear', 'depth')
    assert [spec.name for spec in parameters.tunables(grid)][:2] == ['from', 'voxel.size']


def test_the_file_s_values_are_the_defaults() -> None:
    values = documented()
    for spec in parameters._specs(NAMES):
        if spec.name not in EXAMPLES:
            assert (spec.name, values[spec.name]) == (spec.name, spec.default)
            assert type(values[spec.name]) is type(spec.default)


def test_the_file_tells_each_parameter_s_unit_meaning_range_and_choices() -> None:
    documented = comments()
    for spec in parameters._specs(NAMES):
        comment = documented[spec.name]
        assert len(comment) > 5, spec.name
        if spec.meta['unit']:
            assert f'[{spec.meta["unit"]}]' in comment, spec.name
        if spec.name in EXAMPLES:
            assert re.search(r'\(example; default \S', comment), spec.name
        shared = 'as the lidar' in comment or spec.name.endswith('fields') or spec.name == 'lidar.voxel.channels'
        for choice in () if shared else spec.meta['choices']:
            assert choice in comment, spec.name


@pytest.mark.parametrize('namespace', ['', '/robot', '/fleet/robot'])
def test_the_file_loads_in_any_namespace(make_node, capfd: pytest.CaptureFixture, namespace: str) -> None:
    node = make_node(file=FILE, namespace=namespace)
    pipeline, node_config = parameters.read(node, pytest.fail)
    assert [stream.topic for stream in pipeline.streams()] == [
        '/lidar/points',
        '/camera/front/image_raw/compressed',
        '/imu/data',
        '/joint_states',
        '/camera/depth/image_rect_raw',
    ]
    assert 'unknown' not in capfd.readouterr().err
    assert node_config == NodeConfig()
    assert parameters.from_file(FILE, node.get_fully_qualified_name(), warn=pytest.fail) == (pipeline, node_config)
    plain = [dataclasses.replace(stream, topic='') for stream in pipeline.streams()]
    joints = MessageVectorConfig(
        'joints', message='sensor_msgs/msg/JointState', joints=('joint_1', 'joint_2'), required=False
    )
    depth = DepthConfig('depth', required=False)
    assert plain == [LidarConfig('lidar'), CameraConfig('front'), ImuConfig('imu'), joints, depth]
