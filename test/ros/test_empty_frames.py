# SPDX-License-Identifier: Apache-2.0
"""Frames that have nothing of a stream though its messages are used: the node and the reader of bags say why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image, PointCloud2
from support import bags, depths
from support.foreign_bags import raw_of
from support.runtime import make

from robocache_ros import parameters
from robocache_ros.offline import fused_frames

IDENTITY = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
DEPTH = {'depths': ['depth'], 'depth': {'topic': '/depth', 'width': 8, 'height': 6}}
NAN = np.full((6, 8), np.nan, np.float32)
SCENE = depths.scene(8, 6)


def depth_of(pixels):
    return {'/depth': (100, lambda ms: depths.depth_image(ms, pixels))}


def depth_with(**settings):
    return DEPTH | {'depth': DEPTH['depth'] | settings}


GRID = {
    'target_frame': 'base_link',
    'lidars': ['front', 'rear'],
    'grids': ['all'],
    'front': {'topic': '/front', 'extrinsics': IDENTITY},
    'rear': {'topic': '/rear', 'extrinsics': IDENTITY, 'tolerance': 0.02, 'required': False},
    'all': {'from': ['front', 'rear'], 'voxel': {'channels': ['count']}},
}
NUM, NEAREST, FARTHEST = np.count_nonzero(SCENE), SCENE[SCENE > 0].min(), SCENE.max()

#: Parameters; by topic, period and maker of its messages; the stream, and what is said of it; empty: nothing.
CASES = {
    'a lens that is covered': (
        DEPTH, depth_of(np.zeros((6, 8), np.uint16)), 'depth',
        'frames have no valid pixel of depth (in the last one none of 48 pixels has a distance): is its lens free, and '
        "do depth_unit (0: the encoding's), min_depth (0 m) and max_depth (20 m) fit?",
    ),
    'no return in metres': (DEPTH, depth_of(NAN), 'depth', '(in the last one none of 48 pixels has a distance)'),
    'mm that are taken for m': (
        depth_with(depth_unit=1.0), depth_of(SCENE), 'depth',
        f'(in the last one {NUM} of 48 pixels have one, {NEAREST:.3g} to {FARTHEST:.3g} m): is its lens free, and do '
        'depth_unit (1 m), ',
    ),
    'limits that nothing reaches': (
        depth_with(min_depth=5.0), depth_of(SCENE), 'depth', f'pixels have one, {NEAREST / 1000:.3g} to',
    ),
    'a scene': (DEPTH, depth_of(SCENE), 'depth', ''),
    'a lidar that is never near the others': (
        GRID, {'/front': (100, bags.cloud), '/rear': (100, lambda ms: bags.cloud(ms + 50))}, 'rear',
        'frames have no point of rear in all: none of its messages is within rear.tolerance (20 ms); raise it, or, if '
        'its clock is off, set rear.stamp_offset',
    ),
    'lidars that are near each other': (
        GRID, {'/front': (100, bags.cloud), '/rear': (100, lambda ms: bags.cloud(ms + 5))}, 'rear', '',
    ),
}  # fmt: skip


def messages(topics, seconds=3):
    made = [bags.every(period, topic, one, 1000 * seconds) for topic, (period, one) in topics.items()]
    return sorted((each for of_topic in made for each in of_topic), key=lambda each: each[0])


@pytest.mark.parametrize(('values', 'topics', 'stream', 'said'), CASES.values(), ids=CASES)
def test_it_is_a_warning_of_the_bag(values, topics, stream, said, tmp_path: Path) -> None:
    config, _ = parameters.from_dict(values)
    frames = fused_frames(bags.write(tmp_path / 'bag', messages(topics)), config)
    num_frames = len(list(frames))
    assert num_frames >= 29
    found = [line for line in frames.warnings if f' of {num_frames} frames have no ' in line]
    assert len(found) == bool(said)
    assert all(said in line for line in found)
    assert not set(found) & set(frames.outcome.warnings), 'a part of the bag sees it in its own frames alone'


@pytest.mark.parametrize(('values', 'topics', 'stream', 'said'), CASES.values(), ids=CASES)
def test_it_is_a_warning_of_its_input(values, topics, stream, said) -> None:
    config, _ = parameters.from_dict(values)
    bench = make(config)
    names = {each.topic: each.name for each in config.streams()}
    types = {'sensor_msgs/msg/Image': Image, 'sensor_msgs/msg/PointCloud2': PointCloud2}
    before = 0.0
    for ms, topic, message in messages(topics, seconds=1):
        bench.clock.advance((ms - before) / 1000)
        bench.put(names[topic], deserialize_message(raw_of(message), types[message.__msgtype__]))
        bench.work()
        before = ms
    status = bench.report()[f'input {stream}']
    assert said in status.message
    assert status.level == (DiagnosticStatus.WARN if said else DiagnosticStatus.OK)
