# SPDX-License-Identifier: Apache-2.0
"""Bags as others record them: no traceback, and every message of the topics asked for is accounted for."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support.broken_bags import MAKERS, TOPICS
from support.driving import assert_ledger

from robocache_core.config import CameraConfig, ImuConfig, LidarConfig, PipelineConfig, VoxelConfig
from robocache_ros.bags import BagError, open_bag
from robocache_ros.offline import fused_frames, make_pipeline
from robocache_ros.tools.config_from_bag import config_from_bag

CONFIG = PipelineConfig(
    lidars=(LidarConfig('lidar', topic='/points', voxel=VoxelConfig(channels=('count',))),),
    cameras=(CameraConfig('camera', topic='/image_raw', width=4, height=4, required=False),),
    imus=(ImuConfig('imu', topic='/imu', window_size=2, required=False),),
)


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


@pytest.mark.parametrize('name', [name for name in MAKERS if 'without /' not in name])
def test_a_configuration_is_made_from_each(name: str, tmp_path: Path) -> None:
    case = MAKERS[name](tmp_path)
    made = config_from_bag(open_bag(case.path))
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
    ],
)
def test_what_is_no_bag_is_one_line(content: dict[str, str], words: str, tmp_path: Path) -> None:
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(BagError, match=words) as caught:
        next(fused_frames(tmp_path, CONFIG))
    assert '\n' not in str(caught.value)
