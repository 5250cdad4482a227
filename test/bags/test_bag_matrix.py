# SPDX-License-Identifier: Apache-2.0
"""Bags as others record them: no traceback, and every message of the topics asked for is accounted for."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support.broken_bags import MAKERS, TOPICS
from support.driving import assert_ledger
from support.live import Live

from robocache_core import payload
from robocache_ros import parameters
from robocache_ros.bags import BagError, open_bag
from robocache_ros.offline import fused_frames, make_pipeline
from robocache_ros.sources import SOURCES
from robocache_ros.tools.config_from_bag import config_from_bag

PARAMETERS = {
    'lidars': ['lidar'],
    'cameras': ['camera'],
    'imus': ['imu'],
    'lidar.topic': '/points',
    'lidar.voxel.channels': ['count'],
    'camera.topic': '/image_raw',
    'camera.width': 4,
    'camera.height': 4,
    'camera.required': False,
    'imu.topic': '/imu',
    'imu.window_size': 2,
    'imu.required': False,
}
CONFIG, _ = parameters.from_dict(PARAMETERS)


@pytest.mark.parametrize('name', MAKERS)
def test_every_message_of_the_topics_asked_for_is_accounted_for(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    case = MAKERS[name](tmp_path)
    pipeline = make_pipeline(CONFIG)
    frames = list(fused_frames(case.path, CONFIG, pipeline))
    counts = {name: account.counts() for name, account in pipeline.ledger.items()}
    assert {name: count.received for name, count in counts.items()} == case.counts
    assert_ledger(pipeline)
    for stream, reasons in case.dropped.items():
        assert counts[stream].dropped | reasons == counts[stream].dropped
    assert not any('undeserializable' in c.dropped for n, c in counts.items() if n not in case.dropped)
    assert 'internal_error' not in {reason for count in counts.values() for reason in count.dropped}
    assert len(frames) >= 0.8 * case.counts['lidar'] - 1
    assert (len(frames) == 0) == (case.counts['lidar'] == 0)
    for words in case.named:
        assert words in caplog.text
    assert bool(caplog.records) == bool(case.named), caplog.text
    assert 'Traceback' not in caplog.text


@pytest.mark.parametrize(
    'name',
    [
        'mcap of plain chunks, cut at 0.5',
        'sqlite3 cut at 0.5',
        'mcap with a foreign topic: all',
        'sqlite3 of topics without a slash',
        'mcap split, one missing',
        'one cloud that is too short',
        'a message of 3 bytes on /points',
        'a message of 40 bytes on /imu',
        'a message of 0 bytes on /image_raw',
    ],
)
def test_the_node_gives_the_same_frames(name: str, tmp_path: Path) -> None:
    case = MAKERS[name](tmp_path)
    pipeline = make_pipeline(CONFIG)
    offline = {frame.stamp_ns: payload.digest(frame) for frame in fused_frames(case.path, CONFIG, pipeline)}
    live = Live(case.path, PARAMETERS)
    assert {name: count.received for name, count in live.counts.items()} == case.counts
    for stream, reasons in case.dropped.items():
        assert live.counts[stream].dropped | reasons == live.counts[stream].dropped
    # At the end of a bag, offline nothing is waited for any more.
    found = {frame.stamp_ns: payload.digest(frame) for frame in live.frames}
    assert len(found) >= len(offline) - 1
    assert found == {stamp: digest for stamp, digest in offline.items() if stamp in found}


@pytest.mark.parametrize('name', [name for name in MAKERS if 'without /' not in name])
def test_a_configuration_is_made_from_each(name: str, tmp_path: Path) -> None:
    case = MAKERS[name](tmp_path)
    made = config_from_bag(open_bag(case.path, SOURCES))
    listed = {
        made.parameters[name]['topic']
        for group in ('lidars', 'cameras', 'imus')
        for name in made.parameters.get(group, ())
    }
    assert listed == {TOPICS[stream] for stream, count in case.counts.items() if count}


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ({}, 'there is no metadata.yaml, and the folder has no file of a bag'),
        ({'metadata.yaml': '{['}, 'metadata.yaml cannot be read'),
        ({'a.mcap': 'no MCAP'}, 'begins neither as an MCAP nor as an SQLite database'),
        ({'a.db3': 'SQLite format 3\0'}, 'cannot be read'),
        ({'a.mcap': ''}, 'begins neither'),
        ({'a.bag': '#ROSBAG V2.0'}, 'a.bag is a ROS 1 bag: convert it first: rosbags-convert --src '),
        ({'a.mcap': '#ROSBAG V2.0'}, 'a.mcap is a ROS 1 bag: convert it first'),
    ],
)
def test_what_is_no_bag_is_one_line(content: dict[str, str], words: str, tmp_path: Path) -> None:
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(BagError, match=words) as caught:
        next(fused_frames(tmp_path, CONFIG))
    assert '\n' not in str(caught.value)
