# SPDX-License-Identifier: Apache-2.0
"""``config/foxglove_layout.json`` and ``config/robocache.rviz``: what they show of the simulated robot is there."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from robocache_ros import parameters
from robocache_ros.bags import open_bag
from robocache_ros.encode import encode_voxels
from robocache_ros.offline import fused_frames
from robocache_ros.publishers import OUTPUTS
from robocache_ros.sources import routes
from robocache_ros.tools.config_from_bag import config_from_bag
from robocache_ros.tools.simulation import write_bag
from robocache_sim.sensors import POINT, robot

CONFIG = Path(__file__).parents[2] / 'config'
FOXGLOVE = json.loads((CONFIG / 'foxglove_layout.json').read_text())
PANELS = FOXGLOVE['configById']
DISPLAYS = yaml.safe_load((CONFIG / 'robocache.rviz').read_text())['Visualization Manager']['Displays']

#: By panel, what its configuration must have, and beside it may.
SCHEMA = {
    '3D': ({'cameraState', 'followMode', 'followTf', 'scene', 'transforms', 'topics', 'layers', 'publish', 'imageMode'},
           ()),
    'Image': ({'imageMode', 'topics', 'scene', 'transforms', 'layers', 'followMode'}, ()),
    'Plot': ({'paths', 'xAxisVal', 'isSynced', 'showLegend', 'followingViewWidth'},
             {'showXAxisLabels', 'showYAxisLabels', 'legendDisplay'}),
    'DiagnosticSummary': ({'minLevel', 'pinnedIds', 'hardwareIdFilter', 'topicToRender', 'sortByLevel'}, ()),
    'RawMessages': ({'topicPath', 'diffEnabled', 'diffMethod', 'diffTopicPath', 'showFullMessageForDiff'},
                    {'expansion'}),
}  # fmt: skip
#: Those of rviz_default_plugins, with the type of their topic.
RVIZ = {'Grid': None, 'TF': None, 'PointCloud2': PointCloud2, 'Image': Image}


@pytest.fixture(scope='module')
def shown(tmp_path_factory):
    """The configuration that is made for the simulated robot, and a frame of it."""
    path = tmp_path_factory.mktemp('viewers') / 'bag'
    write_bag(path, robot(lidar_rings=4, depth=True), seconds=0.5)
    config, node = parameters.from_dict(config_from_bag(open_bag(path)).parameters)
    with fused_frames(path, config, views=True) as frames:
        return config, dataclasses.replace(node, publish_images=True), next(frames)


@pytest.fixture(scope='module')
def topics(shown):
    """By topic of the node and of its sensors, the message type."""
    config, node, _ = shown
    outputs = {
        topic.replace('~', '/preprocess'): output.message
        for output in OUTPUTS
        for topic, _ in output.topics(config, node)
    }
    return {**{route.absolute_topic: route.message for route in routes(config, views=True)}, **outputs}


def points_of(panel):
    return {topic: given for topic, given in panel['topics'].items() if 'colorField' in given}


def test_the_layout_has_panels_that_there_are_each_in_its_place():
    for name, panel in PANELS.items():
        needed, allowed = SCHEMA[name.partition('!')[0]]
        keys = panel.keys() - {'foxglovePanelTitle'}
        assert needed <= keys <= needed | set(allowed), name
    assert set(FOXGLOVE) == {'configById', 'globalVariables', 'userNodes', 'playbackConfig', 'layout'}

    def places(node):
        if isinstance(node, str):
            return [node]
        assert set(node) == {'direction', 'splitPercentage', 'first', 'second'}
        assert node['direction'] in ('row', 'column')
        assert 0 < node['splitPercentage'] < 100
        return places(node['first']) + places(node['second'])

    assert sorted(places(FOXGLOVE['layout'])) == sorted(PANELS)


def test_every_topic_of_the_layout_is_there_with_its_type(topics, shown):
    for name, panel in PANELS.items():
        for topic, given in panel.get('topics', {}).items():
            assert topics[topic] is (PointCloud2 if 'colorField' in given else CameraInfo), f'{name}: {topic}'
        if name.startswith('Image!'):
            assert topics[panel['imageMode']['imageTopic']] is Image
            assert topics[panel['imageMode']['calibrationTopic']] is CameraInfo
    assert topics[PANELS['DiagnosticSummary!diagnostics']['topicToRender']] is DiagnosticArray
    assert PANELS['3D!space']['followTf'] == shown[0].target_frame


def test_every_output_of_the_node_is_in_the_layout(topics):
    text = json.dumps(FOXGLOVE)
    outputs = {topic for topic in topics if topic.startswith(('/preprocess/', '/diagnostics'))}
    assert {topic for topic in outputs if f'"{topic}"' not in text and f'"{topic}.' not in text} == set()


def test_every_field_of_the_layout_is_in_its_message(topics, shown):
    config, _, frame = shown
    voxels = {field.name for field in encode_voxels(frame, config.voxelized[0]).fields}
    for panel in PANELS.values():
        for topic, given in points_of(panel).items() if 'topics' in panel else ():
            assert given['colorField'] in (voxels if topic == '/preprocess/voxels' else POINT.names), topic
    paths = [path['value'] for panel in PANELS.values() for path in panel.get('paths', ())]
    paths += [panel['topicPath'] for panel in PANELS.values() if 'topicPath' in panel]
    assert len(paths) > 5
    for path in paths:
        topic, *fields = re.fullmatch(r'(/[\w/]+)\.([\w.]+)', path).groups()
        message = topics[topic]()
        for field in fields[0].split('.'):
            message = getattr(message, field)


def test_every_display_of_rviz_shows_a_topic_that_is_there(topics, shown):
    config, _, _ = shown
    for display in DISPLAYS:
        package, _, kind = display['Class'].partition('/')
        assert package == 'rviz_default_plugins'
        if RVIZ[kind] is not None:
            topic = display['Topic']
            assert topics[topic['Value']] is RVIZ[kind], display['Name']
            # A sensor may be published best effort, which a reliable subscription gets nothing of.
            is_ours = topic['Value'].startswith('/preprocess/')
            assert topic['Reliability Policy'] == ('Reliable' if is_ours else 'Best Effort')
    (voxels,) = [display for display in DISPLAYS if display['Name'] == 'voxels']
    assert {voxels['Size (m)']} == set(config.lidars[0].voxel.size)
    options = yaml.safe_load((CONFIG / 'robocache.rviz').read_text())['Visualization Manager']['Global Options']
    assert options['Fixed Frame'] == config.target_frame


def test_sizes_in_the_layout_are_those_of_the_voxels(shown):
    given = PANELS['3D!space']['topics']['/preprocess/voxels']
    assert {given['cubeSize']} == set(shown[0].lidars[0].voxel.size)
    assert (given['pointShape'], given['colorMode']) == ('cube', 'colormap')
